"""The file calls of a forked child: its parent lets each of them pass, fail, or be the child's last.

    child: open("heyhi.json") ─▶ kernel ─▶ parent: decide(Call("openat", "/.../heyhi.json"))
                                             None          it goes on
                                             errno.ENOSPC  the call is not made, and fails so
                                             KILL          the child is killed before the call
                                             TORN          half of its bytes are written, then it is killed

The kernel holds the child at each call (seccomp's user notification): so nothing of the program under test
is replaced, and no call escapes. Calls of other processes that the child starts are let through.
"""

import ctypes
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, NoReturn

__all__ = ["KILL", "TORN", "Call", "Ended", "supervise", "why_not"]

KILL, TORN = -1, -2  # beside the numbers of errno

# name -> number on x86_64, number on aarch64 (None: there is none), what its arguments are:
# p a path, d a folder's descriptor followed by a path, f a descriptor, . anything else.
_CALLS: dict[str, tuple[int | None, int | None, str]] = {
    "read": (0, 63, "f"),
    "write": (1, 64, "f"),
    "open": (2, None, "p"),
    "close": (3, 57, "f"),
    "stat": (4, None, "p"),
    "fstat": (5, 80, "f"),
    "lstat": (6, None, "p"),
    "pread64": (17, 67, "f"),
    "pwrite64": (18, 68, "f"),
    "writev": (20, 66, "f"),
    "access": (21, None, "p"),
    "sendfile": (40, 71, "ff"),
    "fcntl": (72, 25, "f"),
    "flock": (73, 32, "f"),
    "fsync": (74, 82, "f"),
    "fdatasync": (75, 83, "f"),
    "truncate": (76, 45, "p"),
    "ftruncate": (77, 46, "f"),
    "chdir": (80, 49, "p"),
    "rename": (82, None, "pp"),
    "mkdir": (83, None, "p"),
    "rmdir": (84, None, "p"),
    "creat": (85, None, "p"),
    "link": (86, None, "pp"),
    "unlink": (87, None, "p"),
    "symlink": (88, None, ".p"),
    "readlink": (89, None, "p"),
    "chmod": (90, None, "p"),
    "fchmod": (91, 52, "f"),
    "setxattr": (188, 5, "p"),
    "getxattr": (191, 8, "p"),
    "listxattr": (194, 11, "p"),
    "llistxattr": (195, 12, "p"),
    "getdents64": (217, 61, "f"),
    "openat": (257, 56, "d"),
    "mkdirat": (258, 34, "d"),
    "mknodat": (259, 33, "d"),
    "newfstatat": (262, 79, "d"),
    "unlinkat": (263, 35, "d"),
    "renameat": (264, 38, "dd"),
    "linkat": (265, 37, "dd"),
    "symlinkat": (266, 36, ".d"),
    "readlinkat": (267, 78, "d"),
    "fchmodat": (268, 53, "d"),
    "faccessat": (269, 48, "d"),
    "utimensat": (280, 88, "d"),
    "fallocate": (285, 47, "f"),
    "renameat2": (316, 276, "dd"),
    "copy_file_range": (326, 285, "f.f"),
    "statx": (332, 291, "d"),
    "faccessat2": (439, 439, "d"),
}
_MACHINES = {
    "x86_64": (0, 0xC000003E, 317),
    "aarch64": (1, 0xC00000B7, 277),
}  # column, audit's name, seccomp()
_PIDFD_GETFD = 438
_AT_FDCWD = -100
# Of fcntl's questions only these are about a file: F_GETLK to F_SETLKW, and those of open file descriptions.
_LOCKS = frozenset((5, 6, 7, 36, 37, 38))
_WRITES = frozenset(("write", "pwrite64", "sendfile"))
_CHANGES = _WRITES | {
    *("writev", "truncate", "ftruncate", "rename", "mkdir", "rmdir", "creat", "link", "unlink", "symlink"),
    *("chmod", "fchmod", "setxattr", "mkdirat", "mknodat", "unlinkat", "renameat", "linkat", "symlinkat"),
    *("fchmodat", "utimensat", "fallocate", "renameat2", "copy_file_range"),
}

_libc = ctypes.CDLL(None, use_errno=True)


