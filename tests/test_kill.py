"""Nothing is lost and nothing done twice, whatever is killed and when.

HEYHI_KILL_ROUNDS=100     how many rounds (3)
HEYHI_KILL_SEED=123       one round, that of this seed, which a failure names

A round: drivers and jobs are killed at random moments, call after call. Then a plain call goes on as if
nothing had been: it adopts what lives, starts what is missing, and leaves and names what is DEAD; and one
with mode=start_continue ends with every run DONE. All along, a reader looks at every file that it could
read, and the tasks count their executions.
"""

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from heyhi.runs.status import Status
from tests.batches import needing, processes_of, snakemake, start_snakemake, statuses, write_batch
from tests.conftest import Garden, wait_until

ROUNDS = int(os.environ.get("HEYHI_KILL_ROUNDS", "3"))
SEED = os.environ.get("HEYHI_KILL_SEED")


# ---- What is done to them -----------------------------------------------------------------------

Driver = subprocess.Popen[str]


def kill_driver(garden: Garden, driver: Driver, rng: random.Random) -> None:
    driver.kill()


def kill_a_job(garden: Garden, driver: Driver, rng: random.Random) -> None:
    if jobs := processes_of(garden):
        kill(rng.choice(jobs))


def kill_driver_and_jobs(garden: Garden, driver: Driver, rng: random.Random) -> None:
    driver.kill()
    for pid in processes_of(garden):
        kill(pid)


def interrupt(garden: Garden, driver: Driver, rng: random.Random) -> None:
    driver.send_signal(signal.SIGINT)


def terminate(garden: Garden, driver: Driver, rng: random.Random) -> None:
    driver.send_signal(signal.SIGTERM)


def hang_up(garden: Garden, driver: Driver, rng: random.Random) -> None:
    driver.send_signal(signal.SIGHUP)


BLOWS: list[Callable[[Garden, Driver, random.Random], None]] = [
    kill_driver,
    kill_a_job,
    kill_driver_and_jobs,
    interrupt,
    terminate,
    hang_up,
]
# No job dies of these: none may be DEAD afterwards.
SPARING = (kill_driver.__name__, terminate.__name__, hang_up.__name__)


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


# ---- Who looks on -------------------------------------------------------------------------------


class Reader:
    """Reads every file that may be read, all the time: none is ever half written, no result ever replaced."""

    def __init__(self, garden: Garden) -> None:
        self.problems: list[str] = []
        self.looks = 0
        self._garden = garden
        self._known: dict[Path, object] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read_on)

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _read_on(self) -> None:
        while not self._is_over.is_set():
            for folder in self._garden.exp.glob("p/*/*/*"):
                for name in ("config.prototxt", "heyhi.json", "result.json"):
                    self._read(folder / name)
            time.sleep(0.02)

    def _read(self, path: Path) -> None:
        try:
            text, inode = path.read_text(), path.stat().st_ino
        except FileNotFoundError:
            if path.name == "result.json" and path in self._known:
                self.problems.append(f"{path}: gone")
            return
        self.looks += 1
        try:
            value = text if path.name == "config.prototxt" else json.loads(text)
        except ValueError:
            self.problems.append(f"{path}: half written: {text!r}")
            return
        # What is frozen stays, and so does a result, the very file.
        if path.name != "heyhi.json":
            now = (value, inode if path.name == "result.json" else None)
            if self._known.setdefault(path, now) != now:
                self.problems.append(f"{path}: replaced: {self._known[path]} -> {now}")


# ---- A round ------------------------------------------------------------------------------------


def make_batches(garden: Garden, rng: random.Random) -> None:
    """Two batches that overlap; in each, some runs need others, and some live until the next call."""
    longest = (4, 0.8, 0.8, 4, 0.8, 4)
    lines = [f"seed={n} seconds={rng.uniform(0.05, most):.2f}" for n, most in enumerate(longest)]
    needs = [needing(lines[0]), f'note="$T/mine.txt" seconds={rng.uniform(0.05, 0.5):.2f}']
    more = [needing(lines[3]), 'note="$T/mine.txt"']
    write_batch(garden, *lines, *needs, *more)
    write_batch(garden, *lines[2:], *more, "seed=9 seconds=0.3", name="other.sh")


