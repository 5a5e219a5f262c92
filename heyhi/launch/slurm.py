"""Slurm as a scheduler: its queue, submitting, cancelling, what a job may know. Nothing else talks to it."""

import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from heyhi import runs
from heyhi.errors import LaunchError, NoAnswerError, QueueFullError, UsageError
from heyhi.launch.scheduler import Allocation, JobSpec
from heyhi.launch.slurm_options import read_resources
from heyhi.runs import SUBMITTING, Queue, QueuedJob, Run, RunState, deaths
from heyhi.texts import cut, some_of

__all__ = [
    "allocation",
    "ask_queue",
    "cancel",
    "ends_of",
    "get_slurm_job_id",
    "get_slurm_master",
    "is_on_slurm",
    "max_array_size",
    "read_resources",
    "refuse_if_missing",
    "requeue",
    "sbatch",
    "submit",
]

_MOST_WORDS = 1000  # of a command line
_MOST_ASKED = 5000  # jobs in one question about their ends
_PATIENCE = 10  # seconds for an answer that only tells more
_TIMEOUT = 30  # seconds after which a command that hangs counts as no answer


def refuse_if_missing() -> None:
    """Raise UsageError if there is no Slurm on this machine."""
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


# ---- How jobs ended -----------------------------------------------------------------------------

_LEFT = runs.left_queue("Slurm")
_SETTLED = 3600  # seconds without a sign of a job, after which its end has reached the accounting
_asked_accounting: set[str] = set()  # jobs: no more than once in a process


def ends_of(states: Mapping[Run, RunState], queue: Queue) -> dict[Run, str]:
    """Return what Slurm says of the ends of jobs, without those of which it may say more later."""
    jobs = {run: state.job.text for run, state in states.items() if state.job}
    shown = {run: queue[job] for run, job in jobs.items() if states[run].detail != _LEFT and job in queue}
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
            found[run] = _LEFT  # it never will say more: it need not be asked again
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


def sbatch(
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


# ---- Submitting ---------------------------------------------------------------------------------

_SCRIPT = """\
#!/bin/bash
# Each task of this job does the run of one folder, with the copy of the code made at the submission.
runs=(
{runs}
)
run=${{runs[${{SLURM_ARRAY_TASK_ID:-0}}]}}
exec >> "$run/run.log" 2>&1
cd {code} || exit 1
# srun does not take it from the job by itself.
[[ ${{SLURM_CPUS_PER_TASK-}} ]] && export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
# --wait=0: the master may wait for room on a full disk when all others have ended.
exec srun --kill-on-bad-exit=1 --wait=0 --input=none {python} run.py --on-slurm "$run"
"""


def submit(spec: JobSpec) -> str:
    """Submit a job, each task of which does the run of one folder, and return its id. Raises as `sbatch`."""
    script = _SCRIPT.format(
        runs="\n".join(map(shlex.quote, spec.folders)),
        code=shlex.quote(spec.code),
        python=shlex.quote(sys.executable),
    )
    array = [f"--array={_ranges(spec.numbers)}"] if spec.numbers is not None else []
    words = [f"--job-name={spec.name}", "--chdir=/", "--output=/dev/null", "--export=ALL"]
    options = [*spec.resources.options(), *array, *words]
    return sbatch(script, options, spec.held, spec.variables)


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as --array takes them: 0-3,7."""
    parts = []
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        part = [number for _, number in group]
        parts.append(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}")
    return ",".join(parts)


# ---- Inside a job -------------------------------------------------------------------------------


def allocation() -> Allocation | None:
    """Return the job that this process is in; None outside of Slurm."""
    if "SLURM_JOB_ID" not in os.environ and not is_on_slurm():
        return None
    known = os.environ
    job = get_slurm_job_id() if "SLURM_JOB_ID" in known else ""
    _, is_array, index = job.partition("_")
    return Allocation(
        job=job,
        submitted=f"{SUBMITTING}{known.get('SLURM_JOB_NAME', '')}{is_array}{index}",
        rank=int(known["SLURM_PROCID"]) if is_on_slurm() else None,
        total=int(known.get("SLURM_NTASKS", "1")),
        restarts=known.get("SLURM_RESTART_COUNT", "0"),
    )


def is_on_slurm() -> bool:
    """True if this process was started by Slurm."""
    return "SLURM_PROCID" in os.environ


def get_slurm_job_id() -> str:
    """The job id as squeue shows it: `123`, or `123_4` in an array. Raises LaunchError off Slurm."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if array and task:
        return f"{array}_{task}"
    if "SLURM_JOB_ID" not in os.environ:
        raise LaunchError("not in a Slurm job: SLURM_JOB_ID is not set")
    return os.environ["SLURM_JOB_ID"]


def get_slurm_master() -> str:
    """The name of the first host of the job; `localhost` off Slurm."""
    nodes = os.environ.get("SLURM_JOB_NODELIST") or "localhost"
    # The first of each bracket: rack[1-2]n[07,09],login -> rack1n07. Compute nodes need no scontrol for it.
    return re.sub(r"\[([^],-]*)[^]]*\]", r"\1", nodes).partition(",")[0]


def requeue(job: str) -> None:
    """Have the job that this process is in started again. Raises CalledProcessError if Slurm refuses."""
    # Slurm ends the step with TERM, then with KILL: scontrol too, which may not have had its answer yet.
    old = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
    except subprocess.CalledProcessError as problem:
        if problem.returncode >= 0:
            raise
    finally:
        signal.signal(signal.SIGTERM, old)
