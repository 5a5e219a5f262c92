"""The jobs of one driver: processes that it started, and runs that it adopted, watched by one thread.

A job is one process: `run.py --job ...`. What it prints goes to its run.log; the driver says one line about
its end. A run that lives elsewhere costs no process: its end is read from its folder.

Jobs are sessions of their own, so that signals to the driver, or from its terminal, end none of them:

Ctrl-C (SIGINT)       the driver ends its jobs by SIGTERM: they are DEAD, with that on record
SIGTERM               it starts no more, and waits for those that run (that is Snakemake's way)
SIGHUP, SIGKILL       it dies, and its jobs go on to their end: the next call adopts them
"""

import os
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from heyhi import runs
from heyhi.errors import HeyhiError
from heyhi.launch import UNSAVED, schedulers
from heyhi.log import says_what_is_lost
from heyhi.runs import Queue, Run, RunState, Status, deaths

__all__ = ["JobEnd", "Jobs", "pause_after"]

_PAUSE = 0.02  # seconds between two looks at our own processes
_ADOPTED_PAUSE = 0.5  # seconds between two looks at the runs of others, at least
_PATIENCE = 30  # seconds that cancelled jobs have to write down what they have


class JobEnd(NamedTuple):
    """The end of a job: True if its run is DONE with the result in its folder, else a line with the reason;
    or a line about lost lines of its log."""

    is_done: bool
    message: str = ""


# Called with what an adopted run has turned out to be, if it was never really started.
StartAgain = Callable[[RunState], None]


class _Job(NamedTuple):
    key: Any
    run: Run
    command: str = ""
    secrets: Mapping[str, str] = {}  # variables that are in no file
    start_again: StartAgain | None = None  # of an adopted run that was not really started
    process: "subprocess.Popen[bytes] | None" = None
    output: IO[bytes] | None = None  # what it printed before and after its run.log
    old_result: tuple[int, int] | None = None  # which file was there when it started


class Jobs:
    """Starts and watches jobs. `on_end` is called, in a thread of its own, with the key of each that ends;
    `on_problem` if the watching itself fails."""

    def __init__(
        self, on_end: Callable[[Any, JobEnd], None], on_problem: Callable[[BaseException], None]
    ) -> None:
        self._on_end = on_end
        self._on_problem = on_problem
        self._jobs: list[_Job] = []
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None
        self._next_question = 0.0  # to Slurm, not before this time
        self._waited_for_queue = 0.0  # seconds of the last look
        self._gone: set[Run] = set()  # DEAD at the last look

    def start(self, key: Any, run: Run, command: str, secrets: Mapping[str, str] | None = None) -> None:
        """Start a job, with variables in its environment that are in no file."""
        try:
            self._add(_started(_Job(key, run, command, secrets or {})))
        except OSError as problem:  # no room, no processes: the others go on
            self._on_end(key, JobEnd(False, f"{run.id}: its process cannot be started: {problem}"))

    def adopt(self, key: Any, run: Run, start_again: StartAgain) -> None:
        """Wait for the end of a run that lives elsewhere; `start_again` is called, and it is no longer waited
        for, if it turns out that it was never really started."""
        self._add(_Job(key, run, start_again=start_again))

    def runs(self) -> set[Run]:
        """The runs that are waited for."""
        with self._lock:
            return {job.run for job in self._jobs}

    def _add(self, job: _Job) -> None:
        with self._lock:
            self._jobs.append(job)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()

    def cancel(self) -> int:
        """End the processes that were started here, and wait for them; adopted runs go on.

        Returns how many there were. Another Ctrl-C meanwhile, or 30 seconds, kills them.
        """
        with self._lock:
            jobs, self._jobs = self._jobs, []
        own = [(job, job.process) for job in jobs if job.process is not None]
        stopped = [(job, process) for job, process in own if not _has_ended(process)]
        for job, process in stopped:
            _record(job, deaths.DRIVER)  # before the signal: the job looks for it
            process.terminate()
        try:
            end = time.monotonic() + _PATIENCE
            while not all(_has_ended(process) for _, process in own) and time.monotonic() < end:
                time.sleep(_PAUSE)
        except KeyboardInterrupt:
            pass
        for job, process in own:
            _kill_group(process)
            _note_end(job, process.wait(), deaths.DRIVER if (job, process) in stopped else "")
            if job.output is not None:
                job.output.close()
        return len(own)

    # ---- The watching thread --------------------------------------------------------------------

    def _watch(self) -> None:
        next_look = 0.0
        try:
            while jobs := self._living():
                ended = [job for job in jobs if job.process is not None and job.process.poll() is not None]
                for job in ended:
                    self._report(job, _end_of(job))
                if time.monotonic() >= next_look:
                    began, cpu = time.monotonic(), time.thread_time()
                    self._look_elsewhere([job for job in jobs if job.process is None])
                    wall = time.monotonic() - began - self._waited_for_queue
                    next_look = time.monotonic() + pause_after(wall, time.thread_time() - cpu)
                time.sleep(_PAUSE)
        except BaseException as problem:
            self._on_problem(problem)

    def _living(self) -> list[_Job]:
        with self._lock:
            if not self._jobs:
                self._watcher = None
            return list(self._jobs)

    def _look_elsewhere(self, jobs: list[_Job]) -> None:
        for job, state in zip(jobs, self._states_of(jobs), strict=True):
            if state.status.is_alive:
                continue
            if state.status is Status.NOT_STARTED:  # its job ended before it had begun
                self._start_again(job, state)
            else:
                self._report(job, _end(job.run, state))

    def _states_of(self, jobs: list[_Job]) -> list[RunState]:
        """The states of adopted runs. Slurm is asked once for all, and not at each look."""
        self._waited_for_queue = 0.0
        states = [_state_of(job.run) for job in jobs]
        if not any(map(schedulers.needs_queue, states)):
            return states
        alive = [s._replace(status=Status.RUNNING) if schedulers.needs_queue(s) else s for s in states]
        if time.monotonic() < self._next_question:
            return alive
        began = time.monotonic()
        queues = schedulers.ask_queues(states)
        self._waited_for_queue = time.monotonic() - began
        self._next_question = time.monotonic() + schedulers.PAUSE
        asked = [state.job for state in states]
        names = [(job and job.scheduler) or "" for job in asked]
        read = {job.run: _state_of(job.run, queues.get(name)) for job, name in zip(jobs, names, strict=True)}
        known = schedulers.with_ends(read, queues)
        # Jobs of a scheduler that does not answer may live.
        silent = {name for name, queue in queues.items() if queue is None}
        now = [
            old if name in silent else self._unless_just_gone(job, known[job.run])
            for job, name, old in zip(jobs, names, alive, strict=True)
        ]
        # What was submitted anew while Slurm was asked, its answer does not know.
        return [
            new if runs.read_job(job.run) == before else old
            for job, before, new, old in zip(jobs, asked, now, alive, strict=True)
        ]

    def _unless_just_gone(self, job: _Job, state: RunState) -> RunState:
        """A node's files may appear here some seconds late: a run is DEAD only at the second look."""
        is_gone = state.status.has_failed and state.job is not None and state.job.scheduler
        if not is_gone or job.run.error.exists() or job.run in self._gone:
            return state
        self._gone.add(job.run)
        return state._replace(status=Status.RUNNING)

    def _start_again(self, job: _Job, state: RunState) -> None:
        with self._lock:
            if job not in self._jobs:
                return  # cancelled
            self._jobs.remove(job)
        if job.start_again is not None:
            job.start_again(state)

    def _report(self, job: _Job, end: JobEnd) -> None:
        with self._lock:
            if job not in self._jobs:
                return  # cancelled
            self._jobs.remove(job)
        self._on_end(job.key, end)


