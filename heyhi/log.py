"""Logging: set up by a task's program, and the copy of all that a job prints in its run.log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

__all__ = ["also_log_to_file", "copy_output_to", "setup_logging"]

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

    Handlers that were there are removed. `label` is put before the module in each line.
    """
    import logging

    for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        logging.addLevelName(getattr(logging, name), name[0])
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    console = logging.StreamHandler(_CurrentStderr())
    console.setLevel(_level(console_level))
    console.setFormatter(_formatter(label))
    root.addHandler(console)
    root.setLevel(_level(console_level))
    if fpath is not None:
        also_log_to_file(fpath, label, file_level)


def also_log_to_file(fpath: str | Path, label: str | None = None, file_level: int | str = "DEBUG") -> None:
    """Send the root logger to one more file, appending."""
    import logging

    handler = logging.FileHandler(fpath)
    handler.setLevel(_level(file_level))
    handler.setFormatter(_formatter(label))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(min(root.level, handler.level))


def _level(level: int | str) -> int:
    import logging

    if isinstance(level, int):
        return level
    known = {"ERROR": logging.ERROR, "WARN": logging.WARNING, "WARNING": logging.WARNING}
    return known.get(level) or {"INFO": logging.INFO, "DEBUG": logging.DEBUG}[level]


def _formatter(label: str | None) -> Any:
    import logging

    text = f"{label} ".replace("%", "%%") if label else ""
    return logging.Formatter(_FORMAT.format(label=text.replace("{", "{{")), datefmt=_DATE)


class _CurrentStderr:
    """sys.stderr as it is at each line: a job copies it to its log from some moment on."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Copying:
    """A stream that also writes to a log; for all else it is the stream (a debugger works)."""

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        written = self._stream.write(text)
        try:
            self._log.write(text)
        except (OSError, ValueError):
            pass  # a full disk must not end a task that only wanted to print
        return written

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._stream.flush()
        try:
            self._log.flush()
        except (OSError, ValueError):
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def copy_output_to(path: Path) -> Iterator[None]:
    """Append all that Python prints to a file too, line by line."""
    old = sys.stdout, sys.stderr
    log = path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")
    out: Any = _Copying(sys.stdout, log)
    err: Any = _Copying(sys.stderr, log)
    sys.stdout, sys.stderr = out, err
    try:
        yield
    finally:
        sys.stdout, sys.stderr = old
        try:
            log.close()
        except OSError:
            pass  # what could not be written is lost for the log, not for the result
