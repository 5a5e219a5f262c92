"""A run: its id, its folder, the name of every file in it, and its status as the folder tells it.

    <experiment root>/p/<config folder>/<config name>/<overrides tag>_<8 hex>/
        config.prototxt  config_meta.prototxt     what is computed, frozen before the launch
        heyhi.json       provenance               heyhi.jobid   who computes it
        heyhi.lock       held while a job lives   ckpt.link     where the copy of the code is
        run.log  error.txt                        result.json   written last: the run is DONE

The folder is the truth: any process on any host can read from it what the run is.
"""

import enum
import errno
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heyhi.errors import UsageError
from heyhi.project import Project

__all__ = [
    "EXP_ID_PATTERN",
    "JobId",
    "Run",
    "RunState",
    "Status",
    "make_id",
    "read_state",
    "relative_to_root",
    "write_whole",
]

EXP_ID_PATTERN = "%(prefix)s/%(cfg_folder)s/%(cfg)s/%(redefines)s_%(redefines_hash)s"

_UNSAFE = re.compile(r"[^A-Za-z0-9@._+=-]")
# How a value inside the experiment root starts in a canonical override, whatever the root is called.
_ROOT_WORD = "{{EXP_DIR}}"


class Status(enum.Enum):
    """What a run is, as its folder (and for Slurm its queue) tells it."""

    NOT_STARTED = "NOT_STARTED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    UNKNOWN = "UNKNOWN"  # its job cannot be asked about: it may live
    DONE = "DONE"
    DEAD = "DEAD"


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
        """Where everything came from, and each start."""
        return self.folder / "heyhi.json"

    @property
    def jobid(self) -> Path:
        """Who computes it: `local:<host>:<pid>` or a Slurm job id."""
        return self.folder / "heyhi.jobid"

    @property
    def lock(self) -> Path:
        """Locked by the job's own process for as long as it lives."""
        return self.folder / "heyhi.lock"

    @property
    def snapshot_link(self) -> Path:
        """Holds the path of the code snapshot."""
        return self.folder / "ckpt.link"

    @property
    def log(self) -> Path:
        """What the job printed and logged, all starts one after the other."""
        return self.folder / "run.log"

    @property
    def error(self) -> Path:
        """The traceback of the last failure."""
        return self.folder / "error.txt"

    @property
    def result(self) -> Path:
        """What the task returned. Its presence is DONE."""
        return self.folder / "result.json"

    @property
    def result_pickle(self) -> Path:
        """What of the result JSON cannot hold."""
        return self.folder / "result.pkl"


class JobId(NamedTuple):
    """Who computes a run. A local job has a host and a pid, a Slurm job a Slurm id."""

    text: str

    @property
    def local(self) -> tuple[str, int] | None:
        """Host and pid of a local job; None for one of Slurm."""
        match = re.fullmatch(r"local:(.+):(\d+)", self.text)
        return (match[1], int(match[2])) if match else None


# ---- The id -------------------------------------------------------------------------------------


def make_id(
    base: Path,
    overrides: Sequence[str],
    project: Project,
    *,
    prefix: str = "p",
    date: str = "",
    pattern: str | None = None,
) -> str:
    """The id of a run of these canonical overrides: a path below the experiment root.

    `pattern` replaces the default; it may use %(prefix)s, %(date)s, %(cfg_folder)s, %(cfg)s,
    %(redefines)s and %(redefines_hash)s. Raises UsageError if it uses another.
    """
    tags = {
        "prefix": prefix,
        "date": date,
        "cfg_folder": _safe(_config_folder(base, project)),
        "cfg": _safe(base.name.rpartition(".")[0] or base.name),
        "redefines": _tag(overrides),
        "redefines_hash": _md5(repr(list(overrides))),
    }
    try:
        return (pattern or EXP_ID_PATTERN) % tags
    except (KeyError, ValueError, TypeError) as problem:
        raise UsageError(
            f"bad pattern {pattern!r} for the run folder ({problem}); it may use "
            f"{', '.join(f'%({tag})s' for tag in tags)}, and %% for a percent sign"
        ) from None


def relative_to_root(text: str, root: Path) -> str:
    """A canonical override whose value, if it lies in the experiment root, is relative to it.

    So ids are the same on a laptop and on a cluster.
    """
    key, _, value = text.partition("=")
    for start in (str(root), os.path.realpath(root)):
        if value == start or value.startswith(start + "/"):
            return f"{key}={_ROOT_WORD}{value[len(start) :]}"
    if value.lstrip("\\").startswith(_ROOT_WORD):
        return f"{key}=\\{value}"  # a text that reads like it is another text
    return text


def _config_folder(base: Path, project: Project) -> str:
    folder = os.path.realpath(base.parent)
    conf = os.path.realpath(project.conf)
    if folder == conf:
        return "root"
    if folder.startswith(conf + "/"):
        return folder[len(conf) + 1 :].replace("/", "_")
    return _md5(folder)


