"""The ends of logs as text."""

from pathlib import Path

import pytest

from heyhi.tails import as_text, tail

TEXTS: dict[str, tuple[bytes, str]] = {
    "plain": (b"one\ntwo\n", "one\ntwo\n"),
    "colours": (b"\x1b[1;31mred\x1b[0m and \x1b]0;title\x07rest", "red and rest"),
    "written over": (b"10%\r20%\r100%\nnext", "100%\nnext"),
    "ends of lines of another system": (b"one\r\ntwo\r\n", "one\ntwo\n"),
    "no UTF-8": (b"caf\xe9 \xff", "caf� �"),
    "control characters": (b"a\x00b\tc", "a�b\tc"),
    "a long line": (b"x" * 501, "x" * 500 + "..."),
    "HTML is text": (b"<b>", "<b>"),
}


@pytest.mark.parametrize(("data", "expected"), TEXTS.values(), ids=TEXTS)
def test_text_is_what_a_terminal_shows(data: bytes, expected: str) -> None:
    assert as_text(data) == expected


def test_only_the_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert tail(log, 2, 100) == "line 99998\nline 99999"
    assert tail(log, 2, 7) == "e 99999"


@pytest.mark.parametrize("name", ["absent", "."], ids=["absent", "a folder"])
def test_what_cannot_be_read_is_empty(name: str, tmp_path: Path) -> None:
    assert tail(tmp_path / name, 5, 100) == ""
