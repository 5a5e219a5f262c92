"""Tab completion: a line up to the cursor -> what its last word may become.

    python run.py -c conf/a lr=|      of run.py: flags by its parser, overrides by the config's schema
    heyhi kill p/a|                   of heyhi: by what each command takes

The name of a word in a help text (CFG, RUN, KEY=VALUE) determines its kind: `_KINDS`. Completion runs nothing
of the project, and takes the generated modules as they are.
"""

import argparse
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heyhi import files
from heyhi.cli.shells import Candidate, for_bash, paths, split, steps
from heyhi.config import SUFFIX
from heyhi.errors import HeyhiError, ProjectError
from heyhi.project import Project, find_project
from heyhi.runs import Parser, run_py_parser
from heyhi.texts import first_line

if TYPE_CHECKING:
    from heyhi.cli.complete_config import Suggestions
    from heyhi.config import Outline

__all__ = ["PLACES", "Command", "NotOurs", "answer", "complete"]

#: What a help text calls a word that may be any of them.
PLACES = "BATCH | FOLDER | RUN"

_REDIRECTION = re.compile(r"(\d*|&)(<|>>?\|?)")


class NotOurs(Exception):  # noqa: N818  (no error: the shell completes it as ever)
    """A line of something else."""


class Command(NamedTuple):
    """A command of `heyhi`, and what its words are: kinds ("CFG RUN..."), or the parser that reads them."""

    do: Callable[[Sequence[str]], int]
    takes: str | Callable[[], Parser] = ""


class _Line(NamedTuple):
    """The state of a line: the folder where it is typed, and the words so far by kind."""

    project: Project
    cwd: Path
    given: Mapping[str, str]


# ---- Which word it is ---------------------------------------------------------------------------


def answer(
    shell: str, line: str, tail: str, commands: Mapping[str, Command], cwd: Path | None = None
) -> list[str]:
    """The lines for a shell's script: one candidate each, followed by a space if it is complete.

    `tail` is what bash will replace. For zsh and fish a note follows, behind a tab. Raises NotOurs.
    """
    words, quote = split(line)
    found = complete(words, commands, cwd or Path.cwd())
    if shell == "bash":
        return [for_bash(candidate, words[-1], quote, tail) for candidate in found]
    space = " " if shell == "zsh" else ""
    return [f"{one.text}{space if one.ends else ''}\t{one.note}" for one in found]


def complete(words: Sequence[str], commands: Mapping[str, Command], cwd: Path) -> list[Candidate]:
    """The candidates for the last word. Raises NotOurs if the shell should complete it."""
    if _is_the_shells(words):
        raise NotOurs
    if os.path.basename(words[0]) == "heyhi" and len(words) > 1:
        found = _of_heyhi(words[1:], commands, cwd)
    else:
        script = _position_of_run_py(words)
        try:
            project = find_project(os.path.join(cwd, os.path.expanduser(words[script])))
        except ProjectError:
            raise NotOurs from None
        found = _of_parser(run_py_parser(), ["KEY=VALUE..."], words[script + 1 :], _Line(project, cwd, {}))
    fitting = (one for one in found if one.text.startswith(words[-1]) and one.text.isprintable())
    return list({one.text: one for one in fitting}.values())


def _is_the_shells(words: Sequence[str]) -> bool:
    """True if the last word has a variable, which only the shell knows, or is a file of a redirection."""
    *before, typed = words
    follows = bool(before) and _REDIRECTION.fullmatch(before[-1])
    return "$" in typed or bool(follows or _REDIRECTION.match(typed))


def _position_of_run_py(words: Sequence[str]) -> int:
    """The position of run.py in `python run.py`, `./run.py` or `uv run run.py`. Raises NotOurs."""
    names = [os.path.basename(word) for word in words[:-1]]
    if "run.py" not in names:
        raise NotOurs
    position = names.index("run.py")
    before = words[1:position]
    is_run = not position or names[0].startswith("python") or words[:2] == ["uv", "run"]
    # `python other.py run.py`, `python -m pytest run.py`: a file of something else.
    if not is_run or any(word in ("-m", "-c") or word.endswith(".py") for word in before):
        raise NotOurs
    return position


