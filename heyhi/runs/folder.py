"""A run: its id, its folder, the name of every file in it, and its status as the folder tells it.

    <experiment root>/p/<config folder>/<config name>/<overrides tag>_<8 hex>/
        heyhi.json       provenance, written first: the folder is HeyHi's
        config.prototxt  config_meta.prototxt     what is computed, frozen before the launch
        heyhi.jobid      who computes it          ckpt.link     where the copy of the code is
        heyhi.lock       held while a job lives   heyhi.owner   which process that is
        run.log  error.txt                        result.json   written last: the run is DONE
        ended.<execution>.json                    what it died of, as others saw it (`deaths`)

The folder is the truth: any process on any host can read from it what the run is.
"""

import enum
import hashlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files
from heyhi.errors import UsageError, shortened
from heyhi.files import NotAFileError
from heyhi.project import Project
from heyhi.runs import claim, elsewhere, guard
from heyhi.runs.claim import NoLocksError
from heyhi.runs.elsewhere import Place
from heyhi.runs.processes import this_host
from heyhi.texts import from_json

__all__ = [
    "EXP_ID_PATTERN",
    "LEFT_QUEUE",
    "RESULT_AT",
    "STARTING",
    "SUBMITTING",
    "JobId",
    "Queue",
    "QueuedJob",
    "Run",
    "RunState",
    "Status",
    "execution_of",
    "executions_of",
    "is_at_work",
    "is_done",
    "is_its_job",
    "is_own_name",
    "make_id",
    "read_provenance",
    "read_state",
    "real_path",
    "relative_to_root",
    "remove_partials",
    "result_place",
    "starts_of",
    "state_at_rest",
    "this_host",
    "this_process",
]

EXP_ID_PATTERN = "%(prefix)s/%(cfg_folder)s/%(cfg)s/%(redefines)s_%(redefines_hash)s"

# Of files that are looked at in thousands of folders: to make a Path takes as long as to open one.
_JOBID, _LOCK, _PROVENANCE, _RESULT = "heyhi.jobid", "heyhi.lock", "heyhi.json", "result.json"
_RESULT_OF_ORIGINAL = "result.torch"

_UNSAFE = re.compile(r"[^A-Za-z0-9@._+=-]")
# How a value inside the experiment root starts in a canonical override, whatever the root is called.
_ROOT_WORD = "{{EXP_DIR}}"


class Status(enum.Enum):
    """What a run is, as its folder (and for Slurm its queue) tells it."""

    NOT_STARTED = "NOT_STARTED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    UNKNOWN = "UNKNOWN"  # its job cannot be asked about: it may live
    DONE = "DONE"
    DEAD = "DEAD"


class Run(NamedTuple):
    """A run by its id and folder; every file in the folder has its name here."""

    id: str
    folder: Path

    @property
    def config(self) -> Path:
        """The frozen config of the task."""
        return self.folder / "config.prototxt"

    @property
    def config_meta(self) -> Path:
        """The frozen MetaCfg: the task's config and which task it is."""
        return self.folder / "config_meta.prototxt"

    @property
    def provenance(self) -> Path:
        """Where everything came from, and each start."""
        return self.folder / _PROVENANCE

    @property
    def jobid(self) -> Path:
        """Who computes it: `local:<host>:<pid>` or a Slurm job id."""
        return self.folder / _JOBID

    @property
    def lock(self) -> Path:
        """Locked by the job's own process for as long as it lives."""
        return self.folder / _LOCK

    @property
    def owner(self) -> Path:
        """Which process holds the lock, as far as it is known from the boot of its machine."""
        return self.folder / "heyhi.owner"

    @property
    def snapshot_link(self) -> Path:
        """Holds the path of the code snapshot."""
        return self.folder / "ckpt.link"

    @property
    def log(self) -> Path:
        """What the job printed and logged, all starts one after the other."""
        return self.folder / "run.log"

    @property
    def error(self) -> Path:
        """The last failure: a line, and its traceback."""
        return self.folder / "error.txt"

    def ended(self, execution: str) -> Path:
        """What an execution ended of, as somebody else than its job saw it."""
        return self.folder / f"ended.{execution}.json"

    @property
    def result(self) -> Path:
        """What the task returned. Its presence is DONE."""
        return self.folder / _RESULT

    @property
    def result_pickle(self) -> Path:
        """What of the result JSON cannot hold."""
        return self.folder / "result.pkl"

    def meeting(self, job: str, start: str) -> Path:
        """The folder in which the ranks of a job meet, at one start of it; what is in it, `ranks` says."""
        return self.folder / f".ranks.{job}.{start}"

    def meetings(self) -> list[Path]:
        """Those that are there."""
        return list(self.folder.glob(".ranks.*"))


