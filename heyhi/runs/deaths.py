"""The reason of a run's death, if its job could not record it.

    the job itself                      error.txt               wins over all others
    its driver, by its exit status      ended.<execution>.json  } the first to learn it; the record stays
    Slurm, as long as it knows it       ended.<execution>.json  } when they have forgotten it
    the sender of a signal, beforehand  ended.<execution>.json  } the job copies it into its error.txt

A record needs no claim: it is a file of its own for each execution (`starts[].id` in heyhi.json), made with
`link`, so that the first one stays. Nothing else in the folder is touched.
"""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heyhi import files
from heyhi.runs import elsewhere
from heyhi.runs.failures import has_line, line_in, shown
from heyhi.runs.folder import Run, execution_of, executions_of, read_job
from heyhi.runs.ids import JobId
from heyhi.runs.status import RunState

__all__ = [
    "DRIVER",
    "INTERRUPTED",
    "KILL",
    "UNSAID",
    "cause",
    "end_of_process",
    "ended_by",
    "is_said",
    "last_error",
    "reason_of",
    "record",
    "recorded",
    "settle",
    "take_back",
    "why",
]

#: Reasons of runs that the user has stopped.
KILL, DRIVER, INTERRUPTED = "stopped by heyhi kill", "stopped with its driver", "interrupted"
#: In place of a reason, where there is none.
UNSAID = "it left no error"

_HEAD, _MOST = 4096, 10_000_000  # bytes of an error.txt that are read first, and then


def record(run: Run, job: JobId, reason: str, by: str, status: int | None = None) -> Path | None:
    """Keep what the execution of a run by a job ended of, or is about to end of.

    `by` is who says so; `status` the exit status of its process, -n for signal n. Returns the file if it was
    made. None: there is one, the job has written down its end itself, another job has the run now, or the
    folder cannot be written to, which is no failure of the caller.
    """
    content: dict[str, Any] = {"job": job.text, "reason": reason, "by": by, "time": _now()}
    if status is not None:
        content["signal" if status < 0 else "exit"] = abs(status)
    try:
        if read_job(run) != job or is_said(run):
            return None
        path = run.ended(execution_of(run, job))
        return path if files.write_new(path, json.dumps(content) + "\n") else None
    except OSError:
        return None


def settle(run: Run, job: JobId, who: str) -> None:
    """Keep that a run has ended, on the word of somebody who knows: its job cannot be seen from here.

    Raises OSError.
    """
    path = run.ended(execution_of(run, job))
    content = {"job": job.text, "reason": f"has ended, as {who} said", "by": who, "time": _now()}
    content = files.read_object(path) or content
    files.write_whole(path, json.dumps({**content, "settled": True}) + "\n")


@contextmanager
def recorded(run: Run, job: JobId, reason: str) -> Iterator[None]:
    """Record what a run is to die of by a signal that is sent inside; taken back if it cannot be sent.

    Nothing is recorded without a reason.
    """
    path = record(run, job, reason, "who ended it") if reason else None
    try:
        yield
    except Exception:
        take_back(path)
        raise


def take_back(path: Path | None) -> None:
    """Remove a record that was made by the caller, if it was."""
    try:
        if path is not None:
            path.unlink(missing_ok=True)
    except OSError:
        pass


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


# ---- Reading ------------------------------------------------------------------------------------


def why(run: Run, state: RunState) -> str:
    """The reason of a DEAD run's death, in a line; never empty."""
    return cause(run, state.job) or state.detail or UNSAID


def cause(run: Run, job: JobId | None = None) -> str:
    """The reason why the last execution of a run ended, from its folder; empty if unknown.

    `job` is who computed it, if the caller has read that already.
    """
    error = last_error(run)
    if error and not _is_of_signal(error):
        return error
    try:
        job = job or read_job(run)
    except OSError:
        pass  # what is wrong with it is in the run's state
    reason = reason_of(run, job)
    return f"{error} ({reason})" if error and reason else error or reason


def is_said(run: Run) -> bool:
    """True if the job has written down itself what it ended of, and that was more than a signal."""
    error = last_error(run)
    return bool(error) and not _is_of_signal(error)


def last_error(run: Run) -> str:
    """The line of the last failure that the job wrote down itself; empty if there is none."""
    try:
        with open(files.open_regular(run.error), "rb") as file:
            data = file.read(_HEAD)
            if not has_line(data.decode(errors="replace")):  # of before: it is somewhere in the traceback
                data += file.read(_MOST)
    except OSError:
        return _noted_error(run)
    return line_in(data.decode(errors="replace"))


def _noted_error(run: Run) -> str:
    """The line of a failure for whose error.txt there was no room."""
    try:
        job = read_job(run)
    except OSError:
        return ""
    return elsewhere.error_of(run.lock, job.text) if job else ""


def reason_of(run: Run, job: JobId | None) -> str:
    """The reason that another process recorded for a job's last execution; empty if there is none."""
    for execution in executions_of(run, job) if job else ():
        reason = files.read_object(run.ended(execution)).get("reason")
        if isinstance(reason, str):
            return shown(reason)
    return ""


# ---- Words --------------------------------------------------------------------------------------


def ended_by(number: int) -> str:
    """The line about a process that a signal has ended."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"ended by {name}{' (out of memory?)' if number == signal.SIGKILL else ''}"


def end_of_process(status: int) -> str:
    """The line about a process that has ended without an error, from its exit status (-n: signal n)."""
    return ended_by(-status) if status < 0 else f"ended with exit status {status}, without an error"


def _is_of_signal(error: str) -> bool:
    """True if a job recorded only the signal that ended it; its sender may be on record elsewhere."""
    return error in (ended_by(signal.SIGTERM), ended_by(signal.SIGHUP))
