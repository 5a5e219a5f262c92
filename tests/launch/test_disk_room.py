import errno
import signal
import threading
import time
from pathlib import Path

import pytest

from heyhi.launch import disk_room


class Disk:
    """A write that fails so often with an error, and then succeeds."""

    def __init__(self, number: int, times: int) -> None:
        self.tries = 0
        self.said: list[str] = []
        self._number, self._times = number, times

    def write(self) -> None:
        self.tries += 1
        if self.tries <= self._times:
            raise OSError(self._number, "full")

    def say(self, problem: OSError, seconds: float) -> None:
        self.said.append(f"{problem.strerror} {seconds:g}")


def patiently(disk: Disk, folder: Path, asked: tuple[int, ...] = ()) -> None:
    disk_room.write_patiently(disk.write, folder, 0, asked, disk.say)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_it_is_tried_until_there_is_room_and_said_once(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(disk_room.SETTING, "5")
    monkeypatch.setattr(disk_room, "_PAUSE", 0.01)
    disk = Disk(number, 3)
    patiently(disk, tmp_path)
    assert (disk.tries, disk.said) == (4, ["full 5"])


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ESTALE, errno.EACCES])
def test_what_waiting_does_not_mend_is_tried_once(number: int, tmp_path: Path) -> None:
    disk = Disk(number, 1)
    with pytest.raises(OSError, match="full"):
        patiently(disk, tmp_path)
    assert (disk.tries, disk.said) == (1, [])


def test_a_disk_without_room_is_not_filled_by_trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(disk_room.SETTING, "0.5")
    disk = Disk(errno.ENOSPC, 1000)
    with pytest.raises(OSError, match="full"):
        disk_room.write_patiently(disk.write, tmp_path, 1 << 60, (), disk.say)
    assert disk.tries == 2  # at first, and at the end


def test_a_signal_that_came_ends_the_waiting(tmp_path: Path) -> None:
    disk = Disk(errno.ENOSPC, 1000)
    came: list[int] = []
    with disk_room.noted_signals(came, signal.SIGTERM, signal.SIGUSR1):
        timer = threading.Timer(0.2, signal.pthread_kill, [threading.get_ident(), signal.SIGUSR1])
        timer.start()
        began = time.monotonic()
        with pytest.raises(OSError, match="full"):
            disk_room.write_patiently(disk.write, tmp_path, 1 << 60, came, disk.say)
        assert time.monotonic() - began < 60
        timer.join()
    assert came == [signal.SIGUSR1]


def test_signals_that_a_process_was_started_to_ignore_stay_ignored() -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        came: list[int] = []
        with disk_room.noted_signals(came, signal.SIGHUP):
            signal.raise_signal(signal.SIGHUP)
        assert (came, signal.getsignal(signal.SIGHUP)) == ([], signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGHUP, old)


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 600), ("0", 0), ("-1", 0), ("2.5", 2.5), ("long", 600), ("nan", 600)]
)
def test_patience(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(disk_room.SETTING, text)
    assert disk_room.patience() == seconds
