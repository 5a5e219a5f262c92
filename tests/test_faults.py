"""A kill, a torn write, an error at every single file call: nothing is lost, done twice, or torn.

What is tried and what must hold afterwards is in tests/faults.py. All of it is `make test-faults`; one test
without that mark is among the others: a start that is killed at each call that changes something.
"""

import errno
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import FAULTS, HERE, SCENARIOS, Report, alone
from tests.syscalls import KILL, TORN

_MOST = 40  # lines of problems that a failure shows


@pytest.fixture
def base() -> Iterator[Path]:
    """A new folder's name; in memory, where that can be had: a start is synced to disk."""
    memory = Path("/dev/shm")
    above = Path(tempfile.mkdtemp(prefix="heyhi-faults-", dir=memory if memory.is_dir() else None))
    yield above / "w"
    shutil.rmtree(above)


@pytest.fixture(scope="session", autouse=True)
def _calls_can_be_held(processes: None) -> None:
    command = [sys.executable, "-m", "tests.syscalls"]
    if reason := subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout:
        pytest.skip(reason)


def examine(name: str, fault: str, base: Path, *more: str) -> Report:
    """The report of a process that has imported everything, and has only one thread: it is forked."""
    command = alone("tests.faults", name, fault, str(base), *more)
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Report(**json.loads(done.stdout))


def assert_nothing_is_wrong(report: Report) -> None:
    shown = [*report.problems[:_MOST], *(["..."] if report.problems[_MOST:] else [])]
    assert not report.problems, "\n".join([f"{len(report.problems)} problems", *shown])


# A child that writes to a file and makes a folder, and what its parent does at the write.
_WRITER = """
import os, sys
from pathlib import Path
from tests.syscalls import KILL, TORN, supervise

def child():
    os.chdir(sys.argv[1])
    try:
        Path("a").write_bytes(b"0123456789")
    except OSError as problem:
        Path("failed").write_text(problem.strerror)
    os.mkdir("b")
    return 5

def at_write(call):
    is_it = call.name == "write" and call.paths[0].endswith("/a")
    return int(sys.argv[2]) or None if is_it else None

print(supervise(child, at_write, 20).status)
"""


@pytest.mark.parametrize(
    ("fault", "status", "left"),
    [
        pytest.param(0, 5, {"a": "0123456789", "b": None}, id="none"),
        pytest.param(KILL, -9, {"a": ""}, id="kill"),
        pytest.param(TORN, -9, {"a": "01234"}, id="torn"),
        pytest.param(errno.ENOSPC, 5, {"a": "", "b": None, "failed": "No space left on device"}, id="error"),
    ],
)
def test_one_call_of_a_child_is_its_last_or_fails(
    fault: int, status: int, left: dict[str, str | None], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path), str(fault)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{status}\n", "")
    found = {path.name: path.read_text() if path.is_file() else None for path in tmp_path.iterdir()}
    assert found == left


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
