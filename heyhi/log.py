"""Logging: set up by a task's program, and the copy of all that a job prints in its run.log."""

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from heyhi.texts import clipped, shown

__all__ = [
    "also_log_to_file",
    "copy_output_to",
    "have_streams",
    "say",
    "say_error",
    "send_output_to",
    "setup_logging",
    "show",
]

_FORMAT = "%(levelname)s%(asctime)s [{label}%(module)s:%(lineno)d] %(message)s"
_DATE = "%m%d %H:%M:%S"


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


def have_streams() -> None:
    """Let stdout and stderr take any text: what they cannot write is escaped; a closed one swallows it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", errors="backslashreplace"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # names of files may be no UTF-8


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


def also_log_to_file(fpath: str | Path, label: str | None = None, file_level: int | str = "DEBUG") -> None:
    """Send the root logger to one more file, appending."""
    import logging

    _add(logging.FileHandler(fpath, encoding="utf-8", errors="backslashreplace"), file_level, label)


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
def copy_output_to(path: Path) -> Iterator[None]:
    """Append all that Python prints to a file too, line by line, of all threads and forked processes.

    What other programs print, started by a task, goes where the job's own output goes, and not to
    the file: to catch it, a pipe or a terminal of our own would have to stand in for the real one, and
    a debugger and progress bars would no longer meet a terminal. Who starts a job without one can do
    better, and open the file as the job's output: then all is in it, and nothing is written twice.
    """
    old = sys.stdout, sys.stderr
    log = path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")
    try:
        sys.stdout, sys.stderr = (_copying(stream, log) for stream in old)
        yield
    finally:
        sys.stdout, sys.stderr = old
        try:
            log.close()
        except OSError:
            pass  # what could not be written is lost for the log, not for the result


@contextmanager
def send_output_to(path: Path) -> Iterator[None]:
    """Append all that this process and its children print to a file, and to nothing else: for a batch."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    saved = [os.dup(number) for number in (1, 2)]
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                pass  # a full disk: the log is cut, the result is not
        for number, old in zip((1, 2), saved, strict=True):
            os.dup2(old, number)
            os.close(old)


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
