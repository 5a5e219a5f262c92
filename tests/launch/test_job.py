"""What a job does with its task, in this process; what ends a process from outside is in test_end_to_end."""

import concurrent.futures
import errno
import functools
import gc
import itertools
import json
import os
import posix
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from heyhi import files
from heyhi.launch import job
from heyhi.launch.job import Outcome
from heyhi.log import copy_output_to, send_output_to
from heyhi.runs import claim, deaths, elsewhere, ownership, results
from heyhi.runs.folder import Run, executions_of, read_provenance
from heyhi.runs.ids import this_process
from heyhi.runs.status import RunState, Status, read_state
from tests.conftest import NO_FIELD

_Execute = Callable[..., Outcome]


@pytest.fixture
def execute(run: Run, demo: Any) -> Iterator[_Execute]:
    """execute(main) does a run whose config is `grow { name: "it" }`."""
    run.config_meta.write_text('grow { name: "it" lr: 0.1 }\n')
    run.provenance.write_text('{"id": "p/it"}\n')
    with job.claimed(run) as got:
        assert got
        yield lambda main, output=copy_output_to: job.execute(run, main, demo.MetaCfg, "WARN", output)


def test_the_task_gets_its_frozen_config_its_name_and_the_level(execute: _Execute) -> None:
    seen: dict[str, Any] = {}
    execute(lambda **given: seen.update(given))
    assert (seen["cfg"].name, seen["cfg"].lr, seen["cfg"].is_frozen()) == ("it", 0.1, True)
    assert (seen["task"], seen["log_level"]) == ("grow", "WARN")


def test_what_it_returns_is_the_result(execute: _Execute, run: Run) -> None:
    outcome = execute(lambda **_: {"score": 1.5})
    assert outcome == Outcome({"score": 1.5}, None)
    assert outcome.exit_status == 0
    assert json.loads(run.result.read_text()) == {"score": 1.5}
    assert run.jobid.read_text() == this_process().text
    assert [start["status"] for start in json.loads(run.provenance.read_text())["starts"]] == ["DONE"]


