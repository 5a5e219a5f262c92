"""The GPUs of this machine: each is one job's at a time, whichever drivers started the jobs.

HEYHI_GPUS=2, or CUDA_VISIBLE_DEVICES=2,3, or `nvidia-smi -L`     which there are
<temporary folder>/heyhi-<user>-<host>/gpu-2.lock                 a claim, held by the job that has it
                                       gate.lock                  held by the job that is next
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heyhi import claim
from heyhi.errors import UsageError
from heyhi.runs import this_host, this_process

__all__ = ["names", "own"]

_PAUSE = 0.2  # seconds between two looks at GPUs that others have
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def names() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    made_up = os.environ.get("HEYHI_GPUS")
    if made_up is not None:
        if not made_up.isdecimal():
            raise UsageError(f"HEYHI_GPUS={made_up}: expected how many GPUs this machine has")
        return [str(number) for number in range(int(made_up))]
    visible = os.environ.get(_VISIBLE)
    if visible is not None:
        return [name for name in map(str.strip, visible.split(",")) if name not in ("", "-1")]
    return [str(number) for number in range(_count_installed())]


def _count_installed() -> int:
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


@contextmanager
def own(count: int) -> Iterator[None]:
    """Wait for so many GPUs, and have them alone; CUDA_VISIBLE_DEVICES names them.

    Raises UsageError if there are not so many.
    """
    if count == 0:
        yield
        return
    known = names()
    if count > len(known):
        raise UsageError(
            f"{count} GPU{'s are' if count > 1 else ' is'} needed, and this machine has {len(known)}"
        )
    taken = _take(known, count)
    os.environ[_VISIBLE] = ",".join(taken)
    try:
        yield
    finally:
        for name in taken:
            claim.drop(_lock(name))


def _take(known: list[str], count: int) -> list[str]:
    """One job at a time gathers: two that each have half of what they need would wait for ever."""
    _wait_for(_place() / "gate.lock")
    taken: list[str] = []
    while len(taken) < count:
        for name in known:
            if len(taken) < count and name not in taken and claim.take(_lock(name), this_process().text):
                taken.append(name)
        if len(taken) < count:
            time.sleep(_PAUSE)
    claim.drop(_place() / "gate.lock")
    return sorted(taken, key=known.index)


def _wait_for(lock: Path) -> None:
    while not claim.take(lock, this_process().text):
        time.sleep(_PAUSE)


def _lock(name: str) -> Path:
    return _place() / f"gpu-{name.replace('/', '_')}.lock"


def _place() -> Path:
    place = Path(tempfile.gettempdir(), f"heyhi-{os.getuid()}-{this_host()}")
    place.mkdir(mode=0o700, exist_ok=True)
    return place