def strike(garden: Garden, rng: random.Random, story: list[str]) -> None:
    """One call, or two at once, with something bad at some moment."""
    drivers = [start_snakemake(garden)]
    if rng.random() < 0.4:
        drivers.append(start_snakemake(garden, batch="other.sh", cwd=garden.home))
    blow, after = rng.choice(BLOWS), rng.uniform(0, 3.5)
    story.append(f"{len(drivers)} drivers, {blow.__name__} after {after:.2f} s")
    began = garden.executions()
    if after > 0.7:  # most of them while jobs run, however slow this machine is just now
        end = time.monotonic() + 20
        while garden.executions() == began and drivers[0].poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        after -= 0.7
        time.sleep(after / 3)
    else:
        time.sleep(after * 2)
    blow(garden, drivers[0], rng)
    for driver in drivers:
        out, _ = driver.communicate(timeout=60)
        story.append(f"status {driver.returncode}\n{out}")


def check_counts(garden: Garden, reader: Reader) -> None:
    """No two executions met, and none began after its run was done."""
    lines = [line.split(" ", 3) for line in garden.count_file.read_text().splitlines()]
    words = Counter(word for word, *_ in lines)
    assert words["meeting"] == 0
    for word, _, when, folder in lines:
        done_at = (Path(folder) / "result.json").stat().st_mtime_ns
        assert word != "start" or int(when) <= done_at, f"{folder}: started when it was done"
    assert reader.problems == []
    assert reader.looks > 10


@pytest.mark.parametrize("number", range(1 if SEED else ROUNDS))
def test_whatever_is_killed_the_next_calls_go_on(garden: Garden, number: int) -> None:
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**9)
    rng = random.Random(seed)
    story = [f"HEYHI_KILL_SEED={seed}"]
    (garden.home / "alone").mkdir()
    make_batches(garden, rng)
    try:
        with Reader(garden) as reader:
            for _ in range(rng.randint(1, 2)):
                strike(garden, rng, story)
            go_on(garden, story)
            check_counts(garden, reader)
    finally:
        for pid in processes_of(garden):
            kill(pid)
        print("\n".join(story))


def go_on(garden: Garden, story: list[str]) -> None:
    """A plain call, and one that goes on with what is DEAD."""
    plain = snakemake(garden)
    story.append(f"plain: status {plain.status}\n{plain.err}")
    known = statuses(garden)
    dead = [name for name, status in known.items() if status is Status.DEAD]
    assert set(known.values()) <= {Status.DONE, Status.DEAD, Status.NOT_STARTED}
    of_this = {name: status for name, status in known.items() if "seed@9" not in name}  # that is of other.sh
    left = [name for name in dead if name in of_this]
    assert left or set(of_this.values()) == {Status.DONE}
    assert plain.status == (1 if left else 0)
    blows = [line.split()[2] for line in story if " drivers, " in line]
    assert not dead or not set(blows) <= set(SPARING)
    assert all(name in plain.err for name in left)
    had_two = any("2 drivers" in line for line in story)
    for batch in ("batch.sh", "other.sh") if had_two else ("batch.sh",):
        last = snakemake(garden, "mode=start_continue", batch=batch)
        story.append(f"start_continue: status {last.status}\n{last.err}")
        assert last.status == 0
    assert set(statuses(garden).values()) == {Status.DONE}


# ---- A full disk --------------------------------------------------------------------------------


def test_a_full_disk_loses_nothing(garden: Garden, small_disk: Callable[[int], Path]) -> None:
    garden.exp = small_disk(4000)
    garden.more["HEYHI_WAIT_FOR_ROOM"] = "1"
    (garden.home / "alone").mkdir()
    write_batch(garden, *[f"seed={number} seconds=0.1" for number in range(8)])
    driver = start_snakemake(garden)
    wait_until(lambda: garden.executions("end") >= 2)
    filler = garden.exp / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    out, _ = driver.communicate(timeout=60)
    assert snakemake(garden).status in (0, 1)  # there may have been room for the last one
    filler.unlink()
    plain = snakemake(garden)
    done = snakemake(garden, "mode=start_continue")
    assert done.status == 0, out + plain.err + done.err
    assert set(statuses(garden).values()) == {Status.DONE}
    assert len([*garden.exp.rglob("result.json")]) == 8
    assert garden.executions("meeting") == 0
