"""The status of a run, as its folder (and for Slurm its queue) tells it: any process on any host can ask."""

import enum
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from heyhi import files
from heyhi.files import NotAFileError
from heyhi.runs import claim, elsewhere, guard
from heyhi.runs.claim import NoLocksError
from heyhi.runs.elsewhere import Place
from heyhi.runs.folder import LOCK, PROVENANCE, RESULT, Run, executions_of, read_job, read_provenance
from heyhi.runs.ids import SUBMITTING, JobId, real_path
from heyhi.runs.processes import this_host
from heyhi.texts import from_json

__all__ = [
    "RESULT_AT",
    "STARTING",
    "Queue",
    "QueuedJob",
    "RunState",
    "Status",
    "is_at_work",
    "is_done",
    "is_its_job",
    "left_queue",
    "read_state",
    "result_place",
    "state_at_rest",
    "status_on_disk",
]

_RESULT_OF_ORIGINAL = "result.torch"


class Status(enum.Enum):
    """What a run is: the table of all statuses, a row each. All other code asks its columns.

    `phase` is what is known of the run's job: none, waits, runs, unknown, ended. `rank` is the place in
    lists: what a person looks for comes last, next to the prompt. `colour` is that on a terminal; report.css
    has those of a report. `original` is the word of the original HeyHi, where what may live is running.

    A new status takes its row here, one in `plan`, and one in report.css; tests name what is missing.
    """

    #             text           phase   rank  colour          original
    NOT_STARTED = "NOT_STARTED", "none", 30, "bright_black", "NOT_STARTED"
    QUEUED = "QUEUED", "waits", 20, "blue", "RUNNING"
    RUNNING = "RUNNING", "runs", 10, "cyan", "RUNNING"
    UNKNOWN = "UNKNOWN", "unknown", 40, "magenta", "RUNNING"  # its job cannot be asked about: it may live
    DONE = "DONE", "ended", 50, "green", "DONE"
    DEAD = "DEAD", "ended", 60, "red", "DEAD"

    _value_: str

    def __new__(cls, text: str, *_: object) -> "Status":  # noqa: D102
        status = object.__new__(cls)
        status._value_ = text
        return status

    def __init__(self, _: str, phase: str, rank: int, colour: str, original: str) -> None:
        self.phase, self.rank, self.colour, self.original = phase, rank, colour, original

    @property
    def is_alive(self) -> bool:
        """True if its job waits or runs: its end can be waited for, and it can be killed."""
        return self.phase in ("waits", "runs")

    @property
    def has_ended(self) -> bool:
        """True if its job has ended, well or not."""
        return self.phase == "ended"

    @property
    def has_failed(self) -> bool:
        """True if its job has ended without a result."""
        return self.has_ended and self is not Status.DONE


#: What there is to say of a run whose process has not come to its task yet.
STARTING = "starting"
#: How the detail of a run begins that is DONE, and whose result is elsewhere.
RESULT_AT = "result at "


class QueuedJob(NamedTuple):
    """A job as its scheduler knows it: its id, its state by Slurm's name, its name, and why it waits."""

    id: str
    state: str
    name: str
    reason: str = ""
    work_dir: str = ""

    @property
    def lives(self) -> bool:
        """True if it waits or runs."""
        return self.state in _LIVING


#: What Slurm knows, by id, and by `submitting:<name>` for jobs without a recorded id.
Queue = Mapping[str, QueuedJob]


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
        """True if it is DONE, and its result is in its folder."""
        return self.status is Status.DONE and self.result_place is None

    def way_on(self, run: Run) -> str:
        """The advice for an UNKNOWN run: the commands that show what HeyHi knows of it."""
        if self.keeps:
            return "--mode restart --force wipes what is there"
        return f"once it has surely ended, say so: heyhi kill {shlex.quote(run.id)}"

    @property
    def text(self) -> str:
        """The state in a line: `QUEUED (62): PENDING: Priority`, `DONE (result at /home/me/...)`."""
        if self.result_place is not None:
            return f"{self.status.value} ({self.detail})"
        job = f" ({self.job.text})" if self.job and self.status.is_alive else ""
        return f"{self.status.value}{job}{f': {self.detail}' if self.detail else ''}"


