"""Answers for a task about its job: its place, its rank, and what to do when the scheduler ends it."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heyhi.launch import schedulers
from heyhi.launch.scheduler import Allocation
from heyhi.launch.slurm import get_slurm_job_id, get_slurm_master, is_on_slurm

if TYPE_CHECKING:
    from submitit import JobEnvironment

__all__ = [
    "Requeued",
    "get_job_env",
    "get_slurm_job_id",
    "get_slurm_master",
    "is_adhoc",
    "is_master",
    "is_on_slurm",
    "log_git_status",
    "maybe_init_requeue_handler",
    "save_result_in_cwd",
]


def get_job_env() -> "JobEnvironment":
    """The place of this process in its job (job id, rank, node), as submitit's JobEnvironment.

    Off Slurm: a job of one local task.
    """
    if is_on_slurm():
        # Not `submitit.JobEnvironment()`: a Slurm job may have inherited the variables of a local one.
        from submitit.slurm.slurm import SlurmJobEnvironment

        return SlurmJobEnvironment()
    from submitit.local.local import LocalJobEnvironment

    os.environ.setdefault("SUBMITIT_EXECUTOR", "local")
    os.environ.setdefault("SUBMITIT_LOCAL_JOB_ID", "1")
    return LocalJobEnvironment()


def is_master() -> bool:
    """True if this is rank 0 of its job, which alone writes the run's files; True off Slurm."""
    here = schedulers.allocation()
    return here is None or not here[1].rank


def is_adhoc() -> bool:
    """True if the current folder is that of an adhoc run."""
    return "adhoc" in Path.cwd().parts


def log_git_status(base_path_for_logging: str | os.PathLike[str] | None = None) -> None:
    """Log the commit of the running code; the master writes what differs from it to workdir.diff,
    in `base_path_for_logging` or else in the current folder. What goes wrong is logged, no more."""
    import logging

    from heyhi.files import write_whole
    from heyhi.launch.git import GitError, run_git
    from heyhi.project import find_project

    logger = logging.getLogger(__name__)
    root = find_project().root
    path = Path(base_path_for_logging or Path.cwd()) / "workdir.diff"
    try:
        logger.info("git commit %s", run_git(root, "rev-parse", "--verify", "HEAD", trusted=True).strip())
        difference = run_git(root, "diff", "--no-ext-diff", "--no-color", "HEAD", trusted=True)
        if difference and is_master():
            write_whole(path, difference)
            logger.info("the code differs from the commit: %s", path)
    except (GitError, OSError) as problem:
        logger.error("no git status of %s: %s", root, problem)


def maybe_init_requeue_handler(master_callback: Callable[[], None] | None = None) -> None:
    """On Slurm, let the job be requeued into the same folder when its time is up; else do nothing.

    Slurm sends USR1 before the end: the master calls `master_callback` (what it raises is logged) and
    requeues the job; all ranks leave. TERM, which comes with preemption, is left to USR1: a rank that died of
    it would take the master with it, in the middle of the callback.
    """
    here = schedulers.allocation()
    if here is None or here[1].rank is None:
        return
    signal.signal(signal.SIGTERM, lambda *_: _log("SIGTERM is ignored: USR1 requeues"))
    if is_master():
        signal.signal(signal.SIGUSR1, lambda *_: _requeue(*here, master_callback))
    else:
        signal.signal(signal.SIGUSR1, _leave_to_be_requeued)


def _leave_to_be_requeued(*_: object) -> None:
    raise Requeued(0)


class Requeued(SystemExit):
    """The job leaves, and will be started again in the same folder: that is no failure of the run."""


def _requeue(scheduler: str, here: Allocation, callback: Callable[[], None] | None) -> None:
    import logging

    _log(f"SIGUSR1: job {here.job} is to be requeued")
    if callback is not None:
        try:
            callback()
        except Exception as problem:  # the job is requeued whatever its callback does
            if _is_for_later(problem):
                return
            logging.getLogger(__name__).exception("the callback before the requeue failed")
    schedulers.SCHEDULERS[scheduler].requeue(here.job)
    raise Requeued(-1)


_tries = iter(range(20))  # of two seconds in all: then it is requeued without its callback


def _is_for_later(problem: Exception) -> bool:
    """True if USR1 interrupted a print (not re-entrant); the signal is then sent again."""
    is_amid = isinstance(problem, RuntimeError) and "reentrant call" in str(problem)
    if not is_amid or next(_tries, None) is None:
        return False
    # To this thread, as a signal that another one gets does not end its waiting.
    again = threading.Timer(0.1, signal.pthread_kill, [threading.get_ident(), signal.SIGUSR1])
    again.daemon = True
    again.start()
    return True


def _log(text: str) -> None:
    import logging

    logging.getLogger(__name__).info(text)


def save_result_in_cwd(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function like `f` that also writes what it returns to result.json here, on the master."""
    import functools

    @functools.wraps(f)
    def saving(*args: Any, **kwargs: Any) -> Any:
        from heyhi.runs import Run, results

        value = f(*args, **kwargs)
        if is_master():
            results.write(Run("", Path.cwd()), value)
        return value

    return saving
