"""The guard: a file beside the lock of a run folder that says which process is at work there.

    heyhi.owner      {"token": ..., "job": "local:node07:4711", "host": ..., "pid": ..., ...}

The lock is the kernel's word, and as good as the file system: some keep locks to one host (NFS mounted with
`nolock`, Lustre with `localflock`, sshfs), and a process that replaces itself (`exec`) loses its lock. The
guard is made by `link`, which one process of all hosts succeeds in, and names its process. One that is left
of a process that has ended here is taken over; one of a process elsewhere only if the job is known to have
ended.
"""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from heyhi import files
from heyhi.runs import processes
from heyhi.runs.processes import Process
from heyhi.texts import from_json_object

__all__ = ["Guard", "is_ours", "leave", "read", "stand"]


class Guard(NamedTuple):
    """The content of a guard: a unique text of its owner, its job, and its process if known."""

    token: str
    job: str
    process: Process | None

    @property
    def lives(self) -> bool | None:
        """True if its process is alive; None if unknown from here."""
        return None if self.process is None else processes.lives(self.process)


_ours: dict[str, str] = {}  # real path of a guard that this process has left -> its token


def stand(path: Path, job: str, ended: Collection[str] = ()) -> bool:
    """Make this process the one at work; `job` is its job. False if another one is, or may be.

    `ended` are jobs that are known to have ended, or that are this one by another name. Raises OSError.
    """
    token = os.urandom(8).hex()
    content = {"token": token, "job": job, **processes.this_process()._asdict()}
    text = json.dumps(content) + "\n"
    while not files.write_new(path, text):
        old = read(path)
        # One that cannot be read is no living process's, as it comes into its place whole: a crash left it.
        if old is not None and old.process is not None:
            alive = processes.lives(old.process)
            if alive or (alive is None and old.job not in ended):
                return False
        if not _remove(path, old):
            return False
    _ours[os.path.realpath(path)] = token
    return is_ours(path)  # read again: where locks do not reach, another host may have done the same


def _remove(path: Path, judged: Guard | None) -> bool:
    """Take a guard away that was judged to be a dead process's. False if another one stands there by now."""
    aside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return True
    try:
        if read(aside) == judged:
            return True
        try:
            os.link(aside, path)
        except OSError:
            pass  # a third one has come
        return False
    finally:
        aside.unlink(missing_ok=True)


def read(path: Path) -> Guard | None:
    """The guard's content; None if there is no guard. An unreadable guard names no process.

    Raises OSError for something that is no file.
    """
    try:
        data = files.read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    known = from_json_object(data)
    return Guard(str(known.get("token", "")), str(known.get("job", "")), Process.of(known))


def is_ours(path: Path) -> bool:
    """True if the guard that this process wrote still exists."""
    known = read(path)
    return known is not None and known.token == _ours.get(os.path.realpath(path))


def leave(path: Path) -> None:
    """Take this process's guard away; another one's stays. Raises OSError."""
    if is_ours(path):
        path.unlink(missing_ok=True)
    _ours.pop(os.path.realpath(path), None)