class Call(NamedTuple):
    """A system call on a file: its name, the paths that it is about, and its arguments as numbers."""

    name: str
    paths: tuple[str, ...]
    arguments: tuple[int, ...]

    @property
    def changes(self) -> bool:
        """True if it may leave another content, or another name, behind."""
        if self.name in ("open", "openat"):
            flags = self.arguments[1 if self.name == "open" else 2]
            return bool(flags & (os.O_CREAT | os.O_TRUNC))
        return self.name in _CHANGES

    @property
    def size(self) -> int:
        """The number of bytes that it is to write."""
        if self.name not in _WRITES:
            return 0
        return self.arguments[3 if self.name == "sendfile" else 2]


class Ended(NamedTuple):
    """How a child ended: its exit status, or minus the signal's number; None if it hung and was killed."""

    status: int | None


Decide = Callable[[Call], int | None]


def why_not() -> str:
    """Why calls cannot be held here; empty if they can. Forks: not for a process with threads."""
    if platform.machine() not in _MACHINES:
        return f"the numbers of system calls on {platform.machine()} are not known"
    try:
        ended = supervise(lambda: 7 if os.path.exists("/") else 8, lambda call: None, 10)
    except OSError as problem:
        return f"seccomp's user notification: {problem.strerror}"
    return "" if ended.status == 7 else f"seccomp's user notification does not work: {ended.status}"


