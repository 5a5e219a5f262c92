import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from heyhi.runs import claim, ownership
from heyhi.runs.folder import Run, is_own_name
from heyhi.runs.status import QueuedJob, Status, read_state
from tests.conftest import Garden, end_as, wait_until

CARROT = ("-c", "conf/beds/carrot.prototxt")

# ---- What may be started in ---------------------------------------------------------------------

# What is in a folder -> why no run may be started there. `ours` are the configs as they are composed now.
FOLDERS = {
    "": None,
    "heyhi.json config.prototxt heyhi.lock thesis.tex/": None,
    "lock": None,
    "heyhi.lock": "heyhi.lock is in it",
    "heyhi.owner": "heyhi.owner is in it",
    "stdout.log": None,
    "stdout.log .hidden lock": None,
    "ours": None,
    "ours lock .heyhi.json.0123abcd.partial": None,
    "ours stdout.log": "config.prototxt is in it",
    "config.prototxt": "config.prototxt is in it",
    "config.prototxt config_meta.prototxt": "config.prototxt is in it",
    "config.prototxt thesis.tex": "config.prototxt is in it",
    "result.json": "result.json is in it",
    "run.log": "run.log is in it",
    "error.txt stdout.log": "error.txt is in it",
    "src/": "src is in it (a folder)",
    "stdout.log src/": "src is in it (a folder)",
    "link@": "link is in it (a link to nothing)",
}


@pytest.mark.parametrize(("names", "problem"), FOLDERS.items(), ids=FOLDERS)
def test_what_a_run_may_be_started_in(tmp_path: Path, names: str, problem: str | None) -> None:
    run = Run("p/it", tmp_path / "it")
    run.folder.mkdir()
    for name in names.split():
        if name == "ours":
            run.config.write_text("lr: 1")
            run.config_meta.write_text("grow { lr: 1 }")
        elif name == "lock":
            run.lock.write_text(f"{'local:here:1':1023}\n")
        elif name.endswith("/"):
            (run.folder / name).mkdir()
        elif name.endswith("@"):
            (run.folder / name[:-1]).symlink_to("nowhere")
        else:
            (run.folder / name).write_text("mine")
    told = ownership.find_obstacle(run, "lr: 1", "grow { lr: 1 }")
    assert (told is None) == (problem is None), told
    assert (told or "").startswith(problem or "")


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "it").touch()
    assert ownership.find_obstacle(Run("it", tmp_path / "it"), "", "") == "it is no folder"


def test_a_file_in_place_of_a_folder_above_is_named(tmp_path: Path) -> None:
    (tmp_path / "p").touch()
    run = Run("p/some/it", tmp_path / "p/some/it")
    assert ownership.find_obstacle(run, "", "") == f"{tmp_path / 'p'} is no folder"
    assert ownership.find_obstacle(Run("q/it", tmp_path / "q/it"), "", "") is None


@pytest.mark.parametrize("name", ["", "p"])
def test_a_file_in_place_of_the_root_is_one_line(garden: Garden, name: str) -> None:
    shutil.rmtree(garden.exp, ignore_errors=True)
    path = garden.exp / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    (garden.root / "it.sh").write_text(f"python run.py {' '.join(CARROT)}\n")
    for words in (("plan", "it.sh"), ("start", "it.sh")):
        done = garden.python("-m", "heyhi.commands", *words)
        assert done.status == 2
        assert f"{path} is no folder; HH_EXP_DIR names another experiment root" in done.err
        assert "Traceback" not in done.err
    assert f"{path} is no folder" in garden(*CARROT).err


def test_every_file_of_a_run_has_a_name_of_ours(garden: Garden) -> None:
    garden(*CARROT, "fail=raise")
    garden(*CARROT, "fail=once")
    garden(*CARROT, "fail=once", "--mode", "start_continue")
    for words in (["fail=raise"], ["fail=once"]):
        names = set(os.listdir(garden.folder(*CARROT, *words)))
        assert {name for name in names if not is_own_name(name)} == {"mine.txt"}


