"""Inside a job: hold the claim, read the frozen config, call the task, write the result.

    claim ─▶ (what launch writes) ─▶ heyhi.jobid ─▶ config.prototxt ─▶ main(cfg) ─▶ result.json

A job reads what was composed and never composes: what ran is what is on disk.
"""

import errno
import os
import posix
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import (
    AsyncGeneratorType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
)
from typing import Any, NamedTuple, NoReturn

from google.protobuf.message import Message

from heyhi import files, runs
from heyhi.config import freeze, prototxt
from heyhi.errors import ConfigError, LaunchError
from heyhi.launch import disk_room, schedulers
from heyhi.launch.environment import Requeued
from heyhi.log import Losses, say
from heyhi.runs import JobId, Place, Run, Status, claim, deaths, elsewhere, failures, guard, results
from heyhi.texts import NOT_UTF8, line_of

__all__ = [
    "UNSAVED",
    "Main",
    "Outcome",
    "Output",
    "Terminated",
    "call_task",
    "claimed",
    "execute",
    "signals_end_the_task",
]

# A project's entry: main(cfg=<frozen task config>, task=<its name>, log_level=<text>) -> result.
Main = Callable[..., Any]
# Sends what a job prints to its log, or copies it there.
Output = Callable[[Path], AbstractContextManager[Losses]]

#: How a line on stderr begins that has a result which no place could take.
UNSAVED = "the result that could not be written: "
_MOST_UNSAVED = 100_000  # bytes of one that is printed


class Outcome(NamedTuple):
    """The end of a task: its return value, or its exception. `failure` is set if the run is not DONE.

    `place` is where the result is, if the run's folder could not take it (with a failure: nor a note of
    that); `unwritten` is what no file could take, and stderr has to tell.
    """

    value: Any
    failure: BaseException | None
    place: Place | None = None
    unwritten: str = ""

    @property
    def exit_status(self) -> int:
        """0; 1 for a failure, or a result elsewhere; 128 + n where signal n ended it; 130 for Ctrl-C."""
        if self.failure is None:
            return 0 if self.place is None else 1
        if isinstance(self.failure, KeyboardInterrupt):
            return 128 + signal.SIGINT
        if isinstance(self.failure, Terminated):
            return 128 + self.failure.signal
        return 1


class Terminated(BaseException):
    """A signal asks the job to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"terminated by {signal.Signals(number).name}")
        self.signal = number


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ASKED_TO_END = (KeyboardInterrupt, Requeued, Terminated)


@contextmanager
def claimed(
    run: Run, owner: JobId | None = None, *, job: str | None = None, ended: Collection[str] = ()
) -> Iterator[bool]:
    """Hold the claim of a run: its lock and its guard. False if another process has one of them.

    The folder is made if need be. `owner` is the job that this process is, if it is not a local one; `job`
    is the one that it claims the run for, if that is another. `ended` are jobs that are known to have ended,
    or that are this one by another name: their guards do not count.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    text = (owner or runs.this_process()).text
    got = claim.take(run.lock, text)
    try:
        if got and not guard.stand(run.owner, job or text, ended):
            claim.drop(run.lock)
            got = False
        if got:
            runs.remove_partials(run)
            _end_old_starts(run)
        yield got
    finally:
        if got:
            guard.leave(run.owner)
            claim.drop(run.lock)


