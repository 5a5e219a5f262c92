"""What run folders say, a record a run, whatever is wrong with them; kept from call to call.

    run folders ─▶ Record: status, config, result, last metrics, start, host, commit, drift, problem

The config is read as heyhi.json has it, so a schema is not needed: one of an older schema has the fields that
it had. Only drift is told with the schema and the configs of now, and says why where it cannot be.

<experiment root>/.heyhi/records.jsonl      what was read, with the stamps of the files that it was read from
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import results, runs, slurm, views
from heyhi.batch import Batch
from heyhi.compose import Composer
from heyhi.draft import Draft, drift_from, recompose
from heyhi.errors import HeyhiError
from heyhi.finding import is_run_folder
from heyhi.overrides import SELECT, join_key
from heyhi.project import Project
from heyhi.protos import load_messages
from heyhi.runs import Run, RunState, Status, write_whole
from heyhi.texts import as_utf8

__all__ = ["Record", "batch_records", "read_records"]

_METRICS = "metrics.jsonl"
_METRICS_BYTES = 1_000_000  # of its end that are read
_LONGEST = 1000  # characters of a text of a result
_MOST_SCALARS = 1000  # of one result
_DONE = Status.DONE.value
_FORMAT = "2"  # of what is kept: another one is not read


class Record(NamedTuple):
    """What there is to know of a run.

    `config`, `result` and `metrics` are scalars by their dotted paths; `metrics` are the last values that
    differ from those of the result. Times are those of the last start; `duration_s` is None if nobody knows
    when it ended. `drift` says how the config composes otherwise now, or why that is not known; `problem`
    what is wrong with the folder, or with the run, or what it waits for in Slurm. `status` is empty for a
    folder that is no run's.
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
    several: Sequence[Run], project: Project, states: Mapping[Path, RunState] | None = None
) -> list[Record]:
    """A record for each run, in their order. What has not changed since the last call is not read again.

    `states` are those of the runs, if they were read already; else Slurm is asked at most once. Nothing
    that is in a folder is an error: it is the record's `problem`.
    """
    kept, drift = _Kept(project), _Drift(project)
    # Of a run that was DONE, and whose files are the same since, there is no need to ask.
    done = {run.id: record for run in several if (record := kept.find(run)) and record.status == _DONE}
    rest = [run for run in several if run.id not in done]
    known = slurm.read_states(rest) if states is None else states
    # Read once the states are known: a run that was DONE then has its result here.
    found = {run.id: _read(run, known.get(run.folder), kept, drift) for run in rest}
    kept.write()
    return [done.get(run.id) or found[run.id] for run in several]


def batch_records(batch: Batch, states: Mapping[Path, RunState] | None = None) -> list[Record]:
    """A record for each run of a batch, in the order of its lines; also for those that were not started."""
    records = read_records([entry.run for entry in batch.entries], batch.project, states)
    return [
        _composed(record, entry.draft) if not record.task else record._replace(drift="; ".join(entry.drift))
        for record, entry in zip(records, batch.entries, strict=True)
    ]


def _composed(record: Record, draft: Draft) -> Record:
    """The record of a run that is not there yet, with what is composed for it."""
    config = views.to_dict(draft.composition.config, with_defaults=True)
    plain = json.loads(json.dumps(config, default=str))
    return record._replace(task=draft.composition.task, config=_flat(plain))


# ---- One folder ---------------------------------------------------------------------------------


def _read(run: Run, state: RunState | None, kept: "_Kept", drift: "_Drift") -> Record:
    stamp = _stamp(run)  # taken first: what changes while it is read is read again the next time
    in_folder = kept.find(run, stamp) or _read_folder(run, drift)
    record = _in_state(in_folder, state)
    if run not in drift.elsewhere:
        kept.note(stamp, record if record.status == _DONE else in_folder)
    return record


def _read_folder(run: Run, drift: "_Drift") -> Record:
    record = Record(run.id, str(run.folder))
    try:
        return _read_files(record, run, drift)
    except RecursionError:
        return record._replace(problem="its files are nested too deeply")


