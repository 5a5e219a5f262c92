"""Ask git about a folder. No other module starts git."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

from heyhi.texts import first_line

__all__ = ["GitError", "GitState", "git_state", "run_git"]

# What git sets for its hooks: it would be asked of the hook's repository, not of the folder's.
_OF_A_HOOK = frozenset(
    f"GIT_{word}"
    for word in (
        *("DIR", "WORK_TREE", "INDEX_FILE", "PREFIX", "COMMON_DIR", "NAMESPACE", "IMPLICIT_WORK_TREE"),
        *("OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "SHALLOW_FILE", "EXTERNAL_DIFF"),
    )
)


class GitError(Exception):
    """Git is not there, or has no answer: there is no repository, or it may not be read."""


class GitState(NamedTuple):
    """The commit of the working tree, and whether the tree differs from it; None outside git."""

    commit: str | None
    dirty: bool


# What git advises where a folder belongs to another user ("dubious ownership").
_ADVICE = re.compile(r"git config --global --add safe\.directory (.+)$", re.MULTILINE)


def run_git(folder: Path, *words: str, trusted: bool = False) -> str:
    """The output of git, with invalid UTF-8 as surrogates. Raises GitError.

    Git does not read a repository that belongs to another user, as its settings may name programs. With
    `trusted` it does: for a project whose code is run anyway.
    """
    safe: list[str] = []
    while True:
        given = [word for path in safe for word in ("-c", f"safe.directory={path}")]
        done = _run([*given, *words], folder)
        if done.returncode == 0:
            return os.fsdecode(done.stdout)
        told = os.fsdecode(done.stderr)
        # `git diff` says nothing of owners: it then compares files outside of repositories.
        asked = trusted and "safe.directory" not in told
        refused = _refused(os.fsdecode(_run([*given, "rev-parse"], folder).stderr) if asked else told)
        if not trusted or refused is None or refused in safe or not _belongs_to(folder, Path(refused)):
            raise GitError(first_line(told))
        safe.append(refused)


def _run(words: list[str], folder: Path) -> "subprocess.CompletedProcess[bytes]":
    kept = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    try:
        return subprocess.run(
            ["git", *words],
            cwd=folder,
            env={**kept, "GIT_OPTIONAL_LOCKS": "0"},  # to look never disturbs the user's own git
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError as problem:
        raise GitError(f"git cannot be started: {problem.strerror}") from None


def _refused(told: str) -> str | None:
    """The repository that git does not read for its owner; it may be a submodule."""
    advice = _ADVICE.search(told)
    try:
        return shlex.split(advice[1])[0] if advice else None
    except ValueError:
        return None


def _belongs_to(folder: Path, repository: Path) -> bool:
    """True if a repository is the folder, in it, or around it and of the same owner.

    Anybody may make a repository in /tmp, which then is around all that others have there.
    """
    real = Path(os.path.realpath(folder))
    if repository.is_relative_to(real):
        return True
    try:
        owners = {os.lstat(path).st_uid for path in (real, repository, repository / ".git")}
    except OSError:
        return False
    return real.is_relative_to(repository) and len(owners) == 1


def git_state(root: Path, *, trusted: bool = False, without: Path | None = None) -> GitState:
    """The commit that a folder is at, and whether it, or anything else of its repository, differs.

    `without` is a folder whose files do not count, wherever it is.
    """
    words = ("status", "--porcelain=v2", "--branch", "--untracked-files=normal")
    try:
        lines = run_git(root, *words, *_all_but(root, without), trusted=trusted).splitlines()
    except GitError:
        return GitState(None, dirty=False)
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    commit = headers.get("branch.oid", "(initial)")
    is_dirty = any(not line.startswith("#") for line in lines)
    return GitState(None if commit == "(initial)" else commit, is_dirty and commit != "(initial)")


def _all_but(root: Path, folder: Path | None) -> list[str]:
    """The words that leave a folder out, if it is in the repository; git fails for one outside."""
    if folder is None:
        return []
    root, folder = (Path(os.path.realpath(path)) for path in (root, folder))
    top = next((above for above in (root, *root.parents) if (above / ".git").exists()), root)
    if not folder.is_relative_to(top) or root.is_relative_to(folder):
        return []
    return ["--", ":(top)", f":(exclude,literal){os.path.relpath(folder, root)}"]