#: What there is to say of a run whose process has not come to its task yet.
STARTING = "starting"

#: Before the name of a job that is being handed to Slurm, in place of an id that is not known yet.
SUBMITTING = "submitting:"


class JobId(NamedTuple):
    """Who computes a run. A local job has a host and a pid, a Slurm job a Slurm id.

    `submitting:<name of the job>` is one of Slurm whose id nobody has recorded: it may never have got one.
    """

    text: str

    @property
    def local(self) -> tuple[str, int] | None:
        """Host and pid of a local job; None for one of Slurm."""
        match = re.fullmatch(r"local:(.+):(\d+)", self.text)
        return (match[1], int(match[2])) if match else None


#: How the detail of a run begins that is DONE, and whose result is elsewhere.
RESULT_AT = "result at "


class QueuedJob(NamedTuple):
    """A job as Slurm knows it: its id as squeue shows it, its state, its name, and why it waits."""

    id: str
    state: str
    name: str
    reason: str = ""
    work_dir: str = ""

    @property
    def lives(self) -> bool:
        """Whether it waits or runs."""
        return self.state in _IN_SLURM


#: What Slurm knows, by id, and by `submitting:<name>` for jobs whose id nobody recorded.
Queue = Mapping[str, QueuedJob]


# ---- The id -------------------------------------------------------------------------------------


def make_id(
    base: Path,
    overrides: Sequence[str],
    project: Project,
    *,
    prefix: str = "p",
    date: str = "",
    pattern: str | None = None,
) -> str:
    """The id of a run of these canonical overrides: a path below the experiment root.

    `pattern` replaces the default; it may use %(prefix)s, %(date)s, %(cfg_folder)s, %(cfg)s,
    %(redefines)s and %(redefines_hash)s. Raises UsageError if it uses another.
    """
    tags = {
        "prefix": prefix,
        "date": date,
        "cfg_folder": _safe(_config_folder(base, project)),
        "cfg": _safe(base.name.rpartition(".")[0] or base.name),
        "redefines": _tag(overrides),
        "redefines_hash": _md5(repr(list(overrides))),
    }
    try:
        return (pattern or EXP_ID_PATTERN) % tags
    except (KeyError, ValueError, TypeError) as problem:
        raise UsageError(
            f"bad pattern {pattern!r} for the run folder ({problem}); it may use "
            f"{', '.join(f'%({tag})s' for tag in tags)}, and %% for a percent sign"
        ) from None


def relative_to_root(text: str, root: Path) -> str:
    """A canonical override whose value, if it lies in the experiment root, is relative to it.

    So ids are the same on a laptop and on a cluster.
    """
    key, _, value = text.partition("=")
    for start in (str(root), real_path(root)):
        if value == start or value.startswith(start + "/"):
            return f"{key}={_ROOT_WORD}{value[len(start) :]}"
    if value.lstrip("\\").startswith(_ROOT_WORD):
        return f"{key}=\\{value}"  # a text that reads like it is another text
    return text


@cache
def real_path(path: str | Path) -> str:
    """`os.path.realpath`, asked once: of the few folders that all the runs of a batch lie in."""
    try:
        return os.path.realpath(path)
    except ValueError:  # a name that no file can have, of a heyhi.json that somebody has written
        return str(path)


