import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heyhi.runs import processes
from heyhi.runs.processes import Process, lives, this_process


def process_of(pid: int) -> Process:
    """A process of this machine as it would describe itself."""
    start, _ = processes._stat(pid)
    return this_process()._replace(pid=pid, start=start)


@pytest.mark.processes
def test_a_living_process_lives_and_an_ended_one_does_not() -> None:
    child = subprocess.Popen(["sleep", "60"])
    known = process_of(child.pid)
    assert lives(known) is True
    child.kill()
    child.wait()
    assert lives(known) is False


def test_a_later_process_with_its_number_is_another_one() -> None:
    assert lives(this_process()) is True
    assert lives(this_process()._replace(start=this_process().start - 1)) is False


@pytest.mark.processes
def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen(["sleep", "60"])
    known = process_of(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while lives(known) and time.monotonic() < end:
        time.sleep(0.01)
    assert os.path.exists(f"/proc/{child.pid}"), "its parent, which is this one, has not asked how it ended"
    assert lives(known) is False
    child.wait()


@pytest.mark.processes
def test_exec_does_not_make_it_another_process() -> None:
    code = "import os, sys; sys.stdin.read(1); os.execv('/bin/sleep', ['sleep', '60'])"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    known = process_of(child.pid)
    assert child.stdin is not None
    child.stdin.write(b"x")
    child.stdin.close()
    end = time.monotonic() + 10
    while b"sleep\0" not in Path(f"/proc/{child.pid}/cmdline").read_bytes() and time.monotonic() < end:
        time.sleep(0.01)
    assert lives(known) is True
    child.kill()
    child.wait()


ELSEWHERE = {
    "another host": ({"host": "elsewhere"}, None),
    "another host after a new boot": ({"host": "elsewhere", "boot": "1"}, None),
    "a container": ({"namespace": "pid:[1]"}, None),
    "before this machine was started anew": ({"boot": "1"}, False),
    "a container before that": ({"boot": "1", "namespace": "pid:[1]"}, False),
}


@pytest.mark.parametrize(("change", "answer"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_cannot_be_seen_from_here_is_not_known(change: dict[str, str], answer: bool | None) -> None:
    assert lives(this_process()._replace(**change)) is answer  # type: ignore[arg-type]


def test_a_process_is_read_back_from_json() -> None:
    known = this_process()
    assert Process.of(known._asdict()) == known
    damaged: object
    for damaged in (None, 7, [], {}, {**known._asdict(), "pid": "1"}, {**known._asdict(), "start": True}):
        assert Process.of(damaged) is None