def test_the_link_by_which_a_folder_is_reached(tmp_path: Path) -> None:
    root = tmp_path / "exp"
    (root / "p" / "real").mkdir(parents=True)
    (root / "p" / "link").symlink_to("real")
    (tmp_path / "aside").symlink_to(root)
    assert ownership.find_link(root / "p" / "real" / "it", root) is None
    assert ownership.find_link(root / "p" / "link", root) == str(root / "p" / "link")
    assert ownership.find_link(root / "p" / "link" / "it", root) == str(root / "p" / "link")
    assert ownership.find_link(tmp_path / "aside" / "p" / "it", tmp_path / "aside") is None, (
        "the root may be one"
    )
    assert ownership.find_link(tmp_path / "aside", root) == str(tmp_path / "aside"), (
        "--out, outside of the root"
    )


# ---- Folders of the original --------------------------------------------------------------------

# The files of the original's folder, and what squeue knows -> what the run is.
ORIGINALS = {
    "done": ("12 result.torch", {}, Status.DONE),
    "done here": ("local result.torch", None, Status.DONE),
    "done, and Slurm does not answer": ("12 result.torch", None, Status.DONE),
    "waits, by its name": ("12", {"12": QueuedJob("12", "PENDING", "p_it_name_0123abcd")}, Status.QUEUED),
    "runs, by its folder": ("12", {"12": QueuedJob("12", "RUNNING", "x", "", "FOLDER")}, Status.RUNNING),
    "another job has its number": ("12", {"12": QueuedJob("12", "RUNNING", "x", "", "/")}, Status.UNKNOWN),
    "Slurm has forgotten it": ("12", {}, Status.UNKNOWN),
    "Slurm does not answer": ("12", None, Status.UNKNOWN),
    "died here, or lives": ("local", None, Status.UNKNOWN),
}


@pytest.mark.parametrize(("names", "queue", "status"), ORIGINALS.values(), ids=ORIGINALS)
def test_a_run_of_the_original(
    tmp_path: Path, names: str, queue: dict[str, QueuedJob] | None, status: Status
) -> None:
    run = Run("p/it/name_0123abcd", tmp_path / "it")
    run.folder.mkdir()
    job, *others = names.split()
    run.jobid.write_text(job)
    run.config.touch()
    run.config_meta.touch()
    for name in others:
        (run.folder / name).touch()
    if queue:
        known = queue["12"]
        queue = {"12": known._replace(work_dir=known.work_dir.replace("FOLDER", str(run.folder)))}
    state = read_state(run, queue)
    assert (state.status, state.keeps) == (status, "made by the original HeyHi")
    assert state.detail.startswith("made by the original HeyHi")


@pytest.fixture
def original(garden: Garden) -> Callable[[str], Path]:
    """original("12"): the folder of a finished run of the original, of the same id."""

    def make(job: str) -> Path:
        folder = garden.folder(*CARROT)
        folder.mkdir(parents=True)
        (folder / "heyhi.jobid").write_text(job)
        text = garden(*CARROT, "--print").out
        for name in ("config.prototxt", "config_meta.prototxt"):
            (folder / name).write_text(text)
        return folder

    return make


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("mode", ["gentle_start", "start_restart", "start_continue", "restart"])
@pytest.mark.parametrize("names", ["12345678 result.torch", "local result.torch", "local"])
def test_no_mode_touches_a_run_of_the_original_unasked(
    garden: Garden, original: Callable[[str], Path], mode: str, names: str
) -> None:
    job, *others = names.split()
    folder = original(job)
    for name in others:
        (folder / name).write_text("weeks of work")
    before = contents(folder)
    done = garden(*CARROT, "--mode", mode)
    assert contents(folder) == before
    assert "made by the original HeyHi" in done.err
    assert "Traceback" not in done.err
    assert done.status == (2 if mode == "restart" else 0 if others else 1), done.err
    assert garden.executions() == 0


def test_a_run_of_the_original_is_wiped_on_the_users_word(
    garden: Garden, original: Callable[[str], Path]
) -> None:
    folder = original("local")
    (folder / "result.torch").touch()
    done = garden(*CARROT, "--mode", "restart", "--force")
    assert done.status == 0, done.err
    assert not (folder / "result.torch").exists()
    assert garden.executions() == 1
    assert garden(*CARROT).status == 0
    assert garden.executions() == 1


