"""During a capture, run.py records its command line and launches nothing.

The variable HEYHI_CAPTURE says that a capture is on. A command that hides it from run.py (`env -i`) cannot
hide run.py's ancestors, so run.py checks their environments too before it launches anything.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from heyhi.errors import UsageError

__all__ = ["VARIABLE", "asks_to_show", "capture_folder", "record"]

VARIABLE = "HEYHI_CAPTURE"
_SHOWS = ("--print", "--help", "--explain")


def asks_to_show(argv: Sequence[str]) -> bool:
    """True if a command line only prints something; a capture runs it, as the script uses the output."""
    return any(word == "-h" or word.startswith(_SHOWS) for word in argv)


def capture_folder() -> Path | None:
    """The file in which this process must record itself; None outside a capture.

    Raises UsageError if the capture that it belongs to is over.
    """
    if folder := os.environ.get(VARIABLE):
        if not Path(folder).is_dir():
            raise UsageError(
                f"{VARIABLE} is set, as in a script that is being captured, and that is over: {folder} is "
                f"gone. `unset {VARIABLE}` to launch from here"
            )
        return Path(folder)
    prefix = f"{VARIABLE}=".encode()
    for environment in _environments_of_ancestors():
        for entry in environment.split(b"\0"):
            if entry.startswith(prefix) and (path := Path(os.fsdecode(entry[len(prefix) :]))).is_dir():
                return path
    return None


def _environments_of_ancestors() -> Iterator[bytes]:
    """The initial environments of this process's ancestors, without those of other users."""
    pid = os.getppid()
    while pid > 1:
        try:
            yield Path(f"/proc/{pid}/environ").read_bytes()
        except PermissionError:
            pass
        except OSError:
            return
        try:
            # pid (name) state ppid: a name may hold anything.
            pid = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            return


def record(argv: Sequence[str], folder: Path) -> None:
    """Write this process's command line down."""
    import json
    import sys
    import time

    content = {
        "time": time.time(),
        "cwd": os.getcwd(),
        "words": [sys.argv[0], *argv],
        "environment": dict(os.environ),
    }
    path = folder / f"run.{os.getpid()}.{time.time_ns()}"
    path.write_text(json.dumps(content))
