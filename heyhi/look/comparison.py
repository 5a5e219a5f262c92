"""Two runs beside each other: what differs, by sections; within one a line a name.

status       DONE -> DEAD
config       lr            0.1 -> 0.2        by typed fields, of all that is set or has a default
code         agents.py     differs           by the copies of the code
environment  host          here -> there
result       score         0.2 -> 0.3        +0.1, +50 %
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files, runs
from heyhi.launch import find_snapshot, top_of
from heyhi.look.records import Record
from heyhi.project import Project
from heyhi.runs import HIDDEN, Secrets
from heyhi.texts import on_one_line, some_lines

__all__ = ["Change", "Section", "changes", "compare", "lines"]

_NOTES = ("GITHASH.txt", "GITDIFF.txt")  # beside the code in its copy
_DERIVED = re.compile(r"__pycache__|\.heyhi_protos.*|.*_(pb2|cfgs)\.pyi?|.*\.pyc")  # files and folders
_TEXT = 1_000_000  # bytes of a file of which lines are compared
_WIDEST = 50  # name, to which the others are aligned
_MOST_FILES = 20  # before the rest is only counted


class Change(NamedTuple):
    """The values of a name in one run and in the other; `told` is a note about them."""

    name: str
    old: str
    new: str
    told: str = ""


class Section(NamedTuple):
    """The differences in one respect. `note` says why they are not fully known, or that there is nothing to
    compare; `text` are lines of a unified diff."""

    title: str
    changes: Sequence[Change] = ()
    note: str = ""
    text: Sequence[str] = ()

    @property
    def differs(self) -> bool:
        """True if anything differs."""
        return bool(self.changes)


def compare(old: Record, new: Record, *, with_code: bool = False) -> list[Section]:
    """The differences of two runs, section by section; with_code: also the lines of the code."""
    known = [runs.read_provenance(record.run) for record in (old, new)]
    return [
        Section("status", changes(_status(old), _status(new))),
        Section("config", changes(_config(old), _config(new)), _why_unknown("config", old, new)),
        _code(old, new, known, with_code=with_code),
        Section("environment", changes(_environment(known[0]), _environment(known[1]))),
        _results(old, new),
    ]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The names whose values differ, in the order in which they come; `1`, `1.0` and `"1"` are three."""
    names = dict.fromkeys([*old, *new])
    pairs = [(name, _told(old, name), _told(new, name)) for name in names]
    return [Change(name, before, after) for name, before, after in pairs if before != after]


