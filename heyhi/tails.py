"""The last lines of a log, as a terminal would leave them: text, whatever bytes a task has printed."""

import os
import re
from pathlib import Path

__all__ = ["as_text", "tail"]

_BYTES = 64_000  # of the end of a file that are read
_LONGEST_LINE = 500
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_]|[()].)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def tail(path: Path, lines: int, characters: int) -> str:
    """The last lines of a file, at most so many characters; empty if there is none, or it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _BYTES))
            data = file.read()
    except OSError:
        return ""
    return "\n".join(as_text(data).rstrip().split("\n")[-lines:])[-characters:]


def as_text(data: bytes) -> str:
    """What a terminal shows: no escape sequences, and of a line written over the last state."""
    text = _ESCAPE.sub("", data.decode("utf-8", "replace").replace("\r\n", "\n"))
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    states = [state for state in line.split("\r") if state]
    shown = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", states[-1]) if states else ""
    return shown if len(shown) <= _LONGEST_LINE else f"{shown[:_LONGEST_LINE]}..."