@cache
def _config_folder(base: Path, project: Project) -> str:
    folder, conf = real_path(base.parent), real_path(project.conf)
    if folder == conf:
        return "root"
    if folder.startswith(conf + "/"):
        return folder[len(conf) + 1 :].replace("/", "_")
    return _md5(folder)


def _md5(text: str) -> str:
    digest = hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False)
    return digest.hexdigest()[:8]


def _tag(overrides: Sequence[str]) -> str:
    """What a person recognises the overrides by, cut to 100 characters."""
    parts = []
    for override in overrides:
        key, _, value = override.partition("=")
        if len(key) > 5:
            key = ".".join(part[:3] for part in key.split("."))
        parts.append(f"{key}@{'_'.join(value.split('/')[-2:])}")
    return _safe("@".join(parts)[:100]) or "default"


def _safe(text: str) -> str:
    """Without characters that paths, shells or Snakemake's wildcards give a meaning."""
    return _UNSAFE.sub("_", text)


# ---- The status ---------------------------------------------------------------------------------


class RunState(NamedTuple):
    """A status, and who or what it is about: the job if there is one.

    `keeps` says why what is in the folder may not be wiped or continued unasked: HeyHi did not make it, or
    cannot read what it is. Empty for a run whose folder is as HeyHi leaves it.
    `result_place` is where the result is of a run that is DONE, and whose folder could not take it.
    """

    status: Status
    job: JobId | None = None
    detail: str = ""
    keeps: str = ""
    result_place: Place | None = None

    @property
    def has_result(self) -> bool:
        """Whether it is DONE, and its result is in its folder."""
        return self.status is Status.DONE and self.result_place is None

    def way_on(self, run: Run) -> str:
        """What to do about a run that is UNKNOWN: what is known of it has to be looked at by a person."""
        if self.keeps:
            return "--mode restart --force wipes what is there"
        return f"once it has surely ended, say so: heyhi kill {shlex.quote(run.id)}"

    @property
    def text(self) -> str:
        """In a line: `QUEUED (62): PENDING: Priority`, `DONE (result at /home/me/...)`."""
        if self.result_place is not None:
            return f"{self.status.value} ({self.detail})"
        job = f" ({self.job.text})" if self.job and self.status in (Status.QUEUED, Status.RUNNING) else ""
        return f"{self.status.value}{job}{f': {self.detail}' if self.detail else ''}"


def read_state(run: Run, queue: Queue | None = None) -> RunState:
    """What the run is now. `queue` is what Slurm said; None: not asked, or no answer, so that a Slurm job
    without a result is UNKNOWN.

    The order of the looks matters: a job that ends between two of them is seen as ended.
    """
    try:
        job = read_job(run)
        holder = claim.holder(f"{run.folder}/{_LOCK}")
        if holder is not None:
            return RunState(Status.RUNNING, JobId(holder) if holder else None, "" if job else STARTING)
        return state_at_rest(run, job, queue)
    except NoLocksError as problem:
        return _state_without_locks(run, job, queue, str(problem))
    except NotAFileError as problem:
        told = f"{os.path.basename(problem.filename)} {problem.strerror}"
        return RunState(Status.UNKNOWN, None, told, keeps=told)


def state_at_rest(run: Run, job: JobId | None, queue: Queue | None = None) -> RunState:
    """What a run is whose lock no process holds, and whose heyhi.jobid says `job`. Raises NotAFileError."""
    provenance = files.kind_of(f"{run.folder}/{_PROVENANCE}")
    if provenance != "file" and job is not None:
        return _state_of_foreign(run, job, queue, provenance)
    result = files.kind_of(f"{run.folder}/{_RESULT}")
    if result == "file" and provenance == "file":
        return RunState(Status.DONE, job)
    if result not in ("", "file") and provenance == "file":
        told = f"result.json is {result}"
        return RunState(Status.UNKNOWN, job, told, keeps=told)
    if place := elsewhere.place_of(f"{run.folder}/{_LOCK}", job and job.text):
        told = f"{RESULT_AT}{place.text}"
        return RunState(Status.DONE, JobId(place.job), told, result_place=place)
    if not result and files.is_file(f"{run.folder}/{_RESULT}") and files.is_file(run.provenance):
        return RunState(Status.DONE, job or read_job(run))  # it was moved in between the looks
    if job is not None and job.local is None:
        return _state_in_slurm(run, job, queue)
    if (alive := _state_by_process(run, job)) is not None:
        return alive
    if job is None:
        return RunState(Status.NOT_STARTED)
    return RunState(Status.DEAD, job, keeps=_damage(run))


