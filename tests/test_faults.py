"""A kill, a torn write, an error at every single file call: nothing is lost, done twice, or torn.

What is tried and what must hold afterwards is in tests/faults.py. All of it is `make test-faults`; one test
without that mark is among the others: a start that is killed at each call that changes something.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import FAULTS, HERE, SCENARIOS, Report
from tests.syscalls import why_not

_MOST = 40  # lines of problems that a failure shows


@pytest.fixture
def base() -> Iterator[Path]:
    """A new folder's name; in memory, where that can be had: a start is synced to disk."""
    memory = Path("/dev/shm")
    above = Path(tempfile.mkdtemp(prefix="heyhi-faults-", dir=memory if memory.is_dir() else None))
    yield above / "w"
    shutil.rmtree(above)


@pytest.fixture(scope="session", autouse=True)
def _calls_can_be_held() -> None:
    if reason := why_not():
        pytest.skip(reason)


def examine(name: str, fault: str, base: Path, *more: str) -> Report:
    """The report of a process that has imported everything, and has only one thread: it is forked."""
    command = [sys.executable, "-m", "tests.faults", name, fault, str(base), *more]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Report(**json.loads(done.stdout))


def assert_nothing_is_wrong(report: Report) -> None:
    shown = [*report.problems[:_MOST], *(["..."] if report.problems[_MOST:] else [])]
    assert not report.problems, "\n".join([f"{len(report.problems)} problems", *shown])


def test_a_start_that_is_killed_before_any_change_goes_on(base: Path) -> None:
    report = examine("start", "kill", base, "--only-changes")
    assert report.points > 30
    assert_nothing_is_wrong(report)


@pytest.mark.faults
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_lost_or_torn_and_the_next_call_goes_on(
    name: str, fault: str, base: Path, record_property: Callable[[str, object], None]
) -> None:
    report = examine(name, fault, base)
    left_out = "; ".join(f"{count} {why}" for why, count in report.left_out.items())
    tried = f"{name:<10}{fault:<8}{report.points:5} of {report.calls} calls, {report.seconds:5} s"
    record_property("tried", f"{tried}; left out: {left_out or 'none'}")
    assert_nothing_is_wrong(report)
