"""Snakemake's local executor, but for runs: a job of theirs is a bare process, its end is said in a line,
and runs that live elsewhere are adopted, at no cost in cores.

Snakemake finds this module by its name: `--executor heyhi`.
"""

from typing import Any

from snakemake.executors.local import Executor as LocalExecutor
from snakemake.executors.local import common_settings
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from heyhi.jobs import JobEnd, Jobs

__all__ = ["Executor", "common_settings"]


class Executor(LocalExecutor):  # type: ignore[misc]  # Snakemake has no types
    """Starts the jobs of rule `launch` itself, and leaves all others to Snakemake."""

    def __post_init__(self) -> None:
        """Called by Snakemake at the end of its own constructor."""
        super().__post_init__()
        self._jobs = Jobs(self._ended, self._failed)

    def run_job(self, job: Any) -> None:
        """Start a job, and return."""
        if job.is_group() or job.rule.name != "launch":
            super().run_job(job)
            return
        runs = self._runs
        self.report_job_submission(SubmittedJobInfo(job=job), register_job=False)
        if why := runs.why_left(job.wildcards):
            self._ended(job, JobEnd(False, why))
        elif runs.lives_elsewhere(job.wildcards):
            self._jobs.adopt(job, *runs.job_of(job.wildcards))
        else:
            self._jobs.start(job, *runs.job_of(job.wildcards))

    @property
    def _runs(self) -> Any:
        """What the Snakefile loaded."""
        return self.workflow.globals["runs"]

    def _ended(self, job: Any, end: JobEnd) -> None:
        if end.is_done:
            self.report_job_success(SubmittedJobInfo(job=job))
        else:
            self.logger.error(end.message)
            self.workflow.scheduler.error_callback(job)

    def _failed(self, problem: BaseException) -> None:
        self.workflow.scheduler.executor_error_callback(problem)

    def cancel(self) -> None:
        """End all jobs that this driver started: Ctrl-C."""
        self._runs.was_interrupted = True
        ended = self._jobs.cancel()
        if ended:
            self.logger.info(f"interrupted: {ended} runs were ended", extra={"heyhi": True})
        super().cancel()