def _of_heyhi(words: Sequence[str], commands: Mapping[str, Command], cwd: Path) -> Iterable[Candidate]:
    name, *rest = words
    if not rest:
        docs = {name: first_line(command.do.__doc__ or "") for name, command in commands.items()}
        return [*(Candidate(*entry) for entry in docs.items()), Candidate("--help")]
    if name not in commands:
        return []
    takes = commands[name].takes
    try:
        line = _Line(find_project(), cwd, {})
    except ProjectError:
        return []
    if isinstance(takes, str):
        return _of_parser(Parser(), takes.split(), rest, line)
    parser = takes()
    actions = [action for action in parser._actions if not action.option_strings]
    kinds = [_kind(action) + ("..." if action.nargs in ("+", "*") else "") for action in actions]
    return _of_parser(parser, kinds, rest, line)


def _of_parser(
    parser: argparse.ArgumentParser, kinds: Sequence[str], words: Sequence[str], line: _Line
) -> Iterator[Candidate]:
    """The candidates for the last word, by the flags of a parser and the kinds of the other words."""
    *before, typed = words
    flags = {flag: action for action in parser._actions for flag in action.option_strings}
    seen = _look(before, flags, kinds)
    line = line._replace(given=seen.given)
    if seen.open is not None:
        yield from _of_action(seen.open, typed, line)
        return
    flag, equals, value = typed.partition("=")
    if equals and flag in flags and flags[flag].nargs is None:
        for found in _of_action(flags[flag], value, line):
            yield found._replace(text=f"{flag}={found.text}")
        return
    if typed.startswith("-"):
        yield from (
            Candidate(flag, " ".join((action.help or "").split()).replace("%%", "%"))
            for flag, action in flags.items()
        )
    if before and before[-1] in flags and flags[before[-1]].nargs == "?":
        yield from _of_action(flags[before[-1]], typed, line)
    yield from _of_kind(seen.kind, typed, line)


class _Seen(NamedTuple):
    """The words before the cursor: the flag whose value is due, the kind of the next word, what was given."""

    open: argparse.Action | None
    kind: str
    given: dict[str, str]


def _look(before: Sequence[str], flags: Mapping[str, argparse.Action], kinds: Sequence[str]) -> _Seen:
    open_flag = None
    given: dict[str, str] = {}
    rest = list(kinds)
    for word in before:
        flag, equals, value = word.partition("=")
        if open_flag is not None:
            given[_kind(open_flag)] = word
            open_flag = None
        elif word in flags:
            open_flag = flags[word] if flags[word].nargs is None else None
        elif equals and flag in flags:
            given[_kind(flags[flag])] = value
        elif rest and not word.startswith("-"):
            given.setdefault(rest[0], word)
            rest = rest if rest[0].endswith("...") else rest[1:]
    return _Seen(open_flag, rest[0].removesuffix("...") if rest else "", given)


