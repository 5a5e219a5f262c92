"""The one line that is shown for a failure: its type, and the first line of its message.

    RuntimeError: CUDA error: device-side assert triggered      line_of(failure)
                                                                error.txt: this line, and an empty one
    Traceback (most recent call last):                          the traceback
      ...
    RuntimeError: CUDA error: device-side assert triggered
    CUDA kernel errors might be asynchronously reported ...     the rest of the message, notes, causes

`line_in` reads the line from such a text, and from a bare traceback, which HeyHi wrote at first.
"""

import re
import traceback
from collections.abc import Iterable
from contextlib import suppress

from heyhi.texts import cut, on_one_line

__all__ = ["has_line", "line_in", "line_of", "show", "shown", "with_traceback"]

_LONGEST = 300  # characters of the line

# Between two exceptions of which one led to the other.
_LINKS = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
_IS_BARE_TYPE = re.compile(r"[\w.<>]+:")
_BEGINS_TRACEBACK = re.compile(r'\s*(\+ Exception Group )?Traceback\b|  File "')


def line_of(failure: BaseException) -> str:
    """The line of an exception, at most 300 characters and `...`."""
    kind = type(failure)
    name = kind.__qualname__
    name = name if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{name}"
    try:
        message = str(failure)
    except BaseException:  # as Python itself says it
        message = "<exception str() failed>"
    first = next((line for line in message.splitlines() if line.strip()), "")
    return shown(f"{name}: {first.strip()}" if first else name)


def with_traceback(line: str, failure: BaseException) -> str:
    """The line, and the traceback below it: the text of an error.txt."""
    try:
        trace = "".join(traceback.format_exception(failure))
    except BaseException as problem:  # of a strange exception; that the run failed is still written
        trace = f"(its traceback cannot be shown: {type(problem).__name__})\n"
    return f"{line}\n\n{trace}"


def show(failure: BaseException) -> None:
    """Print the traceback to stderr, if that can be done."""
    with suppress(Exception):  # the reader has left, or the exception is a strange one; it is on record
        traceback.print_exception(failure)


def line_in(text: str) -> str:
    """The line in the text of an error.txt; empty if it holds none."""
    lines = text.lstrip("\n").splitlines()
    return shown(lines[0] if has_line(text) else _line_in_traceback(lines))


def has_line(text: str) -> bool:
    """True if a text, or the beginning of one, starts with the line of a failure, not with a traceback."""
    first, *rest = [*text.lstrip("\n").split("\n", 3), ""][:3]
    is_bare = _BEGINS_TRACEBACK.match(first) or _IS_BARE_TYPE.fullmatch(first.strip())
    return bool(first) and rest[:1] == [""] and rest[-1] not in _LINKS and not is_bare


def _line_in_traceback(lines: Iterable[str]) -> str:
    """The first line that is no frame, in the part about the exception that came last."""
    found = ""
    for line in lines:
        text = re.sub(r"^  [|+] ", "", line)  # of a group
        if text in _LINKS:
            found = ""
        elif _IS_BARE_TYPE.fullmatch(found):  # a message may begin with an empty line
            found = f"{found} {text.strip()}".strip()
        elif not found and text.strip() and text[0] != " " and not _BEGINS_TRACEBACK.match(line):
            found = text.strip()
    return found


def shown(line: str) -> str:
    """A line fit to be shown: on one line, at most 300 characters."""
    return cut(on_one_line(line[: _LONGEST + 1].strip()), _LONGEST)
