"""All that is asked of Slurm: what is in its queue, submitting, cancelling. Nothing else talks to it."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heyhi import runs
from heyhi.errors import LaunchError, NoAnswerError, QueueFullError, UsageError
from heyhi.launch.slurm_options import Resources, read_resources
from heyhi.runs import SUBMITTING, Queue, QueuedJob, Run, RunState, Status, deaths
from heyhi.texts import cut, some_of

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = [
    "PAUSE",
    "ask_queue",
    "await_end",
    "cancel",
    "end",
    "is_of_slurm",
    "launcher_of",
    "max_array_size",
    "needs_of",
    "read_state",
    "read_states",
    "refuse_without_slurm",
    "submit",
    "wants_local",
    "wants_slurm",
    "with_ends",
]

#: Seconds between two questions to Slurm while waiting.
PAUSE = 10.0

_MOST_WORDS = 1000  # of a command line
_MOST_ASKED = 5000  # jobs in one question about their ends
_SHORT_PAUSE = 0.5  # seconds between two looks at the queue, when jobs are being cancelled
_PATIENCE = 10  # seconds for an answer that only tells more
_TIMEOUT = 30  # seconds after which a command that hangs counts as no answer


def wants_slurm(config: "Message") -> bool:
    """True if the task's launcher chooses Slurm; a task without a launcher runs here."""
    return _chooses(config, "slurm")


def wants_local(config: "Message") -> bool:
    """True if the task's launcher chooses, in so many words, the machine where it is started."""
    return _chooses(config, "local")


def _chooses(config: "Message", what: str) -> bool:
    from heyhi.config import LAUNCHER  # heavy, and not needed to ask Slurm

    field = config.DESCRIPTOR.fields_by_name.get(LAUNCHER)
    if field is None or field.message_type is None or not config.HasField(LAUNCHER):
        return False
    launcher = getattr(config, LAUNCHER)
    return what in launcher.DESCRIPTOR.fields_by_name and bool(launcher.HasField(what))


def launcher_of(config: "Message") -> "Message":
    """The `slurm` message in the launcher of a config that wants Slurm."""
    from heyhi.config import LAUNCHER

    asked: "Message" = getattr(config, LAUNCHER).slurm
    return asked


def refuse_without_slurm() -> None:
    """Raise UsageError: the run asks for Slurm, and there is none."""
    if shutil.which("sbatch") is None:
        raise UsageError(
            "the launcher asks for Slurm, and there is no sbatch on this machine; "
            "go to a login node of the cluster, or run here with launcher.slurm=NULL"
        )


def ask_queue() -> Queue | None:
    """Every job that Slurm knows, array tasks one by one; None if there is no answer.

    Of all users: an experiment root may be shared, and a colleague's waiting job is not dead. Of all states:
    Slurm knows an ended job for some minutes.
    """
    command = ["squeue", "--all", "--states=all", "--array", "--noheader", "--format=%i|%T|%r|%j|%Z"]
    try:
        answer = _call(command)
    except (OSError, subprocess.SubprocessError):
        return None
    found: dict[str, QueuedJob] = {}
    for line in answer.splitlines():
        job_id, _, rest = line.strip().partition("|")
        state, _, rest = rest.partition("|")
        reason, _, rest = rest.partition("|")
        name, _, work_dir = rest.rpartition("|")  # the name of a job may have a bar
        if not work_dir.startswith("/"):
            name, work_dir = rest, ""
        for one in _each_task(job_id):
            job = QueuedJob(one, state, name, "" if reason == "None" else reason, work_dir)
            found[one] = job
            _, is_array, index = one.partition("_")
            found[f"{SUBMITTING}{name}{is_array}{index}"] = job
    return found