def _kind(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


def _of_action(action: argparse.Action, typed: str, line: _Line) -> Iterable[Candidate]:
    """Values of a flag: those that its type knows, or by its own name, or by the kind that it takes."""
    known = getattr(action.type, "known", None)
    if known is not None:
        return [Candidate(value) for value in known]
    own = [flag for flag in action.option_strings if flag in _KINDS]
    return _of_kind(own[0] if own else _kind(action), typed, line)


def _of_kind(kind: str, typed: str, line: _Line) -> list[Candidate]:
    """The candidates of a kind; none on an error in a config, a schema or a folder."""
    try:
        return list(_KINDS[kind](typed, line)) if kind in _KINDS else []
    except (HeyhiError, OSError, ValueError, LookupError, RecursionError):
        return []


# ---- What kinds of words there are --------------------------------------------------------------


def _configs(typed: str, line: _Line) -> Iterator[Candidate]:
    """Configs that set a task, by their paths from the cwd and from the project."""
    fits = _sets_a_task(line.project)
    yield from steps(_known_configs(line), typed, fits)
    if typed.startswith((".", "/", "~")):
        for found in paths(typed, line.cwd, SUFFIX):
            if not found.ends or fits(os.path.join(line.cwd, os.path.expanduser(found.text))):
                yield found


def _sets_a_task(project: Project) -> Callable[[str], bool]:
    from heyhi.cli.complete_config import sets_a_task

    outline = _outline(project)
    return sets_a_task(outline) if outline else lambda _: True


def _known_configs(line: _Line) -> Iterator[tuple[str, str]]:
    for folder, below, inside in os.walk(line.project.conf):
        below[:] = sorted(name for name in below if os.path.join(folder, name) != str(line.project.common))
        for path in (os.path.join(folder, name) for name in sorted(inside) if name.endswith(SUFFIX)):
            for start in (os.path.join(line.cwd, ""), os.path.join(line.project.root, "")):
                if path.startswith(start):
                    yield path.removeprefix(start), path


def _overrides(typed: str, line: _Line) -> Iterator[Candidate]:
    if "CFG" not in line.given:
        yield Candidate("-c", "the config comes first")
    elif suggestions := _suggestions(line):
        yield from suggestions.overrides(typed)


def _keys(typed: str, line: _Line) -> Iterator[Candidate]:
    if "CFG" in line.given and (suggestions := _suggestions(line)):
        yield from suggestions.keys(typed)


def _suggestions(line: _Line) -> "Suggestions | None":
    from heyhi.cli.complete_config import Suggestions

    outline = _outline(line.project)
    return Suggestions(line.given["CFG"], line.project, outline, line.cwd) if outline else None


def _outline(project: Project) -> "Outline | None":
    """The schemas as they were when modules were made of them last; None if that is not known."""
    from heyhi.config import OUTLINE, read_outline

    try:
        return read_outline(files.read(project.conf / OUTLINE))
    except (OSError, ValueError):
        return None


def _runs(typed: str, line: _Line) -> Iterator[Candidate]:
    """Ids step by step; folders; and by their last part those runs that no other one shares it with."""
    from heyhi.runs import find_runs, is_run_folder

    if typed.startswith((".", "/", "~")):
        yield from paths(typed, line.cwd, None)
    root = line.project.experiment_root
    runs = [run for run in find_runs(root, line.project) if is_run_folder(run.folder)]
    yield from steps([(run.id, "") for run in runs], typed)
    last = Counter(os.path.basename(run.folder) for run in runs)
    yield from (Candidate(name) for name, count in last.items() if typed and count == 1)


def _files(typed: str, line: _Line) -> Iterator[Candidate]:
    return paths(typed, line.cwd)


def _folders(typed: str, line: _Line) -> Iterator[Candidate]:
    return paths(typed, line.cwd, None)


def _run_folders(typed: str, line: _Line) -> Iterator[Candidate]:
    return paths(typed, line.project.experiment_root, None)


def _scripts(typed: str, line: _Line) -> Iterator[Candidate]:
    return paths(typed, line.cwd, ".sh")


def _shells(_: str, __: _Line) -> Iterator[Candidate]:
    from heyhi.cli.shells import SHELLS

    return map(Candidate, SHELLS)


def _profiles(typed: str, line: _Line) -> Iterator[Candidate]:
    found = paths(typed, line.project.root / "profiles", None)
    return (Candidate(one.text.removesuffix("/")) for one in found)


def _places(typed: str, line: _Line) -> Iterator[Candidate]:
    yield from _scripts(typed, line)
    yield from _runs(typed, line)


# By a flag's own name, or by what a help text calls a word.
_KINDS: dict[str, Callable[[str, _Line], Iterator[Candidate]]] = {
    "--out": _run_folders,
    "BATCH": _scripts,
    PLACES: _places,
    "CFG": _configs,
    "DIR": _folders,
    "FILE": _files,
    "FOLDER": _folders,
    "KEY": _keys,
    "KEY=VALUE": _overrides,
    "PATTERN": _keys,
    "PROFILE": _profiles,
    "RUN": _runs,
    "SHELL": _shells,
}
