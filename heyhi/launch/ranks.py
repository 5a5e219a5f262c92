"""Inside a job of a scheduler: the master does the run, and all other ranks take part in its task.

    master:  claim ─▶ is the run still this job's? ─▶ go ─▶ task ─▶ all others have ended well ─▶ result.json
    others:                           wait for it ─▶ lock ─▶ task ─▶ word: ended

They meet in a folder of the run's, new at each start of the job. There each of the others holds a lock for as
long as it lives, and leaves a word in it at its end: one that went without has died, whatever its exit
status. The room of that word is reserved from the start: on a full disk no rank seems to have died.
"""

import io
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import Message

from heyhi import files, runs
from heyhi.errors import LaunchError
from heyhi.launch import job, schedulers
from heyhi.launch.environment import Requeued
from heyhi.log import Losses, send_output_to
from heyhi.runs import JobId, Run, claim, failures

__all__ = ["take_part"]

_PAUSE = 0.1  # seconds between two looks
_LONGEST = 1000  # letters of a failure
_ENDED, _REQUEUED, _FAILED = "ended", "requeued", "failed"  # words of the other ranks


def take_part(run: Run, main: job.Main, meta_class: type[Message], level: str) -> int:
    """Be one rank of the job that does a run. Returns its exit status.

    The job is as it was submitted: what the run's folder needs was put there then.
    """
    # Slurm announces the end by it; a task that has no handler is not to die of the announcement.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    _print_promptly()
    rank = _Rank.of_environment(run)
    if rank.number == 0:
        return _be_master(rank, main, meta_class, level)
    return _be_other(rank, main, meta_class, level)


def _print_promptly() -> None:
    """Flush stdout and stderr line by line: a pipe takes them to the scheduler, which has the log."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


class _Rank(NamedTuple):
    run: Run
    number: int
    total: int
    job: JobId
    names: tuple[str, ...]  # what heyhi.jobid may say of this job
    meeting: Path

    @classmethod
    def of_environment(cls, run: Run) -> "_Rank":
        found = schedulers.allocation()
        if found is None or not found[1].job:
            raise LaunchError(f"not in a job of a scheduler ({', '.join(schedulers.SCHEDULERS)})")
        here = found[1]
        return cls(
            run=run,
            number=here.rank or 0,
            total=here.total,
            job=JobId(here.job),
            names=(here.job, here.submitted),
            meeting=run.meeting(here.job, here.restarts),
        )

    @property
    def has_the_run(self) -> bool:
        """True if the run is this job's, and still to be done."""
        known = runs.read_job(self.run)
        if known is None or known.text not in self.names or self.run.result.exists():
            return False
        # Else it is done, and Slurm has lost the node that it ran on.
        return runs.result_place(self.run) is None

    def lock(self, number: int) -> Path:
        """The lock that a rank's process holds until it ends; the master holds the run's claim."""
        return self.meeting / f"{number}.lock"

    @property
    def word(self) -> Path:
        """The master's message at the start. The other ranks leave theirs in their locks."""
        return self.meeting / "0"


# ---- The master ---------------------------------------------------------------------------------


def _be_master(rank: _Rank, main: job.Main, meta_class: type[Message], level: str) -> int:
    run = rank.run
    while rank.has_the_run:
        with job.claimed(run, rank.job, ended=rank.names) as got:
            if got and rank.has_the_run:
                with _meeting(rank):
                    together = _with_others(rank, main)
                    output = send_output_to if rank.total == 1 else _keep_output
                    return job.execute(run, together, meta_class, level, output, rank.job).exit_status
        # Who submitted it has not let go yet; or Slurm has lost a node, and what it started there lives on.
        time.sleep(_PAUSE)
    if rank.total > 1:
        _tell(rank, "leave")
    return 0 if run.result.exists() else 1


@contextmanager
def _meeting(rank: _Rank) -> Iterator[None]:
    for old in rank.run.meetings():
        if old != rank.meeting:
            while runs.is_at_work(old):
                time.sleep(_PAUSE)
            shutil.rmtree(old, ignore_errors=True)
    if rank.total == 1:
        yield
        return
    _tell(rank, "go")
    try:
        yield
    finally:
        if not runs.is_at_work(rank.meeting):
            shutil.rmtree(rank.meeting, ignore_errors=True)


def _with_others(rank: _Rank, main: job.Main) -> job.Main:
    """The task, at its end once all others are; if one of them has failed, that is how it failed."""

    def together(**given: Any) -> Any:
        try:
            value = main(**given)
            _await_others(rank)
        except Requeued:
            raise
        except BaseException as failure:
            # the scheduler ends all ranks as soon as one fails: this one may be the last that is to blame.
            if blame := _blame(rank):
                raise LaunchError(blame) from failure
            raise
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # there is nothing left to be requeued for
        return value

    return together


def _await_others(rank: _Rank) -> None:
    while any(claim.read_note(rank.lock(number)) != _ENDED for number in range(1, rank.total)):
        if blame := _blame(rank):
            raise LaunchError(blame)
        time.sleep(_PAUSE)


def _blame(rank: _Rank) -> str | None:
    """The failure of another rank; None if no other rank has failed."""
    for number in range(1, rank.total):
        lock = rank.lock(number)
        # In this order: it writes who it is once it has the lock, and its word before it lets go.
        has_died = bool(_read(lock)) and claim.holder(lock) is None and not claim.read_note(lock)
        if has_died:
            return f"rank {number} has died; the job's log may say of what"
        if (word := claim.read_note(lock)).startswith(_FAILED):
            return f"rank {number} {word}; the job's log has all of it"
    return None


def _read(path: Path) -> str:
    try:
        return files.read_text(path, "replace")
    except FileNotFoundError:
        return ""


def _keep_output(_: Path) -> nullcontext[Losses]:
    """The log of several ranks: the scheduler writes it line by line, from all nodes."""
    return nullcontext(Losses())


# ---- The others ---------------------------------------------------------------------------------


def _be_other(rank: _Rank, main: job.Main, meta_class: type[Message], level: str) -> int:
    if _word_of_master(rank) != "go":
        return 0
    os.chdir(rank.run.folder)
    try:
        claim.take(rank.lock(rank.number), rank.job.text)
        word = _call(rank, main, meta_class, level)
        claim.write_note(rank.lock(rank.number), word)
    except OSError:  # the master has failed, and what they met in is gone
        return 1
    return 0 if word in (_ENDED, _REQUEUED) else 1


def _call(rank: _Rank, main: job.Main, meta_class: type[Message], level: str) -> str:
    """The task's end in a word; nothing for SIGTERM, which goes to all ranks and is no rank's failure."""
    try:
        with job.signals_end_the_task():
            job.call_task(rank.run, main, meta_class, level)
    except Requeued:
        return _REQUEUED
    except job.Terminated:
        return "terminated"
    except BaseException as failure:  # whatever it is: the run has failed, and the other ranks are ended
        failures.show(failure)
        return f"{_FAILED}: {failures.line_of(failure)[:_LONGEST]}"
    return _ENDED


def _word_of_master(rank: _Rank) -> str:
    while not (word := _read(rank.word)):
        time.sleep(_PAUSE)
    return word


def _tell(rank: _Rank, word: str) -> None:
    rank.meeting.mkdir(exist_ok=True)
    files.write_whole(rank.word, word)
