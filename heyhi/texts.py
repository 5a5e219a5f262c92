"""Texts that come from anywhere, fit to be shown: as lines, on one line, as a word of a shell, as UTF-8.

    shown("a\\x1b[31m\\n")          a\\x1b[31m    what people read: no control character reaches a terminal
    on_one_line("a\\nb")           a\\nb         the same for a cell, a name
    quoted("a\\x1b b")             $'a\\x1b b'   what a shell reads back as it was

What programs read (a folder, JSON, CSV) is printed as it is.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

__all__ = [
    "NOT_UTF8",
    "TooDeepError",
    "as_utf8",
    "clipped",
    "cut",
    "first_line",
    "from_json",
    "from_json_object",
    "joined",
    "line_of",
    "listed",
    "on_one_line",
    "quoted",
    "shown",
    "some_lines",
    "some_of",
]

#: What is wrong with a file of the project that holds other bytes.
NOT_UTF8 = "not UTF-8 text; save it as UTF-8"

# Control characters (ESC, CR, backspace, C1) but the tab and the line break; what turns the direction of a
# text or breaks a line; halves of characters.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LONGEST_LINE = 1_000  # characters of a mistake


def shown(text: str) -> str:
    """The text as lines to be read by people, with escapes for control characters."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def clipped(text: str) -> str:
    """The text with the middle of long lines cut out: typed input may have any length."""
    return "\n".join(cut(line, _LONGEST_LINE, _LONGEST_LINE // 2) for line in text.split("\n"))


def cut(text: str, most: int = 60, end: int = 0) -> str:
    """At most so many characters of a text: its beginning, `...`, and the last `end` ones."""
    return text if len(text) <= most else f"{text[: most - end - 3]}...{text[len(text) - end :]}"


def some_of(names: Sequence[str], most: int = 12) -> str:
    """Names as a message shows them: the first ones, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names as a sentence has them: `3, 7 and 9`; of many, the first ones and how many more there are."""
    if not 1 < len(names) <= most:
        return some_of(names, most)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def some_lines(lines: Sequence[str], most: int, hint: str = "") -> Iterator[str]:
    """The first lines, and one that counts the others; `hint` says where they are."""
    yield from lines[:most]
    if len(lines) > most:
        yield f"... and {len(lines) - most:,} more{hint}"


def first_line(text: str) -> str:
    """The first line that says anything; empty if none does."""
    return text.strip().partition("\n")[0]


def on_one_line(text: str) -> str:
    """The text; with escapes in place of line breaks and control characters, if it has any."""
    return text if text.isprintable() else repr(text)[1:-1]


def quoted(word: str) -> str:
    """A word of a command line for bash or zsh; what a terminal would obey is written as an escape."""
    if word.isprintable() or not _CONTROL.search(word):
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"$'{_CONTROL.sub(lambda found: _as_bytes(found[0]), escaped)}'"


def _as_bytes(character: str) -> str:
    is_byte = "\udc80" <= character <= "\udcff"  # of a file's name that is no UTF-8
    data = character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in data)


def joined(words: Iterable[str]) -> str:
    """Words as one command line."""
    return " ".join(map(quoted, words))


def as_utf8(text: str) -> str:
    """The text; with escapes for what file systems and JSON may hold and UTF-8 has not: half a character."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def line_of(problem: UnicodeDecodeError) -> int:
    """The line of a file that is no UTF-8 text, counted from 1, in which that shows first."""
    return problem.object.count(b"\n", 0, problem.start) + 1


_DEEPEST = 200  # levels of JSON; a walk may take several frames of Python for each


class TooDeepError(ValueError):
    """JSON that is nested too deeply to be gone through."""

    def __init__(self) -> None:
        super().__init__("nested too deeply")


def from_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError; TooDeepError for many levels."""
    import json  # here: `run.py --print` reads none

    try:
        value = json.loads(text)
    except RecursionError:
        raise TooDeepError from None
    opening = ("[", "{") if isinstance(text, str) else (b"[", b"{")
    if sum(map(text.count, opening)) > _DEEPEST and _is_too_deep(value):  # type: ignore[arg-type]
        raise TooDeepError
    return value


def from_json_object(text: str | bytes) -> dict[str, Any]:
    """Return the members of a JSON object; none for any other text: files may be damaged."""
    try:
        value = from_json(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        inside = [one.values() if isinstance(one, dict) else one for one in level]
        level = [inner for many in inside for inner in many if isinstance(inner, (dict, list))]
        if not level:
            return False
    return True