def _damage(run: Run) -> str:
    """Why a heyhi.json does not say that the folder is HeyHi's; empty if it does."""
    import json

    try:
        is_whole = isinstance(json.loads(files.read(run.provenance)), dict)
    except (OSError, ValueError, RecursionError):
        is_whole = False
    return "" if is_whole else "heyhi.json is damaged"


def _state_by_process(run: Run, job: JobId | None) -> RunState | None:
    """What a local run without a result is if its process lives, or may live, though it holds no lock."""
    known = guard.read(run.owner)
    if known is not None and known.process is not None and (alive := known.lives) is not False:
        job = job or JobId(known.job)
        if alive:
            told = "its process lives and holds no lock: it has become another program, or locks fail here"
            return RunState(Status.RUNNING, JobId(known.job), told)
        if _is_settled(run, job):
            return None
        told = f"it was started on {known.process.host}, and from here its process cannot be seen"
        return RunState(Status.UNKNOWN, job, told)
    is_elsewhere = job is not None and job.local is not None and job.local[0] != this_host()
    if job is not None and job.local is not None and is_elsewhere and not _is_settled(run, job):
        return RunState(
            Status.UNKNOWN, job, f"it was started on {job.local[0]}, and from here its lock cannot be tested"
        )
    # It may hold a lock whose file was deleted, while the rest of the folder is there.
    if job is not None and job.local is not None and job.local[0] == this_host():
        try:
            if claim.is_open_in(run.lock, job.local[1]):
                return RunState(Status.RUNNING, job, "its heyhi.lock was deleted, and its process lives")
        except OSError:
            pass  # it has ended, or is another user's
    # To look at all processes takes a while, and each run of a batch would.
    if job is not None or not _may_have_lost_files(run):
        return None
    pid = claim.holders_of_deleted().get(os.path.realpath(f"{run.folder}/{_LOCK}"))
    if pid is None:
        return None
    what = "heyhi.lock" if files.is_file(run.provenance) else "folder"
    return RunState(
        Status.RUNNING, JobId(f"local:{this_host()}:{pid}"), f"its {what} was deleted, and its process lives"
    )


def _may_have_lost_files(run: Run) -> bool:
    """Whether a run without a job id was perhaps started all the same, and has lost its lock since.

    A folder that is there again has heyhi.json from a start or a plan that has looked already.
    """
    try:
        data = files.read(f"{run.folder}/{_PROVENANCE}")
    except OSError:
        return True
    # Where it says so by chance, nothing is lost but time: to parse the files of a whole batch takes more.
    return b'"started"' in data and not os.path.lexists(f"{run.folder}/{_LOCK}")


def _is_settled(run: Run, job: JobId) -> bool:
    """Whether an execution is known to have ended: its process was waited for, or the user has said so."""
    import json

    for execution in executions_of(run, job):
        try:
            content = json.loads(files.read_text(run.ended(execution)))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(content, dict) and not {"settled", "signal", "exit"}.isdisjoint(content):
            return True
    return False


def _state_without_locks(run: Run, job: JobId | None, queue: Queue | None, why: str) -> RunState:
    """What a run is where the file system cannot say whether its lock is held."""
    state = state_at_rest(run, job, queue)
    is_open = state.status in (Status.DEAD, Status.NOT_STARTED) and files.kind_of(run.lock)
    if is_open and not (job is not None and _is_settled(run, job)):
        return RunState(Status.UNKNOWN, job, why)
    return state


