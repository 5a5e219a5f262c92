"""The claim: the lock that a job holds on its run folder, for as long as its process lives.

    take(path, "local:host:123")     True: it is ours, until `drop` or our end, however we end
    holder(path)                     "local:host:123"; None: nobody has it
    signal_holder(path, 123, SIGINT) to that very process, never to a later one with its number

It is an open file description lock. The kernel gives it to one process of all hosts that share the file
system, and takes it back when that process dies. It can be tested without being taken, so that looking
never disturbs a start; and unlike a POSIX record lock it stays when the process opens and closes the file
once more, as a task does that copies its folder.
"""

import errno
import fcntl
import os
import signal
import struct
from pathlib import Path

from heyhi.errors import LaunchError

__all__ = ["descriptor", "drop", "holder", "is_in_place", "signal_holder", "take"]

# struct flock of 64-bit Linux: type, whence, start, length (0: to the end), pid (always 0).
_FLOCK = "hhqqi4x"
_WRITE_LOCK = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

_held: dict[str, int] = {}  # real path of a lock that this process holds -> its descriptor


def take(path: Path, owner: str) -> bool:
    """Claim it for this process, as `owner`. False if it has one. Raises OSError, LaunchError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        got = _lock(path, descriptor) and _is_still_there(path, descriptor)
        if got:
            os.pwrite(descriptor, f"{owner}\n".encode(), 0)
            os.ftruncate(descriptor, len(owner.encode()) + 1)
            _held[os.path.realpath(path)] = descriptor
            return True
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return False


def _lock(path: Path, descriptor: int) -> bool:
    try:
        _ask_kernel(path, descriptor, fcntl.F_OFD_SETLK)
    except OSError as problem:
        if problem.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def _ask_kernel(path: Path | str, descriptor: int, question: int) -> bytes:
    try:
        return fcntl.fcntl(descriptor, question, _WRITE_LOCK)
    except OSError as problem:
        if problem.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise LaunchError(
                f"{path}: this file system has no locks ({problem.strerror}), so a run could be started "
                "twice; set HH_EXP_DIR to a folder on one that has"
            ) from None
        raise


def _is_still_there(path: Path, descriptor: int) -> bool:
    """Whether the file that was locked is the one that others will find."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False


def drop(path: Path) -> None:
    """Give it back."""
    try:
        os.close(_held.pop(os.path.realpath(path)))
    except OSError:
        pass  # a task may close every descriptor that it finds


def descriptor(path: Path) -> int:
    """The descriptor of a lock that this process holds: who inherits it holds the lock too."""
    return _held[os.path.realpath(path)]


def is_in_place(path: Path) -> bool:
    """Whether the lock that this process holds is the file that others will find."""
    return _is_still_there(path, _held[os.path.realpath(path)])


def holder(path: Path | str) -> str | None:
    """Who holds it, as the owner said; an empty text if that cannot be read. None: nobody."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        answer = _ask_kernel(path, descriptor, fcntl.F_OFD_GETLK)
        if struct.unpack(_FLOCK, answer)[0] == fcntl.F_UNLCK:
            return None
        return os.read(descriptor, 1000).decode(errors="replace").strip()
    finally:
        os.close(descriptor)


def signal_holder(path: Path, pid: int, number: int) -> bool:
    """Send a signal to a process of this machine, if it holds the claim. Raises PermissionError."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # Looked at once the process is pinned: a later one with its number never gets the signal.
        if not _has_open(pid, path):
            return False
        signal.pidfd_send_signal(process, number)
        return True
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        os.close(process)


def _has_open(pid: int, path: Path) -> bool:
    wanted = os.stat(path)
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            if os.path.samestat(os.stat(entry.path), wanted):
                return True
        except FileNotFoundError:
            pass  # closed meanwhile
    return False


def _forget_in_child() -> None:
    # A forked child would hold the claim beyond its parent's death: it closes its copy.
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
