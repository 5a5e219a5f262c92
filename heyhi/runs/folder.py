"""A run: its folder, the name of every file in it, and what its files say of who made it, and when.

    <experiment root>/p/<config folder>/<config name>/<overrides tag>_<8 hex>/
        heyhi.json       provenance, written first: the folder is HeyHi's
        config.prototxt  config_meta.prototxt     what is computed, frozen before the launch
        heyhi.jobid      who computes it          ckpt.link     where the copy of the code is
        heyhi.lock       held while a job lives   heyhi.owner   which process that is
        run.log  error.txt                        result.json   written last: the run is DONE
        ended.<execution>.json                    what it died of, as others saw it (`deaths`)

The folder is the truth: any process on any host can read from it what the run is.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files
from heyhi.runs.ids import JobId
from heyhi.texts import as_utf8, cut

__all__ = [
    "JOBID",
    "LOCK",
    "PROVENANCE",
    "RESULT",
    "Run",
    "execution_of",
    "executions_of",
    "is_own_name",
    "provenance_text",
    "read_job",
    "read_provenance",
    "remove_partials",
    "starts_of",
]

# Of files that are looked at in thousands of folders: to make a Path takes as long as to open one.
JOBID, LOCK, PROVENANCE, RESULT = "heyhi.jobid", "heyhi.lock", "heyhi.json", "result.json"


class Run(NamedTuple):
    """A run by its id and folder; every file in the folder has its name here."""

    id: str
    folder: Path

    @property
    def config(self) -> Path:
        """The frozen config of the task."""
        return self.folder / "config.prototxt"

    @property
    def config_meta(self) -> Path:
        """The frozen MetaCfg: the task's config and which task it is."""
        return self.folder / "config_meta.prototxt"

    @property
    def provenance(self) -> Path:
        """The provenance, and each start."""
        return self.folder / PROVENANCE

    @property
    def jobid(self) -> Path:
        """The job that computes it: `local:<host>:<pid>` or a Slurm job id."""
        return self.folder / JOBID

    @property
    def lock(self) -> Path:
        """Locked by the job's own process for as long as it lives."""
        return self.folder / LOCK

    @property
    def owner(self) -> Path:
        """The process that holds the lock, identified within the boot of its machine."""
        return self.folder / "heyhi.owner"

    @property
    def snapshot_link(self) -> Path:
        """Holds the path of the code snapshot."""
        return self.folder / "ckpt.link"

    @property
    def log(self) -> Path:
        """The output and log of all starts, one after the other."""
        return self.folder / "run.log"

    @property
    def error(self) -> Path:
        """The last failure: a line, and its traceback."""
        return self.folder / "error.txt"

    def ended(self, execution: str) -> Path:
        """The reason why an execution ended, as recorded by another process than its job."""
        return self.folder / f"ended.{execution}.json"

    @property
    def result(self) -> Path:
        """The task's return value. Its presence makes the run DONE."""
        return self.folder / RESULT

    @property
    def result_pickle(self) -> Path:
        """The parts of the result that JSON cannot hold."""
        return self.folder / "result.pkl"

    def meeting(self, job: str, start: str) -> Path:
        """The folder in which the ranks of a job meet, at one start of it; what is in it, `ranks` says."""
        return self.folder / f".ranks.{job}.{start}"

    def meetings(self) -> list[Path]:
        """The meetings that exist."""
        return list(self.folder.glob(".ranks.*"))


# ---- What it wrote ------------------------------------------------------------------------------------


# The name of each file that HeyHi itself writes into a run folder, as a regular expression. By it, a file is
# known from a task's or a user's, and what a killed process has left of one is removed. A new one needs its
# line here.
_OWN_FILES = (
    r"config\.prototxt",
    r"config_meta\.prototxt",
    r"heyhi\.json",
    r"heyhi\.jobid",
    r"heyhi\.lock",
    r"heyhi\.owner",
    r"ckpt\.link",
    r"run\.log",
    r"error\.txt",
    r"ended\.[0-9a-f]+\.json",
    r"result\.json",
    r"result\.json\.of-the-task",
    r"result\.pkl",
)
_OWN = re.compile("|".join(_OWN_FILES))
_PARTIAL = re.compile(rf"\.({_OWN.pattern})\.\w+\.partial")


def is_own_name(name: str) -> bool:
    """True if HeyHi itself writes a file of this name into a run folder."""
    return any(pattern.fullmatch(name) for pattern in (_OWN, _PARTIAL)) or name.startswith(".ranks.")


def remove_partials(run: Run) -> None:
    """Remove what a killed process left half written; only for who holds the claim, the one writer.

    A record of a death is written without the claim; if its partial goes too early, it is not made.
    """
    for path in run.folder.glob(".*.*.partial"):
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


# ---- What its files say -------------------------------------------------------------------------


_LONGEST_JOB = 400  # bytes; the name of a job has that of a folder in it


def read_job(run: Run) -> JobId | None:
    """The job that computes the run, or did; None if no job was ever recorded."""
    try:
        descriptor = files.open_regular(f"{run.folder}/{JOBID}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        data = os.read(descriptor, _LONGEST_JOB + 1)
    finally:
        os.close(descriptor)
    text = data.decode(errors="replace").strip()
    if len(data) > _LONGEST_JOB:  # HeyHi did not write this: its beginning is enough for the message
        text = cut(text)
    return JobId(text) if text else None


def read_provenance(run: Run) -> dict[str, Any]:
    """The content of heyhi.json; empty if there is none, or if it cannot be read."""
    return files.read_object(run.provenance)


def provenance_text(content: Mapping[str, Any]) -> str:
    """What heyhi.json is to hold: UTF-8, with escapes for names of files and words that are none."""
    import json

    return as_utf8(json.dumps(content, indent=1, ensure_ascii=False, default=str)) + "\n"


def starts_of(known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The starts of a run as its heyhi.json has them, the oldest first, whatever somebody has made of it."""
    starts = known.get("starts")
    return [start for start in starts if isinstance(start, dict)] if isinstance(starts, list) else []


def execution_of(run: Run, job: JobId | None = None) -> str:
    """The id of the last start of a run by a job (by default that of heyhi.jobid); empty if it has none."""
    job = job or read_job(run)
    return executions_of(run, job)[0] if job else ""


def executions_of(run: Run, job: JobId) -> list[str]:
    """The name of a job's last start in records of its end: 16 hex digits, the id first.

    Who made a record may not have seen yet that the job has noted its start. Then it knew the job alone.
    """
    starts = [start for start in starts_of(read_provenance(run)) if start.get("job") == job.text]
    by_job = _execution(job.text)
    if not starts:
        return [by_job]
    own = starts[-1].get("id")
    if not isinstance(own, str) or not re.fullmatch(r"[0-9a-f]{16}", own):  # of before
        own = _execution(f"{job.text} {starts[-1].get('started')}")
    return [own, by_job] if len(starts) == 1 else [own]  # of several by one job (requeued), which one it was


def _execution(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
