"""The claim: the lock that a job holds on its run folder, for as long as its process lives.

    take(path, "local:host:123")     True: it is ours, until `drop` or our end, however we end
    take_again(path, ...)            the same once its file was deleted: ours without a gap
    holder(path)                     "local:host:123"; None: no process has it
    is_open_in(path, 123)            whether a process has it open, also once it was deleted
    signal_holder(path, 123, SIGINT) to that very process, never to a later one with its number
    holders_of_deleted()             which processes of this machine hold locks whose files were deleted
    write_note(path, text)           a word that outlives its holder, also on a full disk

It is an open file description lock. The kernel gives it to one process of all hosts that share the file
system, and takes it back when that process dies. It can be tested without being taken, so that looking
never disturbs a start; and unlike a POSIX record lock it stays when the process opens and closes the file
once more, as a task does that copies its folder.

The file has its full size from the first claim on, so that a note needs no new block of the disk:

    0       the owner's text, a newline, spaces           (all that the version before has)
    1024    one note: a line with its length and checksum, the text, spaces; only spaces: there is none
    4096    end
"""

import errno
import fcntl
import hashlib
import os
import re
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from heyhi.errors import LaunchError
from heyhi.files import open_itself, sync_folder

__all__ = [
    "NoLocksError",
    "descriptor",
    "drop",
    "holder",
    "holders_of_deleted",
    "is_in_place",
    "is_open_in",
    "read_note",
    "signal_holder",
    "take",
    "take_again",
    "write_note",
]

# struct flock of 64-bit Linux: type, whence, start, length (0: to the end), pid (always 0).
_FLOCK = "hhqqi4x"
_WRITE_LOCK = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

_OWNER_SIZE, _SIZE = 1024, 4096  # bytes: of the owner's part, of all

_held: dict[str, int] = {}  # real path of a lock that this process holds -> its descriptor


class NoLocksError(LaunchError):
    """The file system of a folder has no locks."""


def take(path: Path, owner: str) -> bool:
    """Claim it for this process, as `owner`. False if any process, this one included, holds it.

    Raises OSError (NotAFileError for a link, a fifo), NoLocksError.
    """
    descriptor = open_itself(path, os.O_RDWR | os.O_CREAT)
    try:
        got = _lock(path, descriptor) and _is_still_there(path, descriptor)
        if got:
            _write_owner(descriptor, owner)
            _held[os.path.realpath(path)] = descriptor
            return True
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return False


