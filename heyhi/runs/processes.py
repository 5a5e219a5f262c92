"""Identify a process on its machine, so that a later one with the same number differs.

    this_process()        Process(host, boot, namespace, pid, start)
    lives(process)        True, False (it has ended, as far as the kernel knows), None: not known from here

A number is given again once its process has ended, and a boot or a container counts from 1. So a process is
known by the boot of its machine, the namespace in which it has its number, and its start time, which is in
/proc/PID/stat (proc(5), field 22, in clock ticks since the boot). `exec` changes none of them.
"""

import os
from functools import cache
from typing import Any, NamedTuple

__all__ = ["Process", "lives", "this_host", "this_process"]


class Process(NamedTuple):
    """A process of some machine."""

    host: str
    boot: str
    namespace: str
    pid: int
    start: int

    @classmethod
    def of(cls, content: Any) -> "Process | None":
        """The process that a dict of JSON describes; None if it describes none."""
        kinds = cls.__annotations__
        if not isinstance(content, dict) or any(type(content.get(name)) is not kinds[name] for name in kinds):
            return None
        return cls(**{name: content[name] for name in kinds})


def this_host() -> str:
    """The name of this machine."""
    return os.uname().nodename


@cache
def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id").decode().strip()


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def this_process() -> Process:
    """This very process."""
    start, _ = _stat(os.getpid())
    return Process(this_host(), _boot(), _namespace(), os.getpid(), start)


def lives(process: Process) -> bool | None:
    """True if a process is alive. None if it is on another host or in another namespace."""
    if process.host != this_host():
        return None
    if process.boot != _boot():
        return False  # this machine was started anew since
    if process.namespace != _namespace():
        return None
    try:
        start, state = _stat(process.pid)
    except (OSError, ValueError):
        return None if _is_hidden(process.pid) else False
    # A zombie has ended; its parent has not asked yet how.
    return start == process.start and state not in "ZX"


def _is_hidden(pid: int) -> bool:
    """True if a process exists that this user may not see (a /proc mounted with hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _stat(pid: int) -> tuple[int, str]:
    """The start time of a process in clock ticks, and its state, a letter. Raises OSError, ValueError."""
    # pid (name) state ppid ...: a name may hold anything.
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) < 20:
        raise ValueError(f"/proc/{pid}/stat: unknown format")
    return int(fields[19]), fields[0].decode()


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        data: bytes = file.read()
    return data
