"""Read and write files in folders that others can write to as well: run folders, the experiment root.

    read(path)               a regular file, whole; never a fifo, a device or a folder of that name
    open_regular(path)       the same as a descriptor, for what is streamed: logs, metrics
    open_itself(path, ...)   the same, never through a link, by any flags: locks, logs that are appended to
    write_whole(path, ...)   beside its place, and moved over: readers see the old file or the new one
    write_new(path, ...)     the same, unless the file is there already
    copy_whole(old, path)    the same with the content of another file, of any size
    sync_folder(path)        let a new name survive a power cut
    sync_all(path)           the same for all that was written to the folder's file system

Anything may lie under any name, put there by a task, a user or another program. To open a fifo waits for
ever, to read /dev/zero fills the memory, and to open some devices has effects: so a file is looked at before
it is opened, and once more after.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "NotAFileError",
    "TooLargeError",
    "copy_whole",
    "is_file",
    "is_there",
    "kind_of",
    "lacks_room",
    "open_itself",
    "open_regular",
    "open_to_append",
    "read",
    "read_object",
    "read_text",
    "read_typed",
    "sync_all",
    "sync_folder",
    "write_new",
    "write_out",
    "write_whole",
]

_LIMIT = "HEYHI_MAX_FILE_MB"
_USUAL_LIMIT = 256.0  # MB of a file that is read whole

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a fifo"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# A file system without hard links says one of these.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


class NotAFileError(OSError):
    """Something else than a regular file has this name; `strerror` says what."""

    def __init__(self, path: str | Path, kind: str) -> None:
        super().__init__(errno.EINVAL, f"is {kind}", str(path))


class TooLargeError(OSError):
    """A file is larger than what is read whole; `strerror` names the setting."""

    def __init__(self, path: str | Path, limit: float) -> None:
        super().__init__(errno.EFBIG, f"is larger than {limit:g} MB; {_LIMIT}=... allows more", str(path))


# ---- Reading ------------------------------------------------------------------------------------


def kind_of(path: str | Path) -> str:
    """The kind of file with this name, links followed: "file", "" for none, or "a fifo", "a folder", ..."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "a link to nothing" if os.path.islink(path) else ""
    except NotADirectoryError:
        return ""
    except ValueError:
        return ""  # a NUL, of a path that somebody has edited: nothing can have this name
    except OSError as problem:
        return "a link to itself" if problem.errno == errno.ELOOP else f"unreadable ({problem.strerror})"
    return _kind(mode)


def is_file(path: str | Path) -> bool:
    """True if a regular file has this name, links followed."""
    return kind_of(path) == "file"