def read_state(run: Run, queue: Queue | None = None) -> RunState:
    """The present state of the run. `queue` is Slurm's answer; None: not asked, or no answer: a Slurm job
    without a result is UNKNOWN.

    The order of the looks matters: a job that ends between two of them is seen as ended.
    """
    try:
        job = read_job(run)
        holder = claim.holder(f"{run.folder}/{LOCK}")
        if holder is not None:
            return RunState(Status.RUNNING, JobId(holder) if holder else None, "" if job else STARTING)
        return state_at_rest(run, job, queue)
    except NoLocksError as problem:
        return _state_without_locks(run, job, queue, str(problem))
    except NotAFileError as problem:
        told = f"{os.path.basename(problem.filename)} {problem.strerror}"
        return RunState(Status.UNKNOWN, None, told, keeps=told)


def state_at_rest(run: Run, job: JobId | None, queue: Queue | None = None) -> RunState:
    """The state of a run with an unheld lock whose heyhi.jobid names `job`. Raises NotAFileError."""
    provenance = files.kind_of(f"{run.folder}/{PROVENANCE}")
    if provenance != "file" and job is not None:
        return _state_of_foreign(run, job, queue, provenance)
    result = files.kind_of(f"{run.folder}/{RESULT}")
    if result == "file" and provenance == "file":
        return RunState(Status.DONE, job)
    if result not in ("", "file") and provenance == "file":
        told = f"result.json is {result}"
        return RunState(Status.UNKNOWN, job, told, keeps=told)
    if place := elsewhere.place_of(f"{run.folder}/{LOCK}", job and job.text):
        told = f"{RESULT_AT}{place.text}"
        return RunState(Status.DONE, JobId(place.job), told, result_place=place)
    if not result and files.is_file(f"{run.folder}/{RESULT}") and files.is_file(run.provenance):
        return RunState(Status.DONE, job or read_job(run))  # it was moved in between the looks
    if job is not None and job.scheduler:
        return _state_in_queue(run, job, queue)
    if (alive := _state_by_process(run, job)) is not None:
        return alive
    status = status_on_disk(job, is_done=False)
    return RunState(status, job, keeps="" if job is None else _damage(run))


def status_on_disk(job: JobId | None, *, is_done: bool) -> Status:
    """What a run is of whose job nothing lives, for readers and for the process that has the claim.

    `job` is the one in heyhi.jobid.
    """
    if is_done:
        return Status.DONE
    # A job that has begun writes down its id. So nothing of one that was only being submitted ever ran.
    return Status.NOT_STARTED if job is None or job.text.startswith(SUBMITTING) else Status.DEAD


def _damage(run: Run) -> str:
    """The reason why a heyhi.json does not prove that the folder is HeyHi's; empty if it does."""
    try:
        is_whole = isinstance(from_json(files.read(run.provenance)), dict)  # {} is, too
    except (OSError, ValueError):
        is_whole = False
    return "" if is_whole else "heyhi.json is damaged"


def _state_by_process(run: Run, job: JobId | None) -> RunState | None:
    """The state of a local run without a result whose process is, or may be, alive without its lock."""
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
    pid = claim.holders_of_deleted().get(os.path.realpath(f"{run.folder}/{LOCK}"))
    if pid is None:
        return None
    what = "heyhi.lock" if files.is_file(run.provenance) else "folder"
    return RunState(
        Status.RUNNING, JobId(f"local:{this_host()}:{pid}"), f"its {what} was deleted, and its process lives"
    )


def _may_have_lost_files(run: Run) -> bool:
    """True if a run without a job id may have started, and lost its lock since.

    A folder that is there again has heyhi.json from a start or a plan that has looked already.
    """
    try:
        data = files.read(f"{run.folder}/{PROVENANCE}")
    except OSError:
        return True
    # Where it says so by chance, nothing is lost but time: to parse the files of a whole batch takes more.
    return b'"started"' in data and not os.path.lexists(f"{run.folder}/{LOCK}")


def _is_settled(run: Run, job: JobId) -> bool:
    """True if an execution has ended for sure: a process waited for it, or the user said so."""
    return any(
        not {"settled", "signal", "exit"}.isdisjoint(files.read_object(run.ended(execution)))
        for execution in executions_of(run, job)
    )


def _state_without_locks(run: Run, job: JobId | None, queue: Queue | None, why: str) -> RunState:
    """The state of a run on a file system that cannot test its lock."""
    state = state_at_rest(run, job, queue)
    may_live = not state.status.is_alive and state.status not in (Status.DONE, Status.UNKNOWN)
    is_open = may_live and files.kind_of(run.lock)
    if is_open and not (job is not None and _is_settled(run, job)):
        return RunState(Status.UNKNOWN, job, why)
    return state


