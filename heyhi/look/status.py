"""The present state of some runs: counts by status, their drivers, and each run that is not DONE.

places ─Look─▶ records, drivers ─▶ Overview: counts, drivers, rows, what to do next ─▶ text

    runs 5: 2 DONE, 1 RUNNING, 2 DEAD
    driver sweep.sh since 2025-11-24T21:10:00 process 4711 on here; heyhi stop ends it
    STATUS   ID                  SINCE                SIGN  JOB              WHAT
    RUNNING  p/it/lr@1_2b05b5b0  2025-11-24T21:14:03  12    local:here:4711  epoch 3, val_loss 1.7

Read again and again for `--watch`: a batch is found once, as it was captured last; folders are listed each
time. In a pipe a run is a line, whole; on a terminal it is coloured, and cut to what fits.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heyhi import runs
from heyhi.batch import Driver, StoredBatch, drivers
from heyhi.errors import UsageError
from heyhi.launch import root_of
from heyhi.log import warn
from heyhi.look.logs import last_line
from heyhi.look.records import Record, find_parts, read_records
from heyhi.project import Project, display, moved
from heyhi.runs import RESULT_AT, JobId, Mode, Run, Status, parse_argv
from heyhi.texts import cut, joined, on_one_line, quoted, shown, some_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

__all__ = ["MOST", "NO_RUN", "Look", "Overview", "Row", "overview_lines", "overview_panel"]

#: In place of a status, for a folder that is no run's.
NO_RUN = "NO_RUN"

_RANKS = {**{status.value: status.rank for status in Status}, NO_RUN: 55}
# In this order: what a person looks for stands nearest to the prompt.
_ORDER = sorted(_RANKS, key=_RANKS.__getitem__)
_ALIVE, _FAILED, _NOT_BEGUN = (
    [status.value for status in Status if holds(status)]
    for holds in (
        lambda status: status.is_alive,
        lambda status: status.has_failed,
        lambda status: status.phase in ("none", "waits"),
    )
)
_MOST_METRICS = 6  # of a line
_MOST_NEEDS = 3


class Row(NamedTuple):
    """A run that is not DONE, or has a problem.

    `since` is when it began, was submitted, or ended, and `sign` when it last wrote something: both in
    seconds since the epoch, None if unknown. `what` is what it does, waits for, or died of.
    """

    status: str
    id: str
    since: float | None
    sign: float | None
    job: str
    what: str


class Overview(NamedTuple):
    """The state, and the next commands. `lives`: something may still change by itself; `asks_scheduler`: to
    look once more, a scheduler would have to be asked."""

    counts: Mapping[str, int]
    drivers: Sequence[Driver]
    rows: Sequence[Row]
    hints: Sequence[str]
    lives: bool
    asks_scheduler: bool

    @property
    def total(self) -> int:
        """The number of runs."""
        return sum(count for status, count in self.counts.items() if status != NO_RUN)

    @property
    def key(self) -> object:
        """A value that changes when a status changes, or a driver comes or goes."""
        return self.counts, [row[:2] for row in self.rows], [driver.owner for driver in self.drivers]


class Look:
    """Looks at the runs of places: batches, folders, runs; without any, at the whole experiment root.

    `tell` is called with a line if the script of a batch has changed since it was captured. Raises UsageError
    for a place that is none.
    """

    def __init__(self, places: Sequence[str], project: Project, tell: Callable[[str], None] = warn) -> None:
        self._project = project
        self._parts = find_parts(places, project, tell)
        self._batches = [part.batch for part in self._parts if part.batch is not None]

    def __call__(self) -> Overview:
        """The present state. Asks Slurm at most once, and only if one of its jobs may be alive."""
        several = list({str(run.folder): run for part in self._parts for run in part.runs()}.values())
        records = read_records(several, self._project)
        living = drivers.alive(self._project)
        needs = {folder: wanted for batch in self._batches for folder, wanted in batch.needs.items()}
        states = {record.folder: _state_of(record) for record in records}
        waits = {str(f): [n for n in wanted if states[str(n)] != _DONE] for f, wanted in needs.items()}
        rows = [row for record in records if (row := self._row(record, waits, states))]
        alive = [record for record in records if record.status in _ALIVE or _is_lost_in_queue(record)]
        return Overview(
            counts=_counted(records),
            drivers=living,
            rows=sorted(rows, key=lambda row: _RANKS[row.status]),
            hints=[*self._hints(records, living)],
            lives=bool(alive or living),
            asks_scheduler=any(JobId(record.job).scheduler for record in alive),
        )

    def _row(
        self, record: Record, waits: Mapping[str, Sequence[Path]], states: Mapping[str, str]
    ) -> Row | None:
        if record.status == _DONE and not record.problem:
            return None
        signs = _signs(record)
        what = record.problem
        if record.status == Status.RUNNING.value:
            what = record.problem or _progress(record)
        elif record.status == Status.NOT_STARTED.value and not what:
            what = self._waits_for(waits.get(record.folder, ()), states)
        since = _began(record) if record.status == Status.RUNNING.value else _ended(record, signs)
        return Row(record.status or NO_RUN, record.id, since, max(signs, default=None), record.job, what)

    def _waits_for(self, needs: Sequence[Path], states: Mapping[str, str]) -> str:
        root = self._project.experiment_root
        told = [f"{os.path.relpath(need, root)} ({states[str(need)]})" for need in needs]
        return f"waits for {some_of(told, _MOST_NEEDS)}" if told else ""

    # ---- What to do next ------------------------------------------------------------------------

    def _hints(self, records: Sequence[Record], living: Sequence[Driver]) -> Iterator[str]:
        """Commands that take up what is left."""
        failed = [record for record in records if record.status in _FAILED]
        fresh = {record.folder for record in records if record.status == Status.NOT_STARTED.value}
        has_driver = {os.path.abspath(driver.batch) for driver in living}
        for batch in self._batches:
            folders = {str(entry.run.folder) for entry in batch.entries}
            if folders & {record.folder for record in failed}:
                yield f"to go on with what is DEAD: {_start(batch, '--mode', 'start_continue')}"
            elif folders & fresh and os.path.abspath(batch.name) not in has_driver:
                yield f"to start the rest: {_start(batch)}"
        if failed:
            if not self._batches and (command := _again(failed[0].run)):
                yield f"to go on with the first that is DEAD: {command}"
            yield f"what it printed: heyhi logs {quoted(failed[0].id)}"
        unknown = (record for record in records if record.status == Status.UNKNOWN.value)
        if lost := next((record for record in unknown if not _is_lost_in_queue(record)), None):
            yield f"once one that is UNKNOWN has surely ended, say so: heyhi kill {quoted(lost.id)}"


_DONE = Status.DONE.value


def _state_of(record: Record) -> str:
    """The text about a run in the lines of runs that need it."""
    is_elsewhere = record.status == _DONE and record.problem.startswith(RESULT_AT)
    return f"{record.status}, {record.problem}" if is_elsewhere else record.status


def _counted(records: Iterable[Record]) -> dict[str, int]:
    found = Counter(record.status or NO_RUN for record in records)
    return {status: found[status] for status in (_DONE, *_ORDER) if found[status]}


def _is_lost_in_queue(record: Record) -> bool:
    """True if the run is a job of a scheduler that does not answer."""
    return (
        record.status == Status.UNKNOWN.value and bool(record.job) and JobId(record.job).scheduler is not None
    )


# ---- Times --------------------------------------------------------------------------------------


def _signs(record: Record) -> list[float]:
    """The time when a run last wrote to its files."""
    return [seen for name in ("run.log", "metrics.jsonl") if (seen := _changed(f"{record.folder}/{name}"))]


def _changed(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def _began(record: Record) -> float | None:
    try:
        return datetime.fromisoformat(record.started).timestamp()
    except ValueError:
        return None


def _ended(record: Record, signs: Sequence[float]) -> float | None:
    """The time when a run ended, or was submitted if it waits."""
    if record.status in _NOT_BEGUN:
        return _changed(f"{record.folder}/heyhi.jobid")
    began = _began(record)
    if began is not None and record.duration_s is not None:
        return began + record.duration_s
    return max(signs, default=began)


# ---- What a run does ----------------------------------------------------------------------------


def _progress(record: Record) -> str:
    """Its last metrics, or else the last line of its log."""
    if record.metrics:
        shown = list(record.metrics.items())[:_MOST_METRICS]
        return ", ".join(f"{n} {v:.4g}" if isinstance(v, float) else f"{n} {v}" for n, v in shown)
    return last_line(record.run.log)


def _start(batch: StoredBatch, *words: str) -> str:
    return joined(["heyhi", "start", batch.name, *words])


def _again(run: Run) -> str:
    """The command line that continues a run; empty if unknown."""
    known = runs.read_provenance(run)
    try:
        old, root = str(known.get("experiment_root")), str(root_of(run, known))
        words_then = [str(word).partition("=") for word in known.get("argv") or ()]
        argv = [f"{moved(key, old, root)}{sign}{moved(value, old, root)}" for key, sign, value in words_then]
        words = parse_argv(argv).again(Mode.START_CONTINUE, run.folder)
    except (UsageError, TypeError):
        return ""
    return joined(["python", f"{known.get('project_root')}/run.py", *words])


# ---- As text ------------------------------------------------------------------------------------


#: Rows of one status that a terminal shows, if it need not be less.
MOST = 20

_HEAD = ("STATUS", "ID", "SINCE", "SIGN", "JOB", "WHAT")
_COLOURS = {**{status.value: status.colour for status in Status}, NO_RUN: "magenta"}
_BAR = 60  # characters
_FEWEST = 3  # rows of a status, however small a terminal is


def overview_lines(overview: Overview, now: float) -> Iterator[str]:
    """All of it, plain: columns that grep, cut and awk can use; only the last one may have spaces."""
    yield _counts(overview)
    yield from (_driver(driver) for driver in overview.drivers)
    cells = [_HEAD, *(_plain_cells(row, now) for row in overview.rows)] if overview.rows else []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield from overview.hints


def _counts(overview: Overview) -> str:
    told = ", ".join(f"{count:,} {status}" for status, count in overview.counts.items())
    return f"runs {overview.total:,}: {told}" if told else "no runs"


def _driver(driver: Driver) -> str:
    host, pid = driver.host_and_pid
    log = f"; tail -F {quoted(driver.log)}" if driver.log else ""
    since = f" since {_clock(driver.started)}" if driver.started else ""
    return f"driver {display(driver.batch)}{since} process {pid} on {host}{log}; heyhi stop ends it"


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))


def _plain_cells(row: Row, now: float) -> tuple[str, ...]:
    since = _clock(row.since) if row.since else ""
    sign = str(max(0, int(now - row.sign))) if row.sign else ""
    words = map(_one_word, (row.status, on_one_line(row.id), since, sign, on_one_line(row.job)))
    return (*words, on_one_line(row.what) or "-")


def _one_word(text: str) -> str:
    return "_".join(text.split()) or "-"


# ---- On a terminal ------------------------------------------------------------------------------


def overview_panel(overview: Overview, now: float, width: int, height: int | None = None) -> "RenderableType":
    """The same for a terminal of this width; cut to its height, if that is given."""
    from rich.console import Group
    from rich.text import Text

    around = 3 + len(overview.drivers) + len(overview.hints)
    groups = [list(group) for _, group in groupby(overview.rows, lambda row: row.status)]
    most = MOST if height is None else max(_FEWEST, (height - around) // max(1, len(groups)) - 1)
    rows = [cells for group in groups for cells in _cut_rows(group, most, now, width)]
    return Group(
        *_bar(overview, min(_BAR, width)),
        Text(_counts(overview), style="bold"),
        *(Text(shown(_driver(driver))) for driver in overview.drivers),
        *_table([_HEAD, *rows] if rows else []),
        *(Text(shown(hint)) for hint in overview.hints),
    )


def _bar(overview: Overview, width: int) -> "Iterator[Text]":
    """A line in which each status has its share; none is so rare that it is not seen."""
    from rich.text import Text

    bar = Text(no_wrap=True, overflow="crop")
    for status, count in overview.counts.items():
        if status != NO_RUN:
            bar.append("━" * max(1, round(width * count / overview.total)), style=_COLOURS[status])
    if bar:
        yield bar


def _table(rows: Sequence[Sequence[str]]) -> "Iterator[Text]":
    """A line a row; what does not fit is cut at its end. A row of one cell is a remark."""
    from rich.text import Text

    whole = [row for row in rows if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    for status, *others in rows:
        if not others:
            yield Text(f"{'':{widths[0]}}  {status}")
            continue
        told = [cell.ljust(width) for cell, width in zip(others, widths[1:], strict=True)]
        line = Text(no_wrap=True, overflow="ellipsis", style="bold" if status == _HEAD[0] else "")
        line.append(status.ljust(widths[0]), _COLOURS.get(status, ""))
        yield line.append("  ".join(["", *told]).rstrip())


def _cut_rows(group: Sequence[Row], most: int, now: float, width: int) -> Iterator[Sequence[str]]:
    for row in group[:most]:
        yield _cells(row, now, width)
    if (left := len(group) - most) > 0:
        status = group[0].status
        where = "" if status == NO_RUN else f" --where \"status == '{status}'\""
        yield (f"... and {left:,} more: heyhi summary{where}",)


def _cells(row: Row, now: float, width: int) -> Sequence[str]:
    spans = [_span(now - seen) if seen else "-" for seen in (row.since, row.sign)]
    return (
        row.status,
        cut(on_one_line(row.id), max(20, width // 3), 9),
        *spans,
        cut(on_one_line(row.job), 24, 9) or "-",
        on_one_line(row.what),
    )


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))  # the largest first


def _span(seconds: float) -> str:
    """A span of time: 12s, 5m, 3h, 4d."""
    size, unit = next((known for known in _UNITS if seconds >= known[0]), (1, "s"))
    return f"{max(0, int(seconds // size))}{unit}"
