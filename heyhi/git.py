"""What git says of a folder. Nothing else starts it."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

__all__ = ["GitError", "GitState", "git", "git_state"]

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


def git(folder: Path, *words: str) -> str:
    """What git prints, bytes that are no text as surrogates. Raises GitError."""
    kept = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            env={**kept, "GIT_OPTIONAL_LOCKS": "0"},  # to look never disturbs the user's own git
            capture_output=True,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except OSError as problem:
        raise GitError(f"git cannot be started: {problem.strerror}") from None
    except subprocess.CalledProcessError as problem:
        raise GitError(os.fsdecode(problem.stderr).partition("\n")[0]) from None
    return os.fsdecode(done.stdout)


def git_state(root: Path) -> GitState:
    """The commit that a folder is at, and whether it, or anything else of its repository, differs."""
    try:
        lines = git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=normal").splitlines()
    except GitError:
        return GitState(None, dirty=False)
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    commit = headers.get("branch.oid", "(initial)")
    is_dirty = any(not line.startswith("#") for line in lines)
    return GitState(None if commit == "(initial)" else commit, is_dirty and commit != "(initial)")