def take_again(path: Path, owner: str) -> bool:
    """Claim it for this process, whose lock on it was deleted. False if another process has it by now.

    The deleted one is let go only once the new one is held, and before the new one is written: on a full disk
    that makes the room. A lock without room for its text is held all the same. Raises OSError, NoLocksError.
    """
    descriptor = open_itself(path, os.O_RDWR | os.O_CREAT)
    try:
        got = _lock(path, descriptor) and _is_still_there(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    if not got:
        os.close(descriptor)
        return False
    if _held.get(os.path.realpath(path)) != descriptor:  # the same number, if the task has closed it
        drop(path)
    _held[os.path.realpath(path)] = descriptor
    try:
        _write_owner(descriptor, owner)
        sync_folder(path.parent)
    except OSError:
        pass
    return True


def _write_owner(descriptor: int, owner: str) -> None:
    """Write who has it, and reserve the room of a note. One that is there stays: it may tell of a result."""
    text = f"{owner}\n".encode()
    if len(text) > _OWNER_SIZE:
        raise OSError(errno.ENAMETOOLONG, "too long for the owner of a lock", owner)
    is_new = os.fstat(descriptor).st_size != _SIZE
    _write_at(descriptor, text.ljust(_SIZE if is_new else _OWNER_SIZE), 0)
    if is_new:
        os.ftruncate(descriptor, _SIZE)


def _write_at(descriptor: int, data: bytes, start: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, start)
        data, start = data[written:], start + written


def _lock(path: Path, descriptor: int) -> bool:
    try:
        _ask_kernel(path, descriptor, fcntl.F_OFD_SETLK)
    except OSError as problem:
        # EACCES: another process has it, on some file systems; or this one may not have any.
        if problem.errno == errno.EAGAIN or (problem.errno == errno.EACCES and _is_locked(path, descriptor)):
            return False
        raise
    return True


def _is_locked(path: Path | str, descriptor: int) -> bool:
    answer = _ask_kernel(path, descriptor, fcntl.F_OFD_GETLK)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _ask_kernel(path: Path | str, descriptor: int, question: int) -> bytes:
    try:
        return fcntl.fcntl(descriptor, question, _WRITE_LOCK)
    except OSError as problem:
        if problem.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise NoLocksError(
                f"{path}: this file system has no locks ({problem.strerror}), so a run could be started "
                "twice; set HH_EXP_DIR to a folder on one that has"
            ) from None
        raise


def _is_still_there(path: Path, descriptor: int) -> bool:
    """True if the locked file is still the one at its path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError as problem:
        # EBADF: a task may close every descriptor that it finds.
        if problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EBADF):
            return False
        raise  # what cannot be seen may well be there: that is no lost race


def drop(path: Path) -> None:
    """Give it back, if this process holds it."""
    held = _held.pop(os.path.realpath(path), None)
    try:
        if held is not None and _is_named_like(path, held):
            os.close(held)
    except OSError:
        pass  # a task may close every descriptor that it finds


def _is_named_like(path: Path, descriptor: int) -> bool:
    """Whether a descriptor is of a file of this name, moved or deleted as it may be; not of another one."""
    try:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
    except FileNotFoundError:
        return not os.path.isdir("/proc/self")  # closed; or there is no /proc here
    return name.removesuffix(_DELETED) == path.name or name.startswith(".nfs")


def descriptor(path: Path) -> int:
    """The descriptor of a lock that this process holds: who inherits it holds the lock too."""
    return _held[os.path.realpath(path)]


def is_in_place(path: Path) -> bool:
    """True if the file that this process has locked is still the one at its path."""
    held = _held.get(os.path.realpath(path))
    return held is not None and _is_still_there(path, held)


def holder(path: Path | str) -> str | None:
    """The holder's text; empty if it is not written yet. None if no process holds the lock.

    Raises OSError, NoLocksError.
    """
    try:
        descriptor = open_itself(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not _is_locked(path, descriptor):
            return None
        return os.read(descriptor, 1000).decode(errors="replace").strip()
    finally:
        os.close(descriptor)


# ---- The note -----------------------------------------------------------------------------------

_NOTE = re.compile(rb"heyhi note 1 (\d+) ([0-9a-f]{16})\n")


def write_note(path: Path, text: str) -> None:
    """Leave a text in a lock that this process holds; an empty one takes back what is there.

    It is on the disk when this returns, and needs no room there. Raises OSError, also for a text of more than
    3,000 bytes, and if the lock was deleted.
    """
    descriptor = _held.get(os.path.realpath(path))
    if descriptor is None or not _is_still_there(path, descriptor):
        raise OSError(errno.ESTALE, "the lock is not held any more", str(path))
    data = text.encode("utf-8", "surrogateescape")
    if data:
        data = b"heyhi note 1 %d %s\n%s" % (len(data), _checksum(data), data)
    if len(data) > _SIZE - _OWNER_SIZE:
        raise OSError(errno.EMSGSIZE, "too long for a note", str(path))
    if data or not _is_blank(descriptor):
        start = _OWNER_SIZE
        if os.fstat(descriptor).st_size != _SIZE:  # there was no room for the owner
            data, start = b" " * _OWNER_SIZE + data, 0
        _write_at(descriptor, data.ljust(_SIZE - start), start)
        os.fsync(descriptor)


def _is_blank(descriptor: int) -> bool:
    return not os.pread(descriptor, _SIZE - _OWNER_SIZE, _OWNER_SIZE).strip()


def read_note(path: Path | str) -> str:
    """The note in a lock, held or not; empty if there is none, or only a part of one."""
    try:
        descriptor = open_itself(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        data = os.pread(descriptor, _SIZE - _OWNER_SIZE, _OWNER_SIZE)
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    head = _NOTE.match(data)
    if head is None:
        return ""
    text = data[head.end() : head.end() + int(head[1])]
    is_whole = len(text) == int(head[1]) and _checksum(text) == head[2]
    return text.decode("utf-8", "surrogateescape") if is_whole else ""


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest()[:16].encode()


# ---- Signals ------------------------------------------------------------------------------------


def signal_holder(path: Path, pid: int, number: int) -> bool:
    """Send a signal to a process of this machine, if it holds the claim. Raises PermissionError."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # Looked at once the process is pinned: a later one with its number never gets the signal.
        if not is_open_in(path, pid):
            return False
        signal.pidfd_send_signal(process, number)
        return True
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        os.close(process)


def is_open_in(path: Path, pid: int) -> bool:
    """True if a process has the lock open, or one of its name that was deleted.

    Raises FileNotFoundError if there is no such process, PermissionError if it is another user's.
    """
    try:
        wanted = os.stat(path)
    except FileNotFoundError:
        wanted = None
    deleted = f"{os.path.realpath(path)}{_DELETED}"
    for name in os.listdir(f"/proc/{pid}/fd"):
        path_of_it = f"/proc/{pid}/fd/{name}"
        try:
            if os.readlink(path_of_it) == deleted:
                return True
            if wanted is not None and os.path.samestat(os.stat(path_of_it), wanted):
                return True
        except FileNotFoundError:
            pass  # closed meanwhile
    return False


_DELETED = " (deleted)"  # behind the name of an open file in /proc
_FRESH = 1.0  # seconds for which an answer counts at least: a command asks for thousands of runs
_SHARE = 50  # times as long as a look at all processes took: at most 2 % of the time goes there
_asked: tuple[float, dict[str, int]] | None = None  # until when the last answer counts; only to save time


def holders_of_deleted() -> dict[str, int]:
    """Real paths of locks that were deleted while a process of this machine holds them; the pid of each.

    Of processes that this user may look at.
    """
    global _asked
    start = time.monotonic()
    if _asked is None or start > _asked[0]:
        found = dict(_find_deleted()) if _any_lock_is_held() else {}
        end = time.monotonic()
        _asked = end + max(_FRESH, _SHARE * (end - start)), found
    return _asked[1]


def _any_lock_is_held() -> bool:
    """True if any process of this machine holds a lock of our kind; a cheap look."""
    try:
        with open("/proc/locks", "rb", buffering=0) as file:
            return b" OFDLCK " in file.read()
    except OSError:
        return True


def _find_deleted() -> Iterator[tuple[str, int]]:
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            numbers = os.listdir(f"/proc/{name}/fd")
        except OSError:  # it has ended, or is another user's
            continue
        for number in numbers:
            try:
                path = os.readlink(f"/proc/{name}/fd/{number}")
                if path.endswith(f".lock{_DELETED}") and _holds(name, number):
                    yield path.removesuffix(_DELETED), int(name)
            except OSError:
                pass  # closed meanwhile


def _holds(pid: str, descriptor: str) -> bool:
    """True if a process has locked one of its open files, by /proc/PID/fdinfo."""
    with open(f"/proc/{pid}/fdinfo/{descriptor}", "rb", buffering=0) as file:
        return re.search(rb"^lock:.*\bOFDLCK\b.*\bWRITE\b", file.read(), re.MULTILINE) is not None


def _forget_in_child() -> None:
    # A forked child would hold the claim beyond its parent's death: it closes its copy.
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
