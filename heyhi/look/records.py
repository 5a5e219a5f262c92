"""Read run folders, broken ones too, as a record per run, with a cache between calls.

    run folders ─▶ Record: status, config, result, last metrics, start, host, commit, drift, problem

It reads the config from heyhi.json, without a schema: a run of an older schema has the fields of that schema.
Only drift needs the present schema and configs; if it is unknown, it says why.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heyhi import files, runs
from heyhi.batch import find_batch, is_batch
from heyhi.config import SELECT, join_key
from heyhi.log import warn
from heyhi.look.record_cache import RecordCache, stamp_of
from heyhi.project import Project, moved
from heyhi.runs import (
    STARTING,
    Found,
    Run,
    RunState,
    Status,
    all_runs,
    deaths,
    is_run_folder,
    results,
    runs_at,
)
from heyhi.texts import TooDeepError, as_utf8, cut, from_json

if TYPE_CHECKING:
    from heyhi.batch import Planned, StoredBatch
    from heyhi.runs import Drift

__all__ = ["Part", "Record", "batch_records", "find_parts", "read_records"]

_METRICS = "metrics.jsonl"
_METRICS_BYTES = 1_000_000  # of its end that are read
_LONGEST = 1000  # characters of a text of a result
_MOST_SCALARS = 1000  # of one result
_DONE = Status.DONE.value


class Record(NamedTuple):
    """Everything that a run's folder says about the run.

    `config`, `result` and `metrics` are scalars by their dotted paths; `metrics` are the last values that
    differ from those of the result. Times are those of the last start; `duration_s` is None if its end is
    unknown. `drift` is the difference of the config composed now, or why that is unknown; `problem`
    is the problem of the folder or the run, or Slurm's reason to wait. `status` is empty for a folder that is
    no run's.
    """

    id: str
    folder: str
    status: str = ""
    task: str = ""
    config: dict[str, Any] = {}  # noqa: RUF012  (never changed, as those below)
    result: dict[str, Any] = {}  # noqa: RUF012
    metrics: dict[str, Any] = {}  # noqa: RUF012
    started: str = ""
    duration_s: float | None = None
    host: str = ""
    job: str = ""
    commit: str = ""
    snapshot: str = ""
    drift: str = ""
    problem: str = ""

    @property
    def run(self) -> Run:
        """The run that it is about."""
        return Run(self.id, Path(self.folder))


def read_records(
    several: Sequence[Run | Found], project: Project, states: Mapping[Path, RunState] | None = None
) -> list[Record]:
    """A record for each run, in their order. What has not changed since the last call is not read again.

    `states` are those of the runs, if they were read already; else Slurm is asked at most once. Nothing
    that is in a folder is an error: it is the record's `problem`.
    """
    kept = RecordCache(project, Record._fields[2:])
    # Of a run that was DONE, and whose files are the same since, there is no need to ask.
    done = {run.id: record for run in several if (record := _cached(run, kept)) and record.status == _DONE}
    rest = [Run(run.id, Path(run.folder)) for run in several if run.id not in done]
    found = _read_all(rest, project, states, kept) if rest else {}
    return [done.get(run.id) or found[run.id] for run in several]


def batch_records(batch: "StoredBatch", states: Mapping[Path, RunState] | None = None) -> list[Record]:
    """A record for each run of a batch, in the order of its lines; also for those that were not started."""
    records = read_records([entry.run for entry in batch.entries], batch.project, states)
    return [
        record if record.task else _composed(record, entry, batch)
        for record, entry in zip(records, batch.entries, strict=True)
    ]


def _composed(record: Record, entry: "Planned", batch: "StoredBatch") -> Record:
    """The record of a run that is not there yet, with what was composed for it."""
    from heyhi.config import views

    try:
        config = views.to_dict(batch.config_of(entry), with_defaults=True)
    except ValueError as problem:
        return record._replace(problem=f"its config as captured cannot be read: {problem}")
    root = str(batch.project.experiment_root)
    flat = _flat(json.loads(json.dumps(config, default=str)))
    if batch.root != root:
        flat = {n: moved(v, batch.root, root) if isinstance(v, str) else v for n, v in flat.items()}
    return record._replace(task=entry.task, config=flat)


class Part(NamedTuple):
    """The runs that one place stands for: a batch as captured last, a folder, a run; None: all runs."""

    place: str | None
    batch: "StoredBatch | None"
    project: Project

    def runs(self) -> "Sequence[Run | Found]":
        """Its present runs. Raises UsageError if the place is none."""
        if self.batch is not None:
            return [entry.run for entry in self.batch.entries]
        return all_runs(self.project) if self.place is None else runs_at(self.place, self.project)

    def records(self) -> list[Record]:
        """Their records. Raises UsageError if the place is none."""
        if self.batch is not None:
            return batch_records(self.batch)
        return read_records(self.runs(), self.project)


def find_parts(places: Sequence[str], project: Project, tell: Callable[[str], None] = warn) -> list[Part]:
    """A part for each place; without any, one of the whole experiment root.

    It runs no script: a batch is as it was captured last, and `tell` is called with a line if it has changed
    since. Raises UsageError for a script that was never captured.
    """
    batches = [find_batch(place, project, tell) if is_batch(place, project) else None for place in places]
    parts = [Part(place, batch, project) for place, batch in zip(places, batches, strict=True)]
    return parts or [Part(None, None, project)]


# ---- One folder ---------------------------------------------------------------------------------


def _cached(run: Run | Found, kept: RecordCache, stamp: str = "") -> Record | None:
    folder = str(run.folder)
    values = kept.find(run.id, folder, stamp)
    return None if values is None else Record(run.id, folder, *values)


def _read_all(
    several: Sequence[Run], project: Project, states: Mapping[Path, RunState] | None, kept: RecordCache
) -> dict[str, Record]:
    from heyhi.launch import schedulers

    @cache
    def drift() -> "Drift":
        from heyhi.runs import Drift

        return Drift(project)

    # Read once the states are known: a run that was DONE then has its result here.
    known = schedulers.read_states(several) if states is None else states
    found = {run.id: _read(run, known.get(run.folder), kept, drift) for run in several}
    kept.write()
    return found


_Later = Callable[[], "Drift"]  # made once a run is read: it is heavy


def _read(run: Run, state: RunState | None, kept: RecordCache, drift: _Later) -> Record:
    # The stamp is taken first: what changes while it is read is read again the next time.
    stamp = stamp_of(str(run.folder))
    before = _cached(run, kept, stamp)
    in_folder = before or _read_folder(run, drift)
    record = _in_state(in_folder, state)
    noted = record if record.status == _DONE else in_folder
    is_elsewhere = state is not None and state.result_place is not None  # no file that is looked at tells
    is_whole = noted.task and (noted.status == _DONE or not noted.problem) and not is_elsewhere
    # Nothing would tell of an edit of a config that is elsewhere.
    if is_whole and (before or run.id not in drift().elsewhere):
        kept.note(run.id, stamp, noted[2:])
    return record


def _read_folder(run: Run, drift: _Later) -> Record:
    record = Record(run.id, str(run.folder))
    try:
        return _read_files(record, run, drift)
    except RecursionError:
        return record._replace(problem="its files are nested too deeply")


def _read_files(record: Record, run: Run, drift: _Later) -> Record:
    # Texts, as a Path takes longer to make than a file to open.
    known, wrong = _load(f"{record.folder}/heyhi.json", "surrogateescape")
    if known is not None and not isinstance(known, dict):
        known, wrong = None, "heyhi.json: not what HeyHi writes"
    value, wrong_result = _load(f"{record.folder}/result.json")
    result = dict(_scalars(value)) if value is not None else {}
    problems = [wrong, wrong_result, _missing(run) if known is None and not wrong else ""]
    if len(result) > _MOST_SCALARS:
        problems.append(f"result.json: {len(result)} scalars; here are {_MOST_SCALARS}")
        result = dict(list(result.items())[:_MOST_SCALARS])
    metrics = _last_metrics(f"{record.folder}/{_METRICS}")
    return _from_provenance(record, known or {})._replace(
        result=result,
        metrics={name: one for name, one in metrics.items() if not _is_same(one, result.get(name))},
        drift=drift().of(known, run.id) if known else "",
        problem="; ".join(filter(None, problems)),
    )


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))  # NaN is what it is


def _load(path: str, errors: str = "strict") -> tuple[Any, str]:
    """The content of a JSON file (None: no file), and the problem with it."""
    try:
        return from_json(files.read_text(path, errors)), ""
    except FileNotFoundError:
        told = "a link to nothing" if os.path.islink(path) else ""
    except OSError as problem:
        told = str(problem.strerror)
    except TooDeepError as problem:
        told = str(problem)
    except ValueError as problem:
        told = f"no JSON: {problem}"
    return None, told and f"{os.path.basename(path)}: {told}"


def _missing(run: Run) -> str:
    """The problem with a folder that has no heyhi.json."""
    if run.jobid.exists() or run.result.exists():
        return "heyhi.json is missing: what it computed is not known"
    try:
        is_new = not os.listdir(run.folder)
    except FileNotFoundError:
        is_new = True
    except OSError as problem:
        return f"it cannot be read: {problem.strerror}"
    # Frozen by a batch, or about to be.
    is_new = is_new or run.config.exists() or run.lock.exists()
    return "" if is_new or is_run_folder(run.folder) else _FOREIGN


_FOREIGN = "no run: it has files, and none of a run's"


def _from_provenance(record: Record, known: dict[str, Any]) -> Record:
    last: dict[str, Any] = next(reversed(runs.starts_of(known)), {})
    config = known.get("config")
    return record._replace(
        task=_text(known.get("task")),
        config=_flat(config) if isinstance(config, dict) else {},
        started=_text(last.get("started")),
        duration_s=_seconds(last.get("started"), last.get("ended")),
        host=_text(last.get("host") or known.get("host")),
        job=_text(last.get("job")),
        commit=_text(known.get("git_commit")),
        snapshot=_text(known.get("snapshot")),
    )


def _text(value: Any) -> str:
    return as_utf8(value) if isinstance(value, str) else ""


def _seconds(start: Any, end: Any) -> float | None:
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (TypeError, ValueError):
        return None


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """The values of a config by their dotted paths; a message with nothing in it is SELECT."""
    found: dict[str, Any] = {}
    _add_leaves(config.items(), "", found)
    return found


def _add_leaves(parts: Iterable[tuple[str | int, Any]], above: str, found: dict[str, Any]) -> None:
    for key, inner in parts:
        is_plain = isinstance(key, int) or key.isidentifier()
        path = f"{above}{key if is_plain else join_key((as_utf8(str(key)),))}"
        if isinstance(inner, dict):
            if not inner:
                found[path] = SELECT
            _add_leaves(inner.items(), f"{path}.", found)
        elif isinstance(inner, list):
            _add_leaves(enumerate(inner), f"{path}.", found)
        elif inner is not None:
            found[path] = as_utf8(inner) if isinstance(inner, str) else inner


def _scalars(value: Any) -> Iterator[tuple[str, Any]]:
    """The scalars of a result or a line of metrics, in a form to show."""
    for name, one in results.scalars(value).items():
        if isinstance(one, str):
            one = as_utf8(cut(one, _LONGEST))
        yield as_utf8(name), one


def _last_metrics(path: str) -> dict[str, Any]:
    """The last value of each name in a file of JSON objects, a line each; what is none is left out."""
    found: dict[str, Any] = {}
    try:
        with open(files.open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _METRICS_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    for line in lines:
        try:
            value = from_json(line) if line else None
        except ValueError:
            continue
        if isinstance(value, dict):
            found.update(_scalars(value))
    return dict(list(found.items())[:_MOST_SCALARS])


# ---- Its state ----------------------------------------------------------------------------------


def _in_state(record: Record, state: RunState | None) -> Record:
    """The record with what its run is now, if that was asked."""
    if state is None or record.problem == _FOREIGN:
        return record
    told = ""
    if state.keeps:
        record = record._replace(problem=state.detail or state.keeps)
    if state.status.has_failed:
        told = as_utf8(deaths.why(record.run, state))
    elif state.detail != STARTING:
        told = state.detail
    seconds = record.duration_s
    if state.status is Status.RUNNING:
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        seconds = _seconds(record.started, now)
    return record._replace(
        status=state.status.value,
        job=state.job.text if state.job else record.job,
        duration_s=seconds,
        problem=record.problem or told,
    )
