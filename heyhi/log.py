"""Logging: set up by a task's program, and the copy of all that a job prints in its run.log."""

import errno
import io
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from heyhi.errors import HeyhiError
from heyhi.files import lacks_room, open_to_append
from heyhi.texts import clipped, on_one_line, shown

__all__ = [
    "Losses",
    "also_log_to_file",
    "ask",
    "copy_output_to",
    "prepare_streams",
    "say",
    "say_error",
    "say_problem",
    "says_what_is_lost",
    "send_output_to",
    "setup_logging",
    "show",
    "warn",
]

_FORMAT = "%(levelname)s%(asctime)s [{label}%(module)s:%(lineno)d] %(message)s"
_DATE = "%m%d %H:%M:%S"
_PACKAGE = os.path.join(os.path.dirname(__file__), "")


def setup_logging(
    *,
    console_level: int | str = "INFO",
    fpath: str | Path | None = None,
    file_level: int | str = "DEBUG",
    label: str | None = None,
) -> None:
    """Send the root logger to stderr, and to the file `fpath` if given, with one-letter level names.

    Handlers that were there are closed. `label` is put before the module in each line. Levels are
    numbers or names; raises ValueError for another name.
    """
    import logging

    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    console = logging.StreamHandler(_CurrentStderr())
    root.setLevel(console_level)
    _add(console, console_level, label)
    if fpath is not None:
        also_log_to_file(fpath, label, file_level)


def prepare_streams() -> None:
    """Let stdout and stderr take any text: what they cannot write is escaped; a closed one swallows it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", errors="backslashreplace"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # names of files may be no UTF-8


def _is_of_stdout(problem: OSError) -> bool:
    """True if stdout takes no more, as on a full disk; HeyHi then gives up the rest of its output."""
    try:
        sys.stdout.flush()
        # One without a buffer has nothing left. The files that we write ourselves are named in their errors.
        fails = problem.filename is None and lacks_room(problem)
    except OSError:
        fails = True
    except ValueError:
        fails = False  # it is closed
    if fails:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (Python flushes the old one no more)
    return fails


def show(text: str) -> None:
    """Print an answer for people to stdout, without what a terminal would obey."""
    print(shown(text))


def say_error(problem: object) -> None:
    """Tell the user what is wrong, on stderr: `error: ...`, of any length of what was typed."""
    say(f"error: {clipped(str(problem))}")


def say(text: str) -> None:
    """Tell the user something, on stderr, without what a terminal would obey; that it fails stops nothing."""
    try:
        print(shown(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


def warn(text: str) -> None:
    """Warn of something that a Python program asked for; the warning shows its line, not one of HeyHi's."""
    import warnings

    level, frame = 1, sys._getframe()
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


def say_problem(problem: BaseException, program: str = "") -> int:
    """Tell the user what has ended a command, in one line; return the exit status. Raises what is a bug.

    For an error of the system that names no file, the line names `program`.
    """
    if isinstance(problem, HeyhiError):
        say_error(problem)
        return problem.exit_status
    if isinstance(problem, KeyboardInterrupt):
        say("interrupted")
        return 130
    if not isinstance(problem, OSError):
        raise problem
    name = "stdout" if _is_of_stdout(problem) else problem.filename or program
    where = os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else str(name)
    say_error(f"{on_one_line(where)}{where and ': '}{problem.strerror or problem}")
    return 1


def ask(question: str, end: str = " ") -> bool | None:
    """Ask the user, on stderr; returns True for yes, None where no terminal can answer."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    print(f"{shown(question)} [y/N]", end=end, file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def also_log_to_file(fpath: str | Path, label: str | None = None, file_level: int | str = "DEBUG") -> None:
    """Send the root logger to one more file, appending."""
    import logging

    class FileHandler(logging.FileHandler):
        """A handler that accepts lines also on a full disk, and prints no traceback for each."""

        def _open(self) -> io.TextIOWrapper:
            number = os.open(self.baseFilename, _APPEND, 0o666)
            return _text_to(_Sink(number, Losses(), self.baseFilename, closefd=True))

    _add(FileHandler(fpath), file_level, label)


def _add(handler: Any, level: int | str, label: str | None) -> None:
    import logging

    for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        logging.addLevelName(getattr(logging, name), name[0])
    text = f"{label} ".replace("%", "%%") if label else ""
    handler.setFormatter(logging.Formatter(_FORMAT.format(label=text), datefmt=_DATE))
    handler.setLevel(level)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(min(root.level, handler.level))


class _CurrentStderr:
    """sys.stderr as it is at each line: a job copies it to its log from some moment on."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


# ---- The copy -----------------------------------------------------------------------------------


