import pytest

from heyhi.texts import as_utf8, on_one_line

TEXTS = {
    "plain": ("a é b", "a é b", "a é b"),
    "line break": ("a\nb", r"a\nb", "a\nb"),
    "escape": ("\x1b[1m", r"\x1b[1m", "\x1b[1m"),
    "half a character": ("a\ud800", r"a\ud800", r"a\ud800"),
    "of a file system": ("a\udcff", r"a\udcff", r"a\udcff"),
}


@pytest.mark.parametrize(("text", "line", "utf8"), TEXTS.values(), ids=TEXTS)
def test_a_text_is_shown_as(text: str, line: str, utf8: str) -> None:
    assert (on_one_line(text), as_utf8(text)) == (line, utf8)