def execute(
    run: Run,
    main: Main,
    meta_class: type[Message],
    level: str,
    output: Output,
    owner: JobId | None = None,
) -> Outcome:
    """Call the task of a claimed, frozen run in its folder, and write its result or its error.

    `output` says where what it prints goes, given the run's log; `owner` is as the run was claimed.
    """
    owner = owner or runs.this_process()
    run.error.unlink(missing_ok=True)
    elsewhere.forget(run.lock)  # of an earlier start; a requeued job has the same id
    files.write_whole(run.jobid, owner.text)
    start = _note_start(run, owner)
    provenance = runs.read_provenance(run)
    before = set(threading.enumerate())
    outcome = None
    try:
        with signals_end_the_task() as task_is_over:
            with _inside(run, output) as losses:
                outcome = _call(run, main, meta_class, level, task_is_over)
                came = task_is_over()
                _restore_proof(run, provenance, owner)
                with disk_room.noted_signals(came, *_SIGNALS, *_signals_of_scheduler(owner)):
                    outcome = _record(run, outcome, owner, came, provenance)
                _restore_proof(run, provenance, owner)  # there may be room by now
                _note_end(run, start, outcome, owner, losses)
                if outcome.failure is not None and not isinstance(outcome.failure, _ASKED_TO_END):
                    failures.show(outcome.failure)
                _join(set(threading.enumerate()) - before)
            if outcome.unwritten:
                say(outcome.unwritten)  # not in the log any more: in a batch the driver reads it
    except (KeyboardInterrupt, Terminated) as failure:
        if outcome is not None:
            raise  # it waited for the result
        # It came before the task began, while the log was opened.
        outcome = _record(run, Outcome(None, failure), owner, [], provenance)
        _note_end(run, start, outcome, owner, Losses())
    return outcome


def _signals_of_scheduler(owner: JobId) -> tuple[int, ...]:
    """USR1, by which a scheduler announces the end of a job."""
    return (signal.SIGUSR1,) if owner.scheduler else ()


def _call(
    run: Run,
    main: Main,
    meta_class: type[Message],
    level: str,
    task_is_over: Callable[[], list[int]],
) -> Outcome:
    pid = os.getpid()
    try:
        with _exit_is_an_error(run):
            value = call_task(run, main, meta_class, level)
        task_is_over()
        outcome = Outcome(value, None)
    except BaseException as failure:  # whatever it is, it belongs to the run
        task_is_over()
        outcome = Outcome(None, _without_our_frames(failure))
    if os.getpid() != pid:
        _leave_as_child(outcome)  # one that the task forked came back this way: the run is not its own
    return outcome


def _leave_as_child(outcome: Outcome) -> NoReturn:
    """End a process that the task forked: with the status that it asked for by sys.exit, else with 1."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    status = outcome.failure.code if isinstance(outcome.failure, SystemExit) else 1
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)


def call_task(run: Run, main: Main, meta_class: type[Message], level: str) -> Any:
    """Call the task with its frozen config. Raises TypeError if it returns a coroutine or a generator."""
    try:
        # As it is: `{{ROOT_DIR}}` was replaced when it was composed, and one that is left is a value.
        text = files.read_text(run.config_meta)
        meta: Any = freeze(prototxt.parse(text, meta_class, str(run.config_meta)))
    except ConfigError as problem:
        raise LaunchError(str(problem)) from None
    except OSError as problem:
        raise LaunchError(f"{run.config_meta}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise LaunchError(f"{run.config_meta}:{line_of(problem)}: {NOT_UTF8}") from None
    value = main(cfg=meta.task, task=meta.which_task, log_level=level)
    if told := _find_uncomputed(value):
        raise TypeError(f"{meta.which_task}() returned {told}")
    return value


def _find_uncomputed(value: Any) -> str:
    """What a returned value is if it has only been prepared, and what to do then; empty if it is a result.

    A value of which a part was computed is one: an error would lose that part.
    """
    leaves = _leaves(value)
    told = list(map(_why_uncomputed, leaves))
    if not told or not all(told):
        return ""
    for one in leaves:
        if isinstance(one, (CoroutineType, GeneratorType)):
            one.close()  # else Python warns that it was never awaited
    if isinstance(value, (list, tuple)) and all(isinstance(one, CoroutineType) for one in leaves):
        return "coroutines, and nothing was computed: gather them"
    return told[0] if leaves[0] is value else f"nothing but {told[0]}"


def _leaves(value: Any) -> list[Any]:
    """What is in a value that is a list, a set or a dict, at any depth; else the value itself."""
    todo, seen, found = [value], set(), []
    while todo:
        one = todo.pop()
        if type(one) not in (dict, list, tuple, set, frozenset):
            found.append(one)
        elif id(one) not in seen:
            seen.add(id(one))
            todo += one.values() if isinstance(one, dict) else one
    return found


def _why_uncomputed(value: Any) -> str:
    """What a value is that has not computed anything yet, and what to do then; empty for any other one."""
    for kind, told in _NOTHING_COMPUTED:
        if isinstance(value, kind):
            return told
    if isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools"):
        return "an iterator, and nothing was computed: return list(...) of it"
    futures = sys.modules.get("concurrent.futures")
    if futures is not None and isinstance(value, futures.Future):
        return "a future that nothing waits for: return its result()"
    # Of a method or a partial, what it is bound to may well be the result.
    inner = value
    while isinstance(inner, (partial, MethodType)):
        inner = inner.func if isinstance(inner, partial) else inner.__func__
    if isinstance(inner, FunctionType) and (inner is value or inner.__code__.co_flags & _COMPUTES_LATER):
        return "a function, and nothing was computed: call it"
    return ""


_COMPUTES_LATER = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR of inspect
# What a call returns that has not computed anything yet.
_NOTHING_COMPUTED = (
    (CoroutineType, "a coroutine, and nothing was computed: call asyncio.run(...) on it"),
    (AsyncGeneratorType, "an async generator, and nothing was computed: iterate over it in asyncio.run(...)"),
    (GeneratorType, "a generator, and nothing was computed: return list(...) of it, or leave out the yield"),
    (Awaitable, "an awaitable that nothing waits for: call asyncio.run(...), and return its result"),
)


@contextmanager
def _exit_is_an_error(run: Run) -> Iterator[None]:
    """Let a task not end this process silently by `os._exit`; processes that it forks end by it as ever."""
    really_exit, pid = os._exit, os.getpid()

    def exit_with_a_word(status: int) -> NoReturn:
        if os.getpid() == pid:
            told = f"the task ended its process by os._exit({status}), without a result"
            say(f"{run.id}: DEAD: {told}")
            try:
                files.write_whole(run.error, f"{told}\n")
            except OSError:
                if owner := runs.read_job(run):
                    elsewhere.note_error(run.lock, owner.text, told)
            finally:
                really_exit(status or 1)
        really_exit(status)

    posix._exit = os._exit = exit_with_a_word
    try:
        yield
    finally:
        posix._exit = os._exit = really_exit


def _join(threads: Iterable[threading.Thread]) -> None:
    """Wait for the threads that the task leaves behind: as long as they work, the run is claimed."""
    for thread in threads:
        if not thread.daemon:
            thread.join()


def _without_our_frames(failure: BaseException) -> BaseException:
    """The failure with the traceback beginning where the task's own program does."""
    trace = failure.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return failure.with_traceback(trace)


