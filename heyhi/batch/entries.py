"""A batch: a list of `run.py` command lines, composed together: drafts, and which run needs which.

    script ─capture─▶ lines ─parse, expand─▶ invocations ─compose─▶ entries ─▶ needs, read from the configs

A string value that is, or lies inside, another run's folder makes its run wait for that one; so does
`--after`. All that is wrong with a batch is said at once, each with its line.
"""

import graphlib
import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import Message

from heyhi import files
from heyhi.batch.capture import Captured, Line, Remark, capture, hash_of
from heyhi.batch.grid import expand
from heyhi.batch.intercept import asks_to_show
from heyhi.config import Composer, find_base, load_messages
from heyhi.errors import ConfigError, HeyhiError, UsageError
from heyhi.launch import schedulers
from heyhi.project import Project
from heyhi.runs import (
    Draft,
    Invocation,
    Run,
    Secrets,
    find_collision,
    find_drift,
    find_obstacle,
    make_draft,
    ownership,
    parse_argv,
    read_state,
    real_path,
)
from heyhi.texts import some_of

__all__ = ["Batch", "BatchError", "Entry", "compose_lines", "lines_of_stdin", "read_batch"]


class Entry(NamedTuple):
    """A run of a batch: what it is, and the line that asks for it.

    `drift` says how its config differs from the one that was frozen, if it was.
    """

    draft: Draft
    invocation: Invocation
    where: str
    environment: Mapping[str, str | None] = {}
    drift: tuple[str, ...] = ()

    @property
    def run(self) -> Run:
        """The run that it asks for."""
        return self.draft.run


class Batch(NamedTuple):
    """The runs of a batch, each once, in the order of their lines; which need which, by their folders.

    `commands` are the programs that the script ran itself when it was captured; `sources` the files that it
    was read from, with the hash of each.
    """

    name: str
    project: Project
    entries: tuple[Entry, ...]
    needs: Mapping[Path, tuple[Path, ...]]
    remarks: tuple[Remark, ...] = ()
    commands: tuple[str, ...] = ()
    sources: Mapping[str, str] = {}


class BatchError(UsageError):
    """All that is wrong with a batch, each with its lines."""

    def __init__(self, name: str, problems: Sequence[Remark]) -> None:
        told = "\n".join(f"  {problem.where or name}: {problem.problem}" for problem in problems)
        plural = "s" if len(problems) > 1 else ""
        super().__init__(f"{name}: {len(problems)} error{plural}; nothing was started\n{told}")
        self.problems = tuple(problems)