@contextmanager
def copy_output_to(path: Path) -> Iterator["Losses"]:
    """Append all that Python prints to a file too, line by line, of all threads and forked processes.

    What other programs print, started by a task, goes where the job's own output goes, and not to
    the file: to catch it, a pipe or a terminal of our own would have to stand in for the real one, and
    a debugger and progress bars would no longer meet a terminal. Who starts a job without one can do
    better, and open the file as the job's output: then all is in it, and nothing is written twice.
    """
    old = sys.stdout, sys.stderr
    losses = Losses()
    log = _text_to(_Sink(open_to_append(path), losses, str(path), closefd=True))
    try:
        sys.stdout, sys.stderr = (_copying(stream, log) for stream in old)
        yield losses
    finally:
        sys.stdout, sys.stderr = old
        log.close()
        _say_what_is_lost(path, losses)


@contextmanager
def send_output_to(path: Path) -> Iterator["Losses"]:
    """Append all that this process and its children print to a file, and to nothing else: for a batch."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    saved = [os.dup(number) for number in (1, 2)]
    log = open_to_append(path)
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)
    old = sys.stdout, sys.stderr
    for stream in old:
        if isinstance(stream, io.TextIOWrapper):  # the task may have kept it, in a handler of logging
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    losses = Losses()
    ours = [_text_to(_Sink(number, losses, name)) for number, name in ((1, "<stdout>"), (2, "<stderr>"))]
    sys.stdout, sys.stderr = ours
    try:
        yield losses
    finally:
        for stream in (*ours, *old):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass  # a full disk: the log is cut, the result is not
        losses.tell(1)
        sys.stdout, sys.stderr = old
        for number, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        _say_what_is_lost(path, losses)


_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


def _say_what_is_lost(path: Path, losses: "Losses") -> None:
    if losses.lines:
        say(f"{path}: {losses.text}")


def says_what_is_lost(line: str) -> bool:
    """True if a line on stderr says how many lines a job's log could not take."""
    return _LOST.search(line) is not None


_LOST = re.compile(r": \d+ lines? of this log (was|were) lost: ")


class Losses:
    """The lines that a log could not take, as its disk was full or failed."""

    def __init__(self) -> None:
        self.lines = 0
        self._untold = 0
        self._why = ""
        self._is_cut = False  # the last line that was written lacks its end
        self._lock = threading.RLock()  # a signal's handler may print in the middle of a print

    @property
    def text(self) -> str:
        """The number of lost lines, and the reason."""
        return _lost(self.lines, self._why)

    def write(self, number: int, data: bytes) -> None:
        """Write to the log, a descriptor, all that there is room for; what was lost before is said first."""
        with self._lock:
            rest = memoryview(data)
            try:
                self._tell(number)
                while rest:
                    rest = rest[os.write(number, rest) :]
            except OSError as problem:
                written = len(data) - len(rest)
                count = data.count(b"\n", written) or 1
                self.lines += count
                self._untold += count
                self._why = problem.strerror or str(problem)
                self._is_cut = self._is_cut or (written > 0 and data[written - 1 : written] != b"\n")

    def tell(self, number: int) -> None:
        """Say in the log what was lost since the last time, if there is room for that."""
        with self._lock:
            try:
                self._tell(number)
            except OSError:
                pass

    def _tell(self, number: int) -> None:
        if not self._untold:
            return
        told = f"{chr(10) * self._is_cut}heyhi: {_lost(self._untold, self._why)}\n".encode()
        written = os.write(number, told)
        self._is_cut = written < len(told)
        if self._is_cut:
            raise OSError(errno.ENOSPC, self._why)
        self._untold = 0


def _lost(lines: int, why: str) -> str:
    return f"{lines} line{'s' if lines > 1 else ''} of this log {'were' if lines > 1 else 'was'} lost: {why}"


class _Sink(io.BufferedIOBase):
    """A file that takes whatever is written: what does not fit is counted, and no error of the print.

    Without a buffer: a signal's handler may print while it writes.
    """

    def __init__(self, number: int, losses: Losses, name: str, *, closefd: bool = False) -> None:
        self.name = name
        self._number = number
        self._losses = losses
        self._closefd = closefd

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        whole = bytes(data)
        self._losses.write(self._number, whole)
        return len(whole)

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._closefd:
                self._losses.tell(self._number)
                os.close(self._number)


def _text_to(sink: _Sink) -> io.TextIOWrapper:
    return io.TextIOWrapper(sink, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _copying(stream: TextIO | None, log: TextIO) -> Any:
    if stream is None:  # the program was started without one
        return log
    return stream if _are_one_file(stream, log) else _Copying(stream, log)


def _are_one_file(stream: TextIO, log: TextIO) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.fstat(log.fileno()))
    except (OSError, ValueError, AttributeError):
        return False  # no file at all


class _Copying:
    """A stream that also writes to a log; for all else it is the stream (a debugger works)."""

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        # A full disk, or a terminal that is gone, must not end a task that only wanted to print.
        for stream in (self._stream, self._log):
            try:
                stream.write(text)
            except (OSError, ValueError):
                pass
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        for stream in (self._stream, self._log):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