def _restore_proof(run: Run, provenance: dict[str, Any], owner: JobId) -> None:
    """Write anew what says whose the folder is, if the task has emptied it."""
    try:
        if files.kind_of(run.provenance) or files.kind_of(run.jobid):
            return
        _refuse_if_lost(run, owner)
        files.write_whole(run.provenance, runs.provenance_text(provenance))
        files.write_whole(run.jobid, owner.text)
    except OSError:
        pass  # the folder is gone, or another process's: that is said where the result is written


def _record(run: Run, outcome: Outcome, owner: JobId, came: list[int], provenance: dict[str, Any]) -> Outcome:
    """Write what the task returned, or why it returned nothing. A result is never dropped.

    `came` has the signals that ask the job to end; `provenance` is what heyhi.json had before the task.
    """
    if outcome.failure is None:
        content = results.content_of(outcome.value)
        try:
            _write_result(run, content, owner, came)
        except OSError as problem:
            outcome = _keep_elsewhere(run, outcome, content, owner, provenance, problem)
    failure = outcome.failure
    if failure is not None and not isinstance(failure, Requeued):
        line = _line_of(failure, run, owner)
        text = failures.with_traceback(line, failure).encode(errors="backslashreplace")
        try:
            _refuse_if_lost(run, owner)
            _put_aside(run)
            files.write_whole(run.error, text)
        except OSError as problem:
            say(f"{run.error}: cannot be written: {problem.strerror}. {line}")
            outcome = _note_failure(run, outcome, line, owner)
        if outcome.place is not None:
            _leave_a_link(run, outcome.place)
    return outcome


def _put_aside(run: Run) -> None:
    """Rename a result that the task itself has written: it would be taken for the run's."""
    if os.path.lexists(run.result):
        os.replace(run.result, run.folder / "result.json.of-the-task")


