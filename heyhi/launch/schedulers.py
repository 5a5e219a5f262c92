"""The schedulers there are, and what follows from their answers: the states of runs, the ends of jobs.

launcher ─chosen─▶ Slurm        heyhi.jobid ─JobId.scheduler─▶ Slurm        SCHEDULERS: a row each
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heyhi import runs
from heyhi.errors import LaunchError
from heyhi.launch import slurm
from heyhi.launch.scheduler import Allocation, Scheduler
from heyhi.launch.slurm_options import Resources
from heyhi.runs import JobId, Queue, Run, RunState, Status, deaths

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = [
    "PAUSE",
    "SCHEDULERS",
    "allocation",
    "ask_queues",
    "await_end",
    "cancel",
    "chosen",
    "needs_of",
    "needs_queue",
    "read_state",
    "read_states",
    "wants_local",
    "with_ends",
]

_SLURM: Scheduler = slurm  # a name each: so mypy says which function a module lacks

#: By name, as messages call it. In small letters it is the field of a launcher and the start of a job's id.
SCHEDULERS: dict[str, Scheduler] = {"Slurm": _SLURM}

#: Seconds between two questions to a scheduler, for a process that waits.
PAUSE = 10.0

_SHORT_PAUSE = 0.5  # seconds between two looks at the queue, when jobs are being cancelled


# ---- What a launcher asks for -------------------------------------------------------------------


def chosen(config: "Message") -> str | None:
    """Return the scheduler that the task's launcher chooses; None if the run is for this machine."""
    return next((name for name in SCHEDULERS if _chooses(config, name.lower())), None)


def wants_local(config: "Message") -> bool:
    """True if the task's launcher names the machine where it is started; False if it names nothing."""
    return _chooses(config, "local")


def _chooses(config: "Message", what: str) -> bool:
    from heyhi.config import LAUNCHER  # heavy, and not needed to ask a scheduler

    field = config.DESCRIPTOR.fields_by_name.get(LAUNCHER)
    if field is None or field.message_type is None or not config.HasField(LAUNCHER):
        return False
    launcher = getattr(config, LAUNCHER)
    return what in launcher.DESCRIPTOR.fields_by_name and bool(launcher.HasField(what))


def needs_of(config: "Message") -> Resources | None:
    """Return what the launcher of a task's config asks of a scheduler; None if it chooses none.

    Raises ConfigError for what cannot be.
    """
    name = chosen(config)
    if name is None:
        return None
    from heyhi.config import LAUNCHER

    asked = getattr(getattr(config, LAUNCHER), name.lower())
    key = asked.DESCRIPTOR.full_name, asked.SerializeToString(deterministic=True)
    if key not in _needs:
        _needs[key] = SCHEDULERS[name].read_resources(asked, "")
    return _needs[key]


# Kept for the process: the runs of a batch have few launchers, and each is asked for several times.
_needs: dict[tuple[str, bytes], Resources] = {}


# ---- The states of runs -------------------------------------------------------------------------


def read_state(run: Run) -> RunState:
    """Return what a run is now; its scheduler is asked only if nothing else can tell."""
    state, queues = runs.read_state(run), {}
    while needs_queue(state):
        asked, queues = state.job, ask_queues([state])
        queue = _answer_for(state, queues)
        state = runs.read_state(run, queue)
        if queue is None or runs.read_job(run) == asked:
            break
        state = runs.read_state(run)  # it was submitted anew meanwhile: that answer knows nothing of it
    return with_ends({run: state}, queues)[run]


def read_states(several: Sequence[Run]) -> dict[Path, RunState]:
    """Return the state of each run, by its folder; a scheduler is asked at most once, and only if it must be.

    One whose folder cannot be read is UNKNOWN, and its detail says why.
    """
    states = {run: _look(run) for run in several}
    queues = ask_queues(states.values())
    for run, asked in states.items():
        if needs_queue(asked):
            state = _look(run, _answer_for(asked, queues))
            # What was submitted anew while the scheduler was asked, its answer does not know.
            states[run] = state if runs.read_job(run) == asked.job else _look(run)
    if queues:
        states = with_ends(states, queues)
    return {run.folder: state for run, state in states.items()}


