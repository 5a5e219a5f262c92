import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heyhi.files import NotAFileError
from heyhi.launch import job
from heyhi.runs import claim, guard
from heyhi.runs.folder import Run
from heyhi.runs.processes import this_host, this_process
from heyhi.runs.status import Status, read_state
from tests.conftest import Garden


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "heyhi.owner"


def leave_of(path: Path, job: str, **change: object) -> None:
    """A guard as another process would have left it; by default of one that has ended."""
    process = {**this_process()._asdict(), "start": 1, **change}
    path.write_text(json.dumps({"token": "theirs", "job": job, **process}))


def test_one_process_stands_at_a_time_and_leaves_nothing(path: Path) -> None:
    assert guard.stand(path, "local:here:1")
    assert guard.is_ours(path)
    assert not guard.stand(path, "local:here:1"), "this process lives"
    guard.leave(path)
    assert not path.exists()


# Of which process a guard is left -> whether another one may take it over, where its job is not known to have
# ended, and where it is.
LEFT = {
    "ended here": ({}, True, True),
    "lives here": ({"start": this_process().start}, False, False),
    "of another host": ({"host": "elsewhere"}, False, True),
    "of another container": ({"namespace": "pid:[1]"}, False, True),
    "from before a new boot": ({"boot": "1"}, True, True),
}


@pytest.mark.parametrize(("change", "unknown", "ended"), LEFT.values(), ids=LEFT)
def test_only_what_has_surely_ended_is_taken_over(
    path: Path, change: dict[str, object], unknown: bool, ended: bool
) -> None:
    leave_of(path, "it", **change)
    assert guard.stand(path, "mine") is unknown
    guard.leave(path)
    leave_of(path, "it", **change)
    assert guard.stand(path, "mine", ["it"]) is ended


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": 1}', "\ud800"[:0] + "\0"])
def test_what_a_crash_has_left_of_a_guard_is_taken_over(path: Path, text: str) -> None:
    path.write_text(text)
    assert guard.stand(path, "mine")
    guard.leave(path)
    assert not path.exists()


def test_anything_else_of_its_name_is_an_error(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(NotAFileError, match="is a fifo"):
        guard.stand(path, "mine")


def test_a_guard_that_was_replaced_meanwhile_is_noticed(path: Path) -> None:
    assert guard.stand(path, "mine")
    leave_of(path, "theirs")
    assert not guard.is_ours(path)
    guard.leave(path)
    assert path.exists(), "another one's stays"


@pytest.mark.processes
def test_of_many_processes_one_takes_over(path: Path) -> None:
    leave_of(path, "it")
    code = (
        "import sys, time; from pathlib import Path; from heyhi.runs import guard\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(guard.stand(Path(sys.argv[1]), 'it'), flush=True); sys.stdin.readline()"
    )
    several = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    answers = []
    for one in several:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in several:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    for one in several:
        assert one.stdout is not None
        answers.append(one.stdout.readline())
    for one in several:
        one.communicate("\n")
    assert sorted(answers) == ["False\n"] * 7 + ["True\n"]
    assert os.listdir(path.parent) == [path.name], "nothing is left aside"


# ---- With the lock ------------------------------------------------------------------------------


def test_a_lock_that_lies_starts_nothing_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that keeps locks to one host."""
    leave_of(run.owner, "local:elsewhere:1", host="elsewhere")
    with job.claimed(run) as got:
        assert not got
    assert claim.holder(run.lock) is None, "the lock is given back"
    state = read_state(run)
    assert (state.status, state.job and state.job.text) == (Status.UNKNOWN, "local:elsewhere:1")
    assert "it was started on elsewhere" in state.detail


@pytest.mark.processes
def test_a_lock_that_lies_on_this_host_shows_who_lives(run: Run) -> None:
    child = subprocess.Popen(["sleep", "60"])
    from tests.runs.test_processes import process_of

    text = f"local:{this_host()}:{child.pid}"
    run.jobid.write_text(text)
    run.owner.write_text(json.dumps({"token": "theirs", "job": text, **process_of(child.pid)._asdict()}))
    state = read_state(run)
    assert (state.status, state.job and state.job.text) == (Status.RUNNING, text)
    with job.claimed(run, ended=[text]) as got:
        assert not got
    child.kill()
    child.wait()
    assert read_state(run).status is Status.DEAD
    with job.claimed(run) as got:
        assert got
        assert json.loads(run.owner.read_text())["pid"] == os.getpid()
    assert not run.owner.exists()


def test_where_locks_cannot_be_asked_a_result_is_done(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.lock.touch()

    def no_locks(*_: object) -> bytes:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.fcntl", no_locks)
    assert read_state(run).status is Status.UNKNOWN
    assert "has no locks" in read_state(run).detail
    assert "delete" not in read_state(run).detail
    run.jobid.write_text(f"local:{this_host()}:1")
    run.result.write_text("1")
    assert read_state(run).status is Status.DONE


def test_a_run_of_another_host_is_settled_by_the_users_word(garden: Garden) -> None:
    words = ("-c", "conf/beds/carrot.prototxt", "fail=raise")
    assert garden(*words).status == 1
    folder = garden.folder(*words)
    (folder / "error.txt").unlink()
    (folder / "heyhi.jobid").write_text("local:elsewhere:1")
    leave_of(folder / "heyhi.owner", "local:elsewhere:1", host="elsewhere")
    told = garden(*words, "--mode", "start_restart")
    assert (told.status, garden.executions()) == (1, 1)
    assert f"once it has surely ended, say so: heyhi kill p/beds/carrot/{folder.name}" in told.err
    shown = garden.python("-m", "heyhi.commands", "kill", folder.name)
    assert shown.status == 1
    assert "its job: local:elsewhere:1" in shown.out
    assert "it last wrote to run.log at " in shown.out
    assert "UNKNOWN" in garden(*words, "--mode", "dryrun").err, "it was only shown"
    assert garden.python("-m", "heyhi.commands", "kill", folder.name, "--force").status == 0
    dead = garden(*words)
    assert "DEAD" in dead.err
    assert "has ended, as " in dead.err
    assert garden(*words, "--mode", "start_continue").status == 1, "it fails once more"
    assert garden.executions() == 2
