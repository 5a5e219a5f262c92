"""Logs as text, whatever is in them, their ends; and followed whatever becomes of their files."""

import os
from pathlib import Path

import pytest

from heyhi.look.logs import Follower, Watched, as_on_terminal, last_line, log_end, tail
from heyhi.runs import claim
from heyhi.runs.folder import Run
from heyhi.runs.status import Status
from tests.conftest import end_as

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
    assert as_on_terminal(line) == text


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
    assert log_end(log, 3, 1000) == "line 99998\nline 99999\n" + "x" * 497 + "..."
    assert log_end(log, 3, 7) == "xxxx..."


@pytest.mark.parametrize("name", ["absent", "."], ids=["absent", "a folder"])
def test_the_end_of_what_cannot_be_read_is_empty(name: str, tmp_path: Path) -> None:
    assert log_end(tmp_path / name, 5, 100) == ""


# ---- Following ----------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "run.log"


def add(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_what_comes_is_read_once_and_by_lines(log: Path) -> None:
    add(log, "one\ntwo\nthr")
    follower = Follower(log, 1)
    assert (list(follower.read()), follower.rest) == ([], "thr")
    add(log, "ee\nfour")
    assert list(follower.read()) == ["three"]
    assert (list(follower.read()), follower.rest) == ([], "four")
    assert list(follower.close()) == ["four"]


def test_a_log_that_is_not_there_yet_is_waited_for(log: Path) -> None:
    follower = Follower(log, 1)
    assert list(follower.read()) == []
    add(log, "one\ntwo\n")
    assert list(follower.read()) == ["one", "two"], "all of it is new"


def make_anew(log: Path) -> None:
    log.unlink()
    add(log, "anew\n")


def empty(log: Path) -> None:
    os.truncate(log, 0)
    add(log, "anew\n")


@pytest.mark.parametrize("change", [make_anew, empty])
def test_a_log_that_is_begun_anew_is_read_from_its_beginning(log: Path, change: object) -> None:
    add(log, "one\ntwo, which is long\nthree, with")
    follower = Follower(log, None)
    assert list(follower.read()) == ["one", "two, which is long"]
    add(log, "out an end")
    assert callable(change)
    change(log)
    left = ["three, without an end"] if change is make_anew else ["three, with"]
    assert list(follower.read()) == [*left, "anew"]


def test_a_log_that_is_gone_for_a_while_is_kept(log: Path) -> None:
    add(log, "one\n")
    follower = Follower(log, None)
    list(follower.read())
    log.unlink()
    assert list(follower.read()) == []
    add(log, "two\n")
    assert list(follower.close()) == ["two"]


def test_a_line_without_an_end_takes_no_room(log: Path) -> None:
    follower = Follower(log, None)
    add(log, "x" * 3_000_000)
    assert list(follower.read()) == []
    assert len(follower.rest) < 1_100_000


# ---- Until its end ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.DONE, Status.DEAD, Status.UNKNOWN, Status.NOT_STARTED])
def test_a_run_has_ended(run: Run, status: Status) -> None:
    watched = Watched(run)
    end_as(run, status) if status is not Status.NOT_STARTED else None
    looks = [watched.has_ended(), watched.has_ended()]
    expected = {Status.DONE: [True, True], Status.DEAD: [False, True]}
    assert (looks, watched.state.status) == (expected.get(status, [False, False]), status)


def test_a_run_that_is_killed_for_a_restart_has_not_ended(run: Run) -> None:
    watched = Watched(run)
    end_as(run, Status.DEAD)
    assert not watched.has_ended()
    run.jobid.unlink()
    run.error.unlink()
    assert not watched.has_ended()
    end_as(run, Status.DEAD)
    assert not watched.has_ended()
    assert watched.has_ended()


@pytest.fixture
def squeue(processes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A squeue that knows job 5. A line for each time that it was asked."""
    program = tmp_path / "bin" / "squeue"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho x >> {tmp_path}/asked; echo '5|PENDING|Priority|it'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path / "asked"


def test_slurm_is_asked_once_in_ten_seconds(run: Run, squeue: Path) -> None:
    run.jobid.write_text("5")
    watched = Watched(run)
    assert not any(watched.has_ended() for _ in range(10))
    assert (watched.state.status, watched.state.detail) == (Status.QUEUED, "PENDING: Priority")
    assert squeue.read_text() == "x\n"
    run.jobid.write_text("6")
    assert [watched.has_ended(), watched.has_ended()] == [False, True], "another job is asked about at once"
    assert squeue.read_text() == "x\nx\n"


def test_slurm_is_asked_at_once_about_a_job_that_has_just_ended(run: Run, squeue: Path) -> None:
    run.jobid.write_text("5")
    watched = Watched(run)
    watched.has_ended()
    assert claim.take(run.lock, "5")
    try:
        assert (watched.has_ended(), watched.state.status) == (False, Status.RUNNING)
        assert squeue.read_text() == "x\n", "its lock tells that it lives"
    finally:
        claim.drop(run.lock)
    watched.has_ended()
    assert (watched.state.status, squeue.read_text()) == (Status.QUEUED, "x\nx\n")