def is_there(path: str | Path) -> bool:
    """Return whether a regular file has this name, links followed. Raises OSError if that cannot be seen."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise


def _kind(mode: int) -> str:
    return "file" if stat.S_ISREG(mode) else next((kind for test, kind in _KINDS if test(mode)), "no file")


def open_regular(path: str | Path) -> int:
    """A descriptor to read a regular file by. Never waits. Raises OSError: NotAFileError for a fifo."""
    _refuse_others(path, os.stat(path).st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return _refuse_open_others(path, descriptor)


def open_to_append(path: str | Path) -> int:
    """A descriptor to append to a file by, which is made if need be; for logs in run folders.

    Never through a link, which may lead to any file, and never waits. Raises OSError; NotAFileError for a
    link or a fifo.
    """
    return open_itself(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def open_itself(path: str | Path, flags: int) -> int:
    """A descriptor of a regular file by these flags. Never through a link, and never waits.

    Raises OSError; NotAFileError for a link or a fifo.
    """
    try:
        _refuse_others(path, os.lstat(path).st_mode)  # to open a fifo waits, and a device may do anything
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    return _refuse_open_others(path, descriptor)


def _refuse_others(path: str | Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotAFileError(path, _kind(mode))


def _refuse_open_others(path: str | Path, descriptor: int) -> int:
    """The descriptor, if it is a regular file's: it may have been replaced between the two calls."""
    try:
        _refuse_others(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read(path: str | Path) -> bytes:
    """The content of a regular file of at most HEYHI_MAX_FILE_MB (256) megabytes.

    Raises OSError; NotAFileError for a fifo and the like, TooLargeError for a larger file.
    """
    descriptor = open_regular(path)
    try:
        limit = _limit()
        if os.fstat(descriptor).st_size > limit * 1e6:
            raise TooLargeError(path, limit)
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            data: bytes = file.read()
        return data
    finally:
        os.close(descriptor)


def _limit() -> float:
    try:
        return float(os.environ.get(_LIMIT) or _USUAL_LIMIT)
    except ValueError:
        return _USUAL_LIMIT


def read_typed(path: str | Path) -> bytes:
    """The content of a file that a user names, of any size: a regular one, or a pipe as `<(...)` makes it.

    Raises OSError; NotAFileError for a folder, a device, and a fifo with a name: it may never have a writer.
    """
    is_open_already = os.path.realpath(path).startswith("/proc/")  # /dev/fd/63, /dev/stdin
    if is_open_already and kind_of(path) == "a fifo":
        return Path(path).read_bytes()
    with open(open_regular(path), "rb") as file:
        return file.read()


def read_text(path: str | Path, errors: str = "strict") -> str:
    """The text of a regular file, as UTF-8. Raises OSError as `read` does, and UnicodeDecodeError."""
    return read(path).decode("utf-8", errors)


def read_object(path: str | Path) -> "dict[str, Any]":
    """Return the members of a file's JSON object; none if there is no such file, or if it is damaged."""
    from heyhi.texts import from_json_object

    try:
        return from_json_object(read_text(path, "surrogateescape"))  # names of files may be no UTF-8
    except (OSError, ValueError):
        return {}


# ---- Writing ------------------------------------------------------------------------------------


def lacks_room(problem: OSError) -> bool:
    """True if an error says that there is no room, on the disk or for this user; others may make some."""
    return problem.errno in (errno.ENOSPC, errno.EDQUOT)


def write_whole(path: Path, text: str | bytes, *, sync: bool = False, mode: int = 0o666) -> None:
    """Write a file beside its place and move it there: readers see the old one or the new one.

    `sync` waits until the content is on the disk; `sync_folder` does that for its name. Raises OSError.
    """
    with _beside(path) as partial:
        _write(partial, text, sync=sync, mode=mode)
        os.replace(partial, path)


def copy_whole(old: Path, path: Path) -> None:
    """Write a copy of a regular file beside its place, and move it there once it is on the disk.

    Raises OSError.
    """
    with open(open_regular(old), "rb", buffering=0) as source, _beside(path) as partial:
        with _created(partial, 0o666) as file:
            while data := source.read(_BLOCK):
                _write_all(file, data)
            os.fsync(file.fileno())
        os.replace(partial, path)


_BLOCK = 1 << 20  # bytes that are copied at once


def write_new(path: Path, text: str | bytes, *, sync: bool = False, mode: int = 0o666) -> bool:
    """Write a file, whole, if it is not there. False if it is: then it stays as it is. Raises OSError."""
    with _beside(path) as partial:
        _write(partial, text, sync=sync, mode=mode)
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        except OSError as problem:
            if problem.errno not in _NO_LINKS:
                raise
            if os.path.lexists(path):
                return False
            os.replace(partial, path)
    return True


def _write(path: Path, text: str | bytes, *, sync: bool, mode: int) -> None:
    with _created(path, mode) as file:
        _write_all(file, _as_bytes(text))
        if sync:
            os.fsync(file.fileno())


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name for a file beside, which is gone in the end. An OSError names the file that the user knows."""
    # Of its own for each writer: other threads, other hosts with processes of our number.
    partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
    try:
        yield partial
    except OSError as problem:
        if problem.filename in (None, partial, str(partial)):
            problem.filename, problem.filename2 = str(path), None
        raise
    finally:
        try:
            os.unlink(partial)
        except OSError:
            pass  # it was moved, or never made


def _created(path: Path, mode: int) -> FileIO:
    # O_EXCL: never through a link that somebody else has put there.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    return open(descriptor, "wb", buffering=0)


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _as_bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def write_out(path: Path, text: str | bytes) -> None:
    """Write a file that a user names: what a link leads to is replaced; a device or a pipe is written to."""
    if path.exists() and not path.is_file():
        path.write_bytes(_as_bytes(text))
    else:
        write_whole(Path(os.path.realpath(path)), text)


def sync_all(path: Path) -> None:
    """Wait until all that was written to the file system of a folder is on the disk. Raises OSError.

    One call for any number of files: a thousand of `fsync` take seconds.
    """
    import ctypes  # Python has no syncfs(2)

    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk. A file system that cannot do that is let be."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