def _state_of_foreign(run: Run, job: JobId, queue: Queue | None, provenance: str) -> RunState:
    """The state of a run with a job but without a heyhi.json of HeyHi.

    The original HeyHi leaves such folders: its job id is a number, or the word `local`, and its result
    result.torch.
    """
    if provenance:
        keeps = f"heyhi.json is {provenance}"
    elif job.local is not None or job.text.startswith(SUBMITTING):
        keeps = "its heyhi.json is missing"
    else:
        keeps = "made by the original HeyHi"
    if files.is_file(f"{run.folder}/{RESULT}") or files.is_file(f"{run.folder}/{_RESULT_OF_ORIGINAL}"):
        return RunState(Status.DONE, job, keeps, keeps)
    if result := files.kind_of(f"{run.folder}/{RESULT}"):
        state = RunState(Status.UNKNOWN, job, f"result.json is {result}")
    elif job.local is not None:
        state = _state_by_process(run, job) or RunState(Status.DEAD, job)
    elif queue is None and job.text != "local":
        state = RunState(Status.UNKNOWN, job, f"{job.scheduler} cannot be asked about its job {job.text}")
    else:
        known = None if queue is None else queue.get(job.text)
        fits = known is not None and known.lives and _looks_like_its_job(run, known)
        status = _LIVING[known.state] if known and fits else Status.UNKNOWN
        told = "" if fits else f"whether its job {job.text} lives is not known"
        state = RunState(status, job if fits else None, told)
    return state._replace(detail="; ".join(filter(None, (keeps, state.detail))), keeps=keeps)


def _looks_like_its_job(run: Run, known: QueuedJob) -> bool:
    """True if a job of Slurm belongs to a run of the original, by its name or its work folder."""
    # submitit names a job by the id, with _ for what it does not like, cut to 80 characters.
    plain = re.compile(r"[^A-Za-z0-9]")
    name, run_id = plain.sub("_", known.name), plain.sub("_", run.id)
    is_named = len(name) >= 8 and run_id.startswith(name)
    folder = real_path(run.folder)
    return is_named or f"{known.work_dir}/".startswith((f"{run.folder}/", f"{folder}/"))


# Slurm's states of a job that lives; in all others it has ended.
_LIVING = {
    **dict.fromkeys(
        ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"), Status.QUEUED
    ),
    **dict.fromkeys(
        ("RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"),
        Status.RUNNING,
    ),
}


def left_queue(scheduler: str | None) -> str:
    """Say that a job is not known any more: schedulers forget them some minutes after their end."""
    return f"{scheduler} does not know it any more"


def _state_in_queue(run: Run, job: JobId, queue: Queue | None) -> RunState:
    """The state of a run without a result whose job a scheduler has, or had."""
    if queue is None:
        if _is_settled(run, job):
            return RunState(Status.DEAD, job)
        return RunState(Status.UNKNOWN, job, f"{job.scheduler} cannot be asked about its job {job.text}")
    known = queue.get(job.text)
    if known is not None and not is_its_job(run, known):
        known = None  # Slurm has lost its memory, and given the id to another job
    if known is not None and known.lives:
        status = _LIVING[known.state]
        why = f": {known.reason}" if known.reason and status is Status.QUEUED else ""
        return RunState(status, JobId(known.id), "" if known.state == status.value else f"{known.state}{why}")
    status = status_on_disk(job, is_done=False)
    told = f"{job.scheduler}: {known.state}" if known else left_queue(job.scheduler)
    return RunState(status, job, told if status.has_ended else "")


def is_its_job(run: Run, known: QueuedJob) -> bool:
    """False if Slurm has given the id of a run's job to another one."""
    name = read_provenance(run).get("slurm_name")
    return name in (None, known.name)


def is_at_work(meeting: Path) -> bool:
    """True if a rank that met the others is in its task: on a node that Slurm has lost, it goes on."""
    return any(
        claim.holder(lock) is not None and not claim.read_note(lock) for lock in meeting.glob("*.lock")
    )


def is_done(run: Run) -> bool:
    """True if a run has a result, in its folder or elsewhere. Raises OSError if that cannot be seen."""
    if files.is_there(run.result):
        return True
    return result_place(run) is not None


def result_place(run: Run) -> Place | None:
    """The place of a run's result outside its folder, after a full disk; None if there is none."""
    job = read_job(run)
    return elsewhere.place_of(f"{run.folder}/{LOCK}", job and job.text)
