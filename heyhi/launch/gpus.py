"""The GPUs of this machine: each is one job's at a time, whichever drivers started the jobs.

HEYHI_GPUS=2, or CUDA_VISIBLE_DEVICES=2,3, or `nvidia-smi -L`     which there are
/var/tmp/heyhi-<uid>-<host>/gpu-2.lock                            a claim, held by the job that has it
                            gate.lock                             held by the job that is next

Where that folder is, and why there: `places`.
"""

import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from heyhi.errors import UsageError
from heyhi.runs import claim, places, this_process

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

    Raises UsageError if there are not so many, LaunchError if the place of the locks is not this user's.
    """
    if count == 0:
        yield
        return
    known = names()
    if count > len(known):
        raise UsageError(
            f"{count} GPU{'s are' if count > 1 else ' is'} needed, and this machine has {len(known)}"
        )
    taken = _take(known, count, places.gpu_locks())
    os.environ[_VISIBLE] = ",".join(taken)
    try:
        yield
    finally:
        for lock in taken.values():
            claim.drop(lock)


def _take(known: list[str], count: int, place: Path) -> dict[str, Path]:
    """So many GPUs, each with its lock, which is held.

    One job at a time gathers: two that each have half of what they need would wait for ever.
    """
    gate, old_places = place / "gate.lock", places.of_the_version_before()
    while not _take_lock(gate):
        time.sleep(_PAUSE)
    taken: dict[str, Path] = {}
    try:
        while len(taken) < count:
            for name in known:
                lock = place / f"gpu-{name.replace('/', '_')}.lock"
                if len(taken) < count and name not in taken and _take_free(lock, old_places):
                    taken[name] = lock
            if len(taken) < count:
                time.sleep(_PAUSE)
    except BaseException:
        for lock in taken.values():
            claim.drop(lock)
        raise
    finally:
        claim.drop(gate)
    return {name: taken[name] for name in known if name in taken}


def _take_lock(lock: Path) -> bool:
    if not claim.take(lock, this_process().text):
        return False
    # systemd-tmpfiles, which removes what is old in /var/tmp, leaves files with a sticky bit alone.
    os.fchmod(claim.descriptor(lock), 0o1600)
    return True


def _take_free(lock: Path, old_places: Iterable[Path]) -> bool:
    """Take the lock of a GPU, unless a job of the version before has it, whose lock is elsewhere."""
    if not _take_lock(lock):
        return False
    others = (place / lock.name for place in old_places if place != lock.parent)
    if any(claim.holder(other) is not None for other in others):
        claim.drop(lock)
        return False
    return True