# ---- Folders of users ---------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("--mode", "restart", "--force"), ("--mode", "start_continue")])
def test_a_users_config_is_never_overwritten(garden: Garden, tmp_path: Path, words: tuple[str, ...]) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.prototxt").write_text("my own")
    (mine / "thesis.tex").write_text("x")
    done = garden(*CARROT, "--out", str(mine), "--checkpoint=", *words)
    assert (done.status, garden.executions()) == (2, 0)
    assert "config.prototxt is in it, and HeyHi did not write it" in done.err
    assert contents(mine) == {"config.prototxt": b"my own", "thesis.tex": b"x"}


def test_a_wipe_spares_what_was_there_before(garden: Garden, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "stdout.log").write_text("mine")
    words = (*CARROT, "--out", str(logs))
    assert garden(*words, "--mode", "start_continue").status == 0
    (logs / "of-the-run").write_text("made since")
    assert json.loads((logs / "heyhi.json").read_text())["found"] == ["stdout.log"]
    for _ in range(2):
        assert garden(*words, "--mode", "restart", "--force").status == 0
        assert (logs / "stdout.log").read_text() == "mine"
        assert not (logs / "of-the-run").exists()
    assert garden.executions() == 3


def test_names_that_are_no_utf8_are_spared_too(garden: Garden, tmp_path: Path) -> None:
    logs = tmp_path / os.fsdecode(b"logs-\xff")
    logs.mkdir()
    names = ["a\nb", "e\x1b[31m", os.fsdecode(b"\xff.log")]
    for name in names:
        (logs / name).write_text("mine")
    words = (*CARROT, "--out", str(logs))
    assert garden(*words, "--mode", "start_continue").status == 0
    written = (logs / "heyhi.json").read_bytes().decode()  # UTF-8: other programs read it as well
    assert json.loads(written)["found"] == names
    assert json.loads(written)["starts"][-1]["status"] == "DONE"
    for _ in range(2):
        assert garden(*words, "--mode", "restart", "--force").status == 0
        assert set(names) < set(os.listdir(logs))


def test_what_the_version_before_noted_in_other_bytes_is_read(garden: Garden, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / os.fsdecode(b"\xff.log")).write_text("mine")
    words = (*CARROT, "--out", str(logs))
    assert garden(*words, "--mode", "start_continue").status == 0
    as_now = (logs / "heyhi.json").read_bytes()
    (logs / "heyhi.json").write_bytes(as_now.replace(rb"\udcff", b"\xff"))
    assert garden(*words, "--mode", "restart", "--force").status == 0
    assert os.fsdecode(b"\xff.log") in os.listdir(logs)


def test_a_wipe_follows_no_link(garden: Garden, tmp_path: Path) -> None:
    assert garden(*CARROT).status == 0
    folder = garden.folder(*CARROT)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(folder.parent, elsewhere)
    folder.parent.symlink_to(elsewhere)
    before = contents(folder)
    done = garden(*CARROT, "--mode", "restart", "--force")
    assert (done.status, garden.executions()) == (2, 1)
    assert f"{folder.parent} is a link" in done.err
    assert contents(folder) == before
    assert garden(*CARROT).status == 0, "it is looked at all the same"


def test_heyhi_json_is_there_before_anything_else(garden: Garden) -> None:
    """Killed before each file that is moved into place: the folder is HeyHi's from the first one on."""
    for name in ("config.prototxt", "heyhi.json", "heyhi.jobid"):
        killed = garden(*CARROT, env={"GARDEN_KILL_BEFORE": name})
        assert killed.status == -signal.SIGKILL, name
        assert (garden.folder(*CARROT) / "heyhi.json").is_file()
    assert garden(*CARROT).status == 0
    assert garden.executions() == 1


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_a_log_is_never_waited_for_nor_written_through_a_link(
    garden: Garden, tmp_path: Path, kind: str
) -> None:
    words = (*CARROT, "fail=raise")
    assert garden(*words).status == 1
    log, mine = garden.folder(*words) / "run.log", tmp_path / "mine"
    mine.write_text("mine")
    log.unlink()
    if kind == "fifo":
        os.mkfifo(log)
    else:
        log.symlink_to(mine)
    done = garden(*words, "--mode", "start_continue")
    assert (done.status, mine.read_text(), garden.executions()) == (1, "mine", 1)
    assert f"run.log: cannot be written: is a {kind}" in done.err


# ---- A folder that was deleted ------------------------------------------------------------------


