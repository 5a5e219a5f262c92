"""Inside a Slurm job: the master does the run, and all other ranks take part in its task.

    master:  claim ─▶ is the run still this job's? ─▶ go ─▶ task ─▶ all others have ended well ─▶ result.json
    others:                                  wait for it ─▶ task ─▶ ended

They meet in a folder of the run's, new at each start of the job.
"""

import os
import shutil
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import Message

from heyhi import job, runs
from heyhi.environment import Requeued, get_slurm_job_id
from heyhi.runs import SUBMITTING, JobId, Run

__all__ = ["take_part"]

_PAUSE = 0.1  # seconds between two looks


def take_part(run: Run, main: job.Main, meta_class: type[Message], level: str) -> int:
    """Be one rank of the job that does a run. Returns its exit status.

    The job is as it was submitted: what the run's folder needs was put there then.
    """
    # Slurm announces the end by it; a task that has no handler is not to die of the announcement.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    rank = _Rank.of_environment(run)
    if rank.number == 0:
        return _be_master(rank, main, meta_class, level)
    return _be_other(rank, main, meta_class, level)


class _Rank(NamedTuple):
    run: Run
    number: int
    total: int
    job: JobId
    names: tuple[str, ...]  # what heyhi.jobid may say of this job
    meeting: Path

    @classmethod
    def of_environment(cls, run: Run) -> "_Rank":
        known = os.environ
        job_id = get_slurm_job_id()
        _, is_array, index = job_id.partition("_")
        submitted = f"{SUBMITTING}{known.get('SLURM_JOB_NAME', '')}{is_array}{index}"
        return cls(
            run=run,
            number=int(known.get("SLURM_PROCID", "0")),
            total=int(known.get("SLURM_NTASKS", "1")),
            job=JobId(job_id),
            names=(job_id, submitted),
            meeting=run.folder / f".ranks.{job_id}.{known.get('SLURM_RESTART_COUNT', '0')}",
        )

    @property
    def has_the_run(self) -> bool:
        """Whether the run is this job's, and still to be done."""
        known = runs.read_job(self.run)
        return known is not None and known.text in self.names and not self.run.result.exists()


# ---- The master ---------------------------------------------------------------------------------


def _be_master(rank: _Rank, main: job.Main, meta_class: type[Message], level: str) -> int:
    run = rank.run
    while rank.has_the_run:
        with job.claimed(run, rank.job) as got:
            if got and rank.has_the_run:
                with _meeting(rank):
                    together = _with_others(rank, main)
                    keep = _keep_output
                    return job.execute(run, together, meta_class, level, keep, rank.job).exit_status
        # Who submitted it has not let go yet; or Slurm has lost a node, and what it started there lives on.
        time.sleep(_PAUSE)
    if rank.total > 1:
        _tell(rank, "leave")
    return 0 if run.result.exists() else 1


@contextmanager
def _meeting(rank: _Rank) -> Iterator[None]:
    for old in rank.run.folder.glob(".ranks.*"):
        if old != rank.meeting:
            shutil.rmtree(old, ignore_errors=True)
    if rank.total == 1:
        yield
        return
    _tell(rank, "go")
    try:
        yield
    finally:
        shutil.rmtree(rank.meeting, ignore_errors=True)


def _with_others(rank: _Rank, main: job.Main) -> job.Main:
    """The task, at its end once all others are: one that failed lets srun end the job."""

    def together(**given: Any) -> Any:
        value = main(**given)
        while not all((rank.meeting / str(number)).exists() for number in range(1, rank.total)):
            time.sleep(_PAUSE)
        return value

    return together


def _keep_output(_: Path) -> "nullcontext[None]":
    """The job's script has sent it to the log already."""
    return nullcontext()


# ---- The others ---------------------------------------------------------------------------------


def _be_other(rank: _Rank, main: job.Main, meta_class: type[Message], level: str) -> int:
    word = _word_of_master(rank)
    if word != "go":
        return 0
    os.chdir(rank.run.folder)
    try:
        job.call_task(rank.run, main, meta_class, level)
    except Requeued:
        return 0
    except BaseException:  # whatever it is: the run has failed, and srun ends the other ranks
        traceback.print_exc()
        return 1
    _leave_word(rank.meeting / str(rank.number), "ended")
    return 0


def _word_of_master(rank: _Rank) -> str:
    while True:
        try:
            return (rank.meeting / "0").read_text()
        except FileNotFoundError:
            time.sleep(_PAUSE)


def _tell(rank: _Rank, word: str) -> None:
    rank.meeting.mkdir(exist_ok=True)
    _leave_word(rank.meeting / "0", word)


def _leave_word(path: Path, word: str) -> None:
    runs.write_whole(path, word)
