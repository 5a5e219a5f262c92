import json
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heyhi.runs import claim, deaths
from heyhi.runs.folder import Run
from heyhi.runs.processes import this_host
from heyhi.workflow.local_jobs import JobEnd, Jobs, _has_ended, _Job, _started, pause_after
from tests.conftest import wait_until

pytestmark = pytest.mark.processes


class Ends:
    """What was told of the ends of jobs."""

    def __init__(self) -> None:
        self.all: dict[Any, JobEnd] = {}
        self.problems: list[BaseException] = []
        self.jobs = Jobs(self.all.__setitem__, self.problems.append)

    def of(self, key: Any) -> JobEnd:
        wait_until(lambda: key in self.all)
        return self.all[key]


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.jobs.cancel()


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def test_a_job_that_leaves_a_result_is_done(ends: Ends, run: Run) -> None:
    ends.jobs.start("it", run, python(f"open({str(run.result)!r}, 'w')"))
    assert ends.of("it") == JobEnd(True)


ENDS = {
    "says something": ("print('error: no order')", "NOT_STARTED: no order"),
    "says nothing": ("", "NOT_STARTED: it left no error"),
    "is killed": ("import os; os.kill(os.getpid(), 9)", "NOT_STARTED: ended by SIGKILL (out of memory?)"),
    "by real time": (
        "import os; os.kill(os.getpid(), 40)",
        "NOT_STARTED: ended by signal 40",
    ),
}


@pytest.mark.parametrize(("code", "told"), ENDS.values(), ids=ENDS)
def test_a_job_that_leaves_no_result_says_why_in_a_line(ends: Ends, run: Run, code: str, told: str) -> None:
    ends.jobs.start("it", run, python(code))
    assert ends.of("it") == JobEnd(False, f"p/it: {told} ({run.folder})")


def test_the_last_error_of_the_run_tells_more_than_what_was_printed(ends: Ends, run: Run) -> None:
    run.error.write_text("Traceback\nValueError: too dry\n")
    run.jobid.write_text(f"local:{this_host()}:1")
    ends.jobs.start("it", run, python("print('hello')"))
    assert ends.of("it").message == f"p/it: DEAD: ValueError: too dry ({run.folder})"


def begin(run: Run, then: str) -> str:
    """The command of a job that has begun the run, and does that then."""
    host = this_host()
    return python(
        f"import os, time, sys; open({str(run.jobid)!r}, 'w').write(f'local:{host}:{{os.getpid()}}'); {then}"
    )


DEATHS = {
    "is killed": ("os.kill(os.getpid(), 9)", "ended by SIGKILL (out of memory?)", {"signal": 9}),
    "crashes": ("os.kill(os.getpid(), 11)", "ended by SIGSEGV", {"signal": 11}),
    "leaves": ("os._exit(3)", "ended with exit status 3, without an error", {"exit": 3}),
    "leaves well": ("os._exit(0)", "ended with exit status 0, without an error", {"exit": 0}),
    "says something": ("sys.exit('error: no room')", "no room", {"exit": 1}),
}


@pytest.mark.parametrize(("then", "told", "status"), DEATHS.values(), ids=DEATHS)
def test_what_a_job_died_of_is_kept_by_who_has_seen_it(
    ends: Ends, run: Run, then: str, told: str, status: dict[str, int]
) -> None:
    ends.jobs.start("it", run, begin(run, then))
    assert ends.of("it") == JobEnd(False, f"p/it: DEAD: {told} ({run.folder})")
    assert deaths.cause(run) == told
    (path,) = run.folder.glob("ended.*.json")
    known = json.loads(path.read_text())
    assert known == {"job": run.jobid.read_text(), "reason": told, "by": "its driver", **status} | {
        "time": known["time"]
    }


