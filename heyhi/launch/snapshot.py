"""The code snapshot: the files a run will use, copied once for each distinct tree.

    <experiment root>/checkpoints/<hash of the tree>/     the repository, as it is, dirty or not
        GITHASH.txt  GITDIFF.txt                          the commit, and what differs from it
                      checkpoints/of-<uid>/<hash>/        where another user has made the first one

Copied are the tracked files and the untracked ones that git does not ignore, and the generated modules
of `conf/`. Of a project outside git: all files but caches. The copy is made beside and moved into place;
its name is the hash of what was copied, so that any number of runs, of any number of processes, share it.
"""

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files
from heyhi.errors import LaunchError
from heyhi.launch.git import GitError, GitState, git_state, run_git
from heyhi.project import Project, moved
from heyhi.runs import Run, places, real_path
from heyhi.texts import on_one_line

__all__ = [
    "Snapshot",
    "find_snapshot",
    "git_state",
    "is_as_its_name_says",
    "noted_git_state",
    "root_of",
    "take_snapshot",
    "those_copied",
    "top_of",
]

_COMMIT, _CHANGES = "GITHASH.txt", "GITDIFF.txt"
_GENERATED = ("_pb2.py", "_pb2.pyi", "_cfgs.py", "_cfgs.pyi")
# fmt: off
_CACHES = frozenset([
    ".git", ".hg", ".svn", ".venv", "venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache",
    ".hypothesis", ".snakemake", ".tox", ".nox", "node_modules",
])
# fmt: on
_LARGE = 100_000_000  # bytes above which a copy is worth a word
_AT_ONCE = 1_000_000  # bytes of a file that are read at once
_PARTIAL = ".partial-"
_DAY = 86_400  # seconds after which a copy that was not finished is one that was killed

Say = Callable[[str], None]


class Snapshot(NamedTuple):
    """A copy of the code: its folder, and the project's folder in it."""

    folder: Path
    project_root: Path


class _Tree(NamedTuple):
    """The files to copy: a folder, and the sorted names of files below it."""

    top: Path
    names: list[str]


def take_snapshot(project: Project, place: Path, *, exclude: Path, say: Say) -> Snapshot:
    """The snapshot of the project's repository below `place`, copied if this tree is not there yet.

    `exclude` (the experiment root) is left out. Raises LaunchError if it cannot be written.
    """
    root, real_place = _real(project.root), _real(place)
    if root.is_relative_to(real_place):
        raise LaunchError(f"{place}: the code lies there itself; its copy needs a folder of its own")
    try:
        tree = _find_tree(root, _real(project.conf), say)
        tree = _without_runs(tree, root, real_place, _real(exclude))
        folder = _folder(place, _hash_tree(tree))
        if not folder.is_dir():
            _warn_if_large(tree, say)
            folder = _copy(tree, place)
    except OSError as problem:
        raise LaunchError(
            f"{place}: the code cannot be copied: {problem.strerror or problem} "
            f'({problem.filename or "?"}); --snapshot="" goes without'
        ) from None
    return Snapshot(folder, folder / root.relative_to(tree.top))


def those_copied(project: Project, paths: Iterable[str]) -> list[str]:
    """Those of some files that a snapshot of the project has."""
    root = _real(project.root)
    try:
        tree = _find_tree(root, _real(project.conf), lambda _: None)
    except OSError:
        return list(paths)  # most likely; a start says what is wrong
    names = set(tree.names)
    return [path for path in paths if os.path.relpath(os.path.realpath(path), tree.top) in names]


def root_of(run: Run, known: Mapping[str, Any]) -> Path:
    """The experiment root that a run lies in now, which may have been moved or copied since it was made.

    `known` is its heyhi.json. A run that lies in none by its id is still of the root that it was made in.
    """
    made_in, folder = str(known.get("experiment_root")), str(run.folder)
    run_id = str(known.get("id")).removeprefix(f"{made_in}/")  # of --out with a whole path in the root
    is_there_still = real_path(os.path.join(made_in, run_id)) == real_path(folder)
    if is_there_still or os.path.isabs(run_id) or not folder.endswith(f"/{run_id}"):
        return Path(made_in)
    return Path(folder.removesuffix(f"/{run_id}") or "/")


def find_snapshot(run: Run, known: Mapping[str, Any]) -> Path | None:
    """The copy of the code that a run used, also if it was moved with its root; None: it is gone."""
    copy = known.get("snapshot")
    if not isinstance(copy, str):
        return None
    beside = moved(copy, str(known.get("experiment_root")), str(root_of(run, known)))
    return next((Path(path) for path in (beside, copy) if os.path.isdir(path)), None)


