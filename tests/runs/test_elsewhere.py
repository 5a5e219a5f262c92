import json
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heyhi.runs import claim, deaths, elsewhere, places
from heyhi.runs.elsewhere import Place
from heyhi.runs.folder import Run, read_job
from heyhi.runs.processes import this_host
from heyhi.runs.status import Status, is_done, read_state
from tests.conftest import end_as
from tests.runs.test_claim import fill

JOB = "local:here:1"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home, of the environment and of the password database; no setting."""
    folder = tmp_path / "home"
    folder.mkdir()
    user = pwd.getpwuid(os.getuid())
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv(elsewhere.SETTING, raising=False)
    monkeypatch.setattr(elsewhere, "_home_of_user", lambda: str(folder))
    assert user.pw_dir
    return folder


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /var/tmp."""
    folder = tmp_path / "local"
    folder.mkdir()
    monkeypatch.setattr(elsewhere, "_LOCAL", folder)
    return folder


def keep(name: str = "p_it") -> Place:
    in_job = "SLURM_JOB_ID" in os.environ
    return elsewhere.keep(name, {"result.json": b"1"}, {"job": JOB}, in_job)


def test_the_setting_comes_first_then_home_then_this_machine(
    home: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(elsewhere.SETTING, str(tmp_path / "chosen"))
    assert keep().folder.parent == tmp_path / "chosen"
    monkeypatch.setenv(elsewhere.SETTING, "not/absolute")
    assert keep().folder.parent == home / ".local/state/heyhi/kept"
    monkeypatch.setenv(elsewhere.SETTING, "/proc/no/place")
    place = keep()
    assert (place.folder.parent, place.host) == (home / ".local/state/heyhi/kept", "")
    monkeypatch.setenv("HOME", "/no/such/home")
    monkeypatch.setattr(elsewhere, "_home_of_user", lambda: "")
    place = keep()
    assert place.folder.parent == local / places.name_of_user() / "kept"
    assert place.text == f"{this_host()}:{place.folder}"
    for folder in (place.folder, place.folder.parent, place.folder.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_home_that_is_full_is_passed_over(
    home: Path, local: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = small_disk(16)
    monkeypatch.setenv(elsewhere.SETTING, str(disk))
    fill(disk)
    assert keep().folder.parent.parent.parent.parent.parent == home
    assert os.listdir(disk) == ["filler"]


@pytest.mark.parametrize(
    ("how", "told"),
    [("link", "is a link of"), ("others", r".* others can write to it"), ("file", "is no folder")],
)
def test_a_folder_that_another_user_prepared_is_not_used(
    home: Path, local: Path, how: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/no/such/home")
    monkeypatch.setattr(elsewhere, "_home_of_user", lambda: "")
    ours = local / places.name_of_user()
    if how == "link":
        ours.symlink_to(home)
    elif how == "others":
        ours.mkdir()
        ours.chmod(0o777)
    else:
        ours.touch()
    with pytest.raises(OSError, match=f"{ours}: {told}"):
        keep()
    assert not os.listdir(home)


@pytest.mark.parametrize(
    ("line", "is_used"),
    [
        ("1 1 8:1 /jobs/7/.0 TMP rw - ext4 /dev/sda1 rw", False),  # a job container's
        ("1 1 0:30 / TMP rw - tmpfs tmpfs rw", False),
        ("1 1 8:2 / TMP rw - xfs /dev/sda2 rw", True),  # a disk of its own
        ("1 1 8:1 TMP TMP rw - ext4 /dev/sda1 rw", True),  # a container that sees the machine's
        ("1 1 8:1 / / rw - ext4 /dev/sda1 rw", True),
    ],
)
def test_a_folder_that_vanishes_with_its_job_is_passed_over_in_slurm(
    home: Path, local: Path, line: str, is_used: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(line.replace("TMP", str(home)) + "\n")
    monkeypatch.setattr(elsewhere, "_MOUNTS", table)
    monkeypatch.setenv("TMPDIR", str(home))
    assert keep().folder.is_relative_to(home)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert keep().folder.is_relative_to(home) is is_used


# ---- What the lock says -------------------------------------------------------------------------


@pytest.fixture
def ended(run: Run) -> Iterator[Run]:
    """A run that is DEAD, and whose lock this process holds."""
    end_as(run, Status.DEAD)
    run.error.unlink()
    assert claim.take(run.lock, JOB)
    yield run
    claim.drop(run.lock)


def test_a_note_counts_for_its_own_job_alone(ended: Run) -> None:
    job = read_job(ended)
    assert job is not None
    place = Place(Path("/home/me/kept/it"), "", job.text)
    elsewhere.note_place(ended.lock, place)
    assert elsewhere.place_of(ended.lock, job.text) == place
    assert elsewhere.place_of(ended.lock, "local:here:124") is None
    elsewhere.note_error(ended.lock, job.text, "ValueError: " + "x" * 10_000)
    assert elsewhere.place_of(ended.lock, job.text) is None
    assert deaths.last_error(ended).startswith("ValueError: xxx")
    ended.jobid.write_text("local:here:124")
    assert deaths.last_error(ended) == ""


def test_a_run_with_a_note_is_done_until_it_is_started_anew(run: Run) -> None:
    end_as(run, Status.DEAD)
    job = read_job(run)
    assert job is not None
    assert claim.take(run.lock, JOB)
    elsewhere.note_place(run.lock, Place(Path("/kept/it"), "node07", job.text))
    claim.drop(run.lock)
    state = read_state(run)
    assert (state.status, state.text) == (Status.DONE, "DONE (result at node07:/kept/it)")
    assert not state.has_result
    run.jobid.write_text(f"local:{this_host()}:2")
    assert read_state(run).status is Status.DEAD
    run.jobid.write_text(job.text)
    run.result.write_text("1")
    assert read_state(run).has_result


@pytest.mark.parametrize("removed", [["heyhi.jobid"], ["heyhi.jobid", "heyhi.json"]])
def test_a_note_counts_where_no_job_is_recorded_any_more(run: Run, removed: list[str]) -> None:
    end_as(run, Status.DEAD)
    place = Place(Path("/kept/it"), "", JOB)
    assert claim.take(run.lock, "local:here:2")
    elsewhere.note_place(run.lock, place)
    claim.drop(run.lock)
    assert read_state(run).status is Status.DEAD
    for name in removed:
        (run.folder / name).unlink()
    assert read_state(run).result_place == place
    assert claim.take(run.lock, "local:here:3")
    claim.drop(run.lock)
    assert is_done(run)


@pytest.mark.parametrize(
    "note",
    [
        "{",
        "[]",
        '{"job": "J"}',
        '{"job": 1, "result": "/a", "host": ""}',
        '{"job": "J", "result": 1, "host": ""}',
        '{"job": "J", "result": "relative", "host": ""}',
        "[" * 3000,
    ],
)
def test_a_note_that_is_none_of_ours_says_nothing(ended: Run, note: str) -> None:
    claim.write_note(ended.lock, note)
    assert elsewhere.place_of(ended.lock, "J") is None
    assert elsewhere.place_of(ended.lock, None) is None
    assert elsewhere.error_of(ended.lock, "J") == ""


# ---- Moving in ----------------------------------------------------------------------------------


def move_in(run: Run, place: Place) -> None:
    elsewhere.move_in(place, run.lock, {"result.pkl": run.result_pickle, "result.json": run.result})


def test_what_a_forged_note_names_is_neither_read_nor_removed(ended: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "result.json").write_text("my own")
    with pytest.raises(OSError, match=r"heyhi\.json"):
        move_in(ended, Place(mine, "", JOB))
    (mine / "heyhi.json").write_text(json.dumps({"job": "another"}))
    with pytest.raises(OSError, match="does not have the result of local:here:1"):
        move_in(ended, Place(mine, "", JOB))
    (tmp_path / "link").symlink_to(mine)
    with pytest.raises(OSError, match="is not a folder of this user's"):
        move_in(ended, Place(tmp_path / "link", "", JOB))
    assert (mine / "result.json").read_text() == "my own"
    assert not ended.result.exists()


def test_a_file_that_someone_put_beside_stays(home: Path, ended: Run) -> None:
    place = keep()
    (place.folder / "notes.txt").touch()
    move_in(ended, place)
    assert ended.result.read_text() == "1"
    assert os.listdir(place.folder) == ["notes.txt"]


def test_what_is_not_there_any_more_is_said_and_the_note_stays(home: Path, ended: Run) -> None:
    place = keep()
    elsewhere.note_place(ended.lock, place)
    (place.folder / "result.json").unlink()
    with pytest.raises(FileNotFoundError):
        move_in(ended, place)
    assert elsewhere.place_of(ended.lock, JOB) == place
