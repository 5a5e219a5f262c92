"""docs/reference.md, made from the code: `make reference` writes it, a test compares it.

What there is to say of a flag is its help, of a command `heyhi --help`, of a name its signature and
docstring, of a field of the launcher its comment in the schema.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import heyhi
from heyhi.api.experiments import ExperimentDir
from heyhi.cli import commands
from heyhi.cli.run_py import load
from heyhi.config import explain
from heyhi.config.frozen import Frozen
from heyhi.project import Project
from heyhi.runs.invocation import run_py_parser

HERE = Path(__file__).resolve().parent.parent
PAGE = HERE / "docs" / "reference.md"

HEAD = """\
# Reference

`make reference` makes this page from the code: edit the code. [Runs](runs.md) describes files and modes,
[configs](configs.md) overrides.
"""


def page() -> str:
    """The whole page."""
    sections = (
        ("The flags of `run.py`", _flags()),
        ("The `heyhi` command", _commands()),
        ("`import heyhi`", _names()),
        ("What a frozen config has besides its fields", _members("config", Frozen)),
        ("A run folder as an object: what `maybe_launch` returns", _members("run", ExperimentDir)),
        ("What a job asks of Slurm: `launcher.slurm`", _launcher()),
    )
    parts = [f"## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections]
    return "\n".join([HEAD, *parts])


def _flags() -> Iterator[str]:
    yield from ("| flag | what it does |", "|---|---|")
    for action in run_py_parser()._actions:
        names = ", ".join(f"`{flag}{_value(action)}`" for flag in action.option_strings)
        yield f"| {names} | {_cell(action.help or '')} |"


def _value(action: Any) -> str:
    if action.nargs == 0:
        return ""
    word = action.metavar or action.dest.upper()
    return {"?": f" [{word}]", "+": f" {word} ..."}.get(action.nargs, f" {word}")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _commands() -> Iterator[str]:
    yield from ("```text", inspect.cleandoc(commands.__doc__ or ""), "```")


def _names() -> Iterator[str]:
    for name in heyhi.__all__:
        value = getattr(heyhi, name)
        if inspect.isclass(value):
            yield from _entry(name, _signature(value) if name == "Batch" else "", value)
            if name == "Batch":
                yield from _members("batch", value)
        elif callable(value):
            yield from _entry(name, _signature(value), value)
        else:
            yield from (f"### `heyhi.{name}`", "", f"A `{type(value).__name__}`: {_CONSTANTS[name]}", "")


_CONSTANTS = {
    "CONF_ROOT": "the project's folder of configs.",
    "MODES": "the names of all modes.",
    "PROJ_ROOT": "the project's folder.",
}


def _entry(name: str, signature: str, value: Any) -> Iterator[str]:
    yield from (f"### `heyhi.{name}`", "")
    if signature:
        yield from ("```python", f"{name}{signature}", "```", "")
    yield from (inspect.getdoc(value) or "", "")


def _members(name: str, cls: type) -> Iterator[str]:
    for key, member in vars(cls).items():
        if key.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        call = _signature(member) if callable(member) else ""
        yield from (f"#### `{name}.{key}`", "", *(["```python", f"{key}{call}", "```", ""] if call else []))
        yield from (inspect.getdoc(member) or "", "")


def _signature(value: Any) -> str:
    """As it is written but for `self`; names without their modules; if it is long, a parameter a line."""
    known = inspect.signature(value)
    known = known.replace(parameters=[one for name, one in known.parameters.items() if name != "self"])
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", str(known)))
    if len(text) <= 90:
        return text
    parameters, _, returned = text.rpartition(") -> ")
    parts = re.split(r", (?![^\[\](]*[\])])", parameters[1:])
    return "(\n" + "".join(f"    {part},\n" for part in parts) + f") -> {returned}"


def _launcher() -> Iterator[str]:
    project = Project(HERE)
    composition = load("conf/c02_sup_train/sl.prototxt", ["Ilauncher=slurm_8gpus"], str(HERE / "run.py"))
    lines = explain.flags(project, composition.config, "launcher.slurm")
    yield from ("```text", *lines, "```")


if __name__ == "__main__":
    PAGE.write_text(page())
