"""Results of runs as a table: a row per run, with conditions, order and means.

    places ─▶ records ─select─▶ records ─▶ Columns ─sort─▶ Columns ─▶ DataFrame, or as `forms` has it
                                      └─group─▶ Columns

Columns are plain lists of one length by name; None stands for a missing value. Only conditions and DataFrames
import pandas.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from heyhi.errors import UsageError
from heyhi.log import warn
from heyhi.look.records import Record, find_parts
from heyhi.look.where import as_float, fit, no_column
from heyhi.project import Project, find_project
from heyhi.texts import as_utf8, on_one_line, some_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Columns",
    "columns",
    "each_once",
    "find_records",
    "frame",
    "group",
    "has_numbers",
    "is_numeric",
    "select",
    "sort",
    "summary",
]

Columns = dict[str, list[Any]]

# Columns about a run that are no field of its config, and no part of its result.
_FIRST = ("id", "status")
_LAST = ("started", "duration_s", "drift", "problem", "host", "job", "commit", "snapshot", "task", "folder")
_ABOUT = (*_FIRST, *_LAST)


def summary(
    *places: "str | os.PathLike[str]", every: bool = False, where: str | None = None
) -> "pd.DataFrame":
    """Return the results of runs as a table, with a row per run.

    Its columns are id, status, the fields of the config that differ, the scalars of the result, the last
    metrics, start, duration in seconds, drift, problem, host, job, commit, snapshot, task and folder.
    A place is a batch script as it was planned or started last (also its runs that were not started; the
    script is not run), a folder of runs, or a run by its id, a part of it or its job; none: the whole
    experiment root. `every`: all fields of the configs. `where` is a condition, as in `heyhi summary`.
    Numbers are numbers, texts texts, `started` a time in UTC; what a run does not have is missing. Warns if a
    script has changed since. Raises UsageError.
    """
    found = find_records([os.fspath(place) for place in places], find_project())
    records = select(found, where)
    return frame(columns(records, every=every))


# ---- Which runs ---------------------------------------------------------------------------------


def find_records(places: Sequence[str], project: Project, tell: Callable[[str], None] = warn) -> list[Record]:
    """The records of all runs in these places, each once; without any, of the whole experiment root.

    No script is run: a batch is taken as it was captured last, and `tell` is called with a line if it has
    changed since. Raises UsageError for a place that is none.
    """
    return each_once(record for part in find_parts(places, project, tell) for record in part.records())


def each_once(records: Iterable[Record]) -> list[Record]:
    """The records, one a folder: of several the one that says most, as a batch does of what did not start."""
    found: dict[str, Record] = {}
    for record in records:
        if record.folder not in found or not found[record.folder].task:
            found[record.folder] = record
    return list(found.values())


# ---- The columns --------------------------------------------------------------------------------


def columns(records: Sequence[Record], *, every: bool = False, by: Sequence[str] = ()) -> Columns:
    """A row a record, in the order of some columns (`by`, as in `sort`). Of the config those fields are
    columns that differ (`every`: all).

    A name that is taken gets before it where it is from: `config.id`, `result.lr`, `metrics.loss`.
    """
    if by:  # also by what is no column, as it does not differ
        whole = sort({**columns(records, every=True), "": list(range(len(records)))}, by)
        records = [records[number] for number in whole[""]]
    return {
        **{name: _about(name, records) for name in _FIRST},
        **_of_config(records, every=every),
        **_values(records),
        **{name: _about(name, records) for name in _LAST},
    }


def _about(name: str, records: Sequence[Record]) -> list[Any]:
    values = list(map(attrgetter(name), records))
    if name in ("id", "folder"):  # whatever a file system has
        return list(map(as_utf8, values))
    return [None if value == "" else value for value in values] if "" in values else values


def _of_config(records: Sequence[Record], *, every: bool) -> Columns:
    table = _columns_of("config", records)
    tasks = [record.task for record in records]
    return {
        _free("config", name, _ABOUT): values
        for name, values in table.items()
        if every or _differs(values, tasks)
    }


def _values(records: Sequence[Record]) -> Columns:
    """The scalars of results, and the last metrics."""
    taken = {*_ABOUT, *_names([record.config for record in records])}
    table: Columns = {}
    for kind in ("result", "metrics"):
        found = _columns_of(kind, records)
        table.update({_free(kind, name, taken): values for name, values in found.items()})
        taken.update(found)
    return table


def _columns_of(kind: str, records: Sequence[Record]) -> Columns:
    """All that configs, results or metrics have, in the order in which it comes."""
    having: list[dict[str, Any]] = list(map(attrgetter(kind), records))
    return {name: [one.get(name) for one in having] for name in _names(having)}


def _names(having: Iterable[dict[str, Any]]) -> list[str]:
    several = dict.fromkeys(map(tuple, having))  # mostly few that are others
    return list(dict.fromkeys(name for names in several for name in names))


def _free(kind: str, name: str, taken: Iterable[str]) -> str:
    return f"{kind}.{name}" if name in taken else name


def _differs(values: Sequence[Any], tasks: Sequence[str]) -> bool:
    """True if a field has several values, or if some runs of the same task set it and others do not."""
    there = {*values} - {None}
    numbers = {value for value in there if value == value}
    if len(numbers) + (len(numbers) < len(there)) > 1:  # all NaN are one value
        return True
    if None not in values:
        return False
    having = {task for task, value in zip(tasks, values, strict=True) if value is not None}
    return any(value is None and task in having for task, value in zip(tasks, values, strict=True))


def frame(table: Columns) -> "pd.DataFrame":
    """The columns as a DataFrame, each of the type that its values have; object if they have several."""
    import pandas as pd

    index = pd.RangeIndex(len(next(iter(table.values()), [])))
    return pd.DataFrame({name: _typed(name, values) for name, values in table.items()}, index=index)


_DTYPES: dict[str, frozenset[type]] = {
    "boolean": frozenset((bool,)),
    "Int64": frozenset((int,)),
    "float64": frozenset((int, float)),
    "string": frozenset((str,)),
}


def _typed(name: str, values: list[Any]) -> "pd.Series[Any]":
    import pandas as pd

    if name == "started":
        return pd.Series(pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601"))
    kinds: set[type] = {type(value) for value in values if value is not None}
    if not kinds and name in _ABOUT:  # so that a condition on it holds for none, and is no error
        kinds = {float if name == "duration_s" else str}
    for dtype, fitting in _DTYPES.items():
        if kinds and kinds <= fitting:
            try:
                return pd.Series(values, dtype=dtype)
            except (OverflowError, TypeError, ValueError):
                break  # integers of more than 64 bits
    return pd.Series(values, dtype="object")


# ---- What is asked of it ------------------------------------------------------------------------


def select(records: Sequence[Record], where: str | None, tell: Callable[[str], None] = warn) -> list[Record]:
    """The records for which a condition holds: `lr < 0.1 and status == 'DONE'`. Raises UsageError.

    It may name every column, also those of fields that do not differ; `names like this` in backticks. `tell`
    is called, once, if a column that is compared as numbers has texts, too.
    """
    if where is None or not records:
        return list(records)
    table = frame(columns(records, every=True))
    table["started"] = table["started"].dt.tz_localize(None)  # else pandas compares it with no text
    found = fit(where, table)
    _tell_of(found.no_numbers, tell)
    return [record for record, fits in zip(records, found.rows, strict=True) if fits]


def _tell_of(no_numbers: Mapping[str, int], tell: Callable[[str], None]) -> None:
    """Say in one line in how many runs a column has something that was passed over."""
    told = [
        f"{on_one_line(name)} in {count} {'run' if count == 1 else 'runs'}"
        for name, count in no_numbers.items()
        if count
    ]
    if told:
        tell(f"what is no number counts as no value: {some_of(told)}")


def sort(table: Columns, by: Sequence[str]) -> Columns:
    """The rows in the order of columns, the first one first; `-name` downwards. What is missing is last.

    Raises UsageError if there is no such column.
    """
    rows = list(range(len(next(iter(table.values()), []))))
    for typed in reversed(by):
        name, down = (typed, False) if typed in table else (typed.removeprefix("-"), True)
        if name not in table:
            raise UsageError(f"--sort {typed}: {no_column(name, table)}")
        values = table[name]
        there = [row for row in rows if not _is_missing(values[row])]
        there.sort(key=lambda row: (isinstance(values[row], str), values[row]), reverse=down)
        rows = there + [row for row in rows if _is_missing(values[row])]
    return {name: [values[row] for row in rows] for name, values in table.items()}


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def group(records: Sequence[Record], over: Sequence[str], tell: Callable[[str], None] = warn) -> Columns:
    """Mean, standard error and count of each number, over some fields of the config (`seed`).

    A row for each combination of the other fields that differ; the launcher, which changes no result, is none
    of them. The standard error of a single value is missing. NaN, and a text among numbers, are not counted:
    `tell` is called, once, if there are any. Raises UsageError if there is no such field.
    """
    fields = _of_config(records, every=True)
    for name in over:
        if name not in fields:
            raise UsageError(f"--over {name}: {no_column(name, fields)}")
    telling = {"task": _about("task", records), **_of_config(records, every=False)}
    keys = {name: values for name, values in telling.items() if name not in over and _tells(name, values)}
    groups: dict[str, list[int]] = {}
    for row in range(len(records)):
        groups.setdefault(repr([values[row] for values in keys.values()]), []).append(row)
    table: Columns = {"runs": [len(rows) for rows in groups.values()]}
    no_numbers = {}
    for name, values in {**_values(records), "duration_s": _about("duration_s", records)}.items():
        if has_numbers(values):
            told = [_mean_and_error([values[row] for row in rows]) for rows in groups.values()]
            for part, of_groups in zip(("mean", "se", "count"), zip(*told, strict=True), strict=True):
                table[f"{name}.{part}"] = list(of_groups)
            no_numbers[name] = sum(value is not None and not _is_number(value) for value in values)
    _tell_of(no_numbers, tell)
    firsts = [rows[0] for rows in groups.values()]
    return {
        **{_free("config", name, table): [values[row] for row in firsts] for name, values in keys.items()},
        **table,
    }


def _tells(name: str, values: list[Any]) -> bool:
    from heyhi.config import LAUNCHER

    return len({repr(value) for value in values}) > 1 and name.partition(".")[0] != LAUNCHER


def is_numeric(values: Sequence[Any]) -> bool:
    """True if a column has numbers (or truth values), and nothing else."""
    there = [value for value in values if value is not None]
    return bool(there) and not any(isinstance(value, str) for value in there)


def has_numbers(values: Iterable[Any]) -> bool:
    """True if a column has any number, or truth value; NaN is one that came out wrong."""
    return any(isinstance(value, (int, float)) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and value == value


def _mean_and_error(values: list[Any]) -> tuple[float | None, float | None, int]:
    numbers = [as_float(value) for value in values if _is_number(value)]
    count = len(numbers)
    if not count:
        return None, None, 0
    mean = sum(numbers) / count
    squares = sum((number - mean) * (number - mean) for number in numbers)
    return mean, math.sqrt(squares / (count - 1) / count) if count > 1 else None, count
