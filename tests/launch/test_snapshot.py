import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from heyhi.errors import LaunchError
from heyhi.launch import snapshot
from heyhi.launch.git import GitState, git_state
from heyhi.launch.snapshot import Snapshot, noted_git_state, take_snapshot
from heyhi.project import Project

pytestmark = pytest.mark.processes

DAY = 86_400


class Code:
    """A project of a few files, and its snapshots in a folder beside it."""

    def __init__(self, top: Path, root: Path) -> None:
        self.top = top
        self.root = root
        self.exp = top.parent / "exp"
        self.place = self.exp / "checkpoints"
        self.said: list[str] = []
        self.write("conf/conf.proto", "")
        self.write("run.py", "print(1)\n")

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def git(self, *words: str, folder: Path | None = None) -> None:
        author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
        subprocess.run(["git", *author, *words], cwd=folder or self.top, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")

    def take(self, place: Path | None = None, root: Path | None = None) -> Snapshot:
        return take_snapshot(
            Project(root or self.root), place or self.place, exclude=self.exp, say=self.said.append
        )

    def copied(self) -> list[str]:
        """The names of the files in its snapshot, but for the notes from git."""
        return _names(self.take().folder)


def _names(folder: Path) -> list[str]:
    names = [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, folders, files in os.walk(folder)
        for name in (*files, *(f for f in folders if os.path.islink(os.path.join(parent, f))))
    ]
    return sorted(name for name in names if name not in ("GITHASH.txt", "GITDIFF.txt"))


@pytest.fixture
def plain(tmp_path: Path) -> Code:
    """Code outside git."""
    return Code(tmp_path / "code", tmp_path / "code")


@pytest.fixture
def code(plain: Code) -> Code:
    """Code in a repository, all committed but what a test writes."""
    plain.git("init", "-q", "-b", "main")
    plain.write(".gitignore", "*_pb2.py\nignored/\n")
    plain.commit()
    return plain


BARE = [".gitignore", "conf/conf.proto", "run.py"]


# ---- Which files --------------------------------------------------------------------------------


def test_tracked_and_untracked_files_and_generated_modules_are_copied_and_no_other_ignored_ones(
    code: Code,
) -> None:
    code.write("new/untracked.py")
    code.write("ignored/weights")
    code.write("conf/conf_pb2.py")
    code.write("other_pb2.py")
    code.write("conf/sub/other_pb2.py")
    assert code.copied() == sorted([*BARE, "conf/conf_pb2.py", "new/untracked.py"])


def test_deleted_tracked_files_are_left_out(code: Code) -> None:
    code.write("a/b")
    code.write("c")
    code.commit()
    shutil.rmtree(code.root / "a")
    (code.root / "c").unlink()
    assert code.copied() == BARE


def test_a_file_or_a_link_in_place_of_a_tracked_folder_is_copied(code: Code) -> None:
    for name in ("a/deep/b", "c/b", "other/b"):
        code.write(name)
    code.commit()
    for name in ("a", "c"):
        shutil.rmtree(code.root / name)
    code.write("a")
    (code.root / "c").symlink_to("other")
    assert code.copied() == sorted([*BARE, "a", "c", "other/b"])


def test_modes_links_and_times_are_kept(code: Code) -> None:
    code.write("tool").chmod(0o755)
    code.write("read_only").chmod(0o444)
    (code.root / "link").symlink_to("tool")
    (code.root / "folder link").symlink_to("conf")
    (code.root / "dangling").symlink_to("/no/such file")
    os.utime(code.root / "tool", (1, 1))
    folder = code.take().folder
    assert os.access(folder / "tool", os.X_OK)
    assert (folder / "tool").stat().st_mtime == 1
    assert (folder / "read_only").stat().st_mode & 0o777 == 0o444
    links = {name: os.readlink(folder / name) for name in ("link", "folder link", "dangling")}
    assert links == {"link": "tool", "folder link": "conf", "dangling": "/no/such file"}


ODD = ["a b", "two\nlines", "-dash", 'quote"', "é", "\udcff\udcfe", "tab\there", " ", "[x]*?", "\\n"]


@pytest.mark.parametrize("in_git", [True, False])
def test_files_of_odd_names_are_copied(plain: Code, in_git: bool) -> None:
    if in_git:
        plain.git("init", "-q")
    for name in ODD:
        plain.write(f"{name}/{name}", name.encode("utf-8", "backslashreplace").decode())
    folder = plain.take().folder
    assert _names(folder) == sorted(["conf/conf.proto", "run.py", *(f"{name}/{name}" for name in ODD)])
    assert (folder / "two\nlines" / "two\nlines").read_text() == "two\nlines"


def test_what_is_neither_file_nor_link_is_left_out(plain: Code) -> None:
    os.mkfifo(plain.root / "pipe")
    assert plain.copied() == ["conf/conf.proto", "run.py"]


def test_outside_git_all_files_but_caches_are_copied(plain: Code) -> None:
    plain.write("a/weights.pt")
    for cache in ("__pycache__/x.pyc", "a/__pycache__/x.pyc", ".venv/bin/python", "my env/lib/x.py"):
        plain.write(cache)
    plain.write("my env/pyvenv.cfg")
    (plain.root / "link").symlink_to("a")
    assert plain.copied() == ["a/weights.pt", "conf/conf.proto", "link", "run.py"]
    assert plain.said == []
    assert not (plain.take().folder / "GITHASH.txt").exists()


def test_without_git_on_this_machine_all_files_are_copied_with_a_word(
    code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    code.write("ignored/weights")
    monkeypatch.setenv("PATH", "")
    assert code.copied() == sorted([*BARE, "ignored/weights"])
    assert code.said == [
        f"all files of {code.root} are copied, the ignored ones too: "
        "git cannot be started: No such file or directory"
    ]


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Give folders to another user, so that git reads no repository in them of its own accord."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "none"))

    def give(*folders: Path) -> None:
        for folder in folders:
            for path in (folder, *folder.rglob("*")):
                os.lchown(path, 12345, 12345)

    return give


def test_a_repository_of_another_user_is_read_as_any_other(
    code: Code, give_away: Callable[..., None]
) -> None:
    code.write("ignored/weights")
    before = git_state(code.root)
    give_away(code.top)
    assert git_state(code.root) == GitState(None, dirty=False)  # to look trusts no one
    assert git_state(code.root, trusted=True) == before
    assert code.copied() == BARE
    assert code.said == []
    assert code.take().folder.joinpath("GITHASH.txt").read_text().strip() == before.commit


def test_a_project_in_a_repository_of_another_user_is_read_with_its_submodules(
    tmp_path: Path, give_away: Callable[..., None]
) -> None:
    top = tmp_path / "it's theirs"
    code = Code(top, top / "sub folder")
    code.git("init", "-q")
    other = Code(tmp_path / "other", tmp_path / "other")
    other.git("init", "-q")
    other.commit()
    code.git("submodule", "add", "-q", str(other.top), "module")
    code.commit()
    (top / "module" / "new").touch()
    give_away(top)
    assert git_state(code.root, trusted=True).dirty
    names = code.copied()
    assert "module/new" in names
    assert "sub folder/run.py" in names
    assert code.said == []


def test_a_repository_around_the_project_of_yet_another_user_is_not_read(
    tmp_path: Path, give_away: Callable[..., None]
) -> None:
    code = Code(tmp_path / "shared", tmp_path / "shared" / "mine")
    code.git("init", "-q")
    code.commit()
    give_away(code.top)
    for path in (code.root, *code.root.rglob("*")):
        os.chown(path, 0, 0)
    assert git_state(code.root, trusted=True) == GitState(None, dirty=False)
    assert code.copied() == ["conf/conf.proto", "run.py"]
    assert "dubious ownership" in code.said[0]


def test_of_a_damaged_repository_all_files_are_copied_with_a_word(code: Code) -> None:
    code.write("ignored/weights")
    (code.top / ".git" / "index").write_text("damaged")
    assert code.copied() == sorted([*BARE, "ignored/weights"])
    assert "index" in code.said[0]


def test_a_large_copy_is_worth_a_word(plain: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_LARGE", 3_000_000)
    plain.write("a", "x" * 2_000_000)
    plain.take()
    assert plain.said == []
    plain.write("b", "x" * 2_000_000)
    plain.take()
    plain.take()
    assert plain.said == [
        f"copying 4 MB of code from {plain.root} for this run; files that no run needs "
        "are left out when .gitignore names them"
    ]


# ---- Where the project is -----------------------------------------------------------------------


def test_of_a_project_in_a_subfolder_the_whole_repository_is_copied(tmp_path: Path) -> None:
    code = Code(tmp_path / "repo", tmp_path / "repo" / "my project")
    code.git("init", "-q")
    (code.top / "library.py").touch()
    taken = code.take()
    assert _names(taken.folder) == ["library.py", "my project/conf/conf.proto", "my project/run.py"]
    assert taken.project_root == taken.folder / "my project"


def test_a_project_reached_by_a_link_is_the_same(tmp_path: Path) -> None:
    code = Code(tmp_path / "repo", tmp_path / "repo" / "project")
    code.git("init", "-q")
    (tmp_path / "link").symlink_to(code.root)
    assert code.take(root=tmp_path / "link") == code.take()


def test_a_project_that_its_repository_ignores_is_copied_alone(tmp_path: Path) -> None:
    code = Code(tmp_path / "home", tmp_path / "home" / "project")
    code.git("init", "-q")
    (code.top / ".gitignore").write_text("*\n!.gitignore\n")
    taken = code.take()
    assert _names(taken.folder) == ["conf/conf.proto", "run.py"]
    assert taken.project_root == taken.folder


def test_a_repository_without_commits_is_copied(plain: Code) -> None:
    plain.git("init", "-q")
    folder = plain.take().folder
    assert _names(folder) == ["conf/conf.proto", "run.py"]
    assert not (folder / "GITHASH.txt").exists()


def test_a_linked_worktree_is_copied(code: Code) -> None:
    other = code.top.parent / "worktree"
    code.git("worktree", "add", "-q", str(other))
    (other / "mine").touch()
    assert _names(code.take(root=other).folder) == sorted([*BARE, "mine"])


def test_submodules_and_nested_repositories_are_copied(code: Code) -> None:
    up = Code(code.top.parent / "up", code.top.parent / "up")
    up.git("init", "-q")
    up.commit()
    code.git("submodule", "add", "-q", str(up.top), "sub")
    code.commit()
    code.write("sub/new")
    for name in ("nested", "empty"):
        code.git("init", "-q", name)
    code.write("nested/.gitignore", "secret\n")
    code.write("nested/secret")
    code.write("nested/a")
    own = [".gitmodules", "nested/.gitignore", "nested/a"]
    assert code.copied() == sorted([*BARE, *own, "sub/conf/conf.proto", "sub/new", "sub/run.py"])
    code.git("submodule", "deinit", "-f", "sub")  # as in a fresh clone
    assert code.copied() == sorted([*BARE, *own])


def test_the_environment_of_a_git_hook_does_not_mislead(code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (code.take(), git_state(code.root))
    other = Code(code.top.parent / "other", code.top.parent / "other")
    other.git("init", "-q")
    other.write("theirs")
    other.commit()
    monkeypatch.setenv("GIT_DIR", str(other.top / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.top))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.top / ".git" / "index"))
    monkeypatch.setenv("GIT_PREFIX", "conf/")
    assert (code.take(), git_state(code.root)) == before


# ---- What is no code ----------------------------------------------------------------------------


@pytest.mark.parametrize("in_git", [True, False])
@pytest.mark.parametrize("where", ["results", "."])
def test_an_experiment_root_in_the_project_is_left_out(plain: Code, where: str, in_git: bool) -> None:
    if in_git:
        plain.git("init", "-q")
    plain.exp = plain.root / where
    plain.place = plain.exp / "checkpoints"
    before = plain.take().folder
    for name in ("p/beds/carrot/x/heyhi.lock", "p/beds/carrot/x/out/model", ".heyhi/fingerprints/aa"):
        path = plain.exp / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert plain.copied() == ["conf/conf.proto", "run.py"]
    assert plain.take().folder == before


def test_snapshots_and_run_folders_anywhere_in_the_project_are_left_out(code: Code) -> None:
    place = code.root / "copies"
    first = code.take(place)
    code.write("here/heyhi.lock")
    code.write("here/model.json")
    assert code.take(place) == first
    assert _names(first.folder) == BARE


@pytest.mark.parametrize("above", [False, True])
def test_snapshots_in_the_place_of_the_code_itself_are_refused(code: Code, above: bool) -> None:
    place = code.top.parent if above else code.root
    with pytest.raises(LaunchError, match="the code lies there itself"):
        code.take(place)


# ---- One for each tree --------------------------------------------------------------------------


def test_the_same_dirty_tree_shares_a_snapshot_and_another_does_not(code: Code) -> None:
    clean = code.take()
    code.write("run.py", "print(2)\n")
    dirty = code.take()
    os.utime(code.root / "run.py", (1, 1))
    code.write("ignored/log")
    assert code.take() == dirty != clean
    code.write("run.py", "print(1)\n")
    assert code.take() == clean
    assert sorted(os.listdir(code.place)) == sorted([clean.folder.name, dirty.folder.name])


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "run.py").write_text("print(3)\n"),
    "executable": lambda root: (root / "run.py").chmod(0o755),
    "new file": lambda root: (root / "new").touch(),
    "deleted file": lambda root: (root / "run.py").unlink(),
    "renamed file": lambda root: (root / "run.py").rename(root / "go.py"),
    "link": lambda root: (root / "new").symlink_to("run.py"),
    "generated module": lambda root: (root / "conf" / "conf_pb2.py").touch(),
    "large file": lambda root: (root / "new").write_bytes(bytes(2_000_000)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_tree_has_a_snapshot_of_its_own(code: Code, change: Callable[[Path], object]) -> None:
    before = code.take()
    change(code.root)
    after = code.take()
    assert after.folder != before.folder
    assert after == code.take()


def test_it_says_which_commit_and_what_differs(code: Code) -> None:
    code.write("data", "a\0b")
    code.commit()
    commit = git_state(code.root).commit
    code.write("data", "a\0c")
    code.write("run.py", "print(2)\n")
    code.write("new\n.py")
    code.git("config", "color.ui", "always")
    code.git("config", "diff.external", "false")
    folder = code.take().folder
    assert (folder / "GITHASH.txt").read_text() == f"{commit}\n"
    assert (folder / "GITDIFF.txt").read_bytes().startswith(b"untracked: new\\n.py\ndiff --git a/data ")
    code.git("reset", "-q", "--hard")
    code.git("apply", str(folder / "GITDIFF.txt"))
    assert (code.root / "run.py").read_text() == "print(2)\n"
    assert (code.root / "data").read_text() == "a\0c"


def test_git_state(code: Code, tmp_path: Path) -> None:
    clean = git_state(code.root)
    assert clean.commit is not None
    assert len(clean.commit) == 40
    assert not clean.dirty
    code.write("new")
    assert git_state(code.root / "conf") == GitState(clean.commit, dirty=True)
    assert git_state(tmp_path) == GitState(None, dirty=False)
    code.git("init", "-q", "no commits")
    assert git_state(code.root / "no commits") == GitState(None, dirty=False)


@pytest.mark.parametrize("new", ["new", "nested/new", "conf/new_pb2.py", "exp/new"])
def test_a_copy_notes_what_git_says_of_the_code_in_it(code: Code, new: str) -> None:
    code.exp = code.root / "exp"
    if new.startswith("nested/"):
        code.git("init", "-q", "nested")
    code.write(new)
    noted, now = noted_git_state(code.take().project_root), git_state(code.root, without=code.exp)
    assert noted == now
    assert now.dirty == (not new.endswith("pb2.py") and not new.startswith("exp/"))


@pytest.mark.parametrize("folder", ["exp", "more/exp", "../outside", "."])
def test_files_of_a_folder_do_not_count_as_changes(code: Code, folder: str) -> None:
    code.write(f"{folder}/file")
    root = code.write("project/run.py").parent
    code.git("add", "project")
    code.git("commit", "-q", "-m", "x")
    assert git_state(root, without=code.root / folder).dirty == (folder == ".")
    code.write("file")
    assert git_state(root, without=code.root / folder).dirty


def test_the_copy_can_be_read_by_whom_the_umask_lets(code: Code) -> None:
    old = os.umask(0o027)
    try:
        assert code.take().folder.stat().st_mode & 0o777 == 0o750
    finally:
        os.umask(old)


# ---- Many at once, and what can go wrong --------------------------------------------------------

TAKE = """
import os, sys, pathlib
from heyhi.launch import snapshot
from heyhi.project import Project

root, exp = map(pathlib.Path, sys.argv[1:])

def take():
    return snapshot.take_snapshot(Project(root), exp / "checkpoints", exclude=exp, say=print).folder.name
"""
TAKE_TOGETHER = TAKE + "sys.stdin.read(1)\nprint(take())"
KILLED = (
    TAKE
    + """
copy = snapshot._copy_file

def killed(source, target):
    if source.endswith("run.py"):
        os.kill(os.getpid(), 9)
    copy(source, target)

snapshot._copy_file = killed
take()
"""
)


def _command(code: Code, program: str) -> list[str]:
    return [sys.executable, "-c", program, str(code.root), str(code.exp)]


def test_twenty_processes_at_once_make_one(code: Code) -> None:
    for number in range(30):
        code.write(f"folder/{number}", str(number))
    command = _command(code, TAKE_TOGETHER)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    together = [subprocess.Popen(command, text=True, **pipes) for _ in range(20)]  # type: ignore[call-overload]
    for process in together:
        process.stdin.write("x")
        process.stdin.flush()
    names = {process.communicate(timeout=60)[0].strip() for process in together}
    assert os.listdir(code.place) == list(names) == [code.take().folder.name]
    assert len(code.copied()) == 33


def test_a_kill_leaves_no_half_snapshot(code: Code) -> None:
    done = subprocess.run(_command(code, KILLED), check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = os.listdir(code.place)
    assert left.startswith(".partial-")
    assert code.copied() == BARE


def test_what_was_killed_is_removed_after_a_day_by_the_next_copy(code: Code) -> None:
    old, young = code.place / ".partial-old", code.place / ".partial-young"
    for folder, age in ((old, DAY + 60), (young, DAY - 60)):
        (folder / "sub").mkdir(parents=True)
        time = folder.stat().st_mtime - age
        os.utime(folder, (time, time))
    code.take()
    assert not old.exists()
    assert young.exists()


def test_a_file_that_changes_while_it_is_copied_is_in_the_name(
    code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = snapshot._copy_file

    def edit_and_copy(source: str, target: str) -> None:
        if source.endswith("run.py"):
            code.write("run.py", "print(2)\n")
        copy(source, target)

    monkeypatch.setattr(snapshot, "_copy_file", edit_and_copy)
    taken = code.take()
    assert (taken.folder / "run.py").read_text() == "print(2)\n"
    monkeypatch.undo()
    assert code.take() == taken


def test_a_place_that_cannot_be_written_is_one_clear_error(code: Code) -> None:
    place = code.root / "run.py" / "copies"
    with pytest.raises(LaunchError) as info:
        code.take(place)
    assert str(info.value) == (
        f'{place}: the code cannot be copied: Not a directory ({place}); --snapshot="" goes without'
    )


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(
    code: Code, small_disk: Callable[[int], Path]
) -> None:
    code.write("large", "x" * 200_000)
    place = small_disk(64)
    with pytest.raises(LaunchError, match="No space left on device"):
        code.take(place)
    assert os.listdir(place) == []


def test_two_processes_of_git_are_all_that_an_existing_snapshot_costs(
    code: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code.take()
    noting = tmp_path / "bin" / "git"
    noting.parent.mkdir()
    noting.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/asked\nexec {shutil.which("git")} "$@"\n')
    noting.chmod(0o755)
    monkeypatch.setenv("PATH", f"{noting.parent}:{os.environ['PATH']}")
    code.take()
    assert (tmp_path / "asked").read_text().split() == ["rev-parse", "ls-files"]
