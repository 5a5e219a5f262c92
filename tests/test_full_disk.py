"""A disk that is full when a task has ended: on a small one of its own, filled by the task itself."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from heyhi.runs import claim, deaths, elsewhere
from heyhi.runs.folder import Run, read_job, read_provenance
from heyhi.runs.status import RunState, Status, read_state
from tests.batches import needing, snakemake, start_snakemake, write_batch
from tests.conftest import Garden, wait_until

CARROT = ("-c", "conf/beds/carrot.prototxt")
PLACE = re.compile(r"DONE \(result at ([^)]+)\)")
NOW = {"HEYHI_WAIT_FOR_ROOM": "0"}


@pytest.fixture
def full(garden: Garden, small_disk: Callable[[int], Path]) -> Garden:
    """The garden with its experiment root on a disk that `fail=fill` fills."""
    garden.exp = small_disk(1000)
    garden.more[elsewhere.SETTING] = str(garden.home / "kept")
    return garden


def only_run(garden: Garden) -> Run:
    (path,) = garden.exp.rglob("heyhi.json")
    return Run("", path.parent)


def make_room(garden: Garden) -> None:
    for path in garden.exp.rglob("filler"):
        path.unlink()


def until_it_waits(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if "there is no room for the result" in line:
            return line
    raise AssertionError("it does not wait")


def place_in(text: str) -> Path:
    found = PLACE.search(text)
    assert found, text
    return Path(found[1])


def lost_lines(text: str) -> int:
    found = re.search(r"run\.log: (\d+) lines of this log were lost: No space left on device", text)
    assert found, text
    return int(found[1])


# ---- Single runs --------------------------------------------------------------------------------


def test_a_job_waits_until_there_is_room(full: Garden) -> None:
    process = full.popen(*CARROT, "fail=fill", env={"HEYHI_WAIT_FOR_ROOM": "20"})
    told = until_it_waits(process)
    assert "tried again for 20 seconds (HEYHI_WAIT_FOR_ROOM), then the result is kept elsewhere" in told
    assert read_state(only_run(full)).status is Status.RUNNING
    make_room(full)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, read_state(only_run(full)).has_result) == (0, True), err
    assert "note: carrot" in out
    assert not (full.home / "kept").exists()
    assert full.executions() == 1


def test_without_room_the_result_is_kept_elsewhere_and_moved_in_later(full: Garden) -> None:
    done = full(*CARROT, "fail=fill", env={"HEYHI_WAIT_FOR_ROOM": "0.5"})
    run, place = only_run(full), place_in(done.err)
    assert done.status == 1
    assert place.parent == full.home / "kept"
    assert json.loads((place / "result.json").read_text())["note"] == "carrot"
    assert read_state(run).text == f"DONE (result at {place})"

    again = full(*CARROT, "fail=fill")
    assert again.status == 1
    assert f"it cannot be moved in: {run.result}: No space left on device" in again.err
    assert place_in(again.err) == place
    assert (place / "result.json").exists()

    make_room(full)
    moved = full(*CARROT, "fail=fill")
    assert moved.status == 0, moved.err
    assert "note: carrot" in moved.out
    assert read_state(run) == RunState(Status.DONE, read_job(run))
    assert not place.exists()
    assert claim.read_note(run.lock) == ""
    assert full.executions() == 1


@pytest.mark.parametrize("mode", ["start_restart", "start_continue"])
def test_modes_that_wipe_nothing_that_is_done_move_it_in(full: Garden, mode: str) -> None:
    full(*CARROT, "fail=fill", env=NOW)
    make_room(full)
    assert full(*CARROT, "fail=fill", "--mode", mode).status == 0
    assert read_state(only_run(full)).has_result
    assert full.executions() == 1


def test_a_restart_needs_a_word_and_leaves_the_earlier_result_where_it_is(full: Garden) -> None:
    first = full(*CARROT, "fail=fill", env=NOW)
    place = place_in(first.err)
    make_room(full)
    refused = full(*CARROT, "fail=fill", "--mode", "restart", env=NOW)
    assert refused.status == 2
    assert f"is DONE (result at {place}): 1 run would be wiped; add --force" in refused.err
    dry = full(*CARROT, "fail=fill", "--mode", "dryrun")
    assert (dry.status, place_in(dry.err)) == (0, place)
    forced = full(*CARROT, "fail=fill", "--mode", "restart", "--force", env=NOW)
    assert full.executions() == 2
    assert place_in(forced.err.partition("note: ")[2]) != place
    assert f"note: its earlier result stays at {place}" in forced.err
    assert (place / "result.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_waiting_and_the_result_is_kept(full: Garden, number: signal.Signals) -> None:
    process = full.popen(*CARROT, "fail=fill", env={"HEYHI_WAIT_FOR_ROOM": "600"})
    until_it_waits(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (-number, 130)
    state = read_state(only_run(full))
    assert state.result_place is not None
    assert f"It is kept in {state.result_place.folder}" in err
    make_room(full)
    assert full(*CARROT, "fail=fill").status == 0


def test_a_kill_while_it_waits_loses_no_more_than_the_result(full: Garden) -> None:
    process = full.popen(*CARROT, "fail=fill", env={"HEYHI_WAIT_FOR_ROOM": "600"})
    until_it_waits(process)
    process.kill()
    process.wait()
    assert read_state(only_run(full)).status is Status.DEAD
    make_room(full)
    done = full(*CARROT, "fail=fill", "--mode", "start_restart", env=NOW)
    assert "(result at " in done.err


def test_a_result_larger_than_the_room_is_kept_whole(full: Garden) -> None:
    done = full(*CARROT, env={**NOW, "GARDEN_RESULT_KB": "2000"})
    place = place_in(done.err)
    assert len(json.loads((place / "result.json").read_text())["ballast"]) == 2000 * 1024
    run = only_run(full)
    assert not [*run.folder.glob(".*.partial")]
    # What is small has its room.
    assert json.loads(run.provenance.read_text())["starts"][-1]["status"] == "DONE"
    assert "cannot be moved in" in full(*CARROT).err
    subprocess.run(["mount", "-o", "remount,size=9000k", str(full.exp)], check=True)
    assert full(*CARROT).status == 0


def test_a_task_that_emptied_its_folder_and_filled_the_disk_loses_nothing(full: Garden) -> None:
    run = Run("", full.folder(*CARROT, "fail=empty_fill"))
    process = full.popen(*CARROT, "fail=empty_fill", env={"HEYHI_WAIT_FOR_ROOM": "600"})
    until_it_waits(process)
    (full.exp / "filler").unlink()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, read_state(run).has_result) == (0, True), err


def test_a_run_whose_folder_was_emptied_on_a_full_disk_is_done_and_its_result_is_moved_in(
    full: Garden,
) -> None:
    done = full(*CARROT, "fail=empty_fill", env=NOW)
    run = Run("", full.folder(*CARROT, "fail=empty_fill"))
    place = place_in(done.err)
    assert done.status == 1
    assert os.listdir(run.folder) == ["heyhi.lock"]
    write_batch(full, "fail=empty_fill")
    looks = [
        full(*CARROT, "fail=empty_fill", "--mode", "start_restart").err,
        full.python("-m", "heyhi.commands", "plan", str(full.root / "batch.sh")).out,
        full.python("-m", "heyhi.commands", "status").out,
    ]
    assert [f"result at {place}" in look for look in looks] == [True] * len(looks), looks
    (full.exp / "filler").unlink()
    moved = full(*CARROT, "fail=empty_fill")
    assert moved.status == 0, moved.err
    assert read_state(run) == RunState(Status.DONE, read_job(run))
    assert read_provenance(run)["task"]
    assert not place.exists()
    assert full.executions() == 1


def test_an_emptied_run_is_restarted_only_on_a_word(full: Garden) -> None:
    place = place_in(full(*CARROT, "fail=empty_fill", env=NOW).err)
    (full.exp / "filler").unlink()
    refused = full(*CARROT, "fail=empty_fill", "--mode", "restart", env=NOW)
    assert "1 run would be wiped; add --force" in refused.err
    assert full.executions() == 1
    forced = full(*CARROT, "fail=empty_fill", "--mode", "restart", "--force", env=NOW)
    assert f"note: its earlier result stays at {place}" in forced.err
    assert full.executions() == 2


def test_a_failure_without_room_for_its_traceback_is_still_told(full: Garden) -> None:
    done = full(*CARROT, "fail=fill_raise")
    run = only_run(full)
    assert done.status == 1
    assert not run.error.exists()
    assert "last error: ValueError: too dry" in done.err
    assert deaths.last_error(run) == "ValueError: too dry"
    make_room(full)
    assert full(*CARROT, "fail=fill_raise").err.count("ValueError: too dry") == 1


# ---- What is printed ----------------------------------------------------------------------------


def test_a_full_disk_never_makes_a_print_fail(full: Garden) -> None:
    done = full(*CARROT, "fail=print", env=NOW)
    run = only_run(full)
    assert "(result at " in done.err
    assert done.out.count("line ") == 50
    assert lost_lines(done.err) > 100  # its own, and what HeyHi says of the full disk
    assert "Traceback" not in done.err
    assert not deaths.last_error(run)


# ---- Batches ------------------------------------------------------------------------------------


def test_a_batch_says_where_a_result_is_and_the_next_start_moves_it_in(full: Garden) -> None:
    full.more.update(NOW)
    write_batch(full, "seed=1 fail=fill", needing("seed=1 fail=fill"), "seed=2 note=$T/mine.txt")
    first = snakemake(full)
    assert first.status == 1
    place = place_in(first.err)
    assert f"DONE (result at {place}): make room, and start the batch again" in first.err
    assert "Traceback" not in first.err
    last = first.err.partition("0 of 2 runs are done")[2]
    assert last.count(f"DONE (result at {place})") == 1
    assert "waits until" in last

    again = snakemake(full)
    assert again.status == 1
    assert "No space left on device" in again.err
    assert (place / "result.json").exists()

    make_room(full)
    moved = snakemake(full)
    assert moved.status == 0, moved.err
    assert "all 2 runs are done" in moved.err
    assert full.executions() == 2
    assert not place.exists()


def test_a_batch_waits_for_room_too(full: Garden) -> None:
    write_batch(full, "fail=fill")
    driver = start_snakemake(full, HEYHI_WAIT_FOR_ROOM="600")
    wait_until(lambda: full.executions("end") == 1)
    assert read_state(only_run(full)).status is Status.RUNNING
    make_room(full)
    out, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0, out
    assert read_state(only_run(full)).has_result


def test_a_batch_restarts_a_run_whose_result_is_elsewhere_only_on_a_word(full: Garden) -> None:
    full.more.update(NOW)
    write_batch(full, "fail=fill")
    place = place_in(snakemake(full).err)
    make_room(full)
    refused = snakemake(full, "mode=restart")
    assert "1 runs that are done or alive would be wiped; add --force" in refused.err
    assert snakemake(full, "mode=restart", "-n").status == 0
    assert (place / "result.json").exists()
    assert snakemake(full, "mode=start_restart").status == 0
    assert full.executions() == 1


def test_to_move_a_result_in_takes_no_gpu(full: Garden) -> None:
    full.more.update(NOW)
    write_batch(full, "fail=fill Ilauncher=slurm launcher.slurm.num_gpus=1")
    place_in(snakemake(full, HEYHI_GPUS="1").err)
    make_room(full)
    done = snakemake(full, HEYHI_GPUS="0")
    assert done.status == 0, done.err
    assert full.executions() == 1


def test_prints_of_a_batch_are_lost_and_never_fail(full: Garden) -> None:
    full.more.update(NOW)
    write_batch(full, "fail=print")
    done = snakemake(full)
    run = only_run(full)
    told = next(line for line in done.err.splitlines() if "(result at " in line)
    assert lost_lines(told) > 100
    assert deaths.last_error(run) == ""
    make_room(full)
    assert snakemake(full).status == 0
    assert read_state(run).has_result


# ---- Looking ------------------------------------------------------------------------------------


def test_every_look_says_where_the_result_is(full: Garden) -> None:
    full.more.update(NOW)
    write_batch(full, "fail=fill", needing("fail=fill"), "note=$T/mine.txt")
    place = place_in(snakemake(full).err)
    batch = str(full.root / "batch.sh")
    told = f"result at {place}"
    looks = [
        full.python("-m", "heyhi.commands", "plan", batch).out,
        full.python("-m", "heyhi.commands", "status").out,
        full.python("-m", "heyhi.commands", "status", batch).out,
        full.python("-m", "heyhi.commands", "summary", "--csv", "-").out,
        full.python("-m", "heyhi.commands", "summary", "--csv", "-").out,
        full.python("-m", "heyhi.commands", "logs", str(full.folder(*CARROT, "fail=fill"))).err,
        full(*CARROT, "fail=fill", "--mode", "dryrun").err,
    ]
    assert [told in look for look in looks] == [True] * len(looks), looks
    assert re.search(rf"^NOT_STARTED .* waits for p/\S+ \(DONE, {told}\)$", looks[2], re.MULTILINE)
