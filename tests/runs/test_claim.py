"""The claim, with real processes."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from heyhi.runs import claim
from tests.conftest import wait_until

_HOLD = """\
import os, sys, time
from pathlib import Path
from heyhi.runs import claim
path = Path(sys.argv[1])
print(claim.take(path, f"local:there:{os.getpid()}"), flush=True)
exec(sys.argv[2])
"""


@contextmanager
def other_process(path: Path, then: str = "time.sleep(60)") -> "Iterator[subprocess.Popen[str]]":
    """A process that tries to take the claim, and has said whether it got it; then it does `then`."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), then], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.got = process.stdout.readline().strip() == "True"  # type: ignore[attr-defined]
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "heyhi.lock"


@pytest.fixture
def ours(lock: Path) -> Iterator[Path]:
    assert claim.take(lock, "local:here:1")
    yield lock
    claim.drop(lock)


def test_nobody_holds_what_was_never_taken(lock: Path) -> None:
    assert claim.holder(lock) is None
    assert not lock.exists()


@pytest.mark.processes
def test_only_one_process_gets_it(lock: Path) -> None:
    with other_process(lock) as first, other_process(lock) as second:
        assert (first.got, second.got) == (True, False)  # type: ignore[attr-defined]
        assert not claim.take(lock, "local:here:1")
        assert claim.holder(lock) == f"local:there:{first.pid}"


def test_a_process_does_not_get_it_twice(ours: Path) -> None:
    assert not claim.take(ours, "local:here:1")


def test_who_drops_it_can_take_it_again(lock: Path) -> None:
    for owner in ("local:a-long-name-of-a-host:12345", "local:b:1"):
        assert claim.take(lock, owner)
        assert claim.holder(lock) == owner
        claim.drop(lock)
        assert claim.holder(lock) is None


@pytest.mark.processes
def test_it_is_free_after_kill_9(lock: Path) -> None:
    with other_process(lock) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert claim.holder(lock) is None
    assert claim.take(lock, "local:here:1")
    claim.drop(lock)


def test_looking_does_not_disturb_a_start(lock: Path) -> None:
    lock.touch()
    for _ in range(3):
        assert claim.holder(lock) is None
    assert claim.take(lock, "local:here:1")
    claim.drop(lock)


# What a task may do in its own process without losing its claim, and a lasting child without keeping it.
@pytest.mark.processes
@pytest.mark.parametrize(
    "then",
    [
        "path.read_bytes(); time.sleep(60)",
        "import shutil; shutil.copytree(path.parent, str(path.parent) + '-copy'); time.sleep(60)",
        "os.fork() or os._exit(0); time.sleep(60)",
        "import subprocess; subprocess.run(['cat', path]); time.sleep(60)",
    ],
    ids=["read-it", "copy-the-folder", "fork-a-child-that-ends", "run-a-program"],
)
def test_the_claim_stays(lock: Path, then: str) -> None:
    lock.parent.joinpath("inner").mkdir()
    inner = lock.parent / "inner" / lock.name
    with other_process(inner, then.replace("; time", "; print('done', flush=True); time")) as process:
        assert process.stdout is not None
        while "done" not in process.stdout.readline():
            pass
        assert claim.holder(inner) == f"local:there:{process.pid}"


@pytest.mark.processes
@pytest.mark.parametrize(
    "child",
    [
        "import subprocess; child = subprocess.Popen(['sleep', '60']).pid",
        "child = os.fork(); child or time.sleep(60)",
        "import multiprocessing as m; p = m.Process(target=time.sleep, args=(60,)); p.start(); child = p.pid",
    ],
    ids=["program", "fork", "multiprocessing"],
)
def test_a_child_that_outlives_it_does_not_keep_it(lock: Path, child: str) -> None:
    then = f"{child}; print(child, flush=True); os.kill(os.getpid(), 9)"
    with other_process(lock, then) as process:
        assert process.stdout is not None
        orphan = int(process.stdout.readline())
        process.wait()
        try:
            wait_until(lambda: claim.holder(lock) is None)  # a fresh child closes it first thing
            os.kill(orphan, 0)  # and lives on
        finally:
            os.kill(orphan, signal.SIGKILL)