def test_a_run_whose_folder_was_deleted_still_lives(garden: Garden) -> None:
    words = (*CARROT, "seconds=60")
    process = garden.popen(*words)
    folder = garden.folder(*words)
    wait_until(lambda: garden.executions() == 1)
    shutil.rmtree(folder)
    again = garden(*words)
    assert again.status == 0
    assert f"RUNNING (local:{os.uname().nodename}:{process.pid}): its folder was deleted" in again.err
    (garden.root / "b.sh").write_text(f"python run.py {' '.join(words)}\n")
    planned = garden.python("-m", "heyhi.commands", "plan", "b.sh")
    assert "RUNNING" in planned.out
    assert "1 run: 1 RUNNING; 1 to wait for" in planned.out
    status = garden.python("-m", "heyhi.commands", "status")
    assert status.out.splitlines()[0].startswith("runs 1: 1 RUNNING")
    assert "its folder was deleted" in status.out
    killed = garden.python("-m", "heyhi.commands", "kill", folder.name)
    assert (killed.status, process.wait(20)) != (0, 0), "its task was ended"
    assert killed.status == 0, killed.err
    assert not folder.exists()
    assert garden.python("-m", "heyhi.commands", "status").out == "no runs\n"


def test_a_run_whose_files_were_deleted_still_lives(garden: Garden) -> None:
    words = (*CARROT, "seconds=60")
    process = garden.popen(*words)
    folder = garden.folder(*words)
    wait_until(lambda: garden.executions() == 1)
    for name in ("heyhi.jobid", "heyhi.lock", "heyhi.owner"):
        (folder / name).unlink()
    told = f"RUNNING (local:{os.uname().nodename}:{process.pid}): its heyhi.lock was deleted"
    assert told in garden(*words, "--mode", "start_restart").err
    status = garden.python("-m", "heyhi.commands", "status")
    assert status.out.splitlines()[0].startswith("runs 1: 1 RUNNING")
    assert garden.executions() == 1
    killed = garden.python("-m", "heyhi.commands", "kill", folder.name)
    assert killed.status == 0, killed.err
    assert process.wait(20) != 0


def test_processes_are_looked_at_only_for_runs_that_were_started(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def look() -> dict[str, int]:
        looks.append(1)
        return {}

    monkeypatch.setattr(claim, "holders_of_deleted", look)
    end_as(run, Status.DEAD)
    for name in ("heyhi.jobid", "heyhi.lock"):
        (run.folder / name).unlink(missing_ok=True)
    for starts, count in (([], 0), ([{"started": "2026-01-01T00:00:00+0000"}], 1)):
        run.provenance.write_text(json.dumps({"starts": starts}))
        assert read_state(run).status is Status.NOT_STARTED
        assert len(looks) == count
    run.lock.touch()
    read_state(run)
    assert len(looks) == 1


def test_a_process_that_became_another_program_still_lives(garden: Garden) -> None:
    code = "import os; os.execv('/bin/sleep', ['sleep', '60'])"
    run_py = (garden.root / "run.py").read_text()
    changed = run_py.replace('"fork": lambda _: os.fork()', f'"fork": lambda _: exec({code!r})')
    (garden.root / "run.py").write_text(changed)
    process = garden.popen(*CARROT, "fail=fork")
    wait_until(lambda: b"sleep\0" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
    done = garden(*CARROT, "fail=fork", "--mode", "start_restart")
    assert "RUNNING" in done.err
    assert garden.executions() == 1
    process.kill()
    process.wait()
    assert "DEAD" in garden(*CARROT, "fail=fork").err


def test_a_batch_says_which_folder_is_not_its_own_to_wipe(
    garden: Garden, original: Callable[[str], Path]
) -> None:
    folder = original("local")
    before = contents(folder)
    (garden.root / "b.sh").write_text("python run.py -c conf/beds/carrot.prototxt --mode restart\n")
    done = garden.python("-m", "heyhi.commands", "start", "b.sh")
    assert (done.status, contents(folder)) == (2, before), done.err
    assert f"({folder.relative_to(garden.exp)}: made by the original HeyHi)" in done.err
    plain = garden.python("-m", "heyhi.commands", "plan", "b.sh")
    assert "made by the original HeyHi" in plain.out
