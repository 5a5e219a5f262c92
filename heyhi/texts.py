"""Texts that come from anywhere, fit to be shown: on one line, and as UTF-8."""

__all__ = ["as_utf8", "on_one_line"]


def on_one_line(text: str) -> str:
    """The text; with escapes in place of line breaks and control characters, if it has any."""
    return text if text.isprintable() else repr(text)[1:-1]


def as_utf8(text: str) -> str:
    """The text; with escapes for what file systems and JSON may hold and UTF-8 has not: half a character."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
