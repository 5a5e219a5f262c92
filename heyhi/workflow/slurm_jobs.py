"""Submits the runs of one driver: a thread gathers them, and hands those of equal needs to Slurm at once.

    put ─▶ gathered ─▶ grouped by needs ─▶ submission.submit ─▶ adopted by `jobs`, which waits for their ends

If Slurm does not answer, it says so once and tries again until it does.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from heyhi import runs
from heyhi.errors import HeyhiError, NoAnswerError, QueueFullError
from heyhi.launch import Submission, schedulers, submission
from heyhi.runs import Action, JobId, Mode, Plan, Run, RunState, deaths, make_plan
from heyhi.workflow.local_jobs import JobEnd, Jobs

__all__ = ["Submitter", "cancel_stopped"]

_SCHEDULER = "Slurm"  # Snakemake has an executor for each scheduler: this is the one for Slurm
_GATHER = 0.2  # seconds that more may come in before what is there is submitted
_PAUSE = 10.0  # seconds until the next try, if Slurm does not answer


class Submitter:
    """Takes runs, and submits them. `on_end` is called with the key of each that is not to be submitted."""

    def __init__(
        self,
        jobs: Jobs,
        on_end: Callable[[Any, JobEnd], None],
        on_problem: Callable[[BaseException], None],
        tell: Callable[[str], None],
    ) -> None:
        self._jobs = jobs
        self._on_end = on_end
        self._on_problem = on_problem
        self._tell = tell
        self._entries: queue.SimpleQueue[Submission] = queue.SimpleQueue()
        self._submitted: dict[Run, JobId] = {}
        self._complaint = ""  # that was told, and still holds
        self._is_over = threading.Event()
        self._is_submitting = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, entry: Submission) -> None:
        """Have a run submitted, and return."""
        self._entries.put(entry)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()

    def stop(self) -> dict[Run, JobId]:
        """Submit no more. Returns the runs that were submitted here and have not ended, with their jobs."""
        self._is_over.set()
        with self._is_submitting:
            living = self._jobs.runs()
            return {run: job for run, job in self._submitted.items() if run in living}

    def _work(self) -> None:
        try:
            while not self._is_over.is_set():
                self._submit_all(self._gather())
        except BaseException as problem:
            self._on_problem(problem)

    def _gather(self) -> list[Submission]:
        """At least one, and what comes in soon after it."""
        entries = [self._entries.get()]
        while True:
            try:
                entries.append(self._entries.get(timeout=_GATHER))
            except queue.Empty:
                return entries

    def _submit_all(self, entries: Iterable[Submission]) -> None:
        groups: dict[tuple[Any, ...], list[Submission]] = {}
        for entry in entries:
            order = entry.order
            code = order.provenance.get("snapshot") or order.project_root
            # All tasks of an array have one environment: sbatch's.
            secrets = tuple(sorted(entry.secrets.items()))
            key = entry.resources, code, order.experiment_root, secrets
            groups.setdefault(key, []).append(entry)
        for group in groups.values():
            most = self._until_it_answers(lambda: submission.most_at_once(_SCHEDULER))
            for start in range(0, len(group), most or len(group)):
                self._submit(group[start : start + (most or len(group))])

    def _submit(self, group: list[Submission]) -> None:
        """Submit runs of equal needs, at most as many as one job may have."""
        now = [entry._replace(plan=_plan_now(entry)) for entry in group]
        ready = [entry for entry in now if self._is_to_be_submitted(entry)]
        if not ready:
            return
        try:
            self._until_it_answers(lambda: self._submit_once(ready), may_wait=len(ready) == 1)
        except QueueFullError:  # a part of them may have room
            self._submit(ready[: len(ready) // 2])
            self._submit(ready[len(ready) // 2 :])
        except HeyhiError as problem:
            self._give_up(ready, str(problem))
        except OSError as problem:
            self._give_up(ready, f"{problem.filename or 'its folder'}: {problem.strerror}")

    def _submit_once(self, entries: list[Submission]) -> None:
        with self._is_submitting:  # until all that was submitted is known to who stops it
            if self._is_over.is_set():
                return
            outcomes = submission.submit(entries, _SCHEDULER, self._tell)
            for entry, outcome in zip(entries, outcomes, strict=True):
                if isinstance(outcome, HeyhiError):
                    self._give_up([entry], str(outcome))
                    continue
                if outcome is not None:
                    self._submitted[entry.order.run] = outcome
                self._adopt(entry)

    def _give_up(self, entries: list[Submission], why: str) -> None:
        for entry in entries:
            order = entry.order
            self._on_end(entry.key, JobEnd(False, f"{order.id}: not submitted: {why} ({order.folder})"))

    def _is_to_be_submitted(self, entry: Submission) -> bool:
        order, plan, status = entry.order, entry.plan, entry.plan.state.status
        if plan.action not in (Action.SKIP, Action.REFUSE, Action.MOVE_IN):
            return True
        if plan.state.has_result:
            self._on_end(entry.key, JobEnd(True))
        elif status.has_ended or plan.action is Action.REFUSE:
            self._on_end(entry.key, JobEnd(False, f"{order.id}: {plan.reason} ({order.folder})"))
        else:
            self._adopt(entry)
        return False

    def _adopt(self, entry: Submission) -> None:
        def again(state: RunState) -> None:
            self._entries.put(entry._replace(plan=make_plan(state, Mode.GENTLE_START)))

        self._jobs.adopt(entry.key, entry.order.run, again)

    def _until_it_answers(self, ask: Callable[[], Any], *, may_wait: bool = True) -> Any:
        """Slurm's answer, after retries. Raises QueueFullError unless it `may_wait` for room in the queue."""
        while not self._is_over.is_set():
            try:
                answer = ask()
                self._complaint = ""
                return answer
            except NoAnswerError as problem:
                is_full = isinstance(problem, QueueFullError)
                if is_full and not may_wait:
                    raise
                complaint = "as jobs end" if is_full else "until Slurm answers"
                if complaint != self._complaint:  # once, not at each try
                    self._tell(f"{problem}; trying again {complaint}")
                self._complaint = complaint
                self._is_over.wait(_PAUSE)
        return None


def cancel_stopped(jobs: Mapping[Run, JobId]) -> None:
    """Cancel the jobs of runs that are stopped with their driver, which is recorded. Raises LaunchError."""
    with ExitStack() as records:
        for run, job in jobs.items():
            records.enter_context(deaths.recorded(run, job, deaths.DRIVER))
        schedulers.cancel(jobs.values())


def _plan_now(entry: Submission) -> Plan:
    """The plan for a run, as decided before unless another process has started the run since."""
    run = entry.order.run
    if runs.read_job(run) == entry.plan.state.job:
        return entry.plan
    return make_plan(runs.read_state(run), Mode.GENTLE_START)