def _look(run: Run, queue: Queue | None = None) -> RunState:
    try:
        return runs.read_state(run, queue)
    except (OSError, LaunchError) as problem:
        told = problem.strerror if isinstance(problem, OSError) else None
        return RunState(Status.UNKNOWN, None, f"it cannot be read: {told or problem}")


def needs_queue(state: RunState) -> bool:
    """True if only a scheduler can tell what this run is."""
    return state.status is Status.UNKNOWN and state.job is not None and state.job.scheduler in SCHEDULERS


def ask_queues(states: Iterable[RunState]) -> dict[str, Queue | None]:
    """Ask each scheduler that one of these runs needs, once; None for one that does not answer."""
    names = {state.job.scheduler for state in states if state.job and needs_queue(state)}
    return {name: SCHEDULERS[name].ask_queue() for name in names if name}


def _answer_for(state: RunState, queues: Mapping[str, Queue | None]) -> Queue | None:
    return queues.get((state.job and state.job.scheduler) or "")


def with_ends(states: Mapping[Run, RunState], queues: Mapping[str, Queue | None]) -> dict[Run, RunState]:
    """Return the states that follow from the queues, with why jobs ended that could not record it.

    A scheduler forgets an end in some minutes, so what it says now is recorded in the run's folder. Of those
    that it has forgotten it may have an accounting, which is asked once for all.
    """
    silent = {
        run: state
        for run, state in states.items()
        if state.status.has_failed and state.job and state.job.scheduler and not deaths.is_said(run)
    }
    known = {run: reason for run, state in silent.items() if (reason := deaths.reason_of(run, state.job))}
    for name, member in SCHEDULERS.items():
        jobs = {run: state.job for run, state in silent.items() if state.job and state.job.scheduler == name}
        new = {run: silent[run] for run in jobs if run not in known}
        for run, reason in member.ends_of(new, queues.get(name) or {}).items():
            deaths.record(run, jobs[run], reason, name)
            known[run] = reason
    return {run: state._replace(detail=known.get(run, state.detail)) for run, state in states.items()}


# ---- Jobs ---------------------------------------------------------------------------------------


def allocation() -> tuple[str, Allocation] | None:
    """Return the scheduler whose job this process is in, and the job; None outside of jobs."""
    found = ((name, member.allocation()) for name, member in SCHEDULERS.items())
    return next(((name, here) for name, here in found if here is not None), None)


def cancel(jobs: Iterable[JobId]) -> None:
    """Cancel jobs, those of one scheduler at once. Raises LaunchError if it refuses, or is not known here."""
    for name, texts in _by_scheduler(jobs).items():
        if name not in SCHEDULERS:
            raise LaunchError(f"job {texts[0]} cannot be cancelled: this HeyHi knows no {name}")
        SCHEDULERS[name].cancel(*texts)


def await_end(jobs: Iterable[JobId], patience: float = 90) -> None:
    """Wait until jobs that were cancelled have ended. Raises LaunchError if they do not."""
    deadline = time.monotonic() + patience
    for name, texts in _by_scheduler(jobs).items():
        while True:
            queue = SCHEDULERS[name].ask_queue()
            left = [text for text in texts if queue is None or (text in queue and queue[text].lives)]
            if not left:
                break
            if time.monotonic() > deadline:
                why = (
                    f"{name} does not answer"
                    if queue is None
                    else f"{name} has not ended them in {patience:g} s"
                )
                raise LaunchError(f"{', '.join(left[:3])}{'...' if left[3:] else ''}: cancelled, but {why}")
            time.sleep(_SHORT_PAUSE)


def _by_scheduler(jobs: Iterable[JobId]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for job in jobs:
        groups.setdefault(job.scheduler or "", []).append(job.text)
    return groups