def _each_task(job_id: str) -> Iterator[str]:
    """The ids in one of squeue's: an array that was cancelled while it waited is one, `12_[0-2,5%3]`."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(%\d+)?\]", job_id)
    if match is None:
        yield from [job_id] if job_id else []
        return
    for part in match[2].split(","):
        first, _, last = part.partition("-")
        yield from (f"{match[1]}_{number}" for number in range(int(first), int(last or first) + 1))


def needs_of(config: "Message") -> Resources | None:
    """The resources that the launcher of a task's config asks of Slurm; None for another launcher.

    Raises ConfigError for what cannot be.
    """
    if not wants_slurm(config):
        return None
    asked = launcher_of(config)
    key = asked.DESCRIPTOR.full_name, asked.SerializeToString(deterministic=True)
    if key not in _needs:  # the runs of a batch have few launchers
        _needs[key] = read_resources(asked, "")
    return _needs[key]


_needs: dict[tuple[str, bytes], Resources] = {}


def read_state(run: Run) -> RunState:
    """The state of a run; asks Slurm only if the run is one of its jobs."""
    state, queue = runs.read_state(run), None
    while is_of_slurm(state):
        asked, queue = state.job, ask_queue()
        state = runs.read_state(run, queue)
        if queue is None or runs.read_job(run) == asked:
            break
        state = runs.read_state(run)  # it was submitted anew meanwhile: that answer knows nothing of it
    return with_ends({run: state}, queue)[run]


def read_states(several: Sequence[Run]) -> dict[Path, RunState]:
    """The state of each run, by its folder; Slurm is asked at most once, and only if a job may be in it.

    One whose folder cannot be read is UNKNOWN, and its detail says why.
    """
    states = {run: _look(run) for run in several}
    if any(map(is_of_slurm, states.values())):
        queue = ask_queue()
        for run, asked in states.items():
            if is_of_slurm(asked):
                state = _look(run, queue)
                # What was submitted anew while Slurm was asked, its answer does not know.
                states[run] = state if runs.read_job(run) == asked.job else _look(run)
        states = with_ends(states, queue)
    return {run.folder: state for run, state in states.items()}


def _look(run: Run, queue: Queue | None = None) -> RunState:
    try:
        return runs.read_state(run, queue)
    except (OSError, LaunchError) as problem:
        told = problem.strerror if isinstance(problem, OSError) else None
        return RunState(Status.UNKNOWN, None, f"it cannot be read: {told or problem}")


def is_of_slurm(state: RunState) -> bool:
    """True if only Slurm can tell what this run is."""
    return state.status is Status.UNKNOWN and state.job is not None and state.job.local is None


# ---- How jobs ended -----------------------------------------------------------------------------

_SETTLED = 3600  # seconds without a sign of a job, after which its end has reached the accounting
_asked_accounting: set[str] = set()  # jobs: no more than once in a process


def with_ends(states: Mapping[Run, RunState], queue: Queue | None) -> dict[Run, RunState]:
    """The states that follow from an answer of squeue, with what jobs ended of that could not say so.

    What Slurm says of an end now is recorded in the run's folder, as it forgets it in some minutes. About
    what it has forgotten the accounting is asked, where there is one: once for all.
    """
    silent = {
        run: state
        for run, state in states.items()
        if state.status is Status.DEAD and state.job and not state.job.local and not deaths.is_said(run)
    }
    known = {run: reason for run, state in silent.items() if (reason := deaths.reason_of(run, state.job))}
    new = {run: state for run, state in silent.items() if run not in known}
    for run, reason in _ends_of(new, queue or {}).items():
        job = new[run].job
        assert job is not None, "it is a job's end"
        deaths.record(run, job, reason, "Slurm")
        known[run] = reason
    return {run: state._replace(detail=known.get(run, state.detail)) for run, state in states.items()}


def _ends_of(states: Mapping[Run, RunState], queue: Queue) -> dict[Run, str]:
    """The ends of jobs that Slurm knows; without those of which it may know more later."""
    jobs = {run: state.job.text for run, state in states.items() if state.job}
    shown = {
        run: queue[job] for run, job in jobs.items() if states[run].detail != runs.LEFT_QUEUE and job in queue
    }
    statuses = _ask_statuses([job.id for job in shown.values() if job.state == "FAILED"])
    accounts = _ask_accounting(job for run, job in jobs.items() if run not in shown)
    found = {}
    for run, job in jobs.items():
        account = accounts.get(job)
        if run in shown:
            found[run] = _end_in_words(shown[run].state, statuses.get(job), shown[run].reason)
        elif account and runs.is_its_job(run, account.job) and not account.job.lives:
            found[run] = account.end
        elif job in accounts and _is_settled(run):
            found[run] = runs.LEFT_QUEUE  # it never will say more: it need not be asked again
    return found


def _end_in_words(state: str, status: int | None = None, reason: str = "") -> str:
    """`Slurm: TIMEOUT`; of a job that failed also how, by its exit status (-n: signal n)."""
    if state == "FAILED" and status:
        how = deaths.ended_by(-status) if status < 0 else f"exit status {status}"
        return f"Slurm: FAILED: {how}"
    return f"Slurm: {state}{f': {reason}' if state == 'FAILED' and reason else ''}"


def _is_settled(run: Run) -> bool:
    """True if the run's job gave its last sign long ago."""
    signs = []
    for path in (run.jobid, run.provenance, run.log):
        try:
            signs.append(path.stat().st_mtime)
        except OSError:
            pass
    return time.time() - max(signs, default=0.0) > _SETTLED


