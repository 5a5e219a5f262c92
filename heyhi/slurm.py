"""All that is asked of Slurm: what is in its queue, and cancelling. Nothing else talks to it."""

import shutil
import subprocess

from google.protobuf.message import Message

from heyhi.config import LAUNCHER
from heyhi.errors import LaunchError, UsageError

__all__ = ["ask_queue", "cancel", "refuse_without_slurm", "wants_slurm"]

_TIMEOUT = 30  # seconds after which a squeue that hangs counts as no answer


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
    """Job id -> state of every job of this user, array tasks one by one; None if there is no answer."""
    if shutil.which("squeue") is None:
        return None
    try:
        done = subprocess.run(
            ["squeue", "--me", "--array", "--noheader", "--format=%i %T"],
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    pairs = (line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())
    return dict(pairs)


def cancel(job: str) -> None:
    """Cancel a job. Raises LaunchError if Slurm refuses or is not there."""
    try:
        subprocess.run(["scancel", job], capture_output=True, text=True, check=True)
    except OSError:
        raise LaunchError(f"job {job} cannot be cancelled: no scancel on this machine") from None
    except subprocess.CalledProcessError as problem:
        raise LaunchError(f"job {job} cannot be cancelled: {problem.stderr.strip()}") from None