def supervise(child: Callable[[], int], decide: Decide, seconds: float) -> Ended:
    """Fork a child, and have `decide` say what becomes of its file calls, until it ends or one has failed.

    Returns once everything that the child has started has ended too. Raises OSError where the kernel cannot
    do it.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _be_the_child(child, theirs)
    theirs.close()
    with ours:
        data, descriptors, _, _ = socket.recv_fds(ours, 100, 1)
    if not descriptors:
        os.waitpid(pid, 0)
        raise OSError(int(data or b"1"), os.strerror(int(data or b"1")))
    return _Supervisor(pid, descriptors[0], decide).follow(seconds)


def _be_the_child(child: Callable[[], int], theirs: socket.socket) -> NoReturn:
    status = 1
    try:
        try:
            listener = _install_filter()
        except OSError as problem:
            theirs.send(str(problem.errno).encode())
            os._exit(1)
        socket.send_fds(theirs, [b"0"], [listener])
        # From here on the parent answers.
        os.close(listener)
        theirs.close()
        status = child()
    finally:
        os._exit(status)


# ---- The filter ---------------------------------------------------------------------------------


def _numbers() -> dict[int, str]:
    column = _MACHINES[platform.machine()][0]
    return {entry[column]: name for name, entry in _CALLS.items() if (entry[column]) is not None}  # type: ignore[misc]


def _install_filter() -> int:
    """Have this process's file calls held; returns the descriptor by which they are answered."""
    _, machine, seccomp = _MACHINES[platform.machine()]
    load_machine, load_number, allow, notify = (0x20, 4), (0x20, 0), (0x06, 0x7FFF0000), (0x06, 0x7FC00000)
    numbers = sorted(_numbers())
    program = [
        struct.pack("HBBI", load_machine[0], 0, 0, load_machine[1]),
        struct.pack("HBBI", 0x15, 1, 0, machine),  # equal: skip one
        struct.pack("HBBI", allow[0], 0, 0, allow[1]),
        struct.pack("HBBI", load_number[0], 0, 0, load_number[1]),
        *(struct.pack("HBBI", 0x15, len(numbers) - i, 0, number) for i, number in enumerate(numbers)),
        struct.pack("HBBI", allow[0], 0, 0, allow[1]),
        struct.pack("HBBI", notify[0], 0, 0, notify[1]),
    ]
    code = ctypes.create_string_buffer(b"".join(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    if _libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS: what a filter without root needs
        raise OSError(ctypes.get_errno(), "prctl")
    listener: int = _libc.syscall(seccomp, 1, 8, header)  # SET_MODE_FILTER, FLAG_NEW_LISTENER
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


# ---- The supervisor -----------------------------------------------------------------------------

_RECEIVE, _SEND, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082104
_GO_ON = 1
_NOTIFICATION = struct.Struct("QIIiIQ6Q")  # id, thread, flags; number, machine, where, arguments
_ANSWER = struct.Struct("QqiI")  # id, value, error, flags


class _Supervisor:
    """Answers the calls of one child."""

    def __init__(self, pid: int, listener: int, decide: Decide) -> None:
        self.pid, self.listener, self.decide = pid, listener, decide
        self.names = _numbers()
        self.has_failed = False  # one call of a child fails, and it is asked about no more
        self.memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        self.process = os.pidfd_open(pid)
        # Since Linux 6.6: the child goes on at once, on this processor.
        with suppress(OSError):
            fcntl.ioctl(listener, _SET_FLAGS, struct.pack("Q", 1))

    def follow(self, seconds: float) -> Ended:
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        end = time.monotonic() + seconds
        hung = False
        try:
            while True:
                events = poll.poll(max(0, (end - time.monotonic()) * 1000))
                if not events:
                    hung = True
                    _end_all(self.pid)
                    end += 5
                elif events[0][1] & select.POLLIN:
                    self._answer()
                else:
                    break  # nobody is left to ask
            _, status = os.waitpid(self.pid, 0)
            return Ended(None if hung else os.waitstatus_to_exitcode(status))
        finally:
            for descriptor in (self.listener, self.memory, self.process):
                os.close(descriptor)

    def _answer(self) -> None:
        notification = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.listener, _RECEIVE, notification)
        except OSError:
            return  # the one who asked was killed
        key, thread, _, number, _, _, *arguments = _NOTIFICATION.unpack(notification)
        fault = None
        if thread == self.pid and not self.has_failed:
            call = self._call(self.names[number], tuple(arguments))
            fault = self.decide(call) if call is not None else None
            if fault == TORN:
                assert call is not None
                self._write_half(call)
            if fault in (TORN, KILL):
                os.kill(self.pid, signal.SIGKILL)
                return
            self.has_failed = fault is not None
        answer = _ANSWER.pack(key, 0, 0, _GO_ON) if fault is None else _ANSWER.pack(key, 0, -fault, 0)
        with suppress(OSError):
            fcntl.ioctl(self.listener, _SEND, bytearray(answer))

    def _call(self, name: str, arguments: tuple[int, ...]) -> Call | None:
        """The call, with its paths; None if it is about no file that has one."""
        if name == "fcntl" and arguments[1] not in _LOCKS:
            return None
        paths = []
        position = 0
        for kind in _CALLS[name][2]:
            if kind == "p":
                paths.append(self._path(_AT_FDCWD, arguments[position]))
            elif kind == "d":
                paths.append(self._path(_signed(arguments[position]), arguments[position + 1]))
                position += 1
            elif kind == "f":
                paths.append(self._opened(_signed(arguments[position])))
            position += 1
        return Call(name, tuple(paths), arguments) if all(path.startswith("/") for path in paths) else None

    def _path(self, folder: int, address: int) -> str:
        text = self._text(address) if address else ""
        if text.startswith("/"):
            return text
        above = os.readlink(f"/proc/{self.pid}/cwd") if folder == _AT_FDCWD else self._opened(folder)
        return f"{above}/{text}" if text else above

    def _text(self, address: int) -> str:
        data = b""
        while b"\0" not in data and len(data) < 4096:  # page by page: the next one may not be there
            data += os.pread(self.memory, 4096 - (address + len(data)) % 4096, address + len(data))
        return os.fsdecode(data.partition(b"\0")[0])

    def _opened(self, descriptor: int) -> str:
        try:
            return os.readlink(f"/proc/{self.pid}/fd/{descriptor}")
        except OSError:
            return ""

    def _write_half(self, call: Call) -> None:
        """Write half of what the child was to write, to the very file that it has open."""
        target = self._copy_of(call.arguments[0])
        try:
            if call.name == "sendfile":
                source = self._copy_of(call.arguments[1])
                half = min(call.size, os.fstat(source).st_size) // 2
                os.sendfile(target, source, None, half)
                os.close(source)
                return
            data = os.pread(self.memory, call.size // 2, call.arguments[1])
            if call.name == "pwrite64":
                os.pwrite(target, data, call.arguments[3])
            else:
                os.write(target, data)
        finally:
            os.close(target)  # a lock on it would outlive the child

    def _copy_of(self, descriptor: int) -> int:
        copy: int = _libc.syscall(_PIDFD_GETFD, self.process, descriptor, 0)
        if copy < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        return copy


def _signed(number: int) -> int:
    return ctypes.c_int(number & 0xFFFFFFFF).value


def _end_all(pid: int) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                one.kill()


if __name__ == "__main__":
    print(why_not(), end="")
