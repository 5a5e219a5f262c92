"""A key press of TAB in bash, in a project of 500 configs, beside a bare Python process in the same bash."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.composing import SCHEMA
from bench.table import Row, medians
from heyhi.cli.shells import SHELLS
from heyhi.config.schema import generate
from heyhi.project import Project

_BASES, _SOILS, _LAUNCHERS = 300, 100, 100
# Flags; configs; keys; what fits a mount, where each of a hundred files must be read.
_LINES = {
    "a flag": "--mo",
    "a config": "-c conf/base/b1",
    "a key": "-c conf/base/b001.prototxt see",
    "an include": "-c conf/base/b001.prototxt Isoil=",
}
_PRESS = """\
source {script}; COMP_LINE="python run.py {line}"; COMP_POINT=${{#COMP_LINE}}
COMP_WORDS=(python run.py); _heyhi python "{tail}" run.py 2>/dev/null; [ ${{#COMPREPLY[@]}} -gt 0 ]"""


def rows(folder: Path) -> Iterator[Row]:
    root = _write_project(folder / "many")
    presses = [_bash(root, _press(line)) for line in _LINES.values()]
    bare, *ours = medians(15, _bash(root, f"{sys.executable} -c pass; true"), *presses)
    for what, press in zip(_LINES, ours, strict=True):
        yield Row(f"TAB: {what}, of 500 configs", press, goal=100)
    yield Row("TAB: a key, of 500 configs", ours[2], "python -c pass", bare)


def _press(line: str) -> str:
    word = line.rpartition(" ")[2]
    tail = word.rpartition("=")[2]
    return _PRESS.format(script=SHELLS["bash"].script, line=line, tail=tail)


def _bash(root: Path, script: str) -> Any:
    # Bytecode is cached, as it is for users.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    return lambda: subprocess.run(["bash", "--norc", "-c", script], cwd=root, env=env, check=True)


def _write_project(root: Path) -> Path:
    texts = {"run.py": "", "conf/conf.proto": SCHEMA.read_text()}
    for number in range(_BASES):
        texts[f"conf/base/b{number:03}.prototxt"] = (
            'includes { path: "s001" mount: "soil" }\n'
            f'grow {{ seed: {number} lr: 0.1 name: "rose" tags: "one" plants {{ name: "fern" }} }}\n'
        )
    for number in range(_SOILS):
        texts[f"conf/common/soil/s{number:03}.prototxt"] = f'depth: {number} kind: "loam"\n'
    for number in range(_LAUNCHERS):
        texts[f"conf/common/launcher/l{number:03}.prototxt"] = f"slurm {{ num_gpus: {number} }}\n"
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    generate(Project(root))
    return root