def is_as_its_name_says(project_root: Path) -> bool:
    """True if the files of the snapshot that a project's folder is in are those that were copied.

    What HeyHi, Python and Snakemake make there later does not count, unless git tracks it.
    """
    top = top_of(project_root)
    names = []
    for folder, folders, inside in os.walk(top):
        folders[:] = [name for name in folders if name not in ("__pycache__", ".snakemake")]
        links = [name for name in folders if os.path.islink(f"{folder}/{name}")]
        names += [os.path.relpath(f"{folder}/{name}", top) for name in (*inside, *links)]
    names = sorted(name for name in names if name not in (_COMMIT, _CHANGES))
    # Of a project outside git they were copied, too.
    made_later = [name for name in names if os.path.basename(name).startswith(_MADE_LATER)]
    without = [name for name in names if name not in made_later]
    try:
        return top.name in (_hash_tree(_Tree(top, without)), _hash_tree(_Tree(top, names)))
    except OSError:
        return False


_MADE_LATER = ".heyhi_protos"  # in conf/, beside the generated modules


def top_of(project_root: Path) -> Path:
    """The folder of a snapshot that a project's folder is in; itself, if the project was in no repository."""
    above = (folder for folder in (project_root, *project_root.parents) if (folder / _COMMIT).is_file())
    return next(above, project_root)


def noted_git_state(project_root: Path) -> GitState:
    """Git's answers at the time of the snapshot that contains a project's folder."""
    top = top_of(project_root)
    try:
        commit, changes = files.read_text(top / _COMMIT).strip(), (top / _CHANGES).stat().st_size
    except OSError:
        return GitState(None, dirty=False)
    return GitState(commit, dirty=changes > 0)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


# ---- Which files --------------------------------------------------------------------------------


def _find_tree(root: Path, conf: Path, say: Say) -> _Tree:
    """The project's repository; outside git, or where git ignores the project, the project."""
    top, names = _repository(root, say) or (root, set())
    if not _holds_files_of(names, root.relative_to(top)):
        top, names = root, set(_walk(root))
    if conf.is_relative_to(top):
        generated = (name for name in os.listdir(conf) if name.endswith(_GENERATED))
        names |= {os.path.normpath(conf.relative_to(top) / name) for name in generated}
    return _Tree(top, sorted(_without_replaced(names)))


def _repository(root: Path, say: Say) -> tuple[Path, set[str]] | None:
    """The top of the repository that the project is in, and what git lists there."""
    try:
        top = Path(run_git(root, "rev-parse", "--show-toplevel", trusted=True).removesuffix("\n"))
        return top, set(_listed_by_git(top))
    except GitError as problem:
        if any((folder / ".git").exists() for folder in (root, *root.parents)):
            say(f"all files of {root} are copied, the ignored ones too: {problem}")
        return None


def _holds_files_of(names: set[str], inside: Path) -> bool:
    start = "" if inside == Path() else f"{inside}/"
    return any(name.startswith(start) for name in names)


def _listed_by_git(top: Path) -> Iterator[str]:
    """Tracked and untracked, not ignored files; those of submodules and nested repositories too."""
    text = run_git(top, "ls-files", "-z", "--cached", "--others", "--exclude-standard", trusted=True)
    for name in filter(None, text.split("\0")):
        path = f"{top}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            for below in _listed_of_nested(Path(path)):
                yield os.path.join(name, below)
        else:
            yield name


def _listed_of_nested(top: Path) -> Iterable[str]:
    if not (top / ".git").exists():
        return []  # a submodule that was never checked out
    try:
        return list(_listed_by_git(top))
    except GitError:
        return _walk(top)


def _without_replaced(names: set[str]) -> Iterator[str]:
    """Without tracked files of a folder in whose place a file or a link is now."""
    folders = {os.path.dirname(name) for name in names}
    replaced = {folder for folder in folders if not names.isdisjoint(_with_parents(folder))}
    return (name for name in names if os.path.dirname(name) not in replaced)