def _read_files(record: Record, run: Run, drift: "_Drift") -> Record:
    # Texts, as a Path takes longer to make than a file to open.
    known, wrong = _load(f"{record.folder}/heyhi.json")
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
        drift=drift.of(known, run) if known else "",
        problem="; ".join(filter(None, problems)),
    )


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))  # NaN is what it is


def _load(path: str) -> tuple[Any, str]:
    """What a JSON file holds (None: there is none), and what is wrong with it."""
    name = os.path.basename(path)
    try:
        with open(path, "rb") as file:
            return json.loads(file.read()), ""
    except FileNotFoundError:
        return None, f"{name}: a link to nothing" if os.path.islink(path) else ""
    except OSError as problem:
        return None, f"{name}: {problem.strerror}"
    except RecursionError:
        return None, f"{name}: nested too deeply"
    except ValueError as problem:
        return None, f"{name}: no JSON: {problem}"


def _missing(run: Run) -> str:
    """What is wrong with a folder that has no heyhi.json."""
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
    starts = known.get("starts")
    last = starts[-1] if isinstance(starts, list) and starts and isinstance(starts[-1], dict) else {}
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
    _add_leaves(config, "", found)
    return found


def _add_leaves(value: Any, path: str, found: dict[str, Any]) -> None:
    if isinstance(value, dict):
        if path and not value:
            found[path] = SELECT
        for key, inner in value.items():
            part = key if key.isidentifier() else join_key((as_utf8(key),))
            _add_leaves(inner, f"{path}.{part}" if path else part, found)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _add_leaves(inner, f"{path}.{index}", found)
    elif value is not None:
        found[path] = as_utf8(value) if isinstance(value, str) else value


def _scalars(value: Any) -> Iterator[tuple[str, Any]]:
    """Those of a result or a line of metrics, fit to be shown."""
    for name, one in results.scalars(value).items():
        if isinstance(one, str):
            one = as_utf8(one if len(one) <= _LONGEST else f"{one[:_LONGEST]}...")
        yield as_utf8(name), one


def _last_metrics(path: str) -> dict[str, Any]:
    """The last value of each name in a file of JSON objects, a line each; what is none is left out."""
    found: dict[str, Any] = {}
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _METRICS_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    for line in lines:
        try:
            value = json.loads(line) if line else None
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.update(_scalars(value))
    return dict(list(found.items())[:_MOST_SCALARS])


# ---- Beside the schema and the configs of now ---------------------------------------------------


class _Drift:
    """Says how runs would compose now; the schema is only loaded if one is asked about.

    `elsewhere` are runs whose base config is not below conf/: what is kept of them says nothing of its edits.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._root = project.experiment_root
        self._composer: Composer | None = None
        self._name = ""
        self._wrong = ""
        self.elsewhere: set[Run] = set()

    def of(self, known: dict[str, Any], run: Run) -> str:
        """How its config differs now, or why that is not known."""
        if not self._composer and not self._wrong:
            self._prepare()
        if self._composer is None:
            return f"not known: {self._wrong}"
        if known.get("project") != self._name:
            return f"not known: its project is {known.get('project')!r}, not {self._name!r}"
        if not _is_below(self._project.conf, self._project.root, known.get("base_config")):
            self.elsewhere.add(run)
        try:
            now = recompose(known, self._project, self._composer)
            fingerprint = views.fingerprint(now.task, now.config)
            lines = drift_from(known, now, fingerprint, self._project, self._root)
            return as_utf8("; ".join(lines))
        except HeyhiError as problem:
            return as_utf8(f"not known: {problem}")

    def _prepare(self) -> None:
        schema = self._project.conf / "conf.proto"
        if not schema.is_file():
            self._wrong = f"{schema}: no such file"
            return
        try:
            self._name = self._project.name
            self._composer = Composer(self._project, load_messages(self._project))
        except HeyhiError as problem:
            self._wrong = str(problem)


def _is_below(conf: Path, root: Path, typed: Any) -> bool:
    path = os.path.normpath(os.path.join(root, typed)) if isinstance(typed, str) else ""
    return path.startswith((f"{conf}/", f"{runs.real_path(conf)}/"))


def _conf_stamp(project: Project) -> str:
    """What changes when a schema or a config under conf/ does, or the project's name."""
    digest = hashlib.sha256(os.fsencode(f"{project.root} {_stamp_of(f'{project.root}/pyproject.toml')}\n"))
    seen: set[str] = set()  # links may lead in circles
    for folder, names, files in os.walk(project.conf, followlinks=True):
        real = os.path.realpath(folder)
        names[:] = sorted(names) if real not in seen else []
        seen.add(real)
        for name in sorted(files):
            if name.endswith((".proto", ".prototxt")):
                digest.update(os.fsencode(f"{folder}/{name} {_stamp_of(f'{folder}/{name}')}\n"))
    return digest.hexdigest()[:16]


