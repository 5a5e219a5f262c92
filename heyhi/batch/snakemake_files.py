"""Choose the folders of Snakemake's own files, if the project or the home folder is read-only.

<where it runs>/.snakemake      logs, marks; it runs in the project
~/.cache/snakemake              source files that it has fetched
<experiment root>/.heyhi/snakemake/<uid>      in place of either, as in a container, where both are read-only
"""

import os
import pwd
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from heyhi.errors import HeyhiError
from heyhi.project import Project, find_project

__all__ = ["have_cache", "leave_readonly_folder", "work_folder"]


def work_folder(project: Project) -> Path:
    """The folder that Snakemake runs in: the project, or one below the experiment root. Raises OSError."""
    if _can_be_written(project.root / ".snakemake"):
        return project.root
    return _place(project, "work")


def leave_readonly_folder(project: Project) -> None:
    """Go, in Snakemake's own process, to where it can write, before it writes anything. Raises OSError."""
    if not _can_be_written(Path(".snakemake").absolute()):
        os.chdir(_place(project, "work"))


def _place(project: Project, name: str) -> Path:
    # One for each user: the experiment root may be shared, and Snakemake's files are the user's own.
    folder = project.experiment_root / ".heyhi" / "snakemake" / str(os.getuid()) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _can_be_written(folder: Path) -> bool:
    """True if HeyHi can make this folder, or files in it."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return os.access(there, os.W_OK | os.X_OK)


def have_cache(argv: Sequence[str]) -> None:
    """Let Snakemake, in its own process, do without a home folder, or without a name of the user.

    XDG_CACHE_HOME would name another cache, too, but for all that its jobs start. `argv` is its command line.
    """
    from snakemake import common

    os.environ.setdefault("LOGNAME", _user_name())
    dirs = common.get_appdirs()
    has_home = os.environ.get("XDG_CACHE_HOME") or os.path.isdir(os.environ.get("HOME") or "no home")
    if has_home and _can_be_written(Path(dirs.user_cache_dir)):
        return
    try:
        folder = _place(find_project(_snakefile(argv)), "cache")
    except (HeyhiError, OSError):
        return  # Snakemake says what it cannot write

    class _Dirs(type(dirs)):  # type: ignore[misc]  # Snakemake has no types
        user_cache_dir = user_config_dir = str(folder)

    common.APPDIRS = _Dirs("snakemake", "snakemake")


def _user_name() -> str:
    """The name of the user, which Snakemake asks for; a container's user may have none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _snakefile(argv: Sequence[str]) -> str:
    """The Snakefile of a command line."""
    words = [word for given in argv for word in given.split("=", 1)]
    chosen = (after for word, after in pairwise(words) if word in ("--snakefile", "-s"))
    return next(chosen, "Snakefile")
