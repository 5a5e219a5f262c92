import json
import os
import threading
from pathlib import Path

import pytest

from heyhi import files
from heyhi.runs import deaths
from heyhi.runs.folder import Run, execution_of
from heyhi.runs.ids import JobId
from heyhi.runs.status import RunState, Status

JOB = JobId("local:here:7")
OTHER = JobId("local:here:8")


@pytest.fixture
def dead(run: Run) -> Run:
    """A run that was started twice by its job, the second time with an id of its own."""
    run.jobid.write_text(JOB.text)
    starts = [{"job": JOB.text, "started": "2025-01-01"}, {"job": JOB.text, "id": "00112233445566ff"}]
    run.provenance.write_text(json.dumps({"id": run.id, "starts": starts}))
    return run


def names(run: Run) -> list[str]:
    return sorted(path.name for path in run.folder.iterdir())


def test_the_first_to_say_what_a_run_died_of_is_believed(dead: Run) -> None:
    before = names(dead)
    path = deaths.record(dead, JOB, "Slurm: TIMEOUT", "squeue")
    assert path == dead.folder / "ended.00112233445566ff.json"
    assert deaths.record(dead, JOB, "something else", "its driver", -9) is None
    assert deaths.cause(dead) == deaths.why(dead, RunState(Status.DEAD, JOB)) == "Slurm: TIMEOUT"
    assert names(dead) == sorted([path.name, *before]), "nothing else is changed"
    known = json.loads(path.read_text())
    assert {**known, "time": ""} == {"job": JOB.text, "reason": "Slurm: TIMEOUT", "by": "squeue", "time": ""}


def test_of_many_at_once_one_is_the_first(dead: Run) -> None:
    made: list[Path | None] = []
    threads = [
        threading.Thread(target=lambda n=n: made.append(deaths.record(dead, JOB, f"reason {n}", "somebody")))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) - made.count(None) == 1
    assert deaths.cause(dead).startswith("reason ")
    assert not list(dead.folder.glob(".*")), "nothing is left beside it"


def test_what_the_job_wrote_down_itself_wins(dead: Run) -> None:
    deaths.record(dead, JOB, "Slurm: FAILED", "squeue")
    dead.error.write_text("ValueError: too dry\n\nTraceback (most recent call last):\n")
    assert deaths.cause(dead) == "ValueError: too dry"
    dead.folder.joinpath("ended.00112233445566ff.json").unlink()
    assert deaths.record(dead, JOB, "Slurm: FAILED", "squeue") is None
    assert "ended.00112233445566ff.json" not in names(dead)


def test_the_line_of_an_error_is_found_however_long_the_rest_is(dead: Run) -> None:
    frames = '  File "a.py", line 1, in f\n' * 100_000
    dead.error.write_text(f"Traceback (most recent call last):\n{frames}ValueError: too dry\nat all\n")
    assert deaths.last_error(dead) == "ValueError: too dry"
    dead.error.write_text("ValueError: too dry\n\nTraceback (most recent call last):\n")
    os.truncate(dead.error, 10**9)
    assert deaths.last_error(dead) == "ValueError: too dry"


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to nothing"])
def test_an_error_that_is_no_file_is_none(dead: Run, kind: str) -> None:
    {"fifo": os.mkfifo, "folder": os.mkdir, "link to nothing": lambda path: os.symlink("x", path)}[kind](
        dead.error
    )
    assert deaths.cause(dead) == ""


@pytest.mark.parametrize("line", ["ended by SIGTERM", "ended by SIGHUP"])
def test_of_a_job_that_knows_no_more_than_a_signal_it_is_said_who_sent_it(dead: Run, line: str) -> None:
    dead.error.write_text(f"{line}\n\nTraceback (most recent call last):\n")
    assert deaths.cause(dead) == line
    assert deaths.record(dead, JOB, "Slurm: TIMEOUT", "squeue")
    assert deaths.cause(dead) == f"{line} (Slurm: TIMEOUT)"


def test_a_record_is_of_one_execution(dead: Run) -> None:
    deaths.record(dead, JOB, "Slurm: TIMEOUT", "squeue")
    known = json.loads(dead.provenance.read_text())
    known["starts"].append({"job": JOB.text, "id": "f" * 16})
    dead.provenance.write_text(json.dumps(known))
    assert deaths.cause(dead) == ""
    assert deaths.why(dead, RunState(Status.DEAD, JOB)) == "it left no error"
    assert deaths.why(dead, RunState(Status.DEAD, JOB, "Slurm: gone")) == "Slurm: gone"
    assert deaths.record(dead, JOB, "ended by SIGSEGV", "its driver"), "it is another one"


