"""What the runs of some places are now: how many of each status, who works on them, each that is not DONE.

places ─Look─▶ records, drivers ─▶ Overview: counts, drivers, rows, what to do next

Read again and again for `--watch`: a batch is found once, as it was captured last; folders are listed each
time.
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from heyhi import runs
from heyhi.batch import Driver, StoredBatch, drivers, find_batch, is_batch
from heyhi.errors import UsageError
from heyhi.launch import root_of
from heyhi.look.records import Record, read_records
from heyhi.look.tails import last_line
from heyhi.project import Project, moved
from heyhi.runs import RESULT_AT, Found, JobId, Mode, Run, Status, all_runs, parse_argv, runs_at
from heyhi.texts import joined, quoted

__all__ = ["NO_RUN", "Look", "Overview", "Row"]

#: In place of a status, for a folder that is no run's.
NO_RUN = "NO_RUN"

_ALIVE = (Status.RUNNING.value, Status.QUEUED.value)
# In this order: what a person looks for stands nearest to the prompt.
_ORDER = (
    *_ALIVE,
    Status.NOT_STARTED.value,
    Status.UNKNOWN.value,
    Status.DONE.value,
    NO_RUN,
    Status.DEAD.value,
)
_MOST_METRICS = 6  # of a line
_MOST_NEEDS = 3


class Row(NamedTuple):
    """A run that is not DONE, or that something is wrong with.

    `since` is when it began, was submitted, or ended, and `sign` when it last wrote something: both in
    seconds since the epoch, None if nobody knows. `what` is what it does, waits for, or died of.
    """

    status: str
    id: str
    since: float | None
    sign: float | None
    job: str
    what: str


class Overview(NamedTuple):
    """What there is, and what to do next. `lives`: something may still change by itself; `asks_slurm`: to
    look once more, Slurm would have to be asked."""

    counts: Mapping[str, int]
    drivers: Sequence[Driver]
    rows: Sequence[Row]
    hints: Sequence[str]
    lives: bool
    asks_slurm: bool

    @property
    def total(self) -> int:
        """How many runs there are."""
        return sum(count for status, count in self.counts.items() if status != NO_RUN)

    @property
    def key(self) -> object:
        """What is the same as long as no status has changed, and no driver has come or gone."""
        return self.counts, [row[:2] for row in self.rows], [driver.owner for driver in self.drivers]


class Look:
    """Looks at the runs of places: batches, folders, runs; without any, at the whole experiment root.

    `tell` is called with a line if the script of a batch has changed since it was captured. Raises UsageError
    for a place that is none.
    """

    def __init__(
        self, places: Sequence[str], project: Project, tell: Callable[[str], None] = warnings.warn
    ) -> None:
        self._project = project
        self._batches = [find_batch(place, project, tell) for place in places if is_batch(place, project)]
        self._others = [place for place in places if not is_batch(place, project)]
        self._is_all = not places

    def __call__(self) -> Overview:
        """What there is now. Slurm is asked at most once, and only if one of its jobs may live."""
        several = list({str(run.folder): run for run in self._runs()}.values())
        records = read_records(several, self._project)
        living = drivers.alive(self._project)
        needs = {folder: wanted for batch in self._batches for folder, wanted in batch.needs.items()}
        states = {record.folder: _state_of(record) for record in records}
        waits = {str(f): [n for n in wanted if states[str(n)] != _DONE] for f, wanted in needs.items()}
        rows = [row for record in records if (row := self._row(record, waits, states))]
        alive = [record for record in records if record.status in _ALIVE or _is_lost_in_slurm(record)]
        return Overview(
            counts=_counted(records),
            drivers=living,
            rows=sorted(rows, key=lambda row: _ORDER.index(row.status)),
            hints=[*self._hints(records, living)],
            lives=bool(alive or living),
            asks_slurm=any(JobId(record.job).local is None for record in alive),
        )

    def _runs(self) -> Iterator[Run | Found]:
        for batch in self._batches:
            yield from (entry.run for entry in batch.entries)
        if self._is_all:
            yield from all_runs(self._project)
        for place in self._others:
            yield from runs_at(place, self._project)

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
        told = [f"{os.path.relpath(need, root)} ({states[str(need)]})" for need in needs[:_MOST_NEEDS]]
        more = [f"{len(needs) - _MOST_NEEDS} more"] if len(needs) > _MOST_NEEDS else []
        return f"waits for {', '.join([*told, *more])}" if told else ""

    # ---- What to do next ------------------------------------------------------------------------

    def _hints(self, records: Sequence[Record], living: Sequence[Driver]) -> Iterator[str]:
        """Commands that take up what is left."""
        found = {status: [r for r in records if r.status == status] for status in ("DEAD", "NOT_STARTED")}
        has_driver = {os.path.abspath(driver.batch) for driver in living}
        for batch in self._batches:
            folders = {str(entry.run.folder) for entry in batch.entries}
            if folders & {record.folder for record in found["DEAD"]}:
                yield f"to go on with what is DEAD: {_start(batch, '--mode', 'start_continue')}"
            elif folders & {r.folder for r in found["NOT_STARTED"]} and _path(batch) not in has_driver:
                yield f"to start the rest: {_start(batch)}"
        if found["DEAD"]:
            if not self._batches and (command := _again(found["DEAD"][0].run)):
                yield f"to go on with the first that is DEAD: {command}"
            yield f"what it printed: heyhi logs {quoted(found['DEAD'][0].id)}"
        if lost := next((r for r in records if r.status == "UNKNOWN" and not _is_lost_in_slurm(r)), None):
            yield f"once one that is UNKNOWN has surely ended, say so: heyhi kill {quoted(lost.id)}"


_DONE = Status.DONE.value


def _state_of(record: Record) -> str:
    """What is told of a run to those that need it."""
    is_elsewhere = record.status == _DONE and record.problem.startswith(RESULT_AT)
    return f"{record.status}, {record.problem}" if is_elsewhere else record.status


def _counted(records: Iterable[Record]) -> dict[str, int]:
    found = Counter(record.status or NO_RUN for record in records)
    return {status: found[status] for status in (_DONE, *_ORDER) if found[status]}


def _is_lost_in_slurm(record: Record) -> bool:
    """Whether it is a job of a Slurm that does not answer."""
    return record.status == Status.UNKNOWN.value and JobId(record.job).local is None and bool(record.job)


# ---- Times --------------------------------------------------------------------------------------


def _signs(record: Record) -> list[float]:
    """When a run last wrote to its files."""
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
    """When a run ended; one that waits was submitted then."""
    if record.status in (Status.QUEUED.value, Status.NOT_STARTED.value):
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
        return ", ".join(f"{name} {_short(value)}" for name, value in shown)
    return last_line(record.run.log)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _start(batch: StoredBatch, *words: str) -> str:
    return joined(["heyhi", "start", batch.name, *words])


def _path(batch: StoredBatch) -> str:
    return os.path.abspath(batch.name)


def _again(run: Run) -> str:
    """The command line that goes on with a run; empty if nobody knows it."""
    known = runs.read_provenance(run)
    try:
        old, root = str(known.get("experiment_root")), str(root_of(run, known))
        words_then = [str(word).partition("=") for word in known.get("argv") or ()]
        argv = [f"{moved(key, old, root)}{sign}{moved(value, old, root)}" for key, sign, value in words_then]
        words = parse_argv(argv).again(Mode.START_CONTINUE, run.folder)
    except (UsageError, TypeError):
        return ""
    return joined(["python", f"{known.get('project_root')}/run.py", *words])