def _state_of_foreign(run: Run, job: JobId, queue: Queue | None, provenance: str) -> RunState:
    """What a run is that has a job, and no heyhi.json that says that HeyHi made it.

    The original HeyHi leaves such folders: its job id is a number, or the word `local`, and its result
    result.torch.
    """
    if provenance:
        keeps = f"heyhi.json is {provenance}"
    elif job.local is not None or job.text.startswith(SUBMITTING):
        keeps = "its heyhi.json is missing"
    else:
        keeps = "made by the original HeyHi"
    if files.is_file(f"{run.folder}/{_RESULT}") or files.is_file(f"{run.folder}/{_RESULT_OF_ORIGINAL}"):
        return RunState(Status.DONE, job, keeps, keeps)
    if result := files.kind_of(f"{run.folder}/{_RESULT}"):
        state = RunState(Status.UNKNOWN, job, f"result.json is {result}")
    elif job.local is not None:
        state = _state_by_process(run, job) or RunState(Status.DEAD, job)
    elif queue is None and job.text != "local":
        state = RunState(Status.UNKNOWN, job, f"Slurm cannot be asked about its job {job.text}")
    else:
        known = None if queue is None else queue.get(job.text)
        fits = known is not None and known.lives and _looks_like_its_job(run, known)
        status = _IN_SLURM[known.state] if known and fits else Status.UNKNOWN
        told = "" if fits else f"whether its job {job.text} lives is not known"
        state = RunState(status, job if fits else None, told)
    return state._replace(detail="; ".join(filter(None, (keeps, state.detail))), keeps=keeps)


def _looks_like_its_job(run: Run, known: QueuedJob) -> bool:
    """Whether a job of Slurm is that of a run of the original, by its name or its work folder."""
    # submitit names a job by the id, with _ for what it does not like, cut to 80 characters.
    plain = re.compile(r"[^A-Za-z0-9]")
    name, run_id = plain.sub("_", known.name), plain.sub("_", run.id)
    is_named = len(name) >= 8 and run_id.startswith(name)
    folder = real_path(run.folder)
    return is_named or f"{known.work_dir}/".startswith((f"{run.folder}/", f"{folder}/"))


# Slurm's states of a job that lives; in all others it has ended.
_IN_SLURM = {
    **dict.fromkeys(
        ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"), Status.QUEUED
    ),
    **dict.fromkeys(
        ("RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"),
        Status.RUNNING,
    ),
}


#: What is said of a job that Slurm does not know any more, as it forgets them some minutes after their end.
LEFT_QUEUE = "Slurm does not know it any more"


def _state_in_slurm(run: Run, job: JobId, queue: Queue | None) -> RunState:
    """What a run is that has no result, and whose job Slurm has, or had."""
    if queue is None:
        if _is_settled(run, job):
            return RunState(Status.DEAD, job)
        return RunState(Status.UNKNOWN, job, f"Slurm cannot be asked about its job {job.text}")
    known = queue.get(job.text)
    if known is not None and not is_its_job(run, known):
        known = None  # Slurm has lost its memory, and given the id to another job
    if known is not None and known.lives:
        status = _IN_SLURM[known.state]
        why = f": {known.reason}" if known.reason and status is Status.QUEUED else ""
        return RunState(status, JobId(known.id), "" if known.state == status.value else f"{known.state}{why}")
    if job.text.startswith(SUBMITTING):
        # Had it begun, its job would have written down its id. So nothing of it ever ran.
        return RunState(Status.NOT_STARTED, job)
    return RunState(Status.DEAD, job, f"Slurm: {known.state}" if known else LEFT_QUEUE)


def is_its_job(run: Run, known: QueuedJob) -> bool:
    """False if Slurm has given the id of a run's job to another one."""
    name = read_provenance(run).get("slurm_name")
    return name in (None, known.name)


_LONGEST_JOB = 400  # bytes; the name of a job has that of a folder in it