def test_nothing_is_recorded_of_a_job_that_the_run_is_no_longer_in_the_hands_of(dead: Run) -> None:
    assert deaths.record(dead, OTHER, "Slurm: TIMEOUT", "squeue") is None
    dead.jobid.unlink()
    assert deaths.record(dead, JOB, "Slurm: TIMEOUT", "squeue") is None
    assert not list(dead.folder.glob("ended.*"))
    nowhere = dead._replace(folder=dead.folder / "deleted")
    assert deaths.record(nowhere, JOB, "Slurm: TIMEOUT", "squeue") is None
    assert not nowhere.folder.exists()


def test_what_was_recorded_before_the_start_could_be_seen_is_found_once_it_is(run: Run) -> None:
    run.jobid.write_text("12")
    assert deaths.record(run, JobId("12"), "Slurm: NODE_FAIL", "squeue")
    run.provenance.write_text('{"starts": [{"job": "12", "id": "0011223344556677"}]}')
    assert deaths.cause(run) == "Slurm: NODE_FAIL"
    run.provenance.write_text(json.dumps({"starts": [{"job": "12", "id": "0011223344556677"}] * 2}))
    assert deaths.cause(run) == "", "it may be of the start before the last one"


def test_a_folder_that_cannot_be_written_to_is_no_failure(dead: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "link", refuse)
    assert deaths.record(dead, JOB, "Slurm: TIMEOUT", "squeue") is None
    monkeypatch.setattr(files, "write_new", refuse)
    assert deaths.record(dead, JOB, "Slurm: TIMEOUT", "squeue") is None
    assert deaths.cause(dead) == ""


def send_in_vain(run: Run) -> str:
    """Try to send a signal to another user's process. Returns what is on record meanwhile."""
    seen = ""
    try:
        with deaths.recorded(run, JOB, deaths.KILL):
            seen = deaths.cause(run)
            raise PermissionError
    except PermissionError:
        return seen


def test_a_record_is_taken_back_if_the_signal_cannot_be_sent(dead: Run) -> None:
    assert send_in_vain(dead) == deaths.KILL
    assert deaths.cause(dead) == ""
    deaths.record(dead, JOB, "Slurm: TIMEOUT", "squeue")
    send_in_vain(dead)
    assert deaths.cause(dead) == "Slurm: TIMEOUT", "what others have recorded stays"


def test_without_a_reason_nothing_is_recorded(dead: Run) -> None:
    with deaths.recorded(dead, JOB, ""):
        pass
    assert not list(dead.folder.glob("ended.*"))


BROKEN = ["", "{", "[]", "null", '{"reason": 3}', "[" * 100_000, '{"by": "me"}', b"\xff"]


@pytest.mark.parametrize("content", BROKEN)
def test_a_record_that_is_broken_is_none(dead: Run, content: str | bytes) -> None:
    path = dead.folder / "ended.00112233445566ff.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert deaths.cause(dead) == ""


def test_a_record_that_is_no_file_is_none(dead: Run) -> None:
    os.mkfifo(dead.folder / "ended.00112233445566ff.json")
    assert deaths.cause(dead) == ""
    assert deaths.record(dead, JOB, "Slurm: TIMEOUT", "squeue") is None


def test_what_others_have_written_is_one_short_line(dead: Run) -> None:
    text = json.dumps({"reason": "a\n\x1b[31m" + "b" * 1000})
    (dead.folder / "ended.00112233445566ff.json").write_text(text)
    assert deaths.cause(dead).isprintable()
    assert len(deaths.cause(dead)) == 300


WORDS = {
    -9: "ended by SIGKILL (out of memory?)",
    -11: "ended by SIGSEGV",
    -40: "ended by signal 40",
    0: "ended with exit status 0, without an error",
    3: "ended with exit status 3, without an error",
}


@pytest.mark.parametrize(("status", "told"), WORDS.items())
def test_an_exit_status_in_words(status: int, told: str) -> None:
    assert deaths.end_of_process(status) == told


def test_a_run_that_nobody_has_started_died_of_nothing(run: Run) -> None:
    assert deaths.cause(run) == ""
    assert deaths.reason_of(run, None) == execution_of(run) == ""
