"""The place of GPU locks: one of each user on each host, whatever any variable says, and nobody else's."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heyhi.errors import LaunchError, UsageError
from heyhi.launch import gpus
from heyhi.runs import claim, fingerprints, places
from heyhi.runs.processes import this_host
from tests.batches import snakemake, write_batch
from tests.conftest import Garden

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users can see."""
    folder = Path(tempfile.mkdtemp(prefix="heyhi-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def shared(public: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /var/tmp: a folder in which all can make something; no settings."""
    folder = public / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(places, "_USUAL", (folder,))
    files = [public / "of the user.toml", public / "of the machine.toml"]
    monkeypatch.setattr(places, "_settings_files", lambda: files)
    return folder


def own_name() -> str:
    return f"heyhi-{os.getuid()}-{this_host()}"


def as_nobody(action: Callable[[], object]) -> None:
    """Do something as another user, in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def test_it_is_made_for_this_user_alone(shared: Path) -> None:
    before = os.umask(0)
    try:
        place = places.gpu_locks()
    finally:
        os.umask(before)
    assert place == shared / own_name()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert places.gpu_locks() == place


@pytest.mark.processes
def test_it_depends_on_no_variable() -> None:
    code = "from heyhi.runs import places; print(places._parent() / places.name_of_user())"
    usual = {"PATH": os.environ["PATH"]}
    settings: list[dict[str, str]] = [
        {},
        dict.fromkeys(("TMPDIR", "TEMP", "TMP", "HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"), "/nowhere"),
        {"USER": "other", "LOGNAME": "other", "HOSTNAME": "other", "HEYHI_PROJECT": "/", "HH_EXP_DIR": "/x"},
    ]
    told = {
        subprocess.run([sys.executable, "-c", code], env={**usual, **more}, capture_output=True).stdout
        for more in settings
    }
    assert len(told) == 1
    assert own_name().encode() in told.pop()


# What lies there -> what is said of it.
PREPARED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda place: place.mkdir(), "belongs to nobody (user 65534)"),
    "a link": (lambda place: place.symlink_to("/etc"), "is a link of nobody (user 65534)"),
    "a file": (lambda place: place.touch(), "is no folder, but a file of nobody (user 65534)"),
}


@pytest.mark.processes
@as_root
@pytest.mark.parametrize(("prepare", "told"), PREPARED.values(), ids=PREPARED)
def test_what_another_user_has_prepared_is_refused(
    prepare: Callable[[Path], object], told: str, shared: Path, public: Path
) -> None:
    place = shared / own_name()
    as_nobody(lambda: prepare(place))
    with pytest.raises(LaunchError) as caught:
        places.gpu_locks()
    assert str(caught.value) == (
        f'{place}: {told}; GPU locks need a folder that is yours alone: gpu_locks = "/another/folder" '
        f"in {public / 'of the user.toml'} or {public / 'of the machine.toml'} moves them"
    )


def test_a_folder_of_ours_that_others_can_write_to_is_refused(shared: Path) -> None:
    (shared / own_name()).mkdir()
    (shared / own_name()).chmod(0o777)
    with pytest.raises(LaunchError, match=r"others can write to it \(mode 0777\)"):
        places.gpu_locks()


def test_a_folder_that_others_can_replace_is_refused(shared: Path) -> None:
    shared.chmod(0o777)
    with pytest.raises(LaunchError, match="no sticky bit"):
        places.gpu_locks()


def test_a_link_of_ours_is_refused(shared: Path, public: Path) -> None:
    (public / "real").mkdir(mode=0o700)
    (shared / own_name()).symlink_to(public / "real")
    with pytest.raises(LaunchError, match="is a link of"):
        places.gpu_locks()


# ---- The setting --------------------------------------------------------------------------------


def test_the_users_setting_wins_over_the_machines(shared: Path, public: Path) -> None:
    users, machines = public / "of the user.toml", public / "of the machine.toml"
    for name in ("one", "two"):
        (public / name).mkdir()
    machines.write_text(f'gpu_locks = "{public / "one"}"\n')
    assert places.gpu_locks() == public / "one" / own_name()
    users.write_text(f'other = 1\ngpu_locks = "{public / "two"}"\n')
    assert places.gpu_locks() == public / "two" / own_name()


@pytest.mark.processes
@as_root
def test_the_folder_of_the_setting_is_looked_at_too(shared: Path, public: Path) -> None:
    chosen = public / "chosen"
    as_nobody(lambda: (shared / "chosen").mkdir())
    (shared / "chosen").rename(chosen)
    (public / "of the user.toml").write_text(f'gpu_locks = "{chosen}"\n')
    with pytest.raises(LaunchError, match="is in a folder of nobody"):
        places.gpu_locks()


WRONG = {
    "relative": ('gpu_locks = "here"', "expected \"/an/absolute/folder\", not 'here'"),
    "no text": ("gpu_locks = 3", 'expected "/an/absolute/folder", not 3'),
    "no TOML": ("gpu_locks = ", "cannot be read: "),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_one_line(text: str, told: str, shared: Path, public: Path) -> None:
    (public / "of the machine.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        places.gpu_locks()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_setting_that_all_can_change_is_refused(shared: Path, public: Path) -> None:
    path = public / "of the user.toml"
    path.write_text("")
    path.chmod(0o666)
    with pytest.raises(UsageError, match="all can write to it"):
        places.gpu_locks()


# ---- The locks ----------------------------------------------------------------------------------

_HOLD = """
import os, sys
from heyhi.launch import gpus
with gpus.own(1):
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.readline()
"""


def hold(temporary: Path) -> "subprocess.Popen[str]":
    """A process that has one of two GPUs until a line comes."""
    temporary.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", _HOLD],
        env={**os.environ, "HEYHI_GPUS": "2", "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.processes
def test_two_values_of_tmpdir_never_give_two_runs_the_same_gpu(tmp_path: Path) -> None:
    holders = [hold(tmp_path / name) for name in ("one", "two")]
    got = [holder.stdout.readline().strip() for holder in holders if holder.stdout]
    for holder in holders:
        holder.communicate("\n", timeout=30)
    assert sorted(got) == ["0", "1"]


def test_a_gpu_that_a_job_of_the_version_before_has_is_not_free(
    shared: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(public))
    monkeypatch.setenv("HEYHI_GPUS", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    old = public / own_name()
    old.mkdir(mode=0o700)
    (old / "gpu-1.lock").touch()
    assert claim.take(old / "gpu-0.lock", "local:here:1")
    with gpus.own(1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
        assert claim.holder(shared / own_name() / "gpu-0.lock") is None
    claim.drop(old / "gpu-0.lock")
    assert sorted(path.name for path in old.iterdir()) == ["gpu-0.lock", "gpu-1.lock"]


@pytest.mark.processes
@as_root
def test_what_another_user_made_in_the_place_of_before_stops_nothing(
    shared: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = public / "temporary"
    temporary.mkdir()
    temporary.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    as_nobody(lambda: (temporary / own_name()).mkdir())
    assert temporary / own_name() not in places.of_the_version_before()


def test_a_lock_is_never_opened_through_a_link(
    shared: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEYHI_GPUS", "1")
    precious = public / "precious"
    precious.write_text("all my work")
    (places.gpu_locks() / "gpu-0.lock").symlink_to(precious)
    with pytest.raises(OSError, match=r"gpu-0\.lock"), gpus.own(1):
        pass
    assert precious.read_text() == "all my work"
    assert claim.holder(places.gpu_locks() / "gate.lock") is None


def test_what_tidies_up_temporary_folders_leaves_locks_alone(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEYHI_GPUS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with gpus.own(1):
        pass
    assert (places.gpu_locks() / "gpu-0.lock").stat().st_mode & stat.S_ISVTX


def test_files_with_secrets_go_to_memory_only_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_ROOM", 1)
    found = places.in_memory()
    assert found in (None, Path("/dev/shm"))
    monkeypatch.setattr(places, "_ROOM", 1 << 62)
    assert places.in_memory() is None


# ---- An experiment root that others can write to ------------------------------------------------


@pytest.mark.processes
@as_root
def test_a_folder_that_another_user_put_into_the_root_is_refused(shared: Path) -> None:
    orders = shared / ".heyhi" / "orders"
    as_nobody(lambda: orders.mkdir(parents=True))
    with pytest.raises(LaunchError) as caught:
        places.refuse_foreign(orders, shared)
    assert str(caught.value) == (
        f"{shared / '.heyhi'}: belongs to nobody (user 65534), and jobs would do what is written there; "
        "HH_EXP_DIR=... names another experiment root"
    )


@pytest.mark.processes
@as_root
def test_one_of_the_roots_owner_or_of_a_group_that_shares_all_is_not(shared: Path, public: Path) -> None:
    theirs = public / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    as_nobody(lambda: (theirs / ".heyhi").mkdir())
    places.refuse_foreign(theirs / ".heyhi" / "orders", theirs)
    as_nobody(lambda: (shared / ".heyhi").mkdir())
    shared.chmod(0o2775)
    places.refuse_foreign(shared / ".heyhi" / "orders", shared)


@as_root
def test_a_driver_takes_no_place_that_another_user_has_made(
    garden: Garden, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_nobody(lambda: (shared / ".heyhi" / "orders").mkdir(parents=True))
    write_batch(garden, "seed=1")
    done = snakemake(garden, HH_EXP_DIR=str(shared))
    assert (done.status, garden.executions()) == (1, 0)
    assert "belongs to nobody" in done.err.splitlines()[-1]


@as_root
def test_a_job_never_runs_a_copy_of_the_code_that_another_user_has_made(garden: Garden, shared: Path) -> None:
    assert garden("-c", "conf/beds/carrot.prototxt", env={"HH_EXP_DIR": str(shared)}).status == 0
    (copy,) = (shared / "checkpoints").iterdir()
    shutil.rmtree(shared / "checkpoints")
    (shared / "checkpoints").mkdir()
    (shared / "checkpoints").chmod(0o1777)
    as_nobody(copy.mkdir)
    done = garden("-c", "conf/beds/carrot.prototxt", "seed=2", env={"HH_EXP_DIR": str(shared)})
    assert done.status == 0, done.err
    assert sorted(path.name for path in copy.parent.iterdir()) == sorted([copy.name, "of-0"])
    assert (copy.parent / "of-0" / copy.name / "run.py").exists()
    again = garden("-c", "conf/beds/carrot.prototxt", "seed=3", env={"HH_EXP_DIR": str(shared)})
    assert again.status == 0, again.err
    assert len(list(copy.parent.iterdir())) == 2


def test_a_note_is_never_written_through_a_link_or_into_a_fifo(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("all my work")
    notes = tmp_path / ".heyhi" / "fingerprints"
    notes.mkdir(parents=True)
    (notes / "5b").symlink_to(precious)
    os.mkfifo(notes / "5c")
    for fingerprint in ("5b154d9b7ef77ffd", "5c154d9b7ef77ffd"):
        fingerprints.note(tmp_path, fingerprint, "p/it")
    assert precious.read_text() == "all my work"


@pytest.mark.processes
def test_what_a_driver_writes_never_goes_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("all my work")
    place = tmp_path / ".heyhi" / "orders" / "it"
    place.parent.mkdir(parents=True)
    place.with_suffix(".lock").symlink_to(precious)
    code = "import sys; from pathlib import Path; from heyhi.batch import drivers\n"
    code += "drivers.record(Path(sys.argv[1]), 'it.sh', print)"
    done = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, check=False)
    assert done.returncode != 0
    assert precious.read_text() == "all my work"


@pytest.mark.parametrize("kind", ["a link", "a fifo"])
def test_the_lock_of_generated_modules_is_a_file_of_its_own(kind: str, garden: Garden) -> None:
    lock = garden.root / "conf" / ".heyhi_protos.lock"
    lock.unlink(missing_ok=True)
    if kind == "a fifo":
        os.mkfifo(lock)
    else:
        lock.symlink_to(garden.home / "made")
    done = garden.python("-m", "heyhi.commands", "protos")
    assert done.status == 2
    assert len(done.err.splitlines()) == 1
    assert not (garden.home / "made").exists()
