"""The command that makes a run again: carried out by a shell, it gives the same id and config."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.batches import CARROT, folder, snakemake, write_batch
from tests.conftest import Done, Garden


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
    assert told.status == 0, told.err
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
    "--adhoc": ["--adhoc", "--checkpoint", "code", "seed=6"],
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
    "changes": ([commit, edit], [], [", with changes that nobody has kept, and there is"]),
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
    done = replay(garden, "seed@1")
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
    done = replay(garden, "seed@1")
    assert done.status == 1
    assert "it composes no more: override 'seed=1': Grow has no field 'seed'" in done.err


def test_what_somebody_has_put_into_its_file_is_taken_as_far_as_it_goes(garden: Garden) -> None:
    garden(*CARROT, "seed=1")
    path = folder(garden, "seed=1") / "heyhi.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "argv": 1, "environment": {"OMP": 3}}))
    done = replay(garden, "seed@1")
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