def test_the_versions_of_what_the_task_has_imported_are_noted(
    execute: _Execute, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seeds.py").write_text("__version__ = '1.2'\n")
    (tmp_path / "sickle.py").write_text("def __getattr__(name): raise RuntimeError(name)\n")
    monkeypatch.syspath_prepend(tmp_path)
    run.provenance.write_text('{"id": "p/it", "versions": {"python": "3"}}\n')

    def main(**_: Any) -> None:
        import csv  # has a version, and is Python's own  # noqa: F401

        import seeds  # type: ignore[import-not-found]  # noqa: F401
        import sickle  # type: ignore[import-not-found]  # noqa: F401

    assert execute(main).failure is None
    versions = json.loads(run.provenance.read_text())["versions"]
    assert (versions["python"], versions["seeds"], versions["pytest"]) == ("3", "1.2", pytest.__version__)
    assert not {"csv", "sickle"} & {*versions}


@pytest.mark.parametrize(
    "edited",
    [
        '"versions": ["3"]',
        '"versions": null',
        '"versions": "3"',
        '"starts": 1',
        '"starts": null',
        '"starts": {}',
    ],
)
def test_an_edited_provenance_stops_nothing(edited: str, execute: _Execute, run: Run) -> None:
    run.provenance.write_text(f'{{"id": "p/it", {edited}}}\n')
    assert execute(lambda **_: {"score": 1.5}) == Outcome({"score": 1.5}, None)
    known = json.loads(run.provenance.read_text())
    assert [start["status"] for start in known["starts"]] == ["DONE"]
    assert known["versions"]["pytest"] == pytest.__version__


# What the task raises -> exit status, the line of its error.
FAILURES: list[tuple[BaseException, int, str]] = [
    (ValueError("too dry"), 1, "ValueError: too dry"),
    (SystemExit(0), 1, "SystemExit: 0"),
    (KeyboardInterrupt(), 130, "interrupted"),
    (MemoryError(), 1, "MemoryError"),
    (ExceptionGroup("both", [ValueError("a"), OSError("b")]), 1, "ExceptionGroup: both (2 sub-exceptions)"),
    (RuntimeError("CUDA error: assert\nFor debugging\n"), 1, "RuntimeError: CUDA error: assert"),
]


@pytest.mark.parametrize(("failure", "status", "last"), FAILURES, ids=[last for *_, last in FAILURES])
def test_what_it_raises_is_the_error(
    execute: _Execute, run: Run, failure: BaseException, status: int, last: str
) -> None:
    def main(**_: Any) -> None:
        raise failure

    outcome = execute(main)
    assert outcome.failure is failure
    assert outcome.exit_status == status
    assert deaths.last_error(run) == last
    assert not run.result.exists()
    assert [start["status"] for start in json.loads(run.provenance.read_text())["starts"]] == ["DEAD"]


def test_it_runs_in_its_folder_and_all_is_as_before_afterwards(execute: _Execute, run: Run) -> None:
    before = os.getcwd(), sys.stdout, sys.stderr, signal.getsignal(signal.SIGTERM)
    seen = []
    execute(lambda **_: seen.append(os.getcwd()))
    assert seen == [str(run.folder)]
    assert (os.getcwd(), sys.stdout, sys.stderr, signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it(execute: _Execute, run: Run, number: signal.Signals) -> None:
    outcome = execute(lambda **_: signal.raise_signal(number))
    assert outcome.exit_status == 128 + number
    assert deaths.last_error(run) == f"ended by {number.name}"
    assert run.error.read_text().endswith(f"heyhi.launch.job.Terminated: terminated by {number.name}\n")


def test_who_sends_a_signal_can_say_why_beforehand(execute: _Execute, run: Run) -> None:
    def main(**_: Any) -> None:
        assert deaths.record(run, this_process(), deaths.KILL, "somebody")
        signal.raise_signal(signal.SIGTERM)

    execute(main)
    assert deaths.last_error(run) == deaths.cause(run) == "stopped by heyhi kill"


def test_what_was_said_of_an_earlier_execution_is_not_said_of_this_one(execute: _Execute, run: Run) -> None:
    def stopped(**_: Any) -> None:
        deaths.record(run, this_process(), deaths.KILL, "somebody")
        signal.raise_signal(signal.SIGTERM)

    execute(stopped)
    execute(lambda **_: signal.raise_signal(signal.SIGTERM))
    assert deaths.cause(run) == "ended by SIGTERM"
    first, second = (start["id"] for start in read_provenance(run)["starts"])
    assert first != second
    assert executions_of(run, this_process()) == [second]


def test_a_start_that_was_killed_before_it_could_note_its_end_has_ended(run: Run) -> None:
    def starts() -> list[tuple[str, str | None]]:
        return [
            (start["status"], start["ended"]) for start in json.loads(run.provenance.read_text())["starts"]
        ]

    killed = {
        "job": "local:here:1",
        "started": "2026-01-01T00:00:00+0000",
        "ended": None,
        "status": "RUNNING",
    }
    ended = {**killed, "ended": "2026-01-01T00:00:01+0000", "status": "REQUEUED"}
    run.provenance.write_text(json.dumps({"id": "p/it", "starts": [killed, ended, killed]}))
    with job.claimed(run), job.claimed(run) as second:
        assert not second
        assert starts() == [("DEAD", None), ("REQUEUED", ended["ended"]), ("DEAD", None)]
    run.provenance.write_text(json.dumps({"id": "p/it", "starts": [killed]}))
    run.result.write_text("null")
    with job.claimed(run):
        assert starts() == [("DONE", None)]


def test_who_does_not_get_the_claim_leaves_the_starts_alone(execute: _Execute, run: Run) -> None:
    def main(**_: Any) -> None:
        before = run.provenance.read_bytes()
        with job.claimed(run) as got:
            assert not got
        assert run.provenance.read_bytes() == before

    assert execute(main).failure is None


def test_a_signal_while_the_result_is_written_waits(
    execute: _Execute, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write_whole

    def interrupted(path: Path, text: str | bytes, **how: Any) -> None:
        if path == run.result:
            signal.raise_signal(signal.SIGINT)
        write(path, text, **how)

    monkeypatch.setattr(files, "write_whole", interrupted)
    with pytest.raises(KeyboardInterrupt):  # afterwards
        execute(lambda **_: "weeks of work")
    assert json.loads(run.result.read_text()) == "weeks of work"


def test_a_handler_of_the_tasks_own_is_left_alone(execute: _Execute) -> None:
    seen = []
    old = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        assert execute(lambda **_: signal.raise_signal(signal.SIGTERM)).failure is None
    finally:
        signal.signal(signal.SIGTERM, old)
    assert seen == [signal.SIGTERM]


def test_what_is_printed_is_copied_to_the_log(
    execute: _Execute, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(lambda **_: print("hello"))
    assert run.log.read_text() == capsys.readouterr().out == "hello\n"


@pytest.mark.processes
def test_in_a_batch_it_goes_to_the_log_alone_also_from_other_programs(
    execute: _Execute, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    execute(lambda **_: os.system("echo hello; echo world >&2"), send_output_to)
    assert run.log.read_text() == "hello\nworld\n"
    assert capfd.readouterr() == ("", "")
    print("after")
    assert capfd.readouterr().out == "after\n"


def test_of_two_claims_one_is_got(run: Run) -> None:
    with job.claimed(run) as first, job.claimed(run) as second:
        assert (first, second) == (True, False)
    with job.claimed(run) as again:
        assert again


# ---- Ends that only seem to be ones -------------------------------------------------------------


async def _coroutine() -> int:
    return 1


async def _async_generator() -> AsyncIterator[int]:
    yield 1


def _generator() -> Iterator[int]:
    yield 1


class _Awaitable:
    def __await__(self) -> Iterator[int]:
        yield 1


NOTHING_COMPUTED: dict[str, tuple[Callable[[], object], str]] = {
    "coroutine": (_coroutine, "a coroutine, and nothing was computed: call asyncio.run(...)"),
    "generator": (_generator, "a generator, and nothing was computed: return list(...)"),
    "generator expression": (lambda: (x for x in [1]), "a generator"),
    "async generator": (_async_generator, "an async generator"),
    "map": (lambda: map(str, [1]), "an iterator"),
    "iterator": (lambda: itertools.chain([1]), "an iterator"),
    "future": (concurrent.futures.Future, "a future that nothing waits for: return its result()"),
    "function": (lambda: _generator, "a function, and nothing was computed: call it"),
    "partial": (lambda: functools.partial(functools.partial(_coroutine)), "a function"),
    "coroutine in a dict": (lambda: {"loss": [_coroutine()]}, "nothing but a coroutine"),
    "generators in a list": (lambda: [_generator(), _generator()], "nothing but a generator"),
    "awaitable": (_Awaitable, "an awaitable that nothing waits for"),
}


@pytest.mark.parametrize(("make", "told"), NOTHING_COMPUTED.values(), ids=NOTHING_COMPUTED)
def test_a_task_that_has_computed_nothing_yet_is_not_done(
    execute: _Execute, run: Run, make: Callable[[], object], told: str
) -> None:
    outcome = execute(lambda **_: make())
    assert isinstance(outcome.failure, TypeError)
    assert f"grow() returned {told}" in deaths.last_error(run)
    assert not run.result.exists()
    gc.collect()  # a coroutine that was never awaited would warn, which fails a test


def test_coroutines_that_were_never_gathered_are_not_done(execute: _Execute, run: Run) -> None:
    assert isinstance(execute(lambda **_: [_coroutine(), _coroutine()]).failure, TypeError)
    assert "grow() returned coroutines" in deaths.last_error(run)
    gc.collect()


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"loss": 0.5, "batches": _generator()},  # the loss would be lost
        lambda: functools.partial(max, [1.5]),  # bound to what was computed
        lambda: [1].count,
        list,
        lambda: _itself([]),
    ],
)
def test_a_result_of_which_a_part_was_computed_is_done(
    execute: _Execute, run: Run, make: Callable[[], object]
) -> None:
    assert execute(lambda **_: make()).failure is None
    assert run.result.exists()


def _itself(value: list[object]) -> list[object]:
    value.append(value)
    return value


@pytest.mark.parametrize("is_replaced", [False, True])
def test_the_result_of_a_task_that_closes_all_descriptors_is_in_its_folder(
    execute: _Execute, run: Run, is_replaced: bool
) -> None:
    def main(**_: Any) -> int:
        lock = claim.descriptor(run.lock)
        if is_replaced:
            with open(os.devnull) as other:
                os.dup2(other.fileno(), lock)
        else:
            os.close(lock)
        return 3

    outcome = execute(main)
    assert (outcome.value, outcome.failure, outcome.place) == (3, None, None)
    assert run.result.exists()
    assert read_state(run).status is Status.RUNNING, "the claim is held until it is let go"
    claim.drop(run.lock)
    assert read_state(run).status is Status.DONE


@pytest.mark.processes
def test_a_child_that_the_task_forks_ends_as_it_says(execute: _Execute) -> None:
    def main(**_: Any) -> list[int]:
        statuses = []
        for status in (0, None, 3, "words"):
            child = os.fork()
            if child == 0:
                sys.exit(status)
            statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return statuses

    assert execute(main).value == [0, 0, 3, 1]


@pytest.mark.processes
@pytest.mark.parametrize("module", [os, posix], ids=["os", "posix"])
def test_a_task_that_ends_its_process_says_so(run: Run, demo: Any, module: Any) -> None:
    run.config_meta.write_text("grow { }")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 2)
        sys.stderr = os.fdopen(2, "w")

        def main(**_: Any) -> None:
            child = os.fork()
            if child == 0:
                os._exit(0)  # a forked one ends by it as ever
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            module._exit(0)

        with job.claimed(run):
            job.execute(run, main, demo.MetaCfg, "WARN", copy_output_to)
        os._exit(55)
    os.close(write)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    with os.fdopen(read) as said:
        assert "DEAD: the task ended its process by os._exit(0), without a result" in said.read()
    assert read_state(run).status is Status.DEAD
    assert "os._exit(0)" in deaths.last_error(run)


def test_the_exit_status_of_a_task_that_ends_its_process_stays(execute: _Execute) -> None:
    before = os._exit
    assert execute(lambda **_: os._exit is before).value is False
    assert os._exit is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_log_is_opened_is_the_end_of_the_run(
    execute: _Execute, run: Run, number: signal.Signals
) -> None:
    def output(path: Path) -> Any:
        signal.raise_signal(number)
        return copy_output_to(path)

    outcome = execute(lambda **_: pytest.fail("it was started"), output)
    assert outcome.exit_status == 128 + number
    assert run.error.read_text().splitlines()[-1]
    assert json.loads(run.provenance.read_text())["starts"][-1]["status"] == "DEAD"
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


UNREADABLE = {
    "missing": (lambda path: path.unlink(), "cannot be read: No such file or directory"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read: is a folder"),
    "no UTF-8": (lambda path: path.write_bytes(b"grow {\n# \xf6\n}"), "2: not UTF-8 text; save it as UTF-8"),
    "wrong": (lambda path: path.write_text("grow { nam: 1 }"), f"{NO_FIELD} 'nam'"),
}


@pytest.mark.parametrize(("change", "told"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_frozen_config_that_cannot_be_read_is_a_line(
    execute: _Execute,
    run: Run,
    change: Callable[[Path], object],
    told: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    change(run.config_meta)
    assert execute(lambda **_: pytest.fail("it was started")).exit_status == 1
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(f"heyhi.errors.LaunchError: {run.config_meta}:")
    assert told in said
    assert "Traceback" not in run.error.read_text()


# ---- A result that cannot be written ------------------------------------------------------------


@pytest.fixture
def no_room(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], None]:
    """no_room(errno.EDQUOT): from now on what is written into the run's folder fails so; 0: no more."""
    monkeypatch.setenv("HEYHI_WAIT_FOR_ROOM", "0")
    monkeypatch.setenv("HEYHI_KEEP_DIR", str(tmp_path / "kept"))
    created = files._created

    def begin(number: int) -> None:
        def fail(path: Path, mode: int) -> Any:
            if number and path.parent == run.folder:
                raise OSError(number, os.strerror(number))
            return created(path, mode)

        monkeypatch.setattr(files, "_created", fail)

    return begin


def state_after(run: Run) -> RunState:
    """What others see once the job has gone."""
    claim.drop(run.lock)
    run.owner.unlink(missing_ok=True)
    state = read_state(run)
    assert claim.take(run.lock, this_process().text)
    return state


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_result_that_cannot_be_written_is_elsewhere(
    execute: _Execute,
    run: Run,
    no_room: Callable[[int], None],
    number: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(**_: Any) -> dict[str, int]:
        no_room(number)
        return {"score": 1}

    outcome = execute(main)
    assert (outcome.failure, outcome.exit_status) == (None, 1)
    assert outcome.place is not None
    assert json.loads((outcome.place.folder / "result.json").read_text()) == {"score": 1}
    assert state_after(run).text == f"DONE (result at {outcome.place.text})"
    assert os.strerror(number) in capsys.readouterr().err
    # As a requeued job, which has the same id: what is noted is of the start before.
    no_room(0)
    execute(lambda **_: 1 / 0)
    assert state_after(run).status is Status.DEAD


@pytest.mark.parametrize("output", [copy_output_to, send_output_to], ids=["alone", "in-a-batch"])
def test_a_result_that_no_place_takes_is_printed(
    execute: _Execute,
    run: Run,
    no_room: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    output: Any,
) -> None:
    monkeypatch.setattr(elsewhere, "_parents", lambda _: iter([(Path("/proc/no"), "")]))

    def main(**_: Any) -> dict[str, Any]:
        no_room(errno.ENOSPC)
        return {"score": 1, "text": "two\nlines"}

    outcome = execute(main, output)
    assert outcome.exit_status == 1
    printed = capfd.readouterr().err.splitlines()[-1]
    assert printed.startswith(job.UNSAVED)
    assert json.loads(printed.removeprefix(job.UNSAVED)) == {"score": 1, "text": "two\nlines"}
    told = deaths.last_error(run)
    assert told.startswith(
        f"OSError: {run.folder}: the result cannot be written: No space left on device; nor"
    )
    assert state_after(run).status is Status.DEAD


def test_an_emptied_folder_that_cannot_even_take_a_note_is_not_started_in_again(
    execute: _Execute, run: Run, no_room: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no room")

    def main(**_: Any) -> int:
        for path in run.folder.iterdir():
            path.unlink()
        no_room(errno.ENOSPC)
        monkeypatch.setattr(claim, "write_note", fail)
        return 1

    assert execute(main).exit_status == 1
    claim.drop(run.lock)
    assert results.read(run) == 1
    told = ownership.find_obstacle(run, "", "")
    assert told is not None
    assert "result.json is in it" in told


@pytest.mark.parametrize("output", [copy_output_to, send_output_to], ids=["alone", "in-a-batch"])
def test_where_not_even_a_note_can_be_written_stderr_says_where_the_result_is(
    execute: _Execute,
    run: Run,
    no_room: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    output: Any,
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EROFS, "read-only")

    def main(**_: Any) -> int:
        no_room(errno.EROFS)
        monkeypatch.setattr(claim, "write_note", fail)
        return 1

    assert execute(main, output).exit_status == 1
    (place,) = (tmp_path / "kept").iterdir()
    printed = capfd.readouterr().err.splitlines()[-1]
    told = f"the result is kept in {place}: make room, and move the files there to {run.folder}"
    assert printed.startswith(told)


def test_a_result_of_the_tasks_own_is_not_taken_for_the_one_that_is_elsewhere(
    execute: _Execute, run: Run, no_room: Callable[[int], None]
) -> None:
    def main(**_: Any) -> int:
        run.result.write_text("mine")
        no_room(errno.ENOSPC)
        return 1

    assert execute(main).place is not None
    assert state_after(run).result_place is not None
    assert (run.folder / "result.json.of-the-task").read_text() == "mine"


def test_a_result_of_the_tasks_own_does_not_make_a_failure_done_on_a_full_disk(
    execute: _Execute, run: Run, no_room: Callable[[int], None]
) -> None:
    def main(**_: Any) -> None:
        run.result.write_text("mine")
        no_room(errno.ENOSPC)
        raise ValueError("too dry")

    assert execute(main).exit_status == 1
    assert state_after(run).status is Status.DEAD
    assert deaths.last_error(run) == "ValueError: too dry"