# ---- Its state ----------------------------------------------------------------------------------


def _in_state(record: Record, state: RunState | None) -> Record:
    """The record with what its run is now, if that was asked."""
    if state is None or record.problem == _FOREIGN:
        return record
    told = ""
    if state.status is Status.DEAD:
        told = as_utf8(runs.last_error(record.run)) or state.detail
    elif state.status in (Status.QUEUED, Status.UNKNOWN):
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


# ---- What is kept -------------------------------------------------------------------------------

_READ = ("heyhi.json", "result.json", _METRICS)


def _stamp(run: Run) -> str:
    """What changes when one of the files does that a record is read from."""
    folder = str(run.folder)
    return " ".join([_stamp_of(f"{folder}/{name}") for name in _READ])


def _stamp_of(path: str) -> str:
    try:
        known = os.stat(path)
    except (OSError, ValueError):
        return "-"
    return f"{known.st_mtime_ns}.{known.st_size}.{known.st_ino}"


class _Kept:
    """Records of earlier calls, a line each: id, stamp, record. It is parsed only if its run is asked for."""

    def __init__(self, project: Project) -> None:
        self._root = project.experiment_root
        self._path = self._root / ".heyhi" / "records.jsonl"
        self._conf = f"{_FORMAT} {_conf_stamp(project)}"
        self._noted: set[str] = set()
        self._lines: dict[str, str] = {}
        try:
            for line in self._path.read_text(encoding="utf-8").split("\n"):
                self._lines[line.partition("\t")[0]] = line
        except (OSError, ValueError):
            pass

    def find(self, run: Run, stamp: str = "") -> Record | None:
        """What was read of a run, if its files are still the same."""
        line = self._lines.get(json.dumps(run.id))
        if line is None:
            return None
        its_stamp, _, text = line.partition("\t")[2].partition("\t")
        if its_stamp != f"{self._conf} {stamp or _stamp(run)}":
            return None
        try:
            return Record(run.id, str(run.folder), *json.loads(text))
        except (ValueError, TypeError):
            return None  # somebody else has written it

    def note(self, stamp: str, record: Record) -> None:
        """Keep what was read of a run, if all of it could be."""
        if record.task and (record.status == _DONE or not record.problem):
            key = json.dumps(record.id)
            line = f"{key}\t{self._conf} {stamp}\t{json.dumps(record[2:])}"
            if self._lines.get(key) != line:
                self._lines[key] = line
                self._noted.add(key)

    def write(self) -> None:
        """Write what was noted, and what is known of other runs that are still there."""
        if not self._noted:
            return
        lines = [line for key, line in self._lines.items() if key in self._noted or self._is_there(key)]
        try:
            self._path.parent.mkdir(exist_ok=True)
            write_whole(self._path, "\n".join(lines))
        except OSError:
            pass  # somebody else's results, or a full disk: it is read again the next time

    def _is_there(self, key: str) -> bool:
        try:
            return os.path.isdir(self._root / json.loads(key))
        except (ValueError, TypeError):
            return False
