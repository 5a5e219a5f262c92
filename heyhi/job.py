"""Inside a job: hold the claim, read the frozen config, call the task, write the result.

    claim ─▶ (what launch writes) ─▶ heyhi.jobid ─▶ config.prototxt ─▶ main(cfg) ─▶ result.json

A job reads what was composed and never composes: what ran is what is on disk.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from google.protobuf.message import Message

from heyhi import prototxt, results, runs
from heyhi.config import freeze
from heyhi.log import copy_output_to
from heyhi.project import Project
from heyhi.runs import Run

__all__ = ["Main", "Outcome", "claimed", "execute"]

# A project's entry: main(cfg=<frozen task config>, task=<its name>, log_level=<text>) -> result.
Main = Callable[..., Any]


class Outcome(NamedTuple):
    """How a task ended: what it returned, or what it raised. `failure` is set if it is not DONE."""

    value: Any
    failure: BaseException | None

    @property
    def exit_status(self) -> int:
        """0; 1 for a failure; 128 + n where signal n ended it; 130 for Ctrl-C."""
        if self.failure is None:
            return 0
        if isinstance(self.failure, KeyboardInterrupt):
            return 128 + signal.SIGINT
        if isinstance(self.failure, _Terminated):
            return 128 + self.failure.signal
        return 1


class _Terminated(BaseException):
    """A signal asks the job to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"terminated by {signal.Signals(number).name}")
        self.signal = number


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ASKED_TO_END = (KeyboardInterrupt, _Terminated)


@contextmanager
def claimed(run: Run) -> Iterator[bool]:
    """Hold the claim of a run, if no other process has it; the folder is made if need be."""
    run.folder.mkdir(parents=True, exist_ok=True)
    got = runs.take_lock(run)
    try:
        yield got
    finally:
        if got:
            runs.drop_lock(run)


def execute(run: Run, main: Main, project: Project, meta_class: type[Message], level: str) -> Outcome:
    """Call the task of a claimed, frozen run in its folder, and write its result or its error."""
    run.error.unlink(missing_ok=True)
    runs.write_whole(run.jobid, runs.this_process().text)
    start = _note_start(run)
    with _signals_as_exceptions(), _inside(run):
        outcome = _call(run, main, project, meta_class, level)
    outcome = _record(run, outcome)
    _note_end(run, start, outcome)
    return outcome


def _call(run: Run, main: Main, project: Project, meta_class: type[Message], level: str) -> Outcome:
    pid = os.getpid()
    try:
        meta: Any = freeze(prototxt.read(run.config_meta, meta_class, project.root))
        outcome = Outcome(main(cfg=meta.task, task=meta.which_task, log_level=level), None)
    except BaseException as failure:  # whatever it is, it belongs to the run
        outcome = Outcome(None, _without_our_frames(failure))
    if os.getpid() != pid:
        os._exit(1)  # a child that the task forked came back this way: the run is not its own
    if outcome.failure is not None and not isinstance(outcome.failure, _ASKED_TO_END):
        traceback.print_exception(outcome.failure)
    return outcome


def _without_our_frames(failure: BaseException) -> BaseException:
    """The failure with the traceback beginning where the task's own program does."""
    trace = failure.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return failure.with_traceback(trace)


def _record(run: Run, outcome: Outcome) -> Outcome:
    """Write what the task returned, or why it returned nothing. A result is never dropped."""
    # A second Ctrl-C waits: what took weeks to compute is about to be written.
    old = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        failure = outcome.failure or _write_result(run, outcome.value)
        if failure is not None:
            runs.write_whole(run.error, "".join(traceback.format_exception(failure)))
        return Outcome(outcome.value, failure)
    except OSError as problem:
        print(f"{run.error}: cannot be written: {problem.strerror}", file=sys.stderr)
        return Outcome(outcome.value, failure)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _write_result(run: Run, value: Any) -> BaseException | None:
    try:
        results.write(run, value)
    except OSError as problem:
        return results.keep_elsewhere(run, value, problem)
    except Exception as problem:  # an object's own repr or tolist may raise anything
        return problem
    return None


@contextmanager
def _inside(run: Run) -> Iterator[None]:
    """Be in the run folder, with all output copied to its log."""
    here = os.getcwd()
    with copy_output_to(run.log):
        os.chdir(run.folder)
        try:
            yield
        finally:
            os.chdir(here)


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """SIGTERM and SIGHUP end the task as Ctrl-C does: with its error on record."""

    def end(number: int, _: object) -> None:
        raise _Terminated(number)

    old = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            try:
                old[number] = signal.signal(number, end)
            except ValueError:
                break  # not the main thread: signals are someone else's
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


# ---- Provenance of each start -------------------------------------------------------------------


def _note_start(run: Run) -> dict[str, Any]:
    start: dict[str, Any] = {
        "job": runs.this_process().text,
        "started": _now(),
        "ended": None,
        "status": "RUNNING",
    }
    _write_starts(run, lambda starts: [*starts, start])
    return start


def _note_end(run: Run, start: dict[str, Any], outcome: Outcome) -> None:
    end = {**start, "ended": _now(), "status": "DEAD" if outcome.failure else "DONE"}
    try:
        _write_starts(run, lambda starts: [*starts[:-1], end])
    except OSError as problem:
        print(f"{run.provenance}: cannot be updated: {problem.strerror}", file=sys.stderr)


def _write_starts(run: Run, change: Callable[[list[Any]], list[Any]]) -> None:
    import json

    content = runs.read_provenance(run)
    content["starts"] = change(content.get("starts", []))
    runs.write_whole(run.provenance, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