def _told(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "unset"


def _status(record: Record) -> dict[str, Any]:
    told = {"status": _Word(record.status or "no run"), "problem": _Word(record.problem)}
    return {name: word for name, word in told.items() if word}


class _Word(str):
    """A text that needs no quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str.__str__(self)


def _config(record: Record) -> dict[str, Any]:
    return {"task": _Word(record.task), **record.config} if record.task else {}


def _why_unknown(what: str, old: Record, new: Record) -> str:
    missing = [record.id for record in (old, new) if not record.task]
    return f"the {what} of {' and of '.join(missing)} is not known" if missing else ""


_OF_THE_ENVIRONMENT = ("host", "user", "project", "project_root", "experiment_root")


def _environment(known: Mapping[str, Any]) -> dict[str, Any]:
    versions, more = known.get("versions"), known.get("environment")
    if isinstance(more, dict):
        kept = Secrets.tolerant(Project(Path(str(known.get("project_root"))))).kept(more)
        more = {name: HIDDEN if value is True else value for name, value in kept.items()}
    found = {name: _Word(known[name]) for name in _OF_THE_ENVIRONMENT if known.get(name)}
    for values in (versions, more):
        if isinstance(values, dict):
            found.update({str(n): _Word(value) for n, value in values.items() if value is not None})
    return found


# ---- As text ------------------------------------------------------------------------------------


def lines(sections: Sequence[Section], *, every: bool = False) -> Iterator[str]:
    """A section a block, in each the names aligned; the last line says whether anything differs.

    Of many files of the code the first ones are named, or `every` one.
    """
    for section in sections:
        said = [section.note] if section.note else []
        if not section.differs:
            yield f"{section.title}: {'; '.join([*said, 'no difference'])}"
            continue
        yield f"{section.title}:{' ' if said else ''}{'; '.join(said)}"
        yield from _aligned(section, every=every or section.title != "code")
        yield from section.text
    differing = [section.title for section in sections if section.differs]
    yield f"they differ in {', '.join(differing)}" if differing else "no difference"


def _aligned(section: Section, *, every: bool) -> Iterator[str]:
    most = len(section.changes) if every else _MOST_FILES
    width = min(_WIDEST, max(len(change.name) for change in section.changes[:most]))
    told = []
    for change in section.changes:
        values = f"{on_one_line(change.old)} -> {on_one_line(change.new)}" if change.old or change.new else ""
        told.append(f"{on_one_line(change.name):{width}}  {'  '.join(filter(None, [values, change.told]))}")
    yield from (f"  {line}" for line in some_lines(told, most, "; --code shows all"))


# ---- What came of them --------------------------------------------------------------------------


def _results(old: Record, new: Record) -> Section:
    values = [{**record.metrics, **record.result} for record in (old, new)]
    found = [
        change._replace(told=_difference(values[0].get(change.name), values[1].get(change.name)))
        for change in changes(*values)
    ]
    return Section("result", found, "" if any(values) else "there is none yet")


def _difference(old: Any, new: Any) -> str:
    """The difference of two numbers, also in percent."""
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (old, new)):
        return ""
    try:
        percent = f", {100 * (new - old) / abs(old):+.3g} %" if old else ""
        return f"{new - old:+.4g}{percent}"
    except OverflowError:
        return ""  # integers that no float can hold


# ---- The code -----------------------------------------------------------------------------------


def _code(old: Record, new: Record, known: Sequence[Mapping[str, Any]], *, with_code: bool) -> Section:
    found = changes(*[_commit(one) for one in known])
    if lacking := [record.id for record in (old, new) if not record.snapshot]:
        return Section("code", found, f"there is no copy of the code of {' and of '.join(lacking)}")
    commits = {one.get("git_commit") for one in known}  # untracked files are changes, but not of the copy
    same = Section("code", [], _one_copy(found if len(commits) > 1 else []))
    if old.snapshot == new.snapshot:
        return same
    copies = [
        find_snapshot(record.run, {**one, "snapshot": record.snapshot})
        for record, one in zip((old, new), known, strict=True)
    ]
    gone = [record.snapshot for record, copy in zip((old, new), copies, strict=True) if copy is None]
    if gone:
        return Section("code", found, f"a copy of the code is gone: {' and '.join(gone)}")
    before, after = (top_of(copy) for copy in copies if copy is not None)
    if before == after:
        return same
    files = _differing_files(before, after)
    text = [line for change in files for line in _lines(before, after, change.name)] if with_code else []
    return Section("code", [*found, *files], text=text)


def _one_copy(commits: Sequence[Change]) -> str:
    """The code is the same, also if it was committed between the two runs."""
    told = "".join(f", {change.name} {change.old} -> {change.new}" for change in commits)
    return f"one copy of the code{on_one_line(told)}"


def _commit(known: Mapping[str, Any]) -> dict[str, Any]:
    commit = known.get("git_commit")
    return (
        {"commit": _Word(f"{commit}{', with changes' if known.get('git_dirty') else ''}")} if commit else {}
    )


def _differing_files(old: Path, new: Path) -> list[Change]:
    names = [_files(top) for top in (old, new)]
    found = []
    for name in sorted({*names[0], *names[1]}):
        if name not in names[1]:
            found.append(Change(name, "there", "not there"))
        elif name not in names[0]:
            found.append(Change(name, "not there", "there"))
        elif _content(old / name) != _content(new / name):
            found.append(Change(name, "", "", "differs"))
    return found


def _files(top: Path) -> set[str]:
    """The files of a copy, but for what is made from others."""
    found = set()
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if not _DERIVED.fullmatch(name)]
        names = [name for name in names if not _DERIVED.fullmatch(name)]
        found |= {os.path.relpath(f"{folder}/{name}", top) for name in names}
    return found - set(_NOTES)


def _content(path: Path) -> bytes:
    try:
        return os.fsencode(os.readlink(path)) if path.is_symlink() else files.read(path)
    except OSError as problem:
        return f"{path}: {problem.strerror}".encode()


def _lines(old: Path, new: Path, name: str) -> Iterator[str]:
    """A file's unified diff."""
    sides = [_content(top / name) if os.path.lexists(top / name) else b"" for top in (old, new)]
    if any(b"\0" in side or len(side) > _TEXT for side in sides):
        yield f"{name}: no text, or a large one"
        return
    before, after = (side.decode(errors="backslashreplace").splitlines() for side in sides)
    yield from difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", lineterm="")
