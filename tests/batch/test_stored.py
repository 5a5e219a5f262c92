"""Batches as they were captured last: kept whole, found by the path of the script, and never run again."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from heyhi.batch.entries import read_batch
from heyhi.batch.stored import find_batch, is_batch, of_batch, store
from heyhi.errors import UsageError
from heyhi.files import kind_of
from heyhi.look.records import batch_records
from heyhi.project import Project
from tests.conftest import BatchOf

CANARY = "wood pigeon"


@pytest.fixture
def script(processes: None, batch_of: BatchOf) -> Path:
    """A batch of two runs, of which the second one waits for the first; it sources two files."""
    write = batch_of.write
    write("run.py", "")
    write("lib/values.sh", f"SEED=3  # {CANARY}\n")
    write("lib/functions.sh", "f() { :; }\n")
    line = f"python run.py -c conf/it.prototxt seed=$SEED # {CANARY}\n"
    other = "export TOKEN='wood pigeon'\nMORE='wood pigeon' python run.py -c conf/it.prototxt lr=2\n"
    return write("sweep.sh", f". lib/values.sh\nsource lib/functions.sh\n: {CANARY}\n{line}{other}")


def captured(batch_of: BatchOf, script: Path) -> Path:
    """Store it; the file that has it."""
    assert store(read_batch(str(script), batch_of.project)) == ""
    (path,) = (batch_of.exp / ".heyhi/captures").iterdir()
    return path


def told_of(batch_of: BatchOf, place: object) -> list[str]:
    told: list[str] = []
    find_batch(str(place), batch_of.project, told.append)
    return told


def test_what_looking_needs_is_kept(batch_of: BatchOf) -> None:
    batch = batch_of(
        "lr=1 watering.can=SELECT",
        "seed=2 --after EXP".replace("EXP", batch_of.run("lr=1 watering.can=SELECT").id),
    )
    assert store(batch) == ""
    found = find_batch("it.sh", batch_of.project, pytest.fail)
    assert [entry.run for entry in found.entries] == [entry.run for entry in batch.entries]
    assert found.needs == batch.needs
    assert any(found.needs.values())
    assert batch_records(found) == batch_records(of_batch(batch))


def test_its_file_is_the_users_own_and_has_nothing_of_the_script(batch_of: BatchOf, script: Path) -> None:
    path = captured(batch_of, script)
    assert path.stat().st_mode & 0o777 == 0o600
    assert CANARY not in path.read_text()
    assert list(path.parent.iterdir()) == [path], "nothing is left beside it"


def test_what_says_the_same_is_not_written_again(batch_of: BatchOf, script: Path) -> None:
    path = captured(batch_of, script)
    before = path.stat().st_ino, path.read_text()
    assert captured(batch_of, script) == path
    assert (path.stat().st_ino, path.read_text()) == before
    (script.parent / "lib/values.sh").write_text("SEED=4")
    captured(batch_of, script)
    assert path.read_text() != before[1]


def test_it_is_found_by_the_path_of_the_script(
    batch_of: BatchOf, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured(batch_of, script)
    (tmp_path / "link").symlink_to(script.parent)
    monkeypatch.chdir(script.parent)
    places = ("sweep.sh", "./sweep.sh", script, tmp_path / "link/sweep.sh")
    assert [len(find_batch(str(place), batch_of.project, pytest.fail).entries) for place in places] == [2] * 4
    other = batch_of.write("lib/sweep.sh", script.read_text())
    with pytest.raises(UsageError, match="has not been planned yet"):
        told_of(batch_of, other)
    script.unlink()
    assert is_batch(str(script), batch_of.project), "also once it is gone"
    assert "sweep.sh has changed" in told_of(batch_of, script)[0]


@pytest.mark.parametrize("name", ["sweep.sh", "lib/values.sh", "lib/functions.sh"])
def test_a_change_of_a_file_that_it_was_read_from_is_told(batch_of: BatchOf, script: Path, name: str) -> None:
    captured(batch_of, script)
    path = batch_of.project.root / name
    text = path.read_text()
    os.utime(path, (1, 1))
    assert told_of(batch_of, script) == [], "it is the same still"
    path.write_text(f"{text}\n")
    (told,) = told_of(batch_of, script)
    assert told.startswith(f"{script}: as captured at 20")
    assert f"since then {path} has changed" in told
    captured(batch_of, script)
    assert told_of(batch_of, script) == []


@pytest.mark.processes
def test_a_change_of_a_table_is_told(batch_of: BatchOf) -> None:
    batch_of.write("run.py", "")
    table = batch_of.write("runs.csv", "lr\n1\n2\n")
    script = batch_of.write("sweep.sh", "python run.py -c conf/it.prototxt --table runs.csv")
    captured(batch_of, script)
    assert told_of(batch_of, script) == []
    table.write_text("lr\n1\n")
    assert f"{table} has changed" in told_of(batch_of, script)[0]


def edit(**values: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_text(""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "binary": lambda path: path.write_bytes(b"\xff\0"),
    "a list": lambda path: path.write_text("[]"),
    "nested": lambda path: path.write_text("[" * 100_000),
    "of another version": edit(format="heyhi capture 0"),
    "of another script": edit(batch="/x.sh"),
    "no runs": edit(runs={}),
    "runs that are none": edit(runs={"id": [7], "task": [7], "needs": [7], "config": [7]}),
    "a need that is none": edit(runs={"id": ["p/a"], "task": ["grow"], "needs": [[9]], "config": [""]}),
    "a fifo": fifo,
    "a link to itself": link_to_itself,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_one_is_none(batch_of: BatchOf, script: Path, damage: Callable[[Path], object]) -> None:
    path = captured(batch_of, script)
    damage(path)
    with pytest.raises(UsageError, match="has not been planned yet, and this command runs no script"):
        told_of(batch_of, script)
    store(read_batch(str(script), batch_of.project))
    assert told_of(batch_of, script) == []


@pytest.mark.parametrize(
    "change",
    [edit(schemas="//8="), edit(meta="nope"), edit(schemas="")],
    ids=["no schemas", "no meta", "empty"],
)
def test_a_config_that_cannot_be_read_is_a_problem_of_its_run(
    batch_of: BatchOf, script: Path, change: Callable[[Path], object]
) -> None:
    change(captured(batch_of, script))
    records = batch_records(find_batch(str(script), batch_of.project, pytest.fail))
    assert [record.status for record in records] == ["NOT_STARTED"] * 2
    assert all("its config as captured cannot be read" in record.problem for record in records)


NO_BATCHES = {
    "notes.txt": ("touch executed", "is not a batch; this command runs no file"),
    "x.csv": ("a,b\n1,2", "is not a batch; this command runs no file"),
    "sweep.sh": (
        "python run.py",
        "has not been planned yet, and this command runs no script; run heyhi plan ",
    ),
    "sweep": ("python run.py", "has not been planned yet, and this command runs no script; run heyhi plan "),
}


@pytest.mark.parametrize(
    ("name", "text", "told"), [(n, *rest) for n, rest in NO_BATCHES.items()], ids=NO_BATCHES
)
def test_what_was_never_planned_is_said(batch_of: BatchOf, name: str, text: str, told: str) -> None:
    path = batch_of.write(name, text)
    assert is_batch(str(path), batch_of.project)
    with pytest.raises(UsageError) as caught:
        told_of(batch_of, path)
    assert str(caught.value).startswith(f"{path}: {told}")


def test_a_fifo_is_no_batch(batch_of: BatchOf, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.sh")
    assert kind_of(tmp_path / "pipe.sh") == "a fifo"
    with pytest.raises(UsageError, match="has not been planned"):
        told_of(batch_of, tmp_path / "pipe.sh")


def test_a_file_of_a_run_is_no_batch(project: Project, tmp_path: Path) -> None:
    folder = project.experiment_root / "p/it"
    folder.mkdir(parents=True)
    for path in (folder / "heyhi.json", folder / "run.log", tmp_path / "batch.sh"):
        path.touch()
    assert not is_batch(str(folder / "run.log"), project)
    assert not is_batch(str(folder), project)
    assert is_batch(str(tmp_path / "batch.sh"), project)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("HH_EXP_DIR", str(tmp_path / "exp"))
    return Project(tmp_path)


def test_it_moves_with_the_experiment_root(
    batch_of: BatchOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = batch_of.run("lr=1").folder
    assert store(batch_of("lr=1", f"name={first}/model")) == ""
    batch_of.exp.rename(tmp_path / "moved")
    monkeypatch.setenv("HH_EXP_DIR", str(tmp_path / "moved"))
    records = batch_records(find_batch("it.sh", batch_of.project, pytest.fail))
    assert records[1].config["name"] == f"{records[0].folder}/model"
    assert records[0].folder.startswith(f"{tmp_path}/moved/p/")


def test_where_it_cannot_be_kept_that_is_said(batch_of: BatchOf) -> None:
    batch_of.exp.mkdir()
    (batch_of.exp / ".heyhi").write_text("in the way")
    told = store(batch_of("lr=1"))
    assert told.startswith("it.sh: the capture cannot be saved, so `heyhi status` will not know its runs: ")