def _md5(text: str) -> str:
    digest = hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False)
    return digest.hexdigest()[:8]


def _tag(overrides: Sequence[str]) -> str:
    """What a person recognises the overrides by, cut to 100 characters."""
    parts = []
    for override in overrides:
        key, _, value = override.partition("=")
        if len(key) > 5:
            key = ".".join(part[:3] for part in key.split("."))
        parts.append(f"{key}@{'_'.join(value.split('/')[-2:])}")
    return _safe("@".join(parts)[:100]) or "default"


def _safe(text: str) -> str:
    """Without characters that paths, shells or Snakemake's wildcards give a meaning."""
    return _UNSAFE.sub("_", text)


# ---- The status ---------------------------------------------------------------------------------


class RunState(NamedTuple):
    """A status, and who or what it is about: the job if there is one."""

    status: Status
    job: JobId | None = None
    detail: str = ""


def read_state(run: Run, slurm_states: "dict[str, str] | None" = None) -> RunState:
    """What the run is now. `slurm_states` is what squeue said, job id -> state; None: not asked,
    or no answer, so that a Slurm job without a result is UNKNOWN.

    The order of the looks matters: a job that ends between two of them is seen as ended.
    """
    job = _read_job(run)
    if job is None:
        holder = lock_holder(run)
        if holder is not None:
            return RunState(Status.RUNNING, JobId(f"local:{_host()}:{holder}"), "starting")
        return RunState(Status.DONE if run.result.exists() else Status.NOT_STARTED)
    if job.local is None:
        return _slurm_state(run, job, slurm_states)
    return _local_state(run, job, job.local[0])


def _read_job(run: Run) -> JobId | None:
    try:
        return JobId(run.jobid.read_text(encoding="utf-8").strip())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _local_state(run: Run, job: JobId, host: str) -> RunState:
    if lock_holder(run) is not None:
        return RunState(Status.RUNNING, job)
    if run.result.exists():
        return RunState(Status.DONE, job)
    if host != _host():
        detail = f"it was started on {host}, and from here its lock cannot be tested"
        return RunState(Status.UNKNOWN, job, detail)
    return RunState(Status.DEAD, job)


def _slurm_state(run: Run, job: JobId, states: "dict[str, str] | None") -> RunState:
    if states is not None and job.text in states:
        queued = states[job.text] in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD")
        return RunState(Status.QUEUED if queued else Status.RUNNING, job, states[job.text])
    if run.result.exists():
        return RunState(Status.DONE, job)
    if states is None:
        return RunState(Status.UNKNOWN, job, f"Slurm cannot be asked about its job {job.text}")
    return RunState(Status.DEAD, job)


def _host() -> str:
    return os.uname().nodename


def this_process() -> JobId:
    """The job id of this very process."""
    return JobId(f"local:{_host()}:{os.getpid()}")


# ---- The claim ----------------------------------------------------------------------------------
# A POSIX record lock on heyhi.lock: the kernel gives it to one process of all hosts that share the
# file system, and takes it back when that process dies, however it dies. It can be tested without
# being taken (F_GETLK), so looking never disturbs a start. Two properties to respect: children do not
# inherit it, and closing *any* descriptor of the file drops it, so held locks are never opened again.

_held: dict[str, int] = {}  # real path of a lock that this process holds -> its descriptor


def take_lock(run: Run) -> bool:
    """Claim the run for this process, until it ends. False if another process has it."""
    import fcntl

    path = os.path.realpath(run.lock)
    if path in _held:
        return False
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        os.close(descriptor)
        if problem.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    _held[path] = descriptor
    return True


def drop_lock(run: Run) -> None:
    """Give the claim back."""
    os.close(_held.pop(os.path.realpath(run.lock)))


def lock_holder(run: Run) -> int | None:
    """The pid of the process that holds the claim (0 if it is on another host); None if free."""
    import fcntl
    import struct

    path = os.path.realpath(run.lock)
    if path in _held:
        return os.getpid()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # not ours to write: a lock for reading would be refused by a writer's
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, request)
    finally:
        os.close(descriptor)
    kind, _, _, _, pid = struct.unpack(_FLOCK, answer)
    return None if kind == fcntl.F_UNLCK else int(pid)


# struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = "hhqqi4x"


# ---- Writing ------------------------------------------------------------------------------------


def write_whole(path: Path, text: str | bytes) -> None:
    """Write a file beside its place and move it there: readers see the old one or the new one."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_provenance(run: Run) -> dict[str, Any]:
    """The content of heyhi.json; empty if there is none, or if it cannot be read."""
    import json

    try:
        content = json.loads(run.provenance.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def last_error(run: Run) -> str:
    """The last line of the last failure's traceback; empty if there is none."""
    try:
        lines = run.error.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
