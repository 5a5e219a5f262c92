"""Submit orders to a scheduler. With `here`, the only module that changes a run folder from outside its job.

claim ─▶ wipe, freeze, provenance ─▶ heyhi.jobid = submitting:NAME_4 ─▶ submit ─▶ heyhi.jobid = 123_4 ─▶ drop

A crash anywhere leaves no untracked job. The name of the job is in the folder before the scheduler's program
is called, and the scheduler can be asked about a name. The claims are held until the id is recorded; that
program inherits them, so they are held as long as it may submit. A process that finds a name and no claim
asks the scheduler: it has the job, or there is none.
"""

import os
import resource
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

from heyhi import files, runs
from heyhi.errors import HeyhiError, LaunchError, NoAnswerError
from heyhi.launch import here, job, schedulers
from heyhi.launch.scheduler import JobSpec, Scheduler
from heyhi.launch.schedulers import SCHEDULERS
from heyhi.launch.slurm_options import Resources
from heyhi.runs import SUBMITTING, Action, JobId, Order, Plan, Run, claim, ownership

__all__ = ["Outcome", "Submission", "most_at_once", "submit"]

_MOST = 1000  # runs of one array: the script names all their folders
_SPARE_FILES = 100  # open files that a driver needs besides claims

Say = Callable[[str], None]


class Submission(NamedTuple):
    """An order to be submitted, what is planned for its run, and what it needs.

    `label` is what the queue shows. `secrets` are variables of the job that are in no file. `key` is the
    caller's own name of it.
    """

    order: Order
    plan: Plan
    resources: Resources
    label: str
    secrets: Mapping[str, str] = {}
    key: Any = None


#: Its job; why it was not submitted; None: another process has started it meanwhile.
Outcome = JobId | HeyhiError | None


def most_at_once(scheduler: str) -> int:
    """Return the largest number of runs for one `submit`. Raises NoAnswerError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(1, min(SCHEDULERS[scheduler].max_array_size(), _MOST, hard - _SPARE_FILES))


def submit(asks: Sequence[Submission], scheduler: str, say: Say) -> list[Outcome]:
    """Submit runs of equal resources, label and secrets as one job: an array, if there are several.

    Returns what came of each. Raises LaunchError if the scheduler refuses, and NoAnswerError if it does not
    answer: then nothing was submitted, or what was is found by its name.
    """
    _kill(asks)
    first = asks[0]
    name = f"{first.label}.{token_hex(4)}"
    with ExitStack() as claims:
        marks = [
            _mark(ask, f"{name}_{number}" if len(asks) > 1 else name, name, claims, say)
            for number, ask in enumerate(asks)
        ]
        ready = [number for number, mark in enumerate(marks) if isinstance(mark, partial)]
        if not ready:
            return [None if isinstance(mark, partial) else mark for mark in marks]
        _sync([asks[number] for number in ready])
        held = [claim.descriptor(asks[number].order.run.lock) for number in ready]
        spec = JobSpec(
            name,
            [ask.order.folder for ask in asks],
            ready if len(asks) > 1 else None,
            str(first.order.provenance.get("snapshot") or first.order.project_root),
            first.resources,
            held,
            first.secrets,
        )
        job_id = _submit(SCHEDULERS[scheduler], spec, marks)
        outcomes = [
            JobId(f"{job_id}_{number}" if len(asks) > 1 else job_id) if isinstance(mark, partial) else mark
            for number, mark in enumerate(marks)
        ]
        for ask, outcome in zip(asks, outcomes, strict=True):
            if isinstance(outcome, JobId):
                files.write_whole(ask.order.run.jobid, outcome.text)
        return outcomes


def _sync(asks: Sequence[Submission]) -> None:
    """Wait until all that the jobs will read is on the disk: they outlive this machine."""
    folders = [Path(ask.order.folder) for ask in asks]
    folders += [Path(copy) for ask in asks if (copy := ask.order.provenance.get("snapshot"))]
    for folder in {os.stat(folder).st_dev: folder for folder in folders}.values():
        files.sync_all(folder)


def _kill(asks: Sequence[Submission]) -> None:
    """End the jobs that are to be replaced: those of Slurm all at once."""
    killed = [
        ask
        for ask in asks
        if ask.plan.action is Action.KILL_RESTART
        and not ownership.find_link(ask.order.run.folder, Path(ask.order.experiment_root))
    ]
    jobs = [ask.plan.state.job for ask in killed if ask.plan.state.job and ask.plan.state.job.scheduler]
    schedulers.cancel(jobs)
    schedulers.await_end(jobs)
    for ask in killed:
        if ask.plan.state.job and ask.plan.state.job.local:
            here.kill(ask.order.run, ask.plan.state)


#: Takes the name of a job out of a run's folder; why none is in it; None: another process was faster.
_Mark = partial[None] | HeyhiError | None


def _mark(ask: Submission, task_name: str, name: str, claims: ExitStack, say: Say) -> _Mark:
    """Take a run's claim, make its folder ready for its job, and write the job's name into it, for as long
    as its id is not known. What stands against it harms no other run."""
    order, run = ask.order, ask.order.run
    for_the_job = {"slurm_name": name, "log_level": order.log_level, "environment": order.environment}
    name_of_it = f"{SUBMITTING}{task_name}"
    try:
        here.refuse_links(order, ask.plan)
        here.own(order, ask.plan)
        claimed = job.claimed(run, job=name_of_it, ended=here.jobs_of(ask.plan))
        if not claims.enter_context(claimed) or not here.still_as_planned(run, ask.plan):
            return None
        unmark = partial(_unmark, ask, runs.read_job(run), _error(run))
        ordered = order._replace(provenance={**order.provenance, **for_the_job})
        here.make_ready(ordered, ask.plan, say, sync=False)
        run.error.unlink(missing_ok=True)  # it is not the new job's, which may never start
        files.write_whole(run.jobid, name_of_it)
    except HeyhiError as problem:
        return problem
    except OSError as problem:
        return LaunchError(
            f"{problem.filename or run.folder}: cannot be written: {problem.strerror or problem}"
        )
    return unmark


def _error(run: Run) -> bytes | None:
    try:
        return files.read(run.error)
    except OSError:
        return None


def _submit(scheduler: Scheduler, spec: JobSpec, marks: Sequence[_Mark]) -> str:
    """The id of the job; the marks are taken back if there surely is none."""
    try:
        return scheduler.submit(spec)
    except NoAnswerError:
        queue = scheduler.ask_queue()
        if queue is None:
            raise  # the marks stay: what came of it can be asked later
        found = next((known.id for known in queue.values() if known.name == spec.name), None)
        if found is None:
            _take_back(marks)
            raise
        return found.partition("_")[0]
    except LaunchError:
        _take_back(marks)
        raise


def _take_back(marks: Sequence[_Mark]) -> None:
    for mark in marks:
        if isinstance(mark, partial):
            mark()


def _unmark(ask: Submission, before: JobId | None, error: bytes | None) -> None:
    """Put the job and the error of before back into the folder of a run that goes on in place."""
    run = ask.order.run
    if before is None or ask.plan.action is not Action.CONTINUE:
        run.jobid.unlink(missing_ok=True)
        return
    files.write_whole(run.jobid, before.text)
    if error is not None:
        files.write_whole(run.error, error)
