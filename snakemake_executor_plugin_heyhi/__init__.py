"""Snakemake's local executor, but for runs: a job of theirs is a bare process, its end is said in a line,
and runs that live elsewhere are adopted, at no cost in cores.

Snakemake finds this module by its name: `--executor heyhi`.
"""

import importlib
import shutil
import sys
from typing import Any

from snakemake.executors.local import Executor as LocalExecutor
from snakemake.executors.local import common_settings
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from heyhi.batch import have_cache
from heyhi.runs import RunState
from heyhi.texts import shown
from heyhi.workflow import JobEnd, Jobs

__all__ = ["Executor", "RunExecutor", "common_settings"]

# Every call of Snakemake imports all executors, in the order of their names; this one before `slurm`, which
# asks the controller for a word of its help text: ten seconds if that is down, though all may run here.
# It asks if `shutil.which` finds sinfo. (An empty PATH would not do: it also runs `which`, and needs that.)
_which = shutil.which
vars(shutil)["which"] = lambda *_: None
try:
    importlib.import_module("snakemake_executor_plugin_slurm")
finally:
    vars(shutil)["which"] = _which
have_cache(
    sys.argv
)  # a later moment would be too late: Snakemake makes its cache before it reads a Snakefile


class RunExecutor:
    """What executors of runs share: a job of rule `launch` is a run, which is carried out here."""

    workflow: Any
    logger: Any

    def __post_init__(self) -> None:
        """Called by Snakemake at the end of its own constructor."""
        super().__post_init__()  # type: ignore[misc]  # of Snakemake's executor, which is mixed in
        self._jobs = Jobs(self._ended, self._failed)

    @property
    def _runs(self) -> Any:
        """What the Snakefile loaded."""
        return self.workflow.globals["runs"]

    def _start_or_adopt(self, job: Any) -> None:
        """Carry a run out on this machine, or wait for its end where it lives; and return."""
        run, command, secrets = self._runs.job_of(job.wildcards)
        if why := self._runs.why_left(job.wildcards):
            self._ended(job, JobEnd(False, why))
        elif self._runs.lives_elsewhere(job.wildcards):
            self._jobs.adopt(job, run, lambda state: self._start_again(job, state))
        else:
            self._jobs.start(job, run, command, secrets)

    def _start_again(self, job: Any, _: RunState) -> None:
        """Start a run that was adopted, and has never really been started."""
        self._jobs.start(job, *self._runs.job_of(job.wildcards))

    def _ended(self, job: Any, end: JobEnd) -> None:
        if end.is_done:
            if end.message:
                self._tell(end.message)
            self.workflow.scheduler.finish_callback(job)
        else:
            self.logger.error(shown(end.message))
            self.workflow.scheduler.error_callback(job)

    def _failed(self, problem: BaseException) -> None:
        self.workflow.scheduler.executor_error_callback(problem)

    def _tell(self, text: str) -> None:
        self.logger.info(shown(text), extra={"heyhi": True})


class Executor(RunExecutor, LocalExecutor):  # type: ignore[misc]  # Snakemake has no types
    """Starts the jobs of rule `launch` itself, and leaves all others to Snakemake."""

    def run_job(self, job: Any) -> None:
        """Start a job, and return."""
        if not is_of_a_run(job):
            super().run_job(job)
            return
        self.report_job_submission(SubmittedJobInfo(job=job), register_job=False)
        self._start_or_adopt(job)

    def cancel(self) -> None:
        """End all jobs that this driver started: Ctrl-C."""
        self._runs.was_interrupted = True
        ended = self._jobs.cancel()
        if ended:
            self._tell(f"interrupted: {ended} runs were ended")
        super().cancel()


def is_of_a_run(job: Any) -> bool:
    """Whether a job of Snakemake's carries out a run."""
    return not job.is_group() and job.rule.name == "launch"