def read_job(run: Run) -> JobId | None:
    """Who computes the run, or did; None if nobody was ever recorded."""
    try:
        descriptor = files.open_regular(f"{run.folder}/{_JOBID}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        data = os.read(descriptor, _LONGEST_JOB + 1)
    finally:
        os.close(descriptor)
    text = data.decode(errors="replace").strip()
    if len(data) > _LONGEST_JOB:  # nothing that we have written: its beginning is enough to be told
        text = shortened(text)
    return JobId(text) if text else None


def is_at_work(meeting: Path) -> bool:
    """Whether a rank that met others there is in its task: on a node that Slurm has lost, it goes on."""
    return any(
        claim.holder(lock) is not None and not claim.read_note(lock) for lock in meeting.glob("*.lock")
    )


def this_process() -> JobId:
    """The job id of this very process."""
    return JobId(f"local:{this_host()}:{os.getpid()}")


# ---- What it wrote ------------------------------------------------------------------------------------


# The name of each file that HeyHi itself writes into a run folder, as a regular expression. By it, a file is
# known from a task's or a user's, and what a killed process has left of one is removed. A new one needs its
# line here.
_OWN_FILES = (
    r"config\.prototxt",
    r"config_meta\.prototxt",
    r"heyhi\.json",
    r"heyhi\.jobid",
    r"heyhi\.lock",
    r"heyhi\.owner",
    r"ckpt\.link",
    r"run\.log",
    r"error\.txt",
    r"ended\.[0-9a-f]+\.json",
    r"result\.json",
    r"result\.json\.of-the-task",
    r"result\.pkl",
)
_OWN = re.compile("|".join(_OWN_FILES))
_PARTIAL = re.compile(rf"\.({_OWN.pattern})\.\w+\.partial")


def is_own_name(name: str) -> bool:
    """Whether HeyHi itself writes a file of this name into a run folder."""
    return any(pattern.fullmatch(name) for pattern in (_OWN, _PARTIAL)) or name.startswith(".ranks.")


def remove_partials(run: Run) -> None:
    """Remove what a killed process left half written; only for who holds the claim, the one writer.

    A record of a death is written without the claim; if its partial goes too early, it is not made.
    """
    for path in run.folder.glob(".*.*.partial"):
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def is_done(run: Run) -> bool:
    """Whether a run has a result, in its folder or elsewhere. Raises OSError if that cannot be seen."""
    if files.is_there(run.result):
        return True
    return result_place(run) is not None


def result_place(run: Run) -> Place | None:
    """Where the result of a run is kept, as its folder could not take it; None if nothing says so."""
    job = read_job(run)
    return elsewhere.place_of(f"{run.folder}/{_LOCK}", job and job.text)


def read_provenance(run: Run) -> dict[str, Any]:
    """The content of heyhi.json; empty if there is none, or if it cannot be read."""
    try:
        content = from_json(files.read_text(run.provenance))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def starts_of(known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The starts of a run as its heyhi.json has them, the oldest first, whatever somebody has made of it."""
    starts = known.get("starts")
    return [start for start in starts if isinstance(start, dict)] if isinstance(starts, list) else []


def execution_of(run: Run, job: JobId | None = None) -> str:
    """The id of the last start of a run by a job (by default that of heyhi.jobid); empty if it has none."""
    job = job or read_job(run)
    return executions_of(run, job)[0] if job else ""


def executions_of(run: Run, job: JobId) -> list[str]:
    """What the last start of a run by a job is known by, in records of its end: 16 hex digits, its id first.

    Who made a record may not have seen yet that the job has noted its start. Then it knew the job alone.
    """
    starts = [start for start in starts_of(read_provenance(run)) if start.get("job") == job.text]
    by_job = _execution(job.text)
    if not starts:
        return [by_job]
    own = starts[-1].get("id")
    if not isinstance(own, str) or not re.fullmatch(r"[0-9a-f]{16}", own):  # of before
        own = _execution(f"{job.text} {starts[-1].get('started')}")
    return [own, by_job] if len(starts) == 1 else [own]  # of several by one job (requeued), which one it was


def _execution(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
