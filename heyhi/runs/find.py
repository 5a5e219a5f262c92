"""Runs that are there: all below a folder, those of a place, and the one that a word names.

A place is a batch, a folder, or a run. A word for a run is an id, a folder, a part of an id that only one run
has, or the id of a job.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from heyhi.errors import ProjectError, UsageError, did_you_mean
from heyhi.project import Project, find_project
from heyhi.runs import claim
from heyhi.runs.folder import Run, read_job
from heyhi.runs.ids import real_path
from heyhi.texts import some_of

__all__ = [
    "Found",
    "all_runs",
    "find_run",
    "find_runs",
    "is_run_folder",
    "run_of",
    "runs_at",
    "some_project",
]

# Folders of an experiment root that hold no runs.
_NO_RUNS = ("checkpoints", ".heyhi")
# A folder with one of these is a run's, or what a deletion has left of one.
_USUAL_SIGN = "heyhi.json"
_LOCK = "heyhi.lock"
_SIGNS = frozenset((_USUAL_SIGN, "heyhi.jobid", "config_meta.prototxt", "result.json"))
_SHOWN = 5  # runs that a word fits, in an error


class Found(NamedTuple):
    """A run by its id and folder, as texts: to make a Path takes as long as to look at the folder."""

    id: str
    folder: str

    @property
    def run(self) -> Run:
        """The run that it is."""
        return Run(self.id, Path(self.folder))


def some_project(places: Sequence[str]) -> Project:
    """The project; where there is none any more, what it has left in `places` can be looked at all the same.

    Raises ProjectError if nothing says where to look.
    """
    try:
        return find_project()
    except ProjectError:
        if not places and "HH_EXP_DIR" not in os.environ:
            raise
        return Project(Path.cwd())


def find_runs(place: Path, project: Project) -> list[Found]:
    """All runs in a folder, or the one that it is, in the order of their ids.

    It also lists folders below the experiment root that have files but are no run's, and follows links to
    folders. Raises UsageError if there is no such folder.
    """
    if not place.is_dir():
        raise UsageError(f"{place}: no such folder")
    root = str(project.experiment_root)
    top = _absolute(place, root)
    folders = {*_folders(top, root), *_deleted(top)}
    return sorted(Found(_id(folder, root), folder) for folder in folders)


def _deleted(top: str) -> Iterator[str]:
    """Folders of runs that were deleted while their processes live on this machine."""
    real = os.path.realpath(top)
    for lock in claim.holders_of_deleted():
        folder, name = os.path.split(lock)
        if name == _LOCK and f"{folder}/".startswith(f"{real}/"):
            yield top + folder[len(real) :]


def all_runs(project: Project) -> list[Found]:
    """All runs of the experiment root, which need not be there yet."""
    root = project.experiment_root
    if root.is_dir():
        return find_runs(root, project)
    return sorted(Found(_id(folder, str(root)), folder) for folder in _deleted(str(root)))


def runs_at(place: str, project: Project) -> list[Found]:
    """The runs of a place that is no batch: a folder, here or in the experiment root, or one run.

    Raises UsageError if it is neither.
    """
    for folder in (Path(place), project.experiment_root / place):
        if place and folder.is_dir():
            return find_runs(folder, project)
    if place.endswith(".sh"):
        raise UsageError(f"{place}: no such batch")
    run = find_run(place, project)
    return [Found(run.id, str(run.folder))]


def run_of(folder: Path | str, project: Project) -> Run:
    """The run of a folder, which need not be one's yet."""
    root = str(project.experiment_root)
    path = _absolute(folder, root)
    return Run(_id(path, root), Path(path))


def _absolute(folder: Path | str, root: str) -> str:
    """Its path; as the root is called if it lies there, also where links lead to it by another name."""
    path = os.path.abspath(folder)
    if f"{path}/".startswith(f"{root}/"):
        return path
    real, real_root = os.path.realpath(path), real_path(root)
    return root + real[len(real_root) :] if f"{real}/".startswith(f"{real_root}/") else path


def _id(folder: str, root: str) -> str:
    """The same as `os.path.relpath`, but fast for thousands of paths."""
    start = f"{root}/"
    return folder[len(start) :] if folder.startswith(start) else os.path.relpath(folder, root)


def is_run_folder(folder: Path | str) -> bool:
    """True if a folder is a run's."""
    return any(Path(folder, name).exists() for name in _SIGNS)


def _folders(place: str, root: str) -> Iterator[str]:
    """Folders of runs, and others that hold files or cannot be read."""
    if os.access(f"{place}/{_USUAL_SIGN}", os.F_OK):
        yield place  # it need not be listed, which takes several times as long
        return
    try:
        with os.scandir(place) as entries:
            listed = list(entries)
    except OSError:
        yield place
        return
    names = {entry.name for entry in listed}
    if not _SIGNS.isdisjoint(names):
        yield place
        return  # no run is in another
    inner = [entry for entry in listed if _leads_on(entry, root)]
    if names and not inner and place != root:
        yield place
    for entry in inner:
        if place != root or entry.name not in _NO_RUNS:
            yield from _folders(entry.path, root)


def _leads_on(entry: "os.DirEntry[str]", root: str) -> bool:
    """True if it is a folder, or a link to one outside the root: the root lists its own folders once."""
    try:
        if not entry.is_dir():
            return False
        if not entry.is_symlink():
            return True
    except OSError:
        return False
    to, real_root = os.path.realpath(entry.path), real_path(root)
    return not f"{to}/".startswith(f"{real_root}/") and not f"{real_root}/".startswith(f"{to}/")


# ---- One run ------------------------------------------------------------------------------------


def find_run(word: str, project: Project) -> Run:
    """The run that a word names. Raises UsageError if none is meant, or if several may be."""
    if not word:
        raise UsageError("no run '': an empty word names none; give an id, a part of one, a folder or a job")
    for folder in (project.experiment_root / word, Path(word)):
        if is_run_folder(folder):
            return run_of(folder, project)
    root = project.experiment_root
    known = [found.run for found in all_runs(project) if _is_run(found.folder)]
    named = [run for run in known if os.path.basename(run.folder) == word]
    if len(named) == 1:
        return named[0]  # as `ls` shows it; it may be a part of the id of a run that uses its files
    # Both are looked at: the number of a job may be a part of another run's id, and it may be to be killed.
    # A folder (., ..) is not meant as a part of whatever run is there.
    is_part = bool(word.strip("./"))
    fitting = [run for run in known if (is_part and word in run.id) or _is_job_of(word, run)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = some_of([run.id for run in fitting], _SHOWN)
        raise UsageError(
            f"run {word!r}: {len(fitting)} runs have that in their ids, or as their job: {names}"
        )
    hint = did_you_mean(word, [run.id for run in known])
    raise UsageError(f"no run {word!r}: no id, folder, part of an id or job in {root}{hint}")


def _is_run(folder: str) -> bool:
    return is_run_folder(folder) or not os.path.exists(folder)  # one that was deleted, and lives


def _is_job_of(word: str, run: Run) -> bool:
    """True if the word names the run's job: its id in Slurm, its process, or the text that HeyHi shows."""
    job = read_job(run)
    if job is None:
        return False
    return word == job.text or (job.local is not None and word == str(job.local[1]))
