"""Write to a disk that may be full: try again until there is room, for as long as a setting says.

no room ─▶ said once ─▶ tried again every some seconds ─▶ written
                            └─ HEYHI_WAIT_FOR_ROOM is over, or a signal asks the process to end ─▶ OSError
"""

import errno
import math
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from heyhi.files import lacks_room

__all__ = ["SETTING", "noted_signals", "patience", "write_patiently"]

#: The variable that says how many seconds a job waits for room.
SETTING = "HEYHI_WAIT_FOR_ROOM"
_USUAL = 600.0  # seconds

_PAUSE = 5.0  # seconds between two tries, at most
_GLANCE = 0.1  # seconds between two looks at whether a signal has come


def patience() -> float:
    """The number of seconds to wait for room."""
    try:
        seconds = float(os.environ.get(SETTING) or _USUAL)
    except ValueError:
        return _USUAL
    return _USUAL if math.isnan(seconds) else max(0.0, seconds)


def write_patiently(
    write: Callable[[], None],
    folder: Path,
    size: int,
    asked: Collection[int],
    say: Callable[[OSError, float], None],
) -> None:
    """Call `write`, which puts so many bytes into a folder, again and again as long as there is no room.

    `asked` has the signals that have come: as soon as there is one, it is not tried again. `say` is called
    once it waits, with the error and for how many seconds. Raises OSError, the last one.
    """
    seconds = patience()
    end = time.monotonic() + seconds
    told = False
    while True:
        try:
            return write()
        except OSError as problem:
            if asked or not lacks_room(problem) or time.monotonic() >= end:
                raise
            if not told:
                say(problem, seconds)
                told = True
            _await_room(folder, size, problem, end, min(_PAUSE, seconds / 10), asked)
            if asked:
                raise


def _await_room(
    folder: Path, size: int, problem: OSError, end: float, pause: float, asked: Collection[int]
) -> None:
    """Return when it is worth a try, at the end, or when a signal has come."""
    while True:
        next_look = min(time.monotonic() + pause, end)
        while (left := next_look - time.monotonic()) > 0 and not asked:
            time.sleep(min(left, _GLANCE))
        # A large result that was tried each time would take the room of all others while it is written.
        if asked or time.monotonic() >= end or problem.errno == errno.EDQUOT or _may_have_room(folder, size):
            return


def _may_have_room(folder: Path, size: int) -> bool:
    try:
        known = os.statvfs(folder)
    except OSError:
        return True
    return known.f_blocks == 0 or known.f_bfree * known.f_frsize >= size


@contextmanager
def noted_signals(came: list[int], *numbers: int) -> Iterator[None]:
    """Let these signals end nothing: they are noted in `came`, in the order in which they come.

    Signals that the process was started to ignore (nohup) stay ignored, but for SIGTERM. In another thread
    than the main one, signals are as they were.
    """

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)

    replaced = {}
    try:
        for number in numbers:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN or number not in (signal.SIGINT, signal.SIGHUP):
                replaced[number] = signal.signal(number, note)
    except ValueError:
        pass
    try:
        yield
    finally:
        for number, handler in replaced.items():
            if handler is not None:  # else it is none of Python's
                signal.signal(number, handler)
