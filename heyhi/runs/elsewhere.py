"""A result that its run folder cannot take: kept elsewhere, noted in the lock of the run, moved in later.

    the disk is full ─▶ keep: a folder of files, Place ─▶ note_place: {"job", "result", "host"} in heyhi.lock
    room again       ─▶ move_in: result.pkl, result.json ─▶ the note is taken back ─▶ the copy is removed

A note counts only for the job that wrote it: once the run is started anew, it says nothing. Where no job is
recorded any more, as the task has emptied the folder of its run, it counts for the job that it names; a wipe
takes it back first. The same place in the lock has the error of a run whose error.txt has no room.
"""

import errno
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files
from heyhi.runs import claim, places
from heyhi.texts import from_json_object

__all__ = [
    "SETTING",
    "Place",
    "error_of",
    "forget",
    "keep",
    "move_in",
    "note_error",
    "note_place",
    "place_of",
    "read_mark",
]

#: The variable that names a folder in which results are kept that have no room in their own.
SETTING = "HEYHI_KEEP_DIR"

_LOCAL = Path("/var/tmp")  # noqa: S108  (ours in it are looked at before they are used)
_MOUNTS = Path("/proc/self/mountinfo")
_MARK = "heyhi.json"  # in a folder of ours, whose result it has
_LONGEST_ERROR = 600  # letters of a note


class Place(NamedTuple):
    """A folder that has the result of a job. `host`: the only machine that sees it; empty if others may."""

    folder: Path
    host: str
    job: str

    @property
    def text(self) -> str:
        """The place as HeyHi shows it and `scp` accepts it: node07:/var/tmp/..."""
        return f"{self.host}:{self.folder}" if self.host else str(self.folder)

    @property
    def is_here(self) -> bool:
        """True if this machine may see it."""
        return self.host in ("", os.uname().nodename)


# ---- Keeping ------------------------------------------------------------------------------------


def keep(name: str, contents: Mapping[str, bytes], about: Mapping[str, Any], in_job: bool = False) -> Place:
    """Write files into a new folder in the first place that takes them, whole and synced.

    `about` says whose they are: the `job`, and what else the run needs. `in_job` is True in a job of a
    scheduler, whose temporary files may vanish with it. Raises OSError with the reasons
    if no place takes them.
    """
    import json
    import shutil

    problems = []
    for parent, host in _parents(in_job):
        folder = parent / f"{name[-80:].strip('.')}-{os.urandom(4).hex()}"
        try:
            if host:
                places.of_user(_LOCAL)
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
            for file, data in {_MARK: json.dumps(about).encode(), **contents}.items():
                files.write_whole(folder / file, data, sync=True, mode=0o600)
            files.sync_folder(folder)
            files.sync_folder(parent)
            return Place(folder, host, about["job"])
        except OSError as problem:
            problems.append(f"{problem.filename or parent}: {problem.strerror or problem}")
            shutil.rmtree(folder, ignore_errors=True)
    raise OSError(errno.ENOSPC, "; ".join(problems) or "there is no place for it")


def _parents(in_job: bool) -> Iterator[tuple[Path, str]]:
    """Folders to keep results in, the best first, and the host that each is on; empty: it may be shared."""
    chosen = os.environ.get(SETTING, "")
    homes = [os.environ.get("HOME", ""), _home_of_user()]
    below = [os.path.join(home, ".local/state/heyhi/kept") for home in homes if os.path.isdir(home)]
    shared = [Path(path) for path in dict.fromkeys([chosen, *below]) if os.path.isabs(path)]
    yield from ((path, "") for path in shared if not (in_job and _is_private(path)))
    if not (in_job and _is_private(_LOCAL)):
        yield _LOCAL / places.name_of_user() / "kept", os.uname().nodename


def _home_of_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""  # a user of a container


def _is_private(folder: Path) -> bool:
    """True if a folder may vanish with its job: it lies in one for temporary files of the job's own."""
    places = ["/tmp", "/var/tmp", "/dev/shm", os.environ.get("TMPDIR", "")]  # noqa: S108
    real = os.path.realpath(folder)
    return any(f"{real}/".startswith(f"{place}/") and _is_mounted_for_one(place) for place in places if place)