def _ask_statuses(jobs: Sequence[str]) -> dict[str, int]:
    """The exit statuses of jobs that squeue has just shown; -n: ended by signal n."""
    words = ["--noheader", "--states=all", "--array", "--Format=JobArrayID:80,exit_code:20"]
    answer = _answer(["squeue", *words, f"--jobs={','.join(jobs[:_MOST_ASKED])}"]) if jobs else None
    cells = [line.split() for line in (answer or "").splitlines()]
    return {cell[0]: _exit_status(int(cell[1])) for cell in cells if len(cell) == 2 and cell[1].isdecimal()}


def _exit_status(status: int) -> int:
    """Decode the status that wait(2) gives; a shell turns signal n into 128 + n."""
    ended = os.waitstatus_to_exitcode(status & 0xFFFF)
    return 128 - ended if ended > 128 else ended


# What Slurm gives out. A text in a run folder may be anything: an option of a program, or no text at all.
_AN_ID = re.compile(r"[0-9]{1,20}(_[0-9]{1,20})?")


class _Account(NamedTuple):
    """A job as the accounting has it, and its exit code: `3:0` is exit status 3, `0:9` signal 9.

    `derived` is the code of its srun; it may be missing. The one of the job is less 128, if it is more.
    """

    job: QueuedJob
    code: str
    derived: str

    @property
    def end(self) -> str:
        """The end in words."""
        derived, status = _code(self.derived), _code(self.code)
        words = _end_in_words(self.job.state, derived or status)
        may_be_signal = self.job.state == "FAILED" and not derived and status in _FATAL
        return f"{words}, or {deaths.ended_by(status)}" if may_be_signal else words


# Signals that end a process which has made a mistake, or was in the way.
_FATAL = (
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGKILL,
    signal.SIGSEGV,
    signal.SIGTERM,
)


def _ask_accounting(jobs: Iterable[str]) -> dict[str, _Account | None]:
    """The accounting's records of jobs, asked for once per process; None if it knows no such id.

    Those of which it has said nothing are left out; all, where there is no accounting.
    """
    new = [job for job in jobs if job not in _asked_accounting and _AN_ID.fullmatch(job)][:_MOST_ASKED]
    _asked_accounting.update(new)
    columns = "--format=JobID,State,ExitCode,DerivedExitCode,JobName"
    words = ["--allusers", "--allocations", "--noheader", "--parsable2", columns]
    # The id of an array stands for all its tasks.
    ids = ",".join(dict.fromkeys(job.partition("_")[0] for job in new))
    answer = _answer(["sacct", *words, f"--jobs={ids}"]) if new else None
    if answer is None:
        return {}
    found: dict[str, _Account | None] = dict.fromkeys(new)
    for line in answer.splitlines():
        job_id, state, code, derived, name = [*line.split("|", 4), "", "", "", ""][:5]
        for job in _each_task(job_id):
            known = QueuedJob(job, _with_name_of_user(state), name)
            found[job] = _Account(known, code, derived)
    return found


def _code(text: str) -> int:
    """An exit status; -n for signal n."""
    status, _, number = text.partition(":")
    return -int(number) if number.isdecimal() and int(number) else int(status) if status.isdecimal() else 0


def _with_name_of_user(state: str) -> str:
    """`CANCELLED by 1000` as `CANCELLED by anna`."""
    import pwd

    match = re.fullmatch(r"(\w+ by )(\d+)", state)
    try:
        return f"{match[1]}{pwd.getpwuid(int(match[2])).pw_name}" if match else state
    except (KeyError, OverflowError):
        return state