def pause_after(wall: float, cpu: float) -> float:
    """Seconds until the next look at runs elsewhere, after one that took so many seconds, and so many of CPU.

    However many there are, looking takes a twentieth of a core and a third of the time at most: on a busy
    machine it takes long, and must not be put off for long; a slow file system is not asked all the time.
    """
    return max(_ADOPTED_PAUSE, 20 * cpu, 2 * wall)


# ---- Processes ----------------------------------------------------------------------------------


def _started(job: _Job) -> _Job:
    output = tempfile.TemporaryFile()  # noqa: SIM115  (closed at the job's end)
    old_result = _which(job.run.result)
    process = subprocess.Popen(
        shlex.split(job.command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, **job.secrets},
    )
    return job._replace(process=process, output=output, old_result=old_result)


def _which(path: Path) -> tuple[int, int] | None:
    try:
        known = path.stat()
    except OSError:
        return None
    return known.st_ino, known.st_mtime_ns


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """True if the process has ended; its pid stays reserved until a wait."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True  # the watching thread was faster


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill it and what it started, if it has not been waited for."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


# ---- Ends ---------------------------------------------------------------------------------------


def _state_of(run: Run, queue: Queue | None = None) -> RunState:
    try:
        return runs.read_state(run, queue)
    except (OSError, HeyhiError):
        return RunState(Status.RUNNING)  # as far as can be seen; it is looked at again


def _end_of(job: _Job) -> JobEnd:
    """The end of a process, from its run's folder, or else from its output."""
    assert job.process is not None, "a process was started"
    assert job.output is not None, "as above"
    with job.output:
        job.output.seek(0)
        printed = job.output.read().decode(errors="replace").split("\n")
    try:
        state = schedulers.read_state(job.run)
    except (OSError, HeyhiError) as problem:
        return JobEnd(False, f"{job.run.id}: its folder cannot be read: {problem}")
    status = job.process.returncode
    words = [line.strip().removeprefix("error: ") for line in printed if line.strip()]
    lost = [line for line in words if says_what_is_lost(line) or line.startswith(UNSAVED)]
    why = deaths.ended_by(-status) if status < 0 else words[-1] if words else ""
    if status and job.old_result and job.old_result == _which(job.run.result):
        # It was to be done anew: an old result is no success.
        return JobEnd(False, f"{job.run.id}: not done anew, its old result stays: {why} ({job.run.folder})")
    _note_end(job, status, why)
    end = _end(job.run, state, why)
    told = [end.message, *(line for line in lost if line not in end.message)]
    return end._replace(message="; ".join(filter(None, told)))


def _note_end(job: _Job, status: int, why: str = "") -> None:
    """Keep of what a process has died, if its run is DEAD by it and the process could not say that itself."""
    if _state_of(job.run).status.has_failed and not deaths.last_error(job.run):
        _record(job, why or deaths.end_of_process(status), status)


def _record(job: _Job, reason: str, status: int | None = None) -> None:
    """Keep it, if the run is in the hands of the very process that was started for it."""
    known = runs.read_job(job.run)
    if known and job.process and known.local == (runs.this_host(), job.process.pid):
        deaths.record(job.run, known, reason, "its driver", status)


def _end(run: Run, state: RunState, otherwise: str = "") -> JobEnd:
    if state.has_result:
        return JobEnd(True)
    if state.result_place is not None:
        return JobEnd(False, f"{run.id}: {state.text}: make room, and start the batch again ({run.folder})")
    error = deaths.cause(run, state.job) or otherwise or state.detail or deaths.UNSAID
    return JobEnd(False, f"{run.id}: {state.status.value}: {error} ({run.folder})")
