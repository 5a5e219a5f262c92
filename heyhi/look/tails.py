"""A log as text, whatever a task has printed: a line as it looks in the end, and the last ones of a file.

A line is shown as a terminal would show it in the end: what a progress bar wrote over is gone, control
characters are left out, bytes that are no UTF-8 are replaced.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from heyhi.files import open_regular

__all__ = ["end", "last_line", "shown", "start_of_last", "tail"]

_BLOCK = 65_536  # bytes that are read at once, from the end
_LONGEST_LINE = 500  # characters, in an end

# What moves a cursor or colours a text, and all other control characters but the tab.
_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[@-Z\\-_])"
    r"|\x1b|[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f]+"  # many at once: a hole in a file is a line of zeros
)


def shown(line: bytes) -> str:
    """A line, its end left out, as it looks once it is written."""
    states = [state for state in line.rstrip(b"\r\n").split(b"\r") if state.strip()]
    return _CONTROL.sub("", states[-1].decode(errors="replace")) if states else ""


def tail(path: Path, count: int | None = None) -> Iterator[str]:
    """The last lines of a log, or all. Raises OSError."""
    with open(open_regular(path), "rb") as file:
        if count is not None:
            file.seek(start_of_last(file.fileno(), count))
        for line in file:
            yield shown(line)


def start_of_last(descriptor: int, count: int) -> int:
    """Where the last lines of an open file begin."""
    if count <= 0:
        return os.fstat(descriptor).st_size
    position = end = os.fstat(descriptor).st_size
    wanted = count
    while position > 0:
        block_start = max(0, position - _BLOCK)
        block = os.pread(descriptor, position - block_start, block_start)
        at = len(block)
        if position == end and block.endswith(b"\n"):
            at -= 1  # it ends the last line, and begins none
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            wanted -= 1
            if wanted == 0:
                return block_start + at + 1
        position = block_start
    return 0


def last_line(path: Path) -> str:
    """The last line of a log with anything in it; empty if there is none, or if it cannot be read."""
    return next(filter(None, (shown(line).strip() for line in reversed(_last_block(path)))), "")


def end(path: Path, count: int, characters: int) -> str:
    """The last lines of a log, at most so many characters, and 500 of a line; empty if it cannot be read."""
    lines = [shown(line) for line in _last_block(path)]
    text = "\n".join(_cut(line) for line in lines).rstrip()
    return "\n".join(text.split("\n")[-count:])[-characters:]


def _last_block(path: Path) -> list[bytes]:
    """The lines of the last 64 kB; the first may lack its beginning."""
    try:
        with open(open_regular(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _BLOCK))
            return file.read().split(b"\n")
    except OSError:
        return []


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."
