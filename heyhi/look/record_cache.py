"""A cache of run folders between calls, stored by columns, so that ten thousand runs load in a moment.

<experiment root>/.heyhi/records.json

    heyhi records 3 <sha256 of the rest>
    [{"id": ["p/a", "p/b"], ..., "status": ["DONE"], "config": {"lr": [0.1, 0.2], "batch_size": [100]}}, ...]

An object has the runs whose configs, results and metrics have the same names; a column of one value has it
once. It is data: nothing in it is ever carried out. What is damaged, of another version, or not ours is as
good as none: the folders have it all.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, cast

from heyhi import files
from heyhi.project import Project

__all__ = ["RecordCache", "stamp_of"]

_FORMAT = "heyhi records 3"  # of what is kept: another one is not read
_READ = ("heyhi.json", "result.json", "metrics.jsonl")

_Row = tuple[Any, ...]  # id, stamp of conf/, stamp of the folder, and what was read


class RecordCache:
    """The cached rows of runs, by id: a tuple of JSON values each.

    `fields` are the names of what is in such a tuple.
    """

    def __init__(self, project: Project, fields: Sequence[str]) -> None:
        self._root = project.experiment_root
        self._path = self._root / ".heyhi" / "records.json"
        self._conf = _conf_stamp(project)
        self._fields = ("id", "conf", "stamp", *fields)
        self._rows: dict[str, _Row] = {}
        self._asked: set[str] = set()
        self._is_new = False
        try:
            data = files.read(self._path)
            self._rows = {row[0]: row for row in _loaded(data, self._fields)}
        except (OSError, ValueError):
            pass

    def find(self, run_id: str, folder: str, stamp: str = "") -> _Row | None:
        """The cached row, if neither the folder nor conf/ has changed since."""
        row = self._rows.get(run_id)
        if row is None or row[1] != self._conf or row[2] != (stamp or stamp_of(folder)):
            return None
        self._asked.add(run_id)
        return row[3:]

    def note(self, run_id: str, stamp: str, values: Iterable[Any]) -> None:
        """Keep what was read of a run; the stamp was taken before."""
        row = (run_id, self._conf, stamp, *values)
        self._asked.add(run_id)
        if self._rows.get(run_id) != row:
            self._rows[run_id] = row
            self._is_new = True

    def write(self) -> None:
        """Write what was noted, and what is known of other runs that are still there."""
        if not self._is_new:
            return
        rows = [row for run_id, row in self._rows.items() if run_id in self._asked or self._is_there(run_id)]
        body = json.dumps(list(_tables(rows, self._fields)), separators=(",", ":")).encode()
        try:
            self._path.parent.mkdir(exist_ok=True)
            files.write_whole(self._path, b"%s\n%s" % (_head(body), body))
        except OSError:
            pass  # somebody else's results, or a full disk: it is read again the next time

    def _is_there(self, run_id: str) -> bool:
        return os.path.isdir(os.path.join(self._root, run_id))


# ---- The file -----------------------------------------------------------------------------------


def _head(body: bytes) -> bytes:
    return f"{_FORMAT} {hashlib.sha256(body).hexdigest()}".encode()


def _loaded(data: bytes, fields: Sequence[str]) -> Iterator[_Row]:
    """The rows in a file. Raises ValueError if it is not one that was written here, whole."""
    head, _, body = data.partition(b"\n")
    if head != _head(body):
        raise ValueError("damaged, or of another version")
    for table in json.loads(body):
        if tuple(table) != fields:
            raise ValueError("of other fields")
        yield from zip(*[_cells(column, len(table["id"])) for column in table.values()], strict=True)


def _cells(column: Any, count: int) -> Iterable[Any]:
    """The values of a column, for each row."""
    if isinstance(column, dict):
        columns = [_cells(inner, count) for inner in column.values()]
        rows = zip(*columns, strict=True) if columns else repeat((), count)
        return map(dict, map(zip, repeat(tuple(column)), rows))
    if len(column) == count:
        return cast(list[Any], column)
    (one,) = column
    return repeat(one, count)


def _tables(rows: Iterable[_Row], fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Columns of rows; those whose dicts have the same names share a table."""
    alike: dict[tuple[Any, ...], list[_Row]] = {}
    for row in rows:
        names = tuple([tuple(value) if isinstance(value, dict) else None for value in row])
        alike.setdefault(names, []).append(row)
    for several in alike.values():
        yield dict(zip(fields, map(_column, zip(*several, strict=True)), strict=True))


def _column(values: Sequence[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: _column([value[name] for value in values]) for name in values[0]}
    first = repr(values[0])  # 1, 1.0 and True are equal, and not the same
    is_one = all(map(first.__eq__, map(repr, values)))
    return values[:1] if is_one else values


# ---- Stamps -------------------------------------------------------------------------------------


def stamp_of(folder: str) -> str:
    """A stamp that changes when one of the files that HeyHi reads of a run does."""
    return " ".join([_stamp_of(f"{folder}/{name}") for name in _READ])


def _stamp_of(path: str) -> str:
    try:
        known = os.stat(path)
    except (OSError, ValueError):
        return "-"
    return f"{known.st_mtime_ns}.{known.st_size}.{known.st_ino}"


def _conf_stamp(project: Project) -> str:
    """A stamp that changes when a schema or a config under conf/ does, or the project's name."""
    digest = hashlib.sha256(os.fsencode(f"{project.root} {_stamp_of(f'{project.root}/pyproject.toml')}\n"))
    seen: set[str] = set()  # links may lead in circles
    for folder, names, found in os.walk(project.conf, followlinks=True):
        real = os.path.realpath(folder)
        names[:] = sorted(names) if real not in seen else []
        seen.add(real)
        for name in sorted(found):
            if name.endswith((".proto", ".prototxt")):
                digest.update(os.fsencode(f"{folder}/{name} {_stamp_of(f'{folder}/{name}')}\n"))
    return digest.hexdigest()[:16]