def _note_failure(run: Run, outcome: Outcome, line: str, owner: JobId) -> Outcome:
    """Note the line of a failure that has no room in a file of its own."""
    try:
        elsewhere.note_error(run.lock, owner.text, line)
    except OSError:
        return outcome._replace(unwritten=outcome.unwritten or line)
    return outcome


def _line_of(failure: BaseException, run: Run, owner: JobId) -> str:
    """The line of a failure; of a signal, who has sent it, if they said so beforehand."""
    if isinstance(failure, KeyboardInterrupt):
        return deaths.INTERRUPTED
    if isinstance(failure, Terminated):
        return deaths.reason_of(run, owner) or deaths.ended_by(failure.signal)
    return failures.line_of(failure)


def _write_result(run: Run, content: results.Content, owner: JobId, came: list[int]) -> None:
    def write() -> None:
        _refuse_if_lost(run, owner)
        results.write_content(run, content)

    disk_room.write_patiently(write, run.folder, content.size, came, lambda *why: _say_it_waits(run, *why))


def _say_it_waits(run: Run, problem: OSError, seconds: float) -> None:
    say(
        f"{run.result}: there is no room for the result: {problem.strerror}. Make room: it is tried again "
        f"for {seconds:g} seconds ({disk_room.SETTING}), then the result is kept elsewhere. "
        "SIGTERM ends the wait"
    )


def _keep_elsewhere(
    run: Run,
    outcome: Outcome,
    content: results.Content,
    owner: JobId,
    provenance: dict[str, Any],
    problem: OSError,
) -> Outcome:
    """Keep a result where there is room, as its folder has none, and note in the folder where that is."""
    what = f"{run.folder}: the result cannot be written: {problem.strerror or problem}"
    try:
        place = results.keep_elsewhere(run, content, owner.text, provenance, bool(schedulers.allocation()))
    except OSError as why:
        failure = OSError(f"{what}; nor anywhere else ({why.strerror})")
        return outcome._replace(failure=failure, unwritten=_in_a_line(content))
    try:
        _refuse_if_lost(run, owner)
        if (job := runs.read_job(run)) not in (None, owner) or (job and not files.is_file(run.provenance)):
            raise OSError(errno.ENOENT, "removed by the task")  # the note would not count
        elsewhere.note_place(run.lock, place)
        _put_aside(run)
    except OSError:
        told = (
            f"the result is kept in {place.text}: make room, and move the files there to {run.folder}, which "
            f"cannot take it: {problem.strerror or problem}"
        )
        return outcome._replace(failure=OSError(told), place=place, unwritten=told)
    say(f"{what}. It is kept in {place.text}: make room, and start the run again, which moves it in")
    return outcome._replace(place=place)


def _leave_a_link(run: Run, place: Place) -> None:
    """Let nothing start in a folder that the task has emptied, and that has no room for a note.

    A link may have room where no file has.
    """
    try:
        if claim.is_in_place(run.lock) and runs.read_job(run) is None:
            os.symlink(place.folder / run.result.name, run.result)
    except OSError:
        pass  # stderr has it


def _in_a_line(content: results.Content) -> str:
    """The last that can be done for a result: it goes to stderr."""
    if len(content.json) > _MOST_UNSAVED:
        return f"{UNSAVED}too large to be printed: {len(content.json):,} bytes"
    return f"{UNSAVED}{' '.join(content.json.decode().split(chr(10)))}"


def _refuse_if_lost(run: Run, owner: JobId) -> None:
    """Raise OSError if the folder was deleted meanwhile: what is there now may be another process's run."""
    if claim.is_in_place(run.lock):
        return
    # A task may have emptied its own folder: then no other process is in it.
    is_ours = run.folder.is_dir() and runs.read_job(run) in (None, owner)
    if is_ours and claim.take_again(run.lock, owner.text):
        return
    raise OSError(errno.ESTALE, "the run folder was deleted while it ran", str(run.folder))


@contextmanager
def _inside(run: Run, output: Output) -> Iterator[Losses]:
    """Be in the run folder, with all output in its log; yields what the log could not take."""
    here = os.getcwd()
    with output(run.log) as losses:
        os.chdir(run.folder)
        try:
            yield losses
        finally:
            os.chdir(here)


