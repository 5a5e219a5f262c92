"""All that is asked of Slurm: what is in its queue, and cancelling. Nothing else talks to it."""

import os
import shutil
import subprocess
from typing import NamedTuple

from google.protobuf.message import Message

from heyhi import runs
from heyhi.errors import LaunchError, UsageError
from heyhi.runs import Run, RunState, Status
from heyhi.views import LAUNCHER

__all__ = [
    "Needs",
    "ask_queue",
    "cancel",
    "is_of_slurm",
    "needs_of",
    "read_state",
    "refuse_without_slurm",
    "wants_slurm",
]

_TIMEOUT = 30  # seconds after which a command that hangs counts as no answer


def wants_slurm(config: Message) -> bool:
    """Whether the task's launcher chooses Slurm; a task without a launcher runs here."""
    field = config.DESCRIPTOR.fields_by_name.get(LAUNCHER)
    if field is None or field.message_type is None or not config.HasField(LAUNCHER):
        return False
    launcher = getattr(config, LAUNCHER)
    return "slurm" in launcher.DESCRIPTOR.fields_by_name and bool(launcher.HasField("slurm"))


def refuse_without_slurm() -> None:
    """Raise UsageError: the run asks for Slurm, and it cannot be had."""
    if shutil.which("sbatch") is None:
        raise UsageError(
            "the launcher asks for Slurm, and there is no sbatch on this machine; "
            "go to a login node of the cluster, or run here with launcher.slurm=NULL"
        )
    raise UsageError(
        "the launcher asks for Slurm, which this release of HeyHi cannot submit to yet; "
        "run here with launcher.slurm=NULL"
    )


def ask_queue() -> dict[str, str] | None:
    """Job id -> state of every job, array tasks one by one; None if there is no answer.

    Of all users: an experiment root may be shared, and a colleague's waiting job is not dead.
    """
    command = ["squeue", "--all", "--array", "--noheader", "--format=%i %T"]
    try:
        answer = _call(command)
    except (OSError, subprocess.SubprocessError):
        return None
    pairs = (line.partition(" ") for line in map(str.strip, answer.splitlines()) if line)
    return {job: state.strip() for job, _, state in pairs}


class Needs(NamedTuple):
    """What one job needs of a cluster, as far as a listing tells it; None: what the partition gives."""

    gpus: int = 0
    hours: int | None = None
    partition: str = ""

    @property
    def gpu_hours(self) -> int | None:
        """GPUs times hours; None if the hours are not limited."""
        return 0 if not self.gpus else None if self.hours is None else self.gpus * self.hours

    def __str__(self) -> str:
        gpus = f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else ""
        hours = f"{self.hours} h" if self.hours is not None else ""
        return ", ".join(part for part in (gpus, hours, self.partition) if part)


def needs_of(config: Message) -> Needs | None:
    """What the launcher of a task's config asks of Slurm; None if it is not Slurm that it asks."""
    if not wants_slurm(config):
        return None
    asked = getattr(config, LAUNCHER).slurm
    known = {field.name: value for field, value in asked.ListFields()}
    return Needs(known.get("num_gpus", 0), known.get("hours"), known.get("partition", ""))


def read_state(run: Run) -> RunState:
    """What a run is now; Slurm is asked only if the run is one of its jobs."""
    state = runs.read_state(run)
    if is_of_slurm(state):
        state = runs.read_state(run, ask_queue())
    return state


def is_of_slurm(state: RunState) -> bool:
    """Whether only Slurm can tell what this run is."""
    return state.status is Status.UNKNOWN and state.job is not None and state.job.local is None


def cancel(job: str) -> None:
    """Cancel a job. Raises LaunchError if Slurm refuses or is not there."""
    try:
        _call(["scancel", job])
    except OSError:
        raise LaunchError(f"job {job} cannot be cancelled: no scancel on this machine") from None
    except subprocess.CalledProcessError as problem:
        raise LaunchError(f"job {job} cannot be cancelled: {problem.stderr.strip()}") from None
    except subprocess.TimeoutExpired:
        raise LaunchError(f"job {job} cannot be cancelled: no answer in {_TIMEOUT} seconds") from None


def _call(command: list[str]) -> str:
    # The user's defaults (SQUEUE_STATES=RUNNING) would hide jobs that are there.
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SCANCEL_"))
    }
    done = subprocess.run(
        command,
        env=plain,
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=_TIMEOUT,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout
