import subprocess

import pytest

from heyhi.texts import as_utf8, clipped, from_json, joined, line_of, on_one_line, quoted, shown

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


SHOWN = {
    "a\tb\nc é": "a\tb\nc é",
    "\x1b]0;x\x07\x1b[31m": r"\x1b]0;x\x07\x1b[31m",
    "\x9b31m\r\b\x7f": r"\x9b31m\r\x08\x7f",
    "\u202eabc\u2028\udce9": r"\u202eabc\u2028\udce9",
}


@pytest.mark.parametrize("text", SHOWN)
def test_no_control_character_is_shown(text: str) -> None:
    assert shown(text) == SHOWN[text]


def test_of_a_long_line_its_ends_are_shown() -> None:
    text = clipped(f"a\nerror {'x' * 5_000} the end\nb")
    assert text.startswith("a\nerror xxx")
    assert text.endswith("xxx the end\nb")
    assert len(text) < 1_100


@pytest.mark.processes
@pytest.mark.parametrize("word", ["", "a b", "it's", *SHOWN, "\x1b'\\n\n\x9b1", "é\x1b", "\ufeff\u200fa"])
def test_a_quoted_word_is_what_bash_reads_and_safe_on_a_terminal(word: str) -> None:
    line = f"printf %s {joined([word])}"
    read = subprocess.run(
        ["bash", "-c", line], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    ).stdout
    assert read.decode("utf-8", "surrogateescape") == word
    assert shown(quoted(word)) == quoted(word)


def test_the_line_of_what_is_no_utf_8() -> None:
    with pytest.raises(UnicodeDecodeError) as caught:
        b"a\nb\n\xf6\n".decode()
    assert line_of(caught.value) == 3


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 300 + "1" + "}" * 300, "[" * 300 + "]" * 300, "[", ""]
)
def test_json_that_cannot_be_gone_through_is_a_value_error(text: str) -> None:
    for given in (text, text.encode()):
        with pytest.raises(ValueError, match=r"nested too deeply|Expecting"):
            from_json(given)


def test_json_of_many_brackets_is_not_deep() -> None:
    assert from_json("[" + "[[1]]," * 1_000 + "[]]")[0] == [[1]]