def test_a_lock_that_was_replaced_is_not_the_claim(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def remove_after_open(path: Path, *rest: int) -> int:
        descriptor = opened(path, *rest)
        os.unlink(path)
        return descriptor

    monkeypatch.setattr(os, "open", remove_after_open)
    assert not claim.take(lock, "local:here:1")


def test_holder_of_a_claim_that_cannot_be_written_is_still_told(ours: Path) -> None:
    ours.chmod(0o444)
    assert claim.holder(ours) == "local:here:1"


# ---- Notes --------------------------------------------------------------------------------------


def test_a_note_outlives_its_holder_and_the_next_claim(lock: Path) -> None:
    assert claim.take(lock, "local:here:1")
    assert claim.read_note(lock) == ""
    assert lock.read_bytes()[1024:] == b" " * 3072  # written, not a hole
    claim.write_note(lock, "it is in /völlig/anders")
    claim.drop(lock)
    assert claim.read_note(lock) == "it is in /völlig/anders"
    assert claim.take(lock, "local:a-longer-name:2")
    assert (claim.holder(lock), claim.read_note(lock)) == ("local:a-longer-name:2", "it is in /völlig/anders")
    claim.write_note(lock, "short")
    assert claim.read_note(lock) == "short"
    claim.write_note(lock, "")
    assert claim.read_note(lock) == ""
    claim.drop(lock)
    assert lock.stat().st_size == 4096


def test_a_note_needs_no_room(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(16)
    lock = disk / "heyhi.lock"
    assert claim.take(lock, "local:here:1")
    fill(disk)
    claim.write_note(lock, "x" * 3000)
    claim.drop(lock)
    assert claim.take(lock, "local:here:2")
    assert claim.read_note(lock) == "x" * 3000
    claim.drop(lock)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


@pytest.mark.parametrize("at", [1024, 1030, 1040, 1060, 1200, 4000])
def test_a_torn_note_is_none(ours: Path, at: int) -> None:
    claim.write_note(ours, "x" * 3000)
    with ours.open("r+b") as file:
        file.seek(at)
        file.write(b"?")
    assert claim.read_note(ours) == ""


def test_a_lock_that_was_deleted_is_taken_again_where_there_is_no_room(
    small_disk: Callable[[int], Path],
) -> None:
    disk = small_disk(16)
    lock = disk / "heyhi.lock"
    assert claim.take(lock, "local:here:1")
    lock.unlink()
    fill(disk)
    assert claim.take_again(lock, "local:here:1")
    assert claim.is_in_place(lock)
    assert claim.holder(lock) == "local:here:1"
    claim.write_note(lock, "a note")
    assert claim.read_note(lock) == "a note"
    claim.drop(lock)


def test_a_lock_without_room_for_its_owner_is_held_and_takes_a_note_later(lock: Path) -> None:
    lock.parent.mkdir(exist_ok=True)
    assert claim.take(lock, "local:here:1")
    lock.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claim, "_write_at", lambda *_: fail())
        assert claim.take_again(lock, "local:here:1")
    assert (claim.is_in_place(lock), claim.holder(lock)) == (True, "")
    claim.write_note(lock, "a note")
    claim.drop(lock)
    assert claim.take(lock, "local:here:2")
    assert claim.read_note(lock) == "a note"
    claim.drop(lock)


def fail() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.processes
def test_a_lock_that_another_process_has_by_now_is_not_taken_again(lock: Path) -> None:
    assert claim.take(lock, "local:here:1")
    lock.unlink()
    with other_process(lock):
        assert not claim.take_again(lock, "local:here:1")
        assert not claim.is_in_place(lock)
    claim.drop(lock)


def test_a_lock_of_the_version_before_has_no_note_and_gets_room_for_one(lock: Path) -> None:
    lock.write_text("local:here:1\n")
    assert claim.read_note(lock) == ""
    assert claim.take(lock, "local:here:2")
    claim.write_note(lock, "a note")
    claim.drop(lock)
    assert claim.read_note(lock) == "a note"


def test_the_version_before_reads_who_holds_a_lock(ours: Path) -> None:
    assert ours.read_bytes()[:1000].decode().strip() == "local:here:1"


@pytest.mark.processes
@pytest.mark.parametrize("then", ["os.unlink(path)", "os.closerange(3, 100)"], ids=["deleted", "closed"])
def test_a_note_is_never_written_into_another_file(lock: Path, then: str) -> None:
    text = f"""
{then}
others = [os.open({str(lock.parent / "other")!r}, os.O_RDWR | os.O_CREAT) for _ in range(50)]
try:
    claim.write_note(path, "a note")
except OSError as problem:
    print(problem.strerror, flush=True)
"""
    with other_process(lock, text) as process:
        assert process.stdout is not None
        assert "the lock is not held any more" in process.stdout.readline()
    assert (lock.parent / "other").read_bytes() == b""


def test_a_note_that_is_too_long_is_refused_and_the_old_one_stays(ours: Path) -> None:
    claim.write_note(ours, "old")
    with pytest.raises(OSError, match="too long for a note"):
        claim.write_note(ours, "x" * 3072)
    assert claim.read_note(ours) == "old"


@pytest.mark.parametrize("kind", ["nothing", "folder", "fifo"])
def test_what_is_no_lock_has_no_note(lock: Path, kind: str) -> None:
    if kind == "folder":
        lock.mkdir()
    elif kind == "fifo":
        os.mkfifo(lock)
    assert claim.read_note(lock) == ""