def _with_parents(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = os.path.dirname(folder)


def _walk(top: Path) -> Iterator[str]:
    """All files but caches and virtual environments."""

    def fail(problem: OSError) -> None:
        raise problem

    for folder, folders, names in os.walk(top, onerror=fail):
        links = [name for name in folders if os.path.islink(f"{folder}/{name}")]
        folders[:] = [name for name in folders if name not in links and not _is_cache(folder, name)]
        for name in (*names, *links):
            if name not in _CACHES:
                yield os.path.relpath(f"{folder}/{name}", top)


def _is_cache(folder: str, name: str) -> bool:
    return name in _CACHES or os.path.exists(f"{folder}/{name}/pyvenv.cfg")


def _without_runs(tree: _Tree, root: Path, place: Path, experiment_root: Path) -> _Tree:
    """The tree without run folders, wherever they are, and without snapshots."""
    folders = [place, experiment_root / ".heyhi"]
    if not root.is_relative_to(experiment_root):
        folders.append(experiment_root)
    hidden = [f"{folder.relative_to(tree.top)}/" for folder in folders if folder.is_relative_to(tree.top)]
    lock = f"/{Run('', Path()).lock.name}"
    hidden += [name.removesuffix(lock) + "/" for name in tree.names if name.endswith(lock)]
    return tree._replace(names=[name for name in tree.names if not name.startswith(tuple(hidden))])


def _warn_if_large(tree: _Tree, say: Say) -> None:
    size = sum(os.lstat(path).st_size for path in _paths(tree) if os.path.lexists(path))
    if size > _LARGE:
        say(
            f"copying {size / 1e6:,.0f} MB of code from {tree.top} for this run; files that no run needs "
            "are left out when .gitignore names them"
        )


def _paths(tree: _Tree) -> Iterator[str]:
    return (f"{tree.top}/{name}" for name in tree.names)


# ---- Copy and hash ------------------------------------------------------------------------------


def _copy(tree: _Tree, place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    partial = place / f"{_PARTIAL}{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        _remove_what_was_killed(place, now=partial.stat().st_mtime)
        for folder in {os.path.dirname(name) for name in tree.names}:
            os.makedirs(partial / folder, exist_ok=True)
        for name in tree.names:
            _copy_file(f"{tree.top}/{name}", f"{partial}/{name}")
        # Of what was copied, not of what was there before: a file may have changed meanwhile.
        digest = _hash_tree(tree._replace(top=partial))
        _write_git_notes(tree, partial)
        return _move(partial, _folder(place, digest))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _folder(place: Path, digest: str) -> Path:
    """The folder for the snapshot of a tree, unless another user owns a folder of that name.

    Jobs run what is in it. In a root that several users share, each user has a copy.
    """
    folder = place / digest
    if not os.path.lexists(folder) or places.is_ours(folder):
        return folder
    own = place / f"of-{os.geteuid()}"
    own.mkdir(exist_ok=True)
    if not places.is_ours(own):
        raise LaunchError(f"{own}: is somebody else's; --snapshot DIR names another folder for copies")
    return own / digest


def _move(partial: Path, folder: Path) -> Path:
    try:
        os.rename(partial, folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster: its copy is the same
            raise
    return folder


def _remove_what_was_killed(place: Path, now: float) -> None:
    """`now` is by the clock of the file system, which sets the times of the others too."""
    for other in place.glob(f"{_PARTIAL}*"):
        try:
            if now - other.stat().st_mtime > _DAY:
                shutil.rmtree(other, ignore_errors=True)
        except FileNotFoundError:
            pass  # finished meanwhile


def _copy_file(source: str, target: str) -> None:
    try:
        mode = os.lstat(source).st_mode
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            shutil.copy2(source, target, follow_symlinks=False)
    except FileNotFoundError:
        if os.path.lexists(source):
            raise
        # else it is deleted


def _write_git_notes(tree: _Tree, folder: Path) -> None:
    """Note the commit, and what the copy has besides: the names of untracked files, and a patch."""
    asked = ("ls-files", "-z", "--others", "--exclude-standard")
    try:
        commit = run_git(tree.top, "rev-parse", "--verify", "HEAD", trusted=True)
        others = run_git(tree.top, *asked, trusted=True).split("\0")
        patch = run_git(tree.top, "diff", "--no-ext-diff", "--no-color", "--binary", "HEAD", trusted=True)
    except GitError:
        return
    known, nested = {*others}, tuple(name for name in others if name.endswith("/"))
    untracked = [name for name in tree.names if name in known or (nested and name.startswith(nested))]
    # `git apply` passes over these lines, which are no patch.
    names = "".join(f"untracked: {on_one_line(name)}\n" for name in untracked)
    (folder / _COMMIT).write_text(commit)
    (folder / _CHANGES).write_bytes(os.fsencode(names + patch))


def _hash_tree(tree: _Tree) -> str:
    """20 hex digits over names, contents and which files can be executed."""
    digest = hashlib.sha256()
    for name, path in zip(tree.names, _paths(tree), strict=True):
        kind, content = _content(path)
        if kind is not None:
            digest.update(os.fsencode(f"{kind}\0{name}\0{len(content)}\0") + content)
    return digest.hexdigest()[:20]


def _content(path: str) -> tuple[str | None, bytes]:
    """The kind of a file (link, program, text) and a hash of its content; None if it is no file."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return "link", os.fsencode(os.readlink(path))
        if not stat.S_ISREG(status.st_mode):
            return None, b""
        with open(path, "rb", buffering=0) as file:
            small = status.st_size < _AT_ONCE
            content = hashlib.sha256(file.read()) if small else hashlib.file_digest(file, "sha256")
        return ("program" if status.st_mode & stat.S_IXUSR else "text"), content.digest()
    except (FileNotFoundError, NotADirectoryError):
        return None, b""  # a tracked file that is deleted