def test_of_a_run_that_another_process_has_started_meanwhile_nothing_is_kept(ends: Ends, run: Run) -> None:
    run.jobid.write_text(f"local:{this_host()}:1")
    ends.jobs.start("it", run, python("import os; os.kill(os.getpid(), 9)"))
    assert ends.of("it").message == f"p/it: DEAD: ended by SIGKILL (out of memory?) ({run.folder})"
    assert not list(run.folder.glob("ended.*"))


def test_a_job_that_is_stopped_with_its_driver_says_so_also_if_it_is_killed(ends: Ends, run: Run) -> None:
    ends.jobs.start("it", run, begin(run, "time.sleep(60)"))
    wait_until(run.jobid.exists)
    wait_until(lambda: bool(run.jobid.read_text()))
    assert ends.jobs.cancel() == 1
    assert deaths.cause(run) == "stopped with its driver"


def test_a_job_that_was_killed_just_before_its_driver_was_stopped_was_killed(run: Run) -> None:
    started = _started(_Job("it", run, begin(run, "os.kill(os.getpid(), 9)")))
    assert started.process is not None
    wait_until(lambda: _has_ended(started.process))  # type: ignore[arg-type]
    jobs = Jobs(lambda *_: None, lambda _: None)
    jobs._jobs = [started]
    jobs.cancel()
    assert deaths.cause(run) == "ended by SIGKILL (out of memory?)"


def test_an_adopted_run_is_waited_for(ends: Ends, run: Run) -> None:
    assert claim.take(run.lock, "local:there:1")
    ends.jobs.adopt("it", run, lambda _: ends.jobs.start("it", run, python("raise SystemExit('anew')")))
    ends.jobs.start("other", Run("p/other", run.folder / "other"), python(""))
    ends.of("other")
    assert "it" not in ends.all
    run.result.touch()
    claim.drop(run.lock)
    assert ends.of("it") == JobEnd(True)


def test_an_adopted_run_that_was_not_really_started_is_started(ends: Ends, run: Run) -> None:
    ends.jobs.adopt(
        "it", run, lambda _: ends.jobs.start("it", run, python(f"open({str(run.result)!r}, 'w')"))
    )
    assert ends.of("it") == JobEnd(True)


def test_cancel_ends_processes_and_what_they_started(ends: Ends, run: Run, tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '60']); "
        f"open({str(child)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    ends.jobs.start("it", run, python(code))
    assert claim.take(run.lock, "local:there:1")
    ends.jobs.adopt("adopted", run, lambda _: None)
    wait_until(lambda: child.exists() and bool(child.read_text()))
    assert ends.jobs.cancel() == 1
    claim.drop(run.lock)
    wait_until(lambda: not _lives(int(child.read_text())))
    assert ends.all == {}


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_problem_of_the_watching_is_told(run: Run) -> None:
    told = threading.Event()
    problems: list[BaseException] = []

    def on_end(key: Any, end: JobEnd) -> None:
        raise ValueError("no such job")

    def on_problem(problem: BaseException) -> None:
        problems.append(problem)
        told.set()

    Jobs(on_end, on_problem).start("it", run, python(""))
    assert told.wait(10)
    assert str(problems[0]) == "no such job"


def test_a_job_is_a_session_of_its_own(ends: Ends, run: Run) -> None:
    ends.jobs.start("it", run, python("import os; print(os.getsid(0) == os.getpid())"))
    assert "True" in ends.of("it").message


# How long a look took, and its CPU -> seconds until the next one.
PAUSES = {
    "next to nothing": (0.001, 0.001, 0.5),
    "thousands of runs": (0.2, 0.2, 4.0),
    "a busy machine": (0.7, 0.01, 1.4),
    "a slow file system": (5.0, 0.1, 10.0),
}


@pytest.mark.parametrize(("wall", "cpu", "pause"), PAUSES.values(), ids=PAUSES)
def test_runs_elsewhere_are_looked_at_soon_again_by_what_a_look_costs(
    wall: float, cpu: float, pause: float
) -> None:
    assert pause_after(wall, cpu) == pytest.approx(pause)