class _Problems:
    """Collects the errors of a batch, to report them all at once."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, None]] = {}
        self._told: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._told)

    def add(self, where: str, problem: HeyhiError | str) -> None:
        """Note a problem; what is the same but for a value is one."""
        kind = problem.problem if isinstance(problem, ConfigError) else str(problem)
        self._told.setdefault(kind, str(problem))
        self._places.setdefault(kind, {})[where] = None

    def remarks(self) -> list[Remark]:
        """Each problem at its first place, with its other places."""
        return [Remark(*self._remark(kind, told)) for kind, told in self._told.items()]

    def _remark(self, kind: str, told: str) -> tuple[str, str]:
        first, *others = self._places[kind]
        if not others:
            return first, told
        return first, f"{told} (also at {some_of(others, 5)})"


def read_batch(source: str, project: Project) -> Batch:
    """The batch that a bash script describes; `-`: the command lines on stdin. Raises UsageError."""
    if source == "-":
        return compose_lines("stdin", lines_of_stdin(project), project)
    return compose_lines(source, capture(Path(source), project), project)


def lines_of_stdin(project: Project) -> Captured:
    """The command lines on stdin, with or without `python run.py`; nothing is expanded. Raises BatchError."""
    problems = _Problems()
    lines = []
    for number, text in enumerate(sys.stdin or (), 1):
        try:
            if "\0" in text:
                raise ValueError("a NUL byte, which no command line can hold")
            words = shlex.split(text, comments=True)
            if words:
                lines.append(_plain_line(words, project, f"stdin:{number}"))
        except ValueError as problem:
            problems.add(f"stdin:{number}", str(problem))
    if problems:
        raise BatchError("stdin", problems.remarks())
    return Captured(tuple(lines))


def _plain_line(words: Sequence[str], project: Project, where: str) -> Line:
    start = next((number for number, word in enumerate(words) if Path(word).name == "run.py"), -1)
    before = words[: max(start, 0)]
    if any(not re.fullmatch(r"(.*/)?python[\d.]*|-\w+", word) for word in before):
        first = Secrets.of(project).hide(before[0])
        raise ValueError(f"{first!r}: expected `python run.py -c CFG ...`; a bash script may hold more")
    cwd = Path.cwd()
    run_py = project.root / "run.py" if start < 0 else cwd / words[start]
    return Line(tuple(words[start + 1 :]), str(run_py), cwd, where)


def compose_lines(
    name: str, captured: Captured, project: Project, meta_class: type[Message] | None = None
) -> Batch:
    """Compose all command lines of a batch. Raises BatchError with all that is wrong with them.

    `meta_class` is the MetaCfg to compose with, by default that of the project's generated modules.
    """
    reader = _Reader(project, meta_class or load_messages(project))
    for line in captured.lines:
        reader.read(line)
    problems, remarks = reader.problems, reader.remarks
    if not reader.entries and not problems:
        raise UsageError(f"{name}: no `python run.py ...` line in it")
    entries = [_beside_disk(entry, problems) for entry in _each_once(reader.entries, problems, remarks)]
    _refuse_runs_in_runs(entries, problems)
    needs = _all_needs(entries, problems)
    _refuse_cycles(entries, needs, problems)
    if problems:
        raise BatchError(name, problems.remarks())
    remarks += _aliases(entries)
    told = tuple(dict.fromkeys([*captured.remarks, *remarks]))
    sources = {**captured.sources, **{path: hash_of(path) for path in reader.tables}}
    return Batch(name, project, tuple(entries), needs, told, captured.commands, sources)


# ---- Lines to entries ---------------------------------------------------------------------------


class _Reader:
    """Composes line after line."""

    def __init__(self, project: Project, meta_class: type[Message]) -> None:
        self.entries: list[Entry] = []
        self.tables: dict[str, None] = {}  # their paths
        self.problems = _Problems()
        self.remarks: list[Remark] = []
        self._project = project
        self._experiment_root = project.experiment_root
        self._composer = Composer(project, meta_class)
        self._bases: dict[tuple[str, Path], Path] = {}

    def read(self, line: Line) -> None:
        """Add the entries of a line, or what is wrong with it."""
        try:
            for single in self._singles(line):
                self._compose(line, single, f"{line.where} ({single.row})" if single.row else line.where)
        except HeyhiError as problem:
            self.problems.add(line.where, problem)

    def _singles(self, line: Line) -> Sequence[Invocation]:
        if real_path(line.run_py) != real_path(self._project.root / "run.py"):
            raise UsageError(f"{line.run_py}: is not the run.py of this project ({self._project.root})")
        if asks_to_show(line.argv):
            return ()
        invocation = parse_argv(line.argv)
        if invocation.adhoc:
            raise UsageError("--adhoc: its folder would be new at each call; in a batch, name one with --out")
        if invocation.table is not None:
            self.tables[os.path.abspath(line.cwd / invocation.table)] = None
        return expand(invocation, line.cwd)

    def _compose(self, line: Line, invocation: Invocation, where: str) -> None:
        try:
            base = self._base(invocation.cfg, line.cwd)
            composition = self._composer.compose(base, invocation.overrides)
            schedulers.needs_of(composition.config)  # what no cluster can give is an error of the line
            draft = make_draft(invocation, self._project, composition, base, self._experiment_root)
        except HeyhiError as problem:
            self.problems.add(where, problem)
            return
        self.remarks += [Remark(where, note) for note in composition.notes]
        self.entries.append(Entry(draft, invocation, where, line.environment))

    def _base(self, typed: str, cwd: Path) -> Path:
        known = self._bases.get((typed, cwd))
        if known is None:
            known = self._bases[typed, cwd] = find_base(typed, self._project, cwd)
        return known


def _each_once(entries: Iterable[Entry], problems: _Problems, remarks: list[Remark]) -> Iterator[Entry]:
    """Each run once, with a remark for those that are there again."""
    first: dict[Path, Entry] = {}
    for entry in entries:
        known = first.setdefault(entry.run.folder, entry)
        if known is entry:
            yield entry
        elif (
            known.draft.fingerprint == entry.draft.fingerprint
            and known.draft.canonical == entry.draft.canonical
        ):
            remarks.append(
                Remark(entry.where, f"is the same run as {known.where}, and is left out: {entry.run.id}")
            )
        else:
            problems.add(
                entry.where, f"meets the folder of {known.where}, which is another run: {entry.run.folder}"
            )


def _aliases(entries: Sequence[Entry]) -> Iterator[Remark]:
    """Runs with another id but the same config."""
    first: dict[str, Entry] = {}
    for entry in entries:
        known = first.setdefault(entry.draft.fingerprint, entry)
        if known is not entry:
            told = f"has the same config as {known.where}, under another id: {entry.run.id}, {known.run.id}"
            yield Remark(entry.where, told)


# ---- Beside what is on disk ---------------------------------------------------------------------


def _beside_disk(entry: Entry, problems: _Problems) -> Entry:
    """The entry with its drift; whose folder it is, if it cannot be used."""
    named = entry.invocation.pattern is not None
    is_there = entry.run.folder.exists()
    if (is_there or named) and _frozen_like(entry):
        return entry
    reason = None
    if not (is_there or named):
        if reason := ownership.find_file_above(entry.run.folder):
            problems.add(
                entry.where, f"{entry.run.folder}: {reason}; HH_EXP_DIR names another experiment root"
            )
        return entry
    if files.is_file(entry.run.provenance):
        reason = None if named else find_collision(entry.draft)
        entry = entry._replace(drift=tuple(find_drift(entry.draft)))
    else:
        reason = find_obstacle(entry.draft, entry.invocation.chosen_mode)
    if reason:
        problems.add(entry.where, f"{entry.run.folder}: {reason}; --out names another folder")
    return entry


def _frozen_like(entry: Entry) -> bool:
    """True if it is frozen with this config, decided without reading the whole record."""
    try:
        return f'"fingerprint": "{entry.draft.fingerprint}"'.encode() in files.read(entry.run.provenance)
    except OSError:
        return False


def _refuse_runs_in_runs(entries: Sequence[Entry], problems: _Problems) -> None:
    """No run's folder lies in another's: it can only with --out."""
    if all(entry.invocation.pattern is None for entry in entries):
        return
    owners = {entry.run.folder: entry for entry in entries}
    for entry in entries:
        for above in entry.run.folder.parents:
            if above in owners:
                problems.add(
                    entry.where, f"its folder is in that of {owners[above].where}: {entry.run.folder}"
                )


# ---- Which run needs which ----------------------------------------------------------------------


def _all_needs(entries: Sequence[Entry], problems: _Problems) -> dict[Path, tuple[Path, ...]]:
    """Run folder -> the folders of the runs that it waits for."""
    owners = {str(entry.run.folder): entry.run.folder for entry in entries}
    why_dangling = cache(_why_dangling)  # a look at the disk for each path, not for each run that has it
    needs = {}
    for entry in entries:
        found: dict[Path, None] = {}
        for path, told in _wanted(entry):
            owner = next((owners[folder] for folder in _upwards(path) if folder in owners), None)
            if owner is None:
                if reason := why_dangling(path, entry.draft.experiment_root):
                    problems.add(entry.where, f"{told}: {reason}")
            elif owner != entry.run.folder:
                found[owner] = None
        needs[entry.run.folder] = tuple(found)
    return needs


def _upwards(path: str) -> Iterator[str]:
    while path != "/":
        yield path
        path = os.path.dirname(path)


def _wanted(entry: Entry) -> Iterator[tuple[str, str]]:
    """Paths in the experiment root that a run uses, and how it says so."""
    root = str(entry.draft.experiment_root)
    starts = tuple({f"{root}/", f"{real_path(root)}/"})
    for text in _texts(entry.draft.composition.config):
        if text.startswith("/"):
            path = os.path.normpath(text)
            if path.startswith(starts):
                yield _below(root, path), text
    for text in entry.invocation.after:
        path = os.path.normpath(os.path.join(root, os.path.expanduser(text)))
        yield _below(root, path), f"--after {text}"


def _below(root: str, path: str) -> str:
    """A path in the experiment root, whichever of its names it has."""
    real = real_path(root)
    return root + path[len(real) :] if path.startswith(f"{real}/") else path


def _texts(message: Message) -> Iterator[str]:
    """All strings in a message."""
    for field, value in message.ListFields():
        if field.message_type is None:
            if field.type == field.TYPE_STRING:
                yield from value if field.is_repeated else (value,)
        elif not field.is_repeated:
            yield from _texts(value)
        elif field.message_type.GetOptions().map_entry:
            of_values = field.message_type.fields_by_name["value"]
            if of_values.message_type is not None:
                yield from itertools.chain.from_iterable(map(_texts, value.values()))
            elif of_values.type == of_values.TYPE_STRING:
                yield from value.values()
        else:
            yield from itertools.chain.from_iterable(map(_texts, value))


def _why_dangling(path: str, root: Path) -> str:
    """The reason why a path in the experiment root that is in no run of the batch cannot be used, or ""."""
    for folder in map(Path, _upwards(path)):
        if folder == root:
            break
        run = Run(os.path.relpath(folder, root), folder)
        if run.provenance.exists() or run.jobid.exists():
            state = read_state(run)
            told = state.text if state.result_place else state.status.value
            return "" if state.has_result else f"its run is not in this batch, and it is {told}"
    return "" if os.path.exists(path) else "no run of this batch makes it, and it is not there"


def _refuse_cycles(
    entries: Sequence[Entry], needs: Mapping[Path, tuple[Path, ...]], problems: _Problems
) -> None:
    """Runs that wait for each other."""
    by_folder = {entry.run.folder: entry for entry in entries}
    rest = dict(needs)
    while True:
        try:
            graphlib.TopologicalSorter(rest).prepare()
            return
        except graphlib.CycleError as cycle:
            chain = list(reversed(cycle.args[1]))  # each needs the next one; from one to itself
        first, *others = [by_folder[folder] for folder in chain]
        told = " -> ".join(f"{other.where} ({other.run.id})" for other in others)
        problems.add(first.where, f"waits for itself: {first.run.id} -> {told}")
        for folder in chain:
            rest.pop(folder, None)
