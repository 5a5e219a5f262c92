"""One run, started and killed at random by several processes at once. HEYHI_STRESS_SEED repeats a failure."""

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Garden

ROUNDS = int(os.environ.get("HEYHI_STRESS_ROUNDS", "8"))
FIRST = int(os.environ.get("HEYHI_STRESS_SEED", "0")) or random.SystemRandom().randrange(10**6)
MODES = ("gentle_start", "gentle_start", "start_continue", "start_restart", "restart")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSTOP)


# Under xdist all workers must name the tests alike: the seed is told when a test runs.
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_run_is_never_executed_twice_at_once_and_always_goes_on(garden: Garden, number: int) -> None:
    seed = FIRST + number
    print(f"HEYHI_STRESS_SEED={seed} HEYHI_STRESS_ROUNDS=1 repeats this")
    chance = random.Random(seed)
    (garden.home / "alone").mkdir()
    words = ("-c", "conf/beds/carrot.prototxt", f"seconds={chance.choice(['0.02', '0.2', '0.6'])}")
    folder = garden.folder(*words)
    with _reader(folder) as halves:
        _start_and_kill(garden, words, chance)
        done = garden(*words, "--mode", "start_continue")
    assert done.status == 0, done.err
    assert json.loads((folder / "result.json").read_text())["note"] == "carrot"
    assert garden.executions("meeting") == 0
    assert garden.executions("end") >= 1
    assert halves == []
    # One that was killed as it noted its end may have left half a note: the run is DONE, and is not touched.
    assert {path.name.split(".")[1] for path in folder.glob(".*.partial")} <= {"heyhi"}


def _start_and_kill(garden: Garden, words: tuple[str, ...], chance: random.Random) -> None:
    """Two to five starts within a second, most of them hit by a signal at some moment."""
    processes = []
    for _ in range(chance.randint(2, 5)):
        time.sleep(chance.choice([0, 0, chance.random() * 0.4]))
        processes.append(garden.popen(*words, "--mode", chance.choice(MODES), "--force"))
    for process in chance.sample(processes, k=chance.randint(1, len(processes))):
        time.sleep(chance.random() * 0.6)
        with contextlib.suppress(ProcessLookupError):
            number = chance.choice(SIGNALS)
            process.send_signal(number)
            if number is signal.SIGSTOP:
                time.sleep(chance.random() * 0.5)
                process.send_signal(signal.SIGCONT)
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 1, 2, 129, 130, 143, -1, -2, -9, -15), err


@contextlib.contextmanager
def _reader(folder: Path) -> Iterator[list[str]]:
    """Reads the files of a run all the time; yields those that were ever seen half written."""
    halves: list[str] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(0.003):
            for name in (
                "heyhi.json",
                "result.json",
                "config.prototxt",
                "config_meta.prototxt",
                "heyhi.jobid",
            ):
                with contextlib.suppress(FileNotFoundError):
                    text = (folder / name).read_text()
                    if not _is_whole(name, text):
                        halves.append(f"{name}: {text[:100]!r}")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield halves
    finally:
        ended.set()
        thread.join()


def _is_whole(name: str, text: str) -> bool:
    if not name.endswith(".json"):
        return text != ""
    try:
        return json.loads(text) is not None
    except ValueError:
        return False
