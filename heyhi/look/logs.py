"""Print a run's run.log as text, and follow it to the run's end.

A line is shown as a terminal would show it in the end: what a progress bar wrote over is gone, control
characters are left out, bytes that are no UTF-8 are replaced.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from heyhi import runs
from heyhi.files import open_regular
from heyhi.launch import schedulers
from heyhi.runs import JobId, Run, RunState, Status
from heyhi.texts import cut

__all__ = ["Follower", "Watched", "as_on_terminal", "last_line", "log_end", "start_of_last", "tail"]

_BLOCK = 65_536  # bytes that are read at once
_LONGEST_LINE = 500  # characters, in an end
_LONGEST = 1_000_000  # bytes of a line that has not ended

# What moves a cursor or colours a text, and all other control characters but the tab.
_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[@-Z\\-_])"
    r"|\x1b|[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f]+"  # many at once: a hole in a file is a line of zeros
)


def as_on_terminal(line: bytes) -> str:
    """A line, its end left out, as it looks once it is written."""
    states = [state for state in line.rstrip(b"\r\n").split(b"\r") if state.strip()]
    return _CONTROL.sub("", states[-1].decode(errors="replace")) if states else ""


def tail(path: Path, count: int | None = None) -> Iterator[str]:
    """The last lines of a log, or all. Raises OSError."""
    with open(open_regular(path), "rb") as file:
        if count is not None:
            file.seek(start_of_last(file.fileno(), count))
        for line in file:
            yield as_on_terminal(line)


def start_of_last(descriptor: int, count: int) -> int:
    """The position where the last lines of an open file begin."""
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
    return next(filter(None, (as_on_terminal(line).strip() for line in reversed(_last_block(path)))), "")


def log_end(path: Path, count: int, characters: int) -> str:
    """The last lines of a log, at most so many characters, and 500 of a line; empty if it cannot be read."""
    lines = [as_on_terminal(line) for line in _last_block(path)]
    text = "\n".join(cut(line, _LONGEST_LINE) for line in lines).rstrip()
    return "\n".join(text.split("\n")[-count:])[-characters:]


def _last_block(path: Path) -> list[bytes]:
    """The lines of the last 64 kB; the first may lack its beginning."""
    try:
        with open(open_regular(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _BLOCK))
            return file.read().split(b"\n")
    except OSError:
        return []


# ---- Following ----------------------------------------------------------------------------------


_PAUSE = 0.5  # seconds between two looks


class Follower:
    """Reads what comes to be in a log: one that is not there yet, that is wiped, or made anew."""

    def __init__(self, path: Path, count: int | None) -> None:
        self._path = path
        self._count = count  # lines of what is there at first
        self._file: int | None = None
        self._rest = b""

    def read(self) -> Iterator[str]:
        """The lines that have been ended since the last call."""
        if self._file is not None and self._was_replaced():
            yield from self._ended()
            yield from self._flush()
            self._close()
        if self._file is None:
            self._open()
        yield from self._ended()

    def close(self) -> Iterator[str]:
        """The rest of the text, also of an unfinished line."""
        yield from self.read()
        yield from self._flush()
        self._close()

    @property
    def rest(self) -> str:
        """The present look of an unfinished line."""
        return as_on_terminal(self._rest)

    def _was_replaced(self) -> bool:
        assert self._file is not None, "it is open"
        known = os.fstat(self._file)
        if os.lseek(self._file, 0, os.SEEK_CUR) > known.st_size:
            return True  # emptied
        try:
            return not os.path.samestat(os.stat(self._path), known)
        except OSError:
            return False  # it may come again

    def _open(self) -> None:
        try:
            self._file = open_regular(self._path)
        except OSError:
            self._count = None  # all of what comes to be
            return
        if self._count is not None:
            os.lseek(self._file, start_of_last(self._file, self._count), os.SEEK_SET)
        self._count = None

    def _ended(self) -> Iterator[str]:
        while self._file is not None and (data := os.read(self._file, _BLOCK)):
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from map(as_on_terminal, lines)
            if len(self._rest) > _LONGEST:
                self._rest = self._rest[-_BLOCK:]

    def _flush(self) -> Iterator[str]:
        if self._rest:
            yield as_on_terminal(self._rest)
        self._rest = b""

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None


class Watched:
    """The state of a run, read repeatedly; asks Slurm seldom."""

    def __init__(self, run: Run, pause: Callable[[float], None] = time.sleep) -> None:
        self._run = run
        self._pause = pause
        self._is_claimed = False
        self._asked: JobId | None = None  # the job that Slurm was asked about, which is not asked anew
        self._next_question = 0.0  # before this time
        self.state = RunState(Status.NOT_STARTED)

    def has_ended(self) -> bool:
        """Look. A run is DEAD once it is at two looks: one that is killed for a restart is for a moment."""
        before, self.state = self.state.status, self._look()
        if self.state.status.has_failed:
            return before.has_failed
        return self.state.status is Status.DONE

    def wait(self) -> None:
        """Until the next look."""
        self._pause(_PAUSE)

    def _look(self) -> RunState:
        was_claimed, state = self._is_claimed, runs.read_state(self._run)
        self._is_claimed = state.status is Status.RUNNING
        if not schedulers.needs_queue(state):
            return state
        # What held its claim a moment ago has probably ended.
        if was_claimed or state.job != self._asked or time.monotonic() >= self._next_question:
            self._asked, self._next_question = state.job, time.monotonic() + schedulers.PAUSE
            return schedulers.read_state(self._run)
        return self.state
