"""Logs as text, whatever is in them, and their ends."""

from pathlib import Path

import pytest

from heyhi.look.tails import end, last_line, shown, tail

SHOWN = {
    "text": (b"growing \xc3\xa9\t1\n", "growing é\t1"),
    "a progress bar": (b"\r 10%|#  |\r 20%|## |\r100%|###|\r\n", "100%|###|"),
    "colours": (b"\x1b[1;31mred\x1b[0m \x1b[2K", "red "),
    "a title and a link": (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b", "ab"),
    "a character set": (b"\x1b(B\x1b[ma\x1b)0b", "ab"),
    "rubbish": (b"\x00a\x07\xff\xfe\x7fb\xc2\x9bc", "a��bc"),
    "an escape that never ends": (b"a\x1b", "a"),
    "rubbish before a colour": (b"\x00\x07\x1b[31mred", "red"),
    "a hole": (bytes(1_000_000), ""),
    "nothing": (b"\r\n", ""),
    "HTML is text": (b"<b>\n", "<b>"),
}


@pytest.mark.parametrize(("line", "text"), SHOWN.values(), ids=SHOWN)
def test_a_line_is_shown_as(line: bytes, text: str) -> None:
    assert shown(line) == text


@pytest.mark.parametrize("newline", ["\n", ""], ids=["ended", "not ended"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 9_999, 10_000, 10_001, None])
def test_the_last_lines(tmp_path: Path, count: int | None, newline: str) -> None:
    lines = [f"line {number} " + "x" * (number % 50) for number in range(10_000)]
    path = tmp_path / "run.log"
    path.write_text("\n".join(lines) + newline)
    assert path.stat().st_size > 3 * 65_536, "it is read in several blocks"
    assert list(tail(path, count)) == (lines if count is None else lines[len(lines) - min(count, 10_000) :])


LAST = {"": "", "\n\n": "", "a\nb\n\n": "b", "a\n 1%\r 2%\r": "2%", "x" * 9000 + "\nend": "end"}


@pytest.mark.parametrize(("text", "last"), LAST.items())
def test_the_last_line_with_anything_in_it(tmp_path: Path, text: str, last: str) -> None:
    (tmp_path / "run.log").write_text(text)
    assert last_line(tmp_path / "run.log") == last
    assert last_line(tmp_path / "nothing") == ""


def test_of_the_end_only_so_much_is_taken(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)) + "x" * 501 + "\n\n")
    assert end(log, 3, 1000) == "line 99998\nline 99999\n" + "x" * 500 + "..."
    assert end(log, 3, 7) == "xxxx..."


@pytest.mark.parametrize("name", ["absent", "."], ids=["absent", "a folder"])
def test_the_end_of_what_cannot_be_read_is_empty(name: str, tmp_path: Path) -> None:
    assert end(tmp_path / name, 5, 100) == ""