@contextmanager
def signals_end_the_task() -> Iterator[Callable[[], list[int]]]:
    """SIGTERM and SIGHUP end the task as Ctrl-C does: with its error on record.

    Yields what is to be called when the task is over. From then on they wait: what took weeks to compute is
    about to be written. It returns the list in which they are noted until then.
    """
    is_over = False
    waiting: list[int] = []

    def over() -> list[int]:
        nonlocal is_over
        is_over = True
        return waiting

    def end(number: int, _: object) -> None:
        if is_over:
            waiting.append(number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise Terminated(number)

    _install(end)
    try:
        yield over
    finally:
        _put_back()
    for number in waiting:
        if number in _SIGNALS:  # others only say that there is no more time
            signal.raise_signal(number)


_replaced: dict[int, Any] = {}  # signal -> who handled it before


def _install(handler: Callable[[int, object], None]) -> None:
    """Install a handler for the signals that have none yet."""
    for number in _SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            try:
                _replaced[number] = signal.signal(number, handler)
            except ValueError:
                break  # not the main thread: signals are someone else's


def _put_back() -> None:
    while _replaced:
        number, handler = _replaced.popitem()
        signal.signal(number, handler)


# A child that the task forks (multiprocessing) is ended by signals as in any other program. One that comes
# before the handlers are put back waits until they are: ours would swallow it, and the child live for ever.
_mask = threading.local()


def _before_fork() -> None:
    _mask.old = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS if _replaced else ())


def _after_fork_in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.old)


def _after_fork_in_child() -> None:
    _put_back()
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.old)


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)


# ---- Provenance of each start -------------------------------------------------------------------


def _note_start(run: Run, owner: JobId) -> dict[str, Any]:
    start: dict[str, Any] = {
        "id": os.urandom(8).hex(),
        "job": owner.text,
        "host": runs.this_host(),
        "started": _now(),
        "ended": None,
        "status": Status.RUNNING.value,
    }
    _note(run, lambda content: {**content, "starts": [*runs.starts_of(content), start]})
    return start


def _note_end(run: Run, start: dict[str, Any], outcome: Outcome, owner: JobId, losses: Losses) -> None:
    status = (Status.DONE if outcome.failure is None else Status.DEAD).value
    status = "REQUEUED" if isinstance(outcome.failure, Requeued) else status
    lost = {"log_lines_lost": losses.lines} if losses.lines else {}
    end = {**start, "ended": _now(), "status": status, **lost}
    try:
        _refuse_if_lost(run, owner)
        _note(
            run, lambda content: {**_with_versions(content), "starts": [*runs.starts_of(content)[:-1], end]}
        )
    except OSError as problem:
        say(f"{run.provenance}: cannot be updated: {problem.strerror}")


def _end_old_starts(run: Run) -> None:
    """Mark as ended the starts that were killed before they could do so. The claim says that none runs."""
    starts = runs.starts_of(runs.read_provenance(run))
    killed = [start for start in starts if start.get("status") == Status.RUNNING.value]
    for start in killed:
        # Killed between result.json and its note.
        is_done = start is starts[-1] and runs.is_done(run)
        start["status"] = (Status.DONE if is_done else Status.DEAD).value
    if killed:
        try:
            _note(run, lambda content: {**content, "starts": starts})
        except OSError:
            pass  # no more than a note: readers know it without


def _with_versions(content: dict[str, Any]) -> dict[str, Any]:
    """Add the versions of the packages that the task has imported."""
    modules = {name: module for name, module in sys.modules.copy().items() if "." not in name}
    # Looked up, and not asked for: some packages warn on access.
    found = {name: getattr(module, "__dict__", {}).get("__version__") for name, module in modules.items()}
    own = {n: v for n, v in sorted(found.items()) if isinstance(v, str) and n not in sys.stdlib_module_names}
    before = content.get("versions")
    return {**content, "versions": {**(before if isinstance(before, dict) else {}), **own}}


def _note(run: Run, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    content = runs.read_provenance(run)
    if not content:
        return  # the task removed it: what is left would not be the run's provenance
    files.write_whole(run.provenance, runs.provenance_text(change(content)))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