def _is_mounted_for_one(place: str) -> bool:
    """True if a folder is a mount of memory or of another folder, as job containers make it."""
    try:
        lines = _MOUNTS.read_bytes().decode(errors="replace").splitlines()
    except OSError:
        return True
    for line in reversed(lines):  # the last one is on top
        words, _, rest = line.partition(" - ")
        _, _, _, root, target, *_ = words.split(" ")
        if target == place:
            return rest.startswith(("tmpfs ", "ramfs ")) or (root != "/" and not root.endswith(place))
    return False


# ---- The note -----------------------------------------------------------------------------------


def note_place(lock: Path, place: Place) -> None:
    """Write into the lock, which this process holds, where the result of a job is. Raises OSError."""
    _note(lock, {"job": place.job, "result": str(place.folder), "host": place.host})


def note_error(lock: Path, job: str, error: str) -> None:
    """Write into the lock, which this process holds, how a job failed. Raises OSError."""
    _note(lock, {"job": job, "error": error[:_LONGEST_ERROR]})


def _note(lock: Path, content: Mapping[str, str]) -> None:
    import json

    claim.write_note(lock, json.dumps(content))


def forget(lock: Path) -> None:
    """Take back what is noted in the lock, which this process holds. Raises OSError."""
    claim.write_note(lock, "")


def place_of(lock: Path | str, job: str | None) -> Place | None:
    """The place of a job's result; None if the lock of its run names none.

    `job` is the one that heyhi.jobid names; None if there is none.
    """
    note = _read(lock, job)
    folder, host = note.get("result"), note.get("host")
    if not isinstance(folder, str) or not isinstance(host, str) or not os.path.isabs(folder):
        return None
    return Place(Path(folder), host, note["job"])


def error_of(lock: Path | str, job: str) -> str:
    """The failure of a job that the lock of its run notes; empty if it notes none."""
    error = _read(lock, job).get("error")
    return error if isinstance(error, str) else ""


def _read(lock: Path | str, job: str | None) -> dict[str, Any]:
    text = claim.read_note(lock)
    if not text:
        return {}
    note = from_json_object(text)
    if not isinstance(note.get("job"), str):
        return {}
    return note if job is None or note["job"] == job else {}


# ---- Moving in ----------------------------------------------------------------------------------


def move_in(place: Place, lock: Path, targets: Mapping[str, Path]) -> None:
    """Move the files of a place to where they belong, in the order of `targets`; this process holds the lock.

    A target without a file in the place is removed. Raises OSError, as `read_mark` does; then the place is
    as it was, and noted.
    """
    read_mark(place)
    for name, target in targets.items():
        try:
            files.copy_whole(place.folder / name, target)
        except FileNotFoundError as problem:
            if problem.filename != str(place.folder / name) or target == [*targets.values()][-1]:
                raise
            target.unlink(missing_ok=True)  # of an earlier start
    files.sync_folder([*targets.values()][-1].parent)
    forget(lock)
    try:
        for name in (*targets, _MARK):
            (place.folder / name).unlink(missing_ok=True)
        place.folder.rmdir()
    except OSError:
        pass  # what is left there is a copy


def read_mark(place: Place) -> dict[str, Any]:
    """The record that `keep` got. Raises OSError unless this user's `keep` made it for that job.

    A lock is a file that others may write to: what it names is not read, nor removed, on its word alone.
    """
    folder = place.folder
    known = os.lstat(folder)
    if not stat.S_ISDIR(known.st_mode) or known.st_uid != os.getuid():
        raise OSError(errno.EPERM, "is not a folder of this user's", str(folder))
    try:
        mark = from_json_object(files.read_text(folder / _MARK))
    except ValueError:  # other bytes than text
        mark = {}
    if mark.get("job") != place.job:
        raise OSError(errno.EPERM, f"does not have the result of {place.job}", str(folder))
    return mark
