"""Expand `--grid`, `--zip` and `--table` of a command line into lists of overrides, one per run.

    --grid lr=1 lr=2 seed=0 seed=1     lr=1 seed=0 | lr=1 seed=1 | lr=2 seed=0 | lr=2 seed=1
    --zip lr=1 lr=2 wd=3 wd=4          lr=1 wd=3 | lr=2 wd=4
    --table runs.tsv                   a row each; an empty cell is no override

Given together, they are combined with each other.
"""

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from heyhi.errors import UsageError
from heyhi.files import NotAFileError, read_typed
from heyhi.runs import Invocation
from heyhi.texts import NOT_UTF8, line_of

__all__ = ["expand"]


def expand(invocation: Invocation, cwd: Path) -> list[Invocation]:
    """Return the invocations of single runs that an invocation stands for. Raises UsageError."""
    if not invocation.is_many:
        return [invocation]
    rows = [_Row()] if invocation.table is None else _table(cwd / invocation.table, invocation.table)
    choices = itertools.product(_grid(invocation.grid), _zip(invocation.zipped), rows)
    return [_single(invocation, (*grid, *pairs, *row.overrides), row.place) for grid, pairs, row in choices]


def _single(many: Invocation, more: Sequence[str], row: str) -> Invocation:
    overrides = (*many.overrides, *more)
    out = () if many.pattern is None else ("--out", many.pattern)
    argv = ("-c", many.cfg, *out, *overrides)
    return many._replace(grid=(), zipped=(), table=None, row=row, overrides=overrides, argv=argv)


# ---- Words --------------------------------------------------------------------------------------


def _grid(words: Sequence[str]) -> list[tuple[str, ...]]:
    return list(itertools.product(*_by_key(words, "--grid").values()))


def _zip(words: Sequence[str]) -> list[tuple[str, ...]]:
    columns = _by_key(words, "--zip")
    if len({len(values) for values in columns.values()}) > 1:
        told = ", ".join(f"{key} has {len(values)}" for key, values in columns.items())
        raise UsageError(f"--zip: each key needs as many values as the others: {told}")
    return list(zip(*columns.values(), strict=True)) or [()]


def _by_key(words: Sequence[str], flag: str) -> dict[str, list[str]]:
    """Key -> its words, in the order given."""
    found: dict[str, list[str]] = {}
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals:
            raise UsageError(f"{flag} {word!r}: expected key=value, as in {flag} lr={{0.1,0.01}}")
        found.setdefault(key.lstrip("-"), []).append(word)
    return found


# ---- Tables -------------------------------------------------------------------------------------


class _Row(NamedTuple):
    place: str = ""
    overrides: tuple[str, ...] = ()


def _table(path: Path, typed: str) -> list[_Row]:
    """The rows of a CSV or TSV file; lines without any text do not count."""
    rows = _read_cells(path, typed)
    if len(rows) < 2:
        raise UsageError(
            f"--table {typed}: has no rows; the first line has the keys, each other one is a run"
        )
    (_, header), *body = rows
    keys = [key.strip() for key in header]
    for number, key in enumerate(keys, 1):
        if not key or key in keys[: number - 1]:
            problem = f"the key {key!r} is there twice" if key else f"column {number} has no key"
            raise UsageError(f"--table {typed}: {problem} in the first line")
    for line, cells in body:
        if len(cells) != len(keys):
            raise UsageError(
                f"--table {typed}:{line}: {len(cells)} cells, and the first line has {len(keys)}"
            )
    return [
        _Row(f"{typed}:{line}", tuple(f"{k}={cell}" for k, cell in zip(keys, cells, strict=True) if cell))
        for line, cells in body
    ]


def _read_cells(path: Path, typed: str) -> list[tuple[int, list[str]]]:
    """The cells of each line, with its number."""
    try:
        # Ends of lines as Python reads them from a text file.
        text = read_typed(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except NotAFileError as problem:
        raise UsageError(f"--table {typed}: {problem.strerror}") from None
    except OSError as problem:
        raise UsageError(f"--table {typed}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise UsageError(f"--table {typed}:{line_of(problem)}: {NOT_UTF8}") from None
    except ValueError as problem:  # a name that no file can have
        raise UsageError(f"--table {typed!r}: cannot be read: {problem}") from None
    delimiter = "\t" if path.suffix == ".tsv" or "\t" in text.partition("\n")[0] else ","
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as problem:
        raise UsageError(f"--table {typed}:{reader.line_num}: {problem}") from None
