"""The code snapshot: the files a run will use, copied once for each distinct tree.

    <experiment root>/checkpoints/<hash of the tree>/     the repository, as it is, dirty or not
        GITHASH.txt  GITDIFF.txt                          the commit, and what differs from it

Copied are the tracked files and the untracked ones that git does not ignore, and the generated modules
of `conf/`. Of a project outside git: all files but caches. The copy is made beside and moved into place;
its name is the hash of what was copied, so that any number of runs, of any number of processes, share it.
"""

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from heyhi.errors import LaunchError
from heyhi.project import Project

__all__ = ["GitState", "Snapshot", "git_state", "take_snapshot"]

_GENERATED = ("_pb2.py", "_pb2.pyi", "_cfgs.py", "_cfgs.pyi")
_CACHES = frozenset(
    [
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "venv",
        "__pycache__",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".hypothesis",
        ".snakemake",
        ".tox",
        ".nox",
        "node_modules",
    ]
)
_LARGE = 100_000_000  # bytes above which a copy is worth a word


class Snapshot(NamedTuple):
    """A copy of the code: its folder, and the project's folder in it."""

    folder: Path
    project_root: Path


class GitState(NamedTuple):
    """The commit of the working tree, and whether it differs from it; None outside git."""

    commit: str | None
    dirty: bool


def git_state(root: Path) -> GitState:
    """What git says of a folder."""
    commit = _git(root, "rev-parse", "HEAD")
    dirty = _git(root, "status", "--porcelain", "--untracked-files=normal") if commit else None
    return GitState(commit.strip() if commit else None, bool(dirty and dirty.strip()))


def take_snapshot(project: Project, place: Path, *, exclude: Path, say: Callable[[str], None]) -> Snapshot:
    """The snapshot of the project's repository below `place`, copied if this tree is not there yet.

    `exclude` (the experiment root) is left out. Raises LaunchError if it cannot be written.
    """
    top = _repository(project.root)
    inside = project.root.relative_to(top)
    names = _files(top, project, exclude)
    try:
        digest = _hash_tree(top, names)
        folder = place / digest
        if not folder.is_dir():
            _warn_if_large(top, names, say)
            folder = _copy(top, names, place)
    except OSError as problem:
        raise LaunchError(
            f"{place}: the code cannot be copied: {problem.strerror or problem} "
            f'({problem.filename or "?"}); --checkpoint="" goes without'
        ) from None
    return Snapshot(folder, folder / inside)


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None where there is no git, or no repository."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return os.fsdecode(done.stdout)


def _repository(root: Path) -> Path:
    top = _git(root, "rev-parse", "--show-toplevel")
    folder = Path(top.rstrip("\n")) if top else root
    return folder if root.is_relative_to(folder) else root


# ---- Which files --------------------------------------------------------------------------------


def _files(top: Path, project: Project, exclude: Path) -> list[str]:
    """The files to copy, relative to `top`, sorted."""
    listed = _listed_by_git(top)
    names = set(_walk(top) if listed is None else listed)
    conf = project.conf.relative_to(top)
    names |= {str(conf / path.name) for path in project.conf.iterdir() if _is_generated(path)}
    hidden = f"{exclude.relative_to(top)}/" if exclude.is_relative_to(top) else None
    return sorted(n for n in names if not (hidden and n.startswith(hidden)))


def _is_generated(path: Path) -> bool:
    return path.name.endswith(_GENERATED)


def _listed_by_git(top: Path) -> list[str] | None:
    """Tracked and untracked, not ignored files; those of submodules and nested repositories too."""
    text = _git(top, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if text is None:
        return None
    names = []
    for name in filter(None, text.split("\0")):
        path = top / name
        if path.is_dir() and not path.is_symlink():
            inner = _listed_by_git(path) or []
            names += [os.path.join(name, below) for below in inner]
        elif os.path.lexists(path):  # a tracked file may be deleted
            names.append(name)
    return names


def _walk(top: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if name not in _CACHES]
        for name in files:
            yield os.path.relpath(os.path.join(folder, name), top)


def _warn_if_large(top: Path, names: list[str], say: Callable[[str], None]) -> None:
    size = sum((top / name).lstat().st_size for name in names)
    if size > _LARGE:
        say(
            f"copying {size / 1e6:,.0f} MB of code from {top} for this run; files that no run needs "
            "are left out when .gitignore names them"
        )


# ---- Copy and hash ------------------------------------------------------------------------------


def _copy(top: Path, names: list[str], place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=place))
    try:
        for name in names:
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy_file(top / name, target)
        # Of what was copied, not of what was there before: a file may have changed meanwhile.
        folder = place / _hash_tree(partial, names)
        _write_git_notes(top, partial)
        partial.chmod(0o755)
        try:
            os.rename(partial, folder)
        except OSError:
            if not folder.is_dir():
                raise
        return folder
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy_file(source: Path, target: Path) -> None:
    try:
        if source.is_symlink() or stat.S_ISREG(source.stat().st_mode):
            shutil.copy2(source, target, follow_symlinks=False)
    except FileNotFoundError:
        pass  # deleted meanwhile


def _write_git_notes(top: Path, folder: Path) -> None:
    commit = _git(top, "rev-parse", "HEAD")
    if commit is not None:
        (folder / "GITHASH.txt").write_text(commit)
        difference = _git(top, "diff", "HEAD") or ""
        (folder / "GITDIFF.txt").write_text(difference, errors="surrogateescape")


def _hash_tree(top: Path, names: list[str]) -> str:
    """20 hex digits over names, contents and which files can be executed."""
    digest = hashlib.sha256()
    for name in names:
        kind, content = _content(top / name)
        if kind is not None:
            head = f"{kind}\0{name}\0{len(content)}\0"
            digest.update(head.encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()[:20]


def _content(path: Path) -> tuple[str | None, bytes]:
    """What a file is (link, program, text) and a hash of what is in it."""
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return "link", os.fsencode(os.readlink(path))
        if not stat.S_ISREG(mode):
            return None, b""
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        return ("program" if mode & 0o100 else "text"), content
    except FileNotFoundError:
        return None, b""
