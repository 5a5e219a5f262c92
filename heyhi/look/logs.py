"""What a run has printed, and what it prints: its run.log as text, followed to the run's end.

What a line looks like is told in `tails`.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from heyhi import runs
from heyhi.files import open_regular
from heyhi.launch import slurm
from heyhi.look.tails import shown, start_of_last
from heyhi.runs import JobId, Run, RunState, Status

__all__ = ["Follower", "Watched"]

_PAUSE = 0.5  # seconds between two looks
_BLOCK = 65_536  # bytes that are read at once
_LONGEST = 1_000_000  # bytes of a line that has not ended

# ---- Following ----------------------------------------------------------------------------------


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
        """What is left, also of a line without an end."""
        yield from self.read()
        yield from self._flush()
        self._close()

    @property
    def rest(self) -> str:
        """How a line looks that has not ended."""
        return shown(self._rest)

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
            yield from map(shown, lines)
            if len(self._rest) > _LONGEST:
                self._rest = self._rest[-_BLOCK:]

    def _flush(self) -> Iterator[str]:
        if self._rest:
            yield shown(self._rest)
        self._rest = b""

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None


class Watched:
    """What a run is, looked at again and again; Slurm is asked seldom."""

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
        if self.state.status is Status.DEAD:
            return before is Status.DEAD
        return self.state.status is Status.DONE

    def wait(self) -> None:
        """Until the next look."""
        self._pause(_PAUSE)

    def _look(self) -> RunState:
        was_claimed, state = self._is_claimed, runs.read_state(self._run)
        self._is_claimed = state.status is Status.RUNNING
        if not slurm.is_of_slurm(state):
            return state
        # What held its claim a moment ago has probably ended.
        if was_claimed or state.job != self._asked or time.monotonic() >= self._next_question:
            self._asked, self._next_question = state.job, time.monotonic() + slurm.PAUSE
            return slurm.read_state(self._run)
        return self.state
