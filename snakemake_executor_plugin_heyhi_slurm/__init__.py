"""Snakemake's Slurm executor, but for runs: those of equal needs are submitted as one job array, whose tasks
are bare processes, and their ends are read from their folders and one squeue for all.

Snakemake finds this module by its name: `--executor heyhi-slurm`.
"""

import asyncio
import dataclasses
from typing import Any

from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
from snakemake_executor_plugin_slurm import ExecutorSettings
from snakemake_executor_plugin_slurm import common_settings as slurm_settings
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor

from heyhi.errors import LaunchError
from heyhi.log import ask
from heyhi.runs import RunState
from heyhi.texts import shown
from heyhi.workflow import Submitter, cancel_stopped
from snakemake_executor_plugin_heyhi import RunExecutor, is_of_a_run

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

# Snakemake waits for the first look at its own jobs also where there are none.
common_settings = dataclasses.replace(slurm_settings, init_seconds_before_status_checks=1)

_PAUSE = 0.2  # seconds


class Executor(RunExecutor, SlurmExecutor):  # type: ignore[misc]  # Snakemake has no types
    """Submits the jobs of rule `launch` itself, and leaves all others to Snakemake's executor."""

    def __post_init__(self) -> None:
        """Called by Snakemake at the end of its own constructor."""
        super().__post_init__()
        self._submitter = Submitter(self._jobs, self._ended, self._failed, self._tell)

    def run_jobs(self, jobs: list[Any]) -> None:
        """Start jobs, and return."""
        for job in filter(is_of_a_run, jobs):
            self.run_job_pre(job)
            RealExecutor.report_job_submission(self, SubmittedJobInfo(job=job), register_job=False)
            if self._runs.is_for_slurm(job.wildcards):
                self._submit(job)
            else:
                self._start_or_adopt(job)
        others = [job for job in jobs if not is_of_a_run(job)]
        if others:
            super().run_jobs(others)

    def _submit(self, job: Any, state: RunState | None = None) -> None:
        submission = self._runs.submission_of(job.wildcards, dict(job.resources.items()), state)
        self._submitter.put(submission._replace(key=job))

    def _start_again(self, job: Any, state: RunState) -> None:
        if self._runs.wants_local(job.wildcards):
            super()._start_again(job, state)
        else:
            self._submit(job, state)

    async def sleep(self) -> None:
        """Between two looks at Snakemake's own jobs; where there are none, nothing waits for the next."""
        if self.active_jobs:
            await super().sleep()
        else:
            await asyncio.sleep(_PAUSE)

    def cancel(self) -> None:
        """Ctrl-C: end what runs here; what this driver submitted is cancelled, or left, as the user says."""
        self._runs.was_interrupted = True
        submitted = self._submitter.stop()
        ended = self._jobs.cancel()
        if ended:
            self._tell(f"interrupted: {ended} runs were ended")
        if submitted and self._are_to_be_cancelled(len(submitted)):
            try:
                cancel_stopped(submitted)
                self._tell(f"interrupted: {len(submitted)} runs were cancelled in Slurm")
            except LaunchError as problem:
                self.logger.error(shown(str(problem)))
        elif submitted:
            self._tell(f"interrupted: {len(submitted)} runs go on in Slurm; the next call adopts them")
        super().cancel()

    def _are_to_be_cancelled(self, number: int) -> bool:
        """Ask on a terminal; without one they are, as Ctrl-C ends what a driver started."""
        if self._runs.was_told_to_stop:
            return True
        question = f"{number} runs of this call are in Slurm. Cancel them? (else they go on)"
        try:
            # A line of its own, as the progress bar holds back what has no end.
            return ask(question, end="\n") is not False
        except KeyboardInterrupt:
            return False
