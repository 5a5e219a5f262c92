"""Handle Ctrl-C before HeyHi can catch it: a line, status 130, and no traceback.

A program imports for a while before it does anything. This module replaces Python's answer to an uncaught
KeyboardInterrupt, only in HeyHi's programs: run.py, `heyhi`, and Snakemake as `heyhi start` calls it.
"""

import os
import sys
from types import TracebackType

__all__: list[str] = []

_PROGRAMS = ("run.py", "heyhi", "-m")  # -m: while a module is still looked for


def _answer(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _before(kind, problem, trace)
        return
    try:
        print("interrupted", file=sys.stderr, flush=True)
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        pass  # the reader has left
    os._exit(130)


_before = sys.excepthook
_folder, _name = os.path.split(sys.argv[0] if getattr(sys, "argv", None) else "")
if _name in _PROGRAMS or _folder == os.path.dirname(__file__):  # `python -m heyhi.commands`
    sys.excepthook = _answer