def _answer(command: list[str]) -> str | None:
    """The output of a command whose answer is optional; None if it fails."""
    try:
        return _call(command, timeout=_PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return None


# ---- Ending jobs --------------------------------------------------------------------------------


def cancel(*jobs: str) -> None:
    """Cancel jobs. Raises LaunchError if Slurm refuses or is not there, or if one is no job's id."""
    for job in jobs:
        if not _AN_ID.fullmatch(job):
            raise LaunchError(f"{cut(job)!r} is no id of a job of Slurm; nothing was cancelled")
    for start in range(0, len(jobs), _MOST_WORDS):
        part = jobs[start : start + _MOST_WORDS]
        told = some_of(part, 1)
        try:
            _call(["scancel", *part])
        except OSError:
            raise LaunchError(f"job {told} cannot be cancelled: no scancel on this machine") from None
        except subprocess.CalledProcessError as problem:
            raise LaunchError(f"job {told} cannot be cancelled: {problem.stderr.strip()}") from None
        except subprocess.TimeoutExpired:
            raise LaunchError(f"job {told} cannot be cancelled: no answer in {_TIMEOUT} seconds") from None


def end(*jobs: str) -> None:
    """Cancel jobs, and wait until Slurm has ended them. Raises LaunchError if it does not."""
    cancel(*jobs)
    await_end(*jobs)


def await_end(*jobs: str, patience: float = 90) -> None:
    """Wait until Slurm has ended jobs that were cancelled. Raises LaunchError if it does not."""
    deadline = time.monotonic() + patience
    while True:
        queue = ask_queue()
        left = [job for job in jobs if queue is None or (job in queue and queue[job].lives)]
        if not left:
            return
        if time.monotonic() > deadline:
            why = "Slurm does not answer" if queue is None else f"Slurm has not ended them in {patience:g} s"
            raise LaunchError(f"{', '.join(left[:3])}{'...' if left[3:] else ''}: cancelled, but {why}")
        time.sleep(_SHORT_PAUSE)


def submit(
    script: str, options: Sequence[str], held: Sequence[int], variables: Mapping[str, str] | None = None
) -> str:
    """Hand a batch script to sbatch. Returns the id of the job.

    `variables` are put into sbatch's environment: with --export=ALL the job has them. sbatch keeps the
    descriptors in `held` open: the locks behind them are held as long as it lives. Raises LaunchError if it
    refuses, in its own words; NoAnswerError if the outcome is unknown.
    """
    try:
        answer = _call(["sbatch", "--parsable", *options], stdin=script, held=held, variables=variables)
    except OSError as problem:
        raise LaunchError(f"sbatch cannot be run: {problem.strerror}") from None
    except subprocess.TimeoutExpired:
        raise NoAnswerError(f"sbatch: no answer in {_TIMEOUT} seconds") from None
    except subprocess.CalledProcessError as problem:
        said = " ".join(line.removeprefix("sbatch: ") for line in problem.stderr.strip().splitlines())
        told = f"sbatch: {said.removeprefix('error: ') or f'status {problem.returncode}'}"
        if _QUEUE_FULL.search(said):
            raise QueueFullError(told) from None
        error = NoAnswerError if _NO_ANSWER.search(said) or problem.returncode < 0 else LaunchError
        raise error(told) from None
    return answer.strip().partition(";")[0]  # id;cluster


# The limits of how many jobs may be submitted, of an association or a QOS.
_QUEUE_FULL = re.compile(r"MaxSubmit", re.IGNORECASE)
# What its programs say when the controller is down, restarts, or is too busy.
_NO_ANSWER = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Connection (refused|reset)|Zero Bytes were"
    r" transmitted|slurmctld.*not responding|in standby|Slurm temporarily unable|Transport endpoint"
    r"|backup controller|Protocol authentication error",
    re.IGNORECASE,
)


@cache
def max_array_size() -> int:
    """The largest number of tasks in an array of this cluster. Raises NoAnswerError."""
    try:
        answer = _call(["scontrol", "show", "config"])
    except subprocess.CalledProcessError as problem:
        raise NoAnswerError(f"scontrol show config: {problem.stderr.strip()}") from None
    except subprocess.TimeoutExpired:
        raise NoAnswerError(f"scontrol show config: no answer in {_TIMEOUT} seconds") from None
    except OSError as problem:
        raise LaunchError(f"scontrol cannot be run: {problem.strerror}") from None
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer, re.MULTILINE)
    return int(match[1]) if match else 1001


def _call(
    command: list[str],
    stdin: str = "",
    held: Sequence[int] = (),
    timeout: float | None = None,
    variables: Mapping[str, str] | None = None,
) -> str:
    done = subprocess.run(
        command,
        env={**_environment(), **(variables or {})},
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=timeout or _TIMEOUT,
        input=stdin,
        pass_fds=held,
    )
    return done.stdout


def _environment() -> dict[str, str]:
    """Without what changes the answers: the user's defaults (SQUEUE_STATES=RUNNING would hide jobs), and the
    job that this process may be in, whose limits are not the new one's."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(
            ("SQUEUE_", "SACCT_", "SCANCEL_", "SLURM_", "SRUN_", "SBATCH_WAIT", "SBATCH_ARRAY_INX")
        )
        or name == "SLURM_CONF"
    }
