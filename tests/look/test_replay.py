"""The command that makes a run again: carried out by a shell, it gives the same id and config."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.batches import CARROT, folder, snakemake, write_batch
from tests.conftest import NO_FIELD, Done, Garden


def replay(garden: Garden, run: Path | str, *words: str) -> Done:
    return garden.python("-m", "heyhi.commands", "replay", str(run), *words)


def in_shell(garden: Garden, command: str, cwd: Path) -> Done:
    """Carry it out, away from the project."""
    environment = garden.environment(
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", HH_EXP_DIR="/nowhere"
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


NOT_THE_SAME = {"starts": 0, "argv": 0, "cwd": 0}


def assert_made_again(garden: Garden, run: Path, tmp_path: Path) -> None:
    """Delete a run, and make it again from what is kept of it elsewhere."""
    kept = tmp_path / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.move(run, kept)
    told = replay(garden, kept)
    checked = replay(garden, kept, "--check")
    assert (told.status, checked.status) == (0, 0), checked.err
    assert "not verified" in told.err
    assert "not verified" not in checked.err
    assert told.out == checked.out
    done = in_shell(garden, told.out, tmp_path)
    assert done.status == 0, done.err
    for name in ("config.prototxt", "config_meta.prototxt", "result.json"):
        assert (run / name).read_bytes() == (kept / name).read_bytes()
    before, after = (json.loads((place / "heyhi.json").read_text()) for place in (kept, run))
    assert {**before, **NOT_THE_SAME} == {**after, **NOT_THE_SAME}, "as is all that is known of it"
    assert replay(garden, run).out == told.out, "also the command"


LINES = {
    "plain": ["seed=3", "lr=.25"],
    "includes and lists": ["Isoil=deep", "tags.0=a", "tags.-1=b", "--season=AUTUMN"],
    "quotes, spaces, a newline": ['note=it\'s a "$HOME" `x`\n  é \\ ü'],
    "flags": ["--log-level", "DEBUG", "--mode", "restart", "--force", "seed=4"],
    "--out": ["--out", "mine/100%% of it", "seed=5"],
    "--adhoc": ["--adhoc", "--snapshot", "code", "seed=6"],
    "a launcher": ["launcher.local=SELECT"],
}


@pytest.mark.parametrize("words", LINES.values(), ids=LINES)
def test_a_run_is_made_again(garden: Garden, tmp_path: Path, words: list[str]) -> None:
    done = garden("-c", "beds/carrot", *words, cwd=garden.root / "conf")
    assert done.status == 0, done.err
    (provenance,) = garden.exp.rglob("heyhi.json")
    assert_made_again(garden, provenance.parent, tmp_path)


def test_runs_of_a_batch_and_of_a_grid_are_made_again(garden: Garden, tmp_path: Path) -> None:
    write_batch(garden, "seed=1", "--grid lr=0.5 lr=0.25 seed=2", "!export GARDEN_MORE='a b'", "seed=3")
    assert snakemake(garden).status == 0
    runs = [folder(garden, text) for text in ("seed=1", "lr=0.25 seed=2", "seed=3")]
    assert "GARDEN_MORE='a b' " in replay(garden, runs[2]).out
    for run in runs:
        assert_made_again(garden, run, tmp_path)


def test_the_commit_that_it_is_from_stays_on_record(garden: Garden, tmp_path: Path) -> None:
    commit(garden)
    edit(garden)
    garden(*CARROT, "seed=1")
    run = folder(garden, "seed=1")
    assert json.loads((run / "heyhi.json").read_text())["git_dirty"]
    assert_made_again(garden, run, tmp_path)


def diff(garden: Garden, one: Path, other: Path) -> list[str]:
    return garden.python("-m", "heyhi.commands", "diff", str(one), str(other)).out.splitlines()


def test_a_run_and_its_replay_have_one_code_also_with_files_that_git_does_not_track(
    garden: Garden, tmp_path: Path
) -> None:
    commit(garden)
    (garden.root / "new.py").touch()
    garden(*CARROT, "seed=1")
    run = folder(garden, "seed=1")
    assert json.loads((run / "heyhi.json").read_text())["git_dirty"]
    assert_made_again(garden, run, tmp_path)
    assert "code: one copy of the code; no difference" in diff(garden, tmp_path / "kept", run)


def test_code_that_was_committed_after_its_first_run_is_the_same_code(garden: Garden, tmp_path: Path) -> None:
    (garden.root / ".gitignore").write_text("__pycache__\n.heyhi_protos*\n")
    commit(garden)
    (garden.root / "new.py").touch()
    garden(*CARROT, "seed=1")
    commit(garden)
    garden(*CARROT, "seed=2")
    first, second = folder(garden, "seed=1"), folder(garden, "seed=2")
    assert len(list((garden.exp / "checkpoints").iterdir())) == 1
    told = replay(garden, second, "--out", "../again", "--check")
    assert (told.status, told.err) == (0, "")
    assert in_shell(garden, told.out, tmp_path).status == 0
    for other in (first, tmp_path / "again"):
        (code,) = (line for line in diff(garden, other, second) if line.startswith("code:"))
        assert code.startswith("code: one copy of the code, commit ")
        assert code.endswith("; no difference")


def test_the_config_and_the_code_are_those_of_then(garden: Garden, tmp_path: Path) -> None:
    base = garden.root / "conf/beds/carrot.prototxt"
    base.write_text(base.read_text().replace('"carrot"', '"{{ROOT_DIR}}/carrot"'))
    garden(*CARROT, "seed=1")
    run = folder(garden, "seed=1")
    assert f'note: "{garden.root}/carrot"' in (run / "config.prototxt").read_text()
    base.write_text(base.read_text().replace("lr: 0.5", "lr: 0.125"))
    (garden.root / "run.py").write_text("raise SystemExit('it does not work any more')")
    assert_made_again(garden, run, tmp_path)
    shutil.move(garden.root, tmp_path / "moved")
    (garden.root / "conf").mkdir(parents=True)  # a place to stand in, with a schema
    shutil.copy(tmp_path / "moved/conf/conf.proto", garden.root / "conf")
    assert_made_again(garden, run, tmp_path)


def test_it_is_made_beside_what_is_there_to_be_compared(garden: Garden, tmp_path: Path) -> None:
    garden(*CARROT, "seed=1", "--log-level", "DEBUG")
    told = replay(garden, "seed@1", "--out", "../100% new")
    assert " --log-level DEBUG " in told.out
    assert in_shell(garden, told.out, tmp_path).status == 0
    assert garden.executions() == 2
    done = garden.python("-m", "heyhi.commands", "diff", "seed@1", str(tmp_path / "100% new"))
    assert done.out.splitlines()[-1] in ("they differ in environment", "no difference"), done.out


def test_what_is_there_is_left_alone(garden: Garden, tmp_path: Path) -> None:
    garden(*CARROT, "seed=1")
    done = in_shell(garden, replay(garden, "seed@1").out, tmp_path)
    assert (done.status, garden.executions()) == (0, 1)


def test_a_command_that_an_earlier_version_printed_still_makes_the_run(
    garden: Garden, tmp_path: Path
) -> None:
    base = garden.root / "conf/beds/carrot.prototxt"
    base.write_text(base.read_text().replace('"carrot"', '"{{ROOT_DIR}}/carrot"'))
    garden(*CARROT, "seed=1")
    printed = replay(garden, "seed@1").out
    assert "HEYHI_COPY_OF=" in printed
    done = in_shell(garden, printed.replace("HEYHI_COPY_OF=", "HH_COPY_OF="), tmp_path)
    assert (done.status, garden.executions()) == (0, 1), "the same id: nothing to do"


# ---- What cannot be made again ------------------------------------------------------------------


def edit(garden: Garden) -> None:
    base = garden.root / "conf/beds/carrot.prototxt"
    base.write_text(base.read_text().replace("lr: 0.5", "lr: 0.125"))


def lose(garden: Garden) -> None:
    shutil.rmtree(garden.exp / "checkpoints")


def commit(garden: Garden) -> None:
    environment = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME"), "x")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        env = {**garden.environment(), **environment, "GIT_COMMITTER_EMAIL": "x"}
        subprocess.run(["git", *words], cwd=garden.root, env=env, check=True)


NONE_MADE = "no copy of the code was made for it; ROOT is taken as it is now, "
CHANGED = "its config was edited since: lr: 0.5 -> lr: 0.125"
Changes = list[Callable[[Garden], None]]
CASES: dict[str, tuple[Changes, Changes, list[str]]] = {
    "no copy": ([], [], [f"not as it was: {NONE_MADE}and no commit is known of it"]),
    "edited": ([], [edit], [NONE_MADE, CHANGED]),
    "a commit": ([commit], [], [f"note: {NONE_MADE}at the same commit"]),
    "a commit since": ([commit], [edit, commit], [": it ran at commit", CHANGED]),
    "changes": ([commit, edit], [], [", with uncommitted changes that are not recorded, and there is"]),
}


@pytest.mark.parametrize(("before", "after", "said"), CASES.values(), ids=CASES)
def test_what_is_not_as_it_was_is_said(
    garden: Garden, before: Changes, after: Changes, said: list[str]
) -> None:
    for change in before:
        change(garden)
    garden(*CARROT, "--checkpoint", "", "seed=1")
    for change in after:
        change(garden)
    done = replay(garden, "seed@1", "--check")
    told = done.err.replace(str(garden.root), "ROOT").splitlines()
    assert len(told) == len(said)
    assert all(part in line for part, line in zip(said, told, strict=True)), told
    assert done.status == (0 if told[0].startswith("note: ") else 1)
    assert done.out.startswith(f"(cd {garden.root} && ")


def test_a_copy_that_is_gone_is_said(garden: Garden) -> None:
    garden(*CARROT, "seed=1")
    lose(garden)
    done = replay(garden, "seed@1")
    assert "not as it was: its copy of the code is gone: " in done.err
    (garden.root / "run.py").unlink()
    done = replay(garden, "seed@1")
    assert (done.status, done.out) == (2, "")
    assert "its copy of the code is gone" in done.err
    assert f"there is no run.py in {garden.root}" in done.err


def test_what_composes_no_more_is_said(garden: Garden) -> None:
    garden(*CARROT, "--checkpoint", "", "seed=1")
    schema = garden.root / "conf/conf.proto"
    schema.write_text(schema.read_text().replace("optional int32 seed = 1", "optional int32 grain = 1"))
    assert replay(garden, "seed@1").status == 1, "no copy was made of its code"
    done = replay(garden, "seed@1", "--check")
    assert done.status == 1
    assert f"it composes no more: override 'seed=1': Grow {NO_FIELD} 'seed'" in done.err


def test_a_program_that_prints_nothing_is_said_to_name_no_folder(garden: Garden) -> None:
    garden(*CARROT, "--checkpoint", "", "seed=1")
    (garden.root / "run.py").write_text("")
    done = replay(garden, "seed@1", "--check")
    assert done.status == 1
    assert "its run.py names no folder: whether it would be the same run is not known" in done.err


def test_what_somebody_has_put_into_its_file_is_taken_as_far_as_it_goes(garden: Garden) -> None:
    garden(*CARROT, "seed=1")
    path = folder(garden, "seed=1") / "heyhi.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "argv": 1, "environment": {"OMP": 3}}))
    done = replay(garden, "seed@1", "--check")
    assert (done.status, done.err) == (0, "")
    assert " OMP=3 python run.py -c " in done.out
    (path.parent / "result.json").unlink()
    status = garden.python("-m", "heyhi.commands", "status")
    assert (status.status, status.err) == (0, "")
    assert "1 DEAD" in status.out


@pytest.mark.parametrize("content", ["", "[]", '{"id": "x"}', '{"base_config": 1, "overrides": []}'])
def test_a_run_that_says_not_what_it_was_is_refused(garden: Garden, content: str) -> None:
    garden(*CARROT, "seed=1")
    (folder(garden, "seed=1") / "heyhi.json").write_text(content)
    done = replay(garden, "seed@1")
    assert (done.status, done.out) == (2, "")
    assert "heyhi.json does not say what it was made of" in done.err
    assert done.err.count("\n") == 1


# ---- Nothing is run -----------------------------------------------------------------------------


def edited(garden: Garden, **values: object) -> Path:
    """A run that is done, with other values in its heyhi.json."""
    garden(*CARROT, "seed=1")
    run = folder(garden, "seed=1")
    path = run / "heyhi.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return run


def test_only_to_check_a_run_its_code_is_run(garden: Garden) -> None:
    garden(*CARROT, "seed=1")
    run = folder(garden, "seed=1")
    (copy,) = (garden.exp / "checkpoints").iterdir()
    before = (copy / "run.py").read_text()
    (copy / "run.py").write_text(f"open({str(garden.home / 'executed')!r}, 'a')\n{before}")
    told = replay(garden, run)
    assert (told.status, told.out.startswith(f"(cd '{copy}' && ")) == (0, True)
    assert (
        f"note: files were added to its copy of the code, or changed, since it was made: {copy}" in told.err
    )
    assert "`heyhi replay --check` runs" in told.err
    assert not (garden.home / "executed").exists()
    replay(garden, run, "--check")
    assert (garden.home / "executed").exists()


def test_git_runs_nothing_that_a_repository_names(garden: Garden) -> None:
    commit(garden)
    garden(*CARROT, "--checkpoint", "", "seed=1")
    trap = garden.root / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch '{garden.home / 'executed'}'\n")
    trap.chmod(0o755)
    subprocess.run(["git", "config", "core.fsmonitor", str(trap)], cwd=garden.root, check=True)
    done = replay(garden, "seed@1")
    assert "at the same commit; its changes are not verified" in done.err
    assert not (garden.home / "executed").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["run", "heyhi.json", "copy", "run.py"])
def test_another_users_code_is_not_run_to_check(garden: Garden, name: str) -> None:
    garden(*CARROT, "seed=1")
    run = folder(garden, "seed=1")
    (copy,) = (garden.exp / "checkpoints").iterdir()
    path = {"run": run, "heyhi.json": run / "heyhi.json", "copy": copy, "run.py": copy / "run.py"}[name]
    os.chown(path, 12345, -1)
    assert replay(garden, run).status == 0
    done = replay(garden, run, "--check")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"error: {path} belongs to user 12345: --check runs only what is yours")


NAMES = {
    "OMP": True,
    "_x1": True,
    "A B": False,
    "A;touch executed;B": False,
    "$(touch executed)": False,
    "1A": False,
    "": False,
    "Ä": False,
    "A\n": False,
    "A\x1b[31m": False,
    "A\0B": False,
}


def test_a_variable_whose_name_no_shell_takes_is_left_out_and_said(garden: Garden) -> None:
    values = {**dict.fromkeys(NAMES, "x y"), "GONE": None}
    run = edited(garden, environment=values)
    done = replay(garden, run)
    assert done.status == 0
    assert " && env -u GONE HH_EXP_DIR=" in done.out
    assert " OMP='x y' _x1='x y' python run.py " in done.out
    assert done.err.count("a variable is left out, as no shell takes its name") == list(NAMES.values()).count(
        False
    )
    assert done.err.replace("\n", "").isprintable()
    assert "touch" not in done.out
    assert in_shell(garden, done.out, garden.home).status == 0
    assert not list(garden.home.rglob("executed"))


ODD = "a'b\\ $(touch executed) `touch executed` \x1b[31m \x07 \r\n é \x9b \udcff;touch executed"


def test_every_word_is_quoted_and_no_control_character_reaches_the_terminal(garden: Garden) -> None:
    run = edited(
        garden, environment={"ODD": ODD}, overrides=[f"note={ODD}"], base_config="-x; touch executed"
    )
    done = replay(garden, run)
    assert done.status == 0, done.err
    assert done.out.replace("\n", "").isprintable()
    shown = done.out.replace("python run.py", """bash -c 'printf "%s\\0" "$ODD" "$@"' x""")
    printed = subprocess.run(["bash", "-c", shown], capture_output=True, check=True).stdout.split(b"\0")
    assert printed[0] == os.fsencode(ODD)
    assert os.fsencode(f"note={ODD}") in printed
    assert b"-x; touch executed" in printed


@pytest.mark.parametrize(
    "values", [{"overrides": ["note=a\0b"]}, {"base_config": "\0"}, {"environment": {"A": "\0"}}]
)
def test_a_nul_is_one_line(garden: Garden, values: dict[str, object]) -> None:
    run = edited(garden, **values)
    for words in ([], ["--check"]):
        done = replay(garden, run, *words)
        assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
        assert "has a NUL, which no command line can have" in done.err


@pytest.mark.parametrize("name", ["snapshot", "project_root", "experiment_root", "id"])
def test_a_nul_in_a_path_is_one_line(garden: Garden, name: str) -> None:
    run = edited(garden, **{name: "/a\0b"})
    for words in ([], ["--check"]):
        done = replay(garden, run, *words)
        assert "Traceback" not in done.err
        assert "\0" not in done.out + done.err
    status = garden.python("-m", "heyhi.commands", "status")
    assert (status.status, status.err) == (0, "")


# ---- Moved roots --------------------------------------------------------------------------------

MOVES = {
    "mv": ["mv", "exp", "moved"],
    "cp": ["cp", "-r", "exp", "moved"],
    "rsync": ["rsync", "-a", "exp/", "moved/"],
    "another mount point": ["mount", "--bind", "exp", "moved"],
}


@pytest.fixture
def moved(garden: Garden, request: pytest.FixtureRequest) -> Iterator[tuple[Garden, Path, Path]]:
    """A run that reads another run's file, and the root that both lie in once it was moved."""
    garden(*CARROT, "seed=1")
    first = folder(garden, "seed=1")
    second = garden.folder(*CARROT, f"note={first}/mine.txt")
    assert garden(*CARROT, f"note={first}/mine.txt").status == 0
    target = garden.home / "moved"
    words = MOVES[request.param]
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} here")
    if words[0] == "mount":
        target.mkdir()
    done = subprocess.run(words, cwd=garden.home, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{words[0]}: {done.stderr.strip()}")
    yield garden, target, second.relative_to(garden.exp)
    if words[0] == "mount":
        subprocess.run(["umount", str(target)], check=True)


@pytest.mark.parametrize("moved", MOVES, indirect=True)
def test_a_run_of_a_moved_root_is_made_in_that_root(moved: tuple[Garden, Path, Path], tmp_path: Path) -> None:
    garden, root, name = moved
    garden.more["HH_EXP_DIR"] = str(root)
    result = (root / name / "result.json").read_bytes()
    for words in ([], ["--check"]):
        told = replay(garden, root / name, *words)
        assert told.status == 0, told.err
        assert f"note: its experiment root was {garden.exp}: it is made in {root}" in told.err
    assert f"(cd '{root}/checkpoints/" in told.out, "the copy of the code that moved along"
    assert str(garden.exp) not in told.out
    shutil.rmtree(root / name)
    if garden.exp.exists() and not garden.exp.samefile(root):
        shutil.rmtree(garden.exp / "checkpoints", ignore_errors=True)
    (garden.root / "run.py").write_text("raise SystemExit('only the copy works')")
    done = in_shell(garden, told.out, tmp_path)
    assert done.status == 0, done.err
    expected = result.replace(os.fsencode(garden.exp), os.fsencode(root))
    assert (root / name / "result.json").read_bytes() == expected


@pytest.mark.parametrize("out", ["inner/one", "{root}/inner/one"])
def test_a_run_with_a_folder_of_its_own_moves_along_with_the_root(
    garden: Garden, out: str, tmp_path: Path
) -> None:
    assert garden(*CARROT, "--out", out.format(root=garden.exp)).status == 0
    root = garden.home / "moved"
    shutil.copytree(garden.exp, root)
    shutil.rmtree(garden.exp / "checkpoints")
    garden.more["HH_EXP_DIR"] = str(root)
    for words in ([], ["--check"]):
        told = replay(garden, root / "inner/one", *words)
        assert told.status == 0, told.err
        assert f"(cd '{root}/checkpoints/" in told.out
        assert str(garden.exp) not in told.out
    (root / "inner/one/result.json").unlink()
    old = (garden.exp / "inner/one/heyhi.json").read_bytes()
    assert (
        in_shell(garden, told.out.replace(" python run.py", " python run.py --mode restart"), tmp_path).status
        == 0
    )
    assert (root / "inner/one/result.json").exists()
    assert (garden.exp / "inner/one/heyhi.json").read_bytes() == old


@pytest.mark.parametrize("moved", ["mv", "cp"], indirect=True)
def test_what_looks_at_a_moved_root_sees_its_runs_as_they_were(moved: tuple[Garden, Path, Path]) -> None:
    garden, root, name = moved

    def told(*words: str) -> str:
        done = garden.python("-m", "heyhi.commands", *words, env={"HH_EXP_DIR": str(root)})
        assert done.status == 0, done.err
        return done.out

    assert told("status") == "runs 2: 2 DONE\n"
    assert "drift" not in told("summary").splitlines()[0] or "->" not in told("summary")
    assert "growing" in told("logs", str(name))
    assert "one copy of the code" in told("diff", "carrot/seed@1", str(name), "--code")
    assert "2 runs, 0 would be others now" in told("migrate", "--check")
    assert "2 runs" in told("report", "-o", str(garden.home / "x.html"))
    assert (garden.home / "x.html").read_text().count('class="edge"') == 1, "which run needs which"
    override = f"note={root}/{name.parent}/{next((root / name.parent).glob('seed@1*')).name}/mine.txt"
    words = (*CARROT, override, "--mode", "start_continue")
    again = garden(*words, env={"HH_EXP_DIR": str(root)})
    assert (again.status, "drifted" in again.err) == (0, False), again.err
    assert garden.executions() == 2, "it is the same run, and it is done"
