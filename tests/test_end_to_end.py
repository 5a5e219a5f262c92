"""Whole stories: a project of its own, driven through its own run.py, killed, raced, and asked again."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heyhi.runs.folder import Run
from tests.conftest import Garden, wait_until

CARROT = ("-c", "conf/beds/carrot.prototxt")


# ---- Once ---------------------------------------------------------------------------------------


def test_a_run_is_done_once(garden: Garden) -> None:
    first = garden(*CARROT)
    assert first.status == 0, first.err
    assert "note: carrot" in first.out
    second = garden(*CARROT)
    assert second.status == 0
    assert first.out.endswith(second.out)
    assert garden.executions() == 1


def test_the_run_folder_holds_everything(garden: Garden) -> None:
    garden(*CARROT, "lr=.1")
    folder = garden.folder(*CARROT, "lr=.1")
    assert folder == garden.exp / "p/beds/carrot/lr@0.1_966845b0"
    assert sorted(os.listdir(folder)) == [
        "ckpt.link",
        "config.prototxt",
        "config_meta.prototxt",
        "heyhi.jobid",
        "heyhi.json",
        "heyhi.lock",
        "mine.txt",
        "result.json",
        "run.log",
    ]
    assert "growing carrot" in (folder / "run.log").read_text()
    assert (folder / "config.prototxt").read_text().startswith("lr: 0.1\n")
    assert Path((folder / "ckpt.link").read_text(), "run.py").is_file()


def test_every_spelling_is_the_same_run(garden: Garden) -> None:
    spellings = [
        ["lr=0.1", "seed=1"],
        ["seed=01", "--lr=.1"],
        ["lr=1e-1", "seed=+1"],
        ["lr=5", "lr=0.10", "seed=1"],
    ]
    folders = {garden.folder(*CARROT, *spelling) for spelling in spellings}
    assert len(folders) == 1


def test_any_working_directory_is_the_same_run(garden: Garden, tmp_path: Path) -> None:
    (garden.root / "conf/deep").mkdir()
    places = [
        (garden.root, "conf/beds/carrot.prototxt"),
        (garden.root / "conf/beds", "carrot.prototxt"),
        (garden.root / "conf/deep", "../beds/carrot"),
        (tmp_path, "conf/beds/carrot.prototxt"),
        (Path("/"), str(garden.root / "conf/beds/carrot.prototxt")),
    ]
    done = [garden("-c", cfg, cwd=cwd) for cwd, cfg in places]
    assert [one.status for one in done] == [0] * len(places), done
    assert garden.executions() == 1


def test_a_project_in_a_folder_with_an_odd_name(make_garden: Callable[[str], Garden]) -> None:
    garden = make_garden('it\'s a "gärden"\nwith {brackets} & $(touch x), 100%')
    done = garden(*CARROT, "note=two\nlines {x} $(touch y) `z` ü✓ 'q' \"r\"", "tags.-1=", "tags.-1= a, b ")
    assert done.status == 0, done.err
    assert "note: two\nlines {x} $(touch y) `z` ü✓ 'q' \"r\"" in done.out
    assert garden(*CARROT).status == 0
    assert garden.executions() == 2
    assert not [path for path in garden.root.rglob("*") if path.name in ("x", "y", "z")]


def test_the_task_sees_what_was_typed(garden: Garden) -> None:
    done = garden(*CARROT, "note={{ROOT_DIR}} \\NULL")
    assert "note: {{ROOT_DIR}} \\NULL\n" in done.out


def test_two_adhoc_runs_never_share_a_folder(garden: Garden) -> None:
    processes = [garden.popen(*CARROT, "--adhoc") for _ in range(4)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert garden.executions() == 4
    assert len(list(garden.exp.glob("adhoc/*/beds/carrot/default_d7517139"))) == 4


def test_twenty_simultaneous_starts_run_once(garden: Garden) -> None:
    processes = [garden.popen(*CARROT, "seconds=4") for _ in range(20)]
    ends = [(*process.communicate(), process.returncode) for process in processes]
    assert garden.executions("start") == garden.executions("end") == 1
    assert [status for *_, status in ends] == [0] * 20, ends
    owner = (garden.folder(*CARROT, "seconds=4") / "heyhi.jobid").read_text()
    ran = [err for _, err, _ in ends if "carrot" in err and f"RUNNING ({owner})" not in err]
    # All but the one say whose it is; one that came after the end says DONE.
    assert sum("NOT_STARTED: start" in err and "another process" not in err for err in ran) == 1


# ---- Killed -------------------------------------------------------------------------------------


def start(garden: Garden, *words: str) -> "subprocess.Popen[str]":
    """A run whose task has begun and will take long."""
    before = garden.executions()
    process = garden.popen(*CARROT, "seconds=60", *words)
    wait_until(lambda: garden.executions() > before or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process


def end(process: "subprocess.Popen[str]", number: int) -> tuple[int, str]:
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    return process.returncode, err


# Mode -> exit status, what is said, executions in all, whether the task's file is kept.
AFTER_KILL = {
    "gentle_start": (1, "DEAD", 1, True),
    "dryrun": (0, "DEAD", 1, True),
    "start_continue": (0, "DEAD: start in place", 2, True),
    "start_restart": (0, "DEAD: wipe, start", 2, False),
    "restart": (0, "DEAD: wipe, start", 2, False),
}


@pytest.mark.parametrize("mode", AFTER_KILL)
def test_after_kill_9_each_mode(garden: Garden, mode: str) -> None:
    status, said, executions, kept = AFTER_KILL[mode]
    words = (*CARROT, "fail=slow")
    process = start_slow(garden, *words)
    assert end(process, signal.SIGKILL)[0] == -signal.SIGKILL
    folder = garden.folder(*words)
    (folder / "checkpoint").write_text("of the task")
    done = garden(*words, "--mode", mode, env={"GARDEN_FAST": "1"})
    assert (done.status, garden.executions()) == (status, executions), done.err
    assert f"p/beds/carrot/fail@slow_{folder.name[-8:]}: {said}" in done.err
    assert (folder / "checkpoint").exists() == kept
    assert (folder / "result.json").exists() == (executions == 2)
    if status == 1:
        assert (
            f"to go on:      python {garden.root}/run.py -c conf/beds/carrot.prototxt fail=slow" in done.err
        )


def start_slow(garden: Garden, *words: str) -> "subprocess.Popen[str]":
    """A run whose task has begun; with GARDEN_FAST set it would end at once."""
    before = garden.executions()
    process = garden.popen(*words)
    wait_until(lambda: garden.executions() > before or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process


# Signal -> exit status, what is said.
SIGNALS = {
    signal.SIGINT: (130, "interrupted"),
    signal.SIGTERM: (143, "ended by SIGTERM"),
    signal.SIGHUP: (129, "ended by SIGHUP"),
}


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_run_and_is_said(garden: Garden, number: signal.Signals) -> None:
    status, said = SIGNALS[number]
    process = start(garden)
    ended, err = end(process, number)
    assert ended == status
    assert "Traceback" not in err
    assert "carrot/sec@60.0_" in err
    assert ": DEAD" in err
    assert f"last error: {said}  (all of it" in err
    assert "--mode start_continue" in err
    folder = garden.folder(*CARROT, "seconds=60")
    assert (folder / "error.txt").read_text().startswith(f"{said}\n\nTraceback")
    assert garden(*CARROT, "seconds=60").status == 1


def test_a_live_run_is_left_alone_and_its_owner_named(garden: Garden) -> None:
    process = start(garden)
    try:
        for mode in ("gentle_start", "start_restart", "start_continue", "dryrun"):
            done = garden(*CARROT, "seconds=60", "--mode", mode)
            assert done.status == 0
            assert f"RUNNING (local:{os.uname().nodename}:{process.pid})" in done.err
        refused = garden(*CARROT, "seconds=60", "--mode", "restart")
        assert refused.status == 2
        assert "is RUNNING: 1 run would be wiped; add --force to do it" in refused.err
        assert process.poll() is None
    finally:
        end(process, signal.SIGKILL)
    assert garden.executions() == 1


def test_restart_kills_a_live_run_with_its_children(garden: Garden) -> None:
    words = (*CARROT, "fail=spawn")
    told = garden.folder(*words) / "child.txt"
    process = garden.popen(*words)
    wait_until(lambda: told.exists() and told.read_text() != "")
    child = int(told.read_text())
    again = garden.popen(*words, "--mode", "restart", "--force")
    try:
        wait_until(lambda: garden.executions() == 2)
        process.communicate(timeout=30)
        assert process.returncode == 128 + signal.SIGTERM
        wait_until(lambda: not Path(f"/proc/{child}").exists())
    finally:
        end(again, signal.SIGTERM)


def test_restart_kills_a_run_that_does_not_listen(garden: Garden) -> None:
    words = (*CARROT, "fail=deaf")
    process = garden.popen(*words)
    wait_until((garden.folder(*words) / "deaf.txt").exists)
    again = garden.popen(*words, "--mode", "restart", "--force")
    try:
        wait_until(lambda: garden.executions() == 2, seconds=40)
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
    finally:
        end(again, signal.SIGKILL)


def test_a_job_id_of_another_process_is_never_killed(garden: Garden) -> None:
    """The pid of a job that died may belong to anyone by now."""
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        garden(*CARROT, "fail=raise")
        run = Run("it", garden.folder(*CARROT, "fail=raise"))
        run.jobid.write_text(f"local:{os.uname().nodename}:{bystander.pid}")
        done = garden(*CARROT, "fail=raise", "--mode", "restart", "--force")
        assert "DEAD: wipe, start" in done.err
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_run_of_another_host_is_not_touched(garden: Garden) -> None:
    garden(*CARROT, "fail=raise")
    folder = garden.folder(*CARROT, "fail=raise")
    (folder / "heyhi.jobid").write_text("local:elsewhere:1")
    for mode, status in [("gentle_start", 1), ("start_restart", 1), ("start_continue", 1), ("restart", 2)]:
        done = garden(*CARROT, "fail=raise", "--mode", mode, "--force")
        assert done.status == status
        assert "UNKNOWN" in done.err
        assert "it was started on elsewhere" in done.err
    assert garden.executions() == 1


# Every place at which a start can be killed: the file about to be moved into place.
@pytest.mark.parametrize(
    "name",
    ["config.prototxt", "config_meta.prototxt", "ckpt.link", "heyhi.json", "heyhi.jobid", "result.json"],
)
def test_a_kill_between_any_two_files_loses_nothing(garden: Garden, name: str) -> None:
    killed = garden(*CARROT, env={"GARDEN_KILL_BEFORE": name})
    assert killed.status == -signal.SIGKILL
    folder = garden.folder(*CARROT)
    # heyhi.json is written first, and once more when all of it is known.
    assert (folder / name).exists() == (name == "heyhi.json")
    done = garden(*CARROT, "--mode", "start_continue")
    assert done.status == 0, done.err
    assert "note: carrot" in done.out
    assert garden(*CARROT).out == done.out[-len(garden(*CARROT).out) :]
    assert not [path.name for path in folder.iterdir() if ".partial" in path.name]


def test_a_kill_in_the_middle_of_a_wipe_never_leaves_a_done_or_a_fresh_run(garden: Garden) -> None:
    garden(*CARROT)
    folder = garden.folder(*CARROT)
    killed = garden(*CARROT, "--mode", "restart", "--force", env={"GARDEN_KILL_AT_UNLINK": "3"})
    assert killed.status == -signal.SIGKILL
    done = garden(*CARROT)
    assert (done.status, garden.executions()) == (1, 1)
    assert ": DEAD" in done.err
    assert not (folder / "result.json").exists()


# ---- Asked again --------------------------------------------------------------------------------


def test_restart_of_a_done_run_asks_and_needs_force_without_a_terminal(garden: Garden) -> None:
    garden(*CARROT)
    refused = garden(*CARROT, "--mode", "restart")
    assert refused.status == 2
    assert refused.err.endswith("is DONE: 1 run would be wiped; add --force to do it\n")
    assert garden.executions() == 1
    assert garden(*CARROT, "--mode", "restart", "--force").status == 0
    assert garden.executions() == 2


@pytest.mark.parametrize(("answer", "executions", "status"), [("y", 2, 0), ("n", 1, 2), ("", 1, 2)])
def test_on_a_terminal_it_asks(garden: Garden, answer: str, executions: int, status: int) -> None:
    import pexpect

    garden(*CARROT)
    child = pexpect.spawn(
        sys.executable,
        [str(garden.root / "run.py"), *CARROT, "--mode", "restart"],
        cwd=garden.root,
        env=garden.environment(),
        encoding="utf-8",
        timeout=30,
    )
    child.expect(r"Wipe it\? \[y/N\] ")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, garden.executions()) == (status, executions)


def test_an_edited_config_is_drift_and_the_old_result_is_not_passed_off(garden: Garden) -> None:
    garden(*CARROT)
    base = garden.root / "conf/beds/carrot.prototxt"
    base.write_text(base.read_text().replace("lr: 0.5", "lr: 0.25"))
    done = garden(*CARROT)
    assert done.status == 0
    assert "p/beds/carrot/default_d7517139: DONE (drifted: lr 0.5 -> 0.25)" in done.err
    assert garden.executions() == 1
    assert garden(*CARROT, "--mode", "restart", "--force").status == 0
    assert "drifted" not in garden(*CARROT).err


def test_start_continue_goes_on_with_the_frozen_config(garden: Garden) -> None:
    garden(*CARROT, "fail=once")
    base = garden.root / "conf/beds/carrot.prototxt"
    base.write_text("grow { lr: 0.25 }")
    done = garden(*CARROT, "fail=once", "--mode", "start_continue")
    assert done.status == 0, done.err
    assert "lr: 0.5" in done.out
    assert "DEAD (drifted: lr 0.5 -> 0.25, note 'carrot' -> unset" in done.err.replace("; ", ", ")
    known = json.loads((garden.folder(*CARROT, "fail=once") / "heyhi.json").read_text())
    assert (known["config"]["lr"], "note" in known["unset"]) == (0.5, False)


def test_a_run_of_the_same_config_is_pointed_out(garden: Garden) -> None:
    garden(*CARROT)
    done = garden(*CARROT, "lr=0.5")
    folder = garden.folder(*CARROT)
    assert f"note: p/beds/carrot/default_d7517139 has the same config; its folder is {folder}" in done.err
    assert garden.executions() == 2
    assert "has the same config" not in garden(*CARROT, "lr=0.6").err


def test_two_command_lines_with_one_id_are_an_error_that_names_both(garden: Garden) -> None:
    garden(*CARROT, "lr=0.1")
    provenance = garden.folder(*CARROT, "lr=0.1") / "heyhi.json"
    provenance.write_text(provenance.read_text().replace("lr=0.1", "lr=77.0"))
    done = garden(*CARROT, "lr=0.1")
    assert done.status == 2
    assert "[garden, grow: -c conf/beds/carrot.prototxt lr=77.0] has it already" in done.err
    assert "[garden, grow: -c conf/beds/carrot.prototxt lr=0.1] meets it there; --out names" in done.err


def test_two_projects_in_one_root_are_told_apart(make_garden: Callable[[str], Garden]) -> None:
    first, second = make_garden("first"), make_garden("second")
    assert first(*CARROT).status == 0
    done = second(*CARROT, env={"HH_EXP_DIR": str(first.exp)})
    assert done.status == 2
    assert "[first, grow: -c conf/beds/carrot.prototxt] has it already" in done.err
    assert done.out == ""


def test_a_named_folder_is_used_below_the_root_or_absolute(garden: Garden, tmp_path: Path) -> None:
    for out, folder in [("mine", garden.exp / "mine"), (str(tmp_path / "abs"), tmp_path / "abs")]:
        assert garden(*CARROT, "--out", out).status == 0
        assert (folder / "result.json").exists()
    for bad in (".", "..", "a/..", "/"):
        refused = garden(*CARROT, "--out", bad)
        assert refused.status == 2
        assert "a run needs a folder of its own" in refused.err


def test_the_failure_of_a_task_is_its_traceback_and_how_to_go_on(garden: Garden) -> None:
    done = garden(*CARROT, "fail=raise")
    folder = garden.folder(*CARROT, "fail=raise")
    assert done.status == 1
    assert done.err.count("Traceback") == 1
    assert "heyhi/launch/job.py" not in done.err
    assert done.err.endswith(
        "ValueError: too dry\n"
        f"p/beds/carrot/{folder.name}: DEAD\n"
        f"  folder {folder}\n"
        f"  last error: ValueError: too dry  (all of it: {folder}/error.txt)\n"
        f"  to go on:      python {garden.root}/run.py -c conf/beds/carrot.prototxt fail=raise "
        "--mode start_continue\n"
        f"  to start anew: python {garden.root}/run.py -c conf/beds/carrot.prototxt fail=raise "
        "--mode start_restart\n"
    )
    assert (folder / "error.txt").read_text().endswith("ValueError: too dry\n")
    assert not (folder / "result.json").exists()


def test_a_task_that_leaves_with_status_0_has_no_result_and_is_dead(garden: Garden) -> None:
    assert garden(*CARROT, "fail=exit").status == 1
    assert "SystemExit" in (garden.folder(*CARROT, "fail=exit") / "error.txt").read_text()


def test_a_result_that_the_task_wrote_itself_before_it_failed_does_not_count(garden: Garden) -> None:
    assert garden(*CARROT, "fail=own_result").status == 1
    folder = garden.folder(*CARROT, "fail=own_result")
    assert not (folder / "result.json").exists()
    assert (folder / "result.json.of-the-task").read_text() == "mine"


def test_a_damaged_result_is_said(garden: Garden) -> None:
    garden(*CARROT)
    (garden.folder(*CARROT) / "result.json").write_text("{")
    done = garden(*CARROT)
    assert done.status == 1
    assert "result.json: cannot be read" in done.err
    assert "--mode restart computes it anew" in done.err


def test_the_error_is_gone_at_the_next_start(garden: Garden) -> None:
    garden(*CARROT, "fail=once")
    folder = garden.folder(*CARROT, "fail=once")
    assert (folder / "error.txt").exists()
    assert garden(*CARROT, "fail=once", "--mode", "start_continue").status == 0
    assert not (folder / "error.txt").exists()


def test_provenance_tells_where_a_run_came_from(garden: Garden) -> None:
    garden(*CARROT, "fail=once", "lr=.1")
    garden(*CARROT, "fail=once", "lr=.1", "--mode", "start_continue")
    known = json.loads((garden.folder(*CARROT, "fail=once", "lr=.1") / "heyhi.json").read_text())
    assert known["argv"] == [*CARROT, "fail=once", "lr=.1", "--mode", "start_continue"]
    assert known["overrides"] == ["fail=once", "lr=.1"]
    assert known["canonical_overrides"] == ["fail=once", "lr=0.1"]
    assert known["project_root"] == str(garden.root)
    assert known["config"]["lr"] == 0.1
    assert [start["status"] for start in known["starts"]] == ["DEAD", "DONE"]
    assert all(start["ended"] >= start["started"] for start in known["starts"])


def test_the_launcher_makes_another_id_but_the_same_config(garden: Garden) -> None:
    garden(*CARROT)
    done = garden(*CARROT, "launcher.local=SELECT")
    assert "has the same config" in done.err


def test_slurm_where_there_is_none_is_one_clear_line_and_changes_nothing(garden: Garden) -> None:
    done = garden(*CARROT, "Ilauncher=slurm", env={"PATH": str(garden.home)})
    assert done.status == 2
    assert done.err == (
        "error: the launcher asks for Slurm, and there is no sbatch on this machine; go to a login node of "
        "the cluster, or run here with launcher.slurm=NULL\n"
    )
    assert not garden.exp.exists()


def test_a_copy_of_the_code_is_shared_and_can_be_turned_off(garden: Garden) -> None:
    garden(*CARROT)
    garden(*CARROT, "lr=1")
    garden(*CARROT, "lr=2", "--checkpoint", "")
    garden(*CARROT, "lr=3", "--adhoc")
    garden(*CARROT, "lr=4", "--checkpoint", str(garden.home / "copies"))
    assert len(os.listdir(garden.exp / "checkpoints")) == 1
    assert len(os.listdir(garden.home / "copies")) == 1
    assert not (garden.folder(*CARROT, "lr=2") / "ckpt.link").exists()


# ---- What a task may do, and what may be done to it -----------------------------------------------


def test_multiprocessing_works_as_anywhere(garden: Garden) -> None:
    """Its pools end their processes with SIGTERM: a handler of ours there would hang them."""
    done = garden(*CARROT, "fail=pools")
    assert done.status == 0, done.err
    assert "Traceback" not in done.err


def test_a_task_that_empties_its_own_folder_keeps_its_result(garden: Garden) -> None:
    done = garden(*CARROT, "fail=empty")
    assert done.status == 0, done.err
    assert (garden.folder(*CARROT, "fail=empty") / "result.json").exists()
    assert garden(*CARROT, "fail=empty").status == 0


def test_a_job_whose_folder_was_deleted_writes_nothing_into_the_next_one(garden: Garden) -> None:
    end = garden.home / "end"
    folder = garden.folder(*CARROT)
    first = garden.popen(*CARROT, env={"TMPDIR": str(garden.home), "GARDEN_GO": str(end)})
    wait_until(lambda: garden.executions() == 1)
    shutil.rmtree(folder)
    folder.mkdir()  # as another host would start it, which does not see that the first one lives
    (folder / "heyhi.json").write_text("{}")
    (folder / "heyhi.jobid").write_text("local:elsewhere:1")
    end.touch()
    _, err = first.communicate(timeout=30)
    assert first.returncode == 1
    assert "the run folder was deleted while it ran" in err
    assert '"note": "carrot"' in next(garden.home.glob(".local/state/heyhi/kept/*/result.json")).read_text()
    assert sorted(os.listdir(folder)) == ["heyhi.jobid", "heyhi.json"]


def test_threads_that_the_task_leaves_behind_are_waited_for_in_its_folder(garden: Garden) -> None:
    process = garden.popen(*CARROT, "fail=thread")
    folder = garden.folder(*CARROT, "fail=thread")
    wait_until((folder / "result.json").exists)
    assert "RUNNING" in garden(*CARROT, "fail=thread").err
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert (folder / "late.txt").exists()


def test_a_reader_that_leaves_ends_no_task(garden: Garden) -> None:
    command = shlex.join(garden.command(*CARROT, "fail=talk"))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} 2>&1 | head -1"],
        cwd=garden.root,
        env=garden.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert garden.executions("end") == 1
    assert "line 9999" in (garden.folder(*CARROT, "fail=talk") / "run.log").read_text()


@pytest.mark.parametrize("stream", ["1>&-", "2>&-", "1>/dev/full", "2>/dev/full", "2>&1 | true"])
def test_a_run_starts_whatever_becomes_of_its_output(garden: Garden, stream: str) -> None:
    command = shlex.join(garden.command(*CARROT))
    subprocess.run(
        ["bash", "-c", f"{command} {stream}"], cwd=garden.root, env=garden.environment(), check=False
    )
    assert garden.executions("end") == 1
    assert (garden.folder(*CARROT) / "result.json").exists()


def test_a_failure_that_cannot_be_encoded_is_recorded(garden: Garden) -> None:
    done = garden(*CARROT, "fail=surrogate")
    assert done.status == 1
    assert (
        "ValueError: \\ud800 is no text"
        in (garden.folder(*CARROT, "fail=surrogate") / "error.txt").read_text()
    )


# What is in the folder that --out names -> why it is refused.
FOREIGN = {
    "files": "main.tex is in it, and HeyHi did not write it",
    "above": "beds is in it (a folder), and it is no run; name a folder that is new or empty",
    "inside": "is a run, and it would be in it",
    "project": "the project is in it",
}


@pytest.mark.parametrize("case", FOREIGN)
def test_no_folder_of_somebody_else_becomes_a_run(garden: Garden, tmp_path: Path, case: str) -> None:
    garden(*CARROT)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "main.tex").write_text("years of work")
    out = {
        "files": tmp_path / "thesis",
        "above": garden.exp / "p",
        "inside": garden.folder(*CARROT) / "sub",
        "project": garden.root,
    }[case]
    modes = ("start_restart", "restart") if case == "files" else ("gentle_start", "start_restart", "restart")
    for mode in modes:
        done = garden(*CARROT, "--out", str(out), "--mode", mode, "--force")
        assert done.status == 2
        assert FOREIGN[case] in done.err
    assert (tmp_path / "thesis" / "main.tex").exists()
    assert (garden.folder(*CARROT) / "result.json").exists()


def test_an_empty_out_is_refused(garden: Garden) -> None:
    assert garden(*CARROT, "--out=").err == "error: --out needs a folder, not an empty text\n"


def test_a_deleted_working_directory_is_said(garden: Garden, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = shlex.join(garden.command("-c", str(garden.root / CARROT[1])))
    done = subprocess.run(
        ["bash", "-c", f"cd gone; rmdir ../gone; {command}"],
        cwd=tmp_path,
        env=garden.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.endswith("error: the current folder was deleted; go to another one\n")


def test_another_root_or_another_clone_is_no_drift(make_garden: Callable[[str], Garden]) -> None:
    first, second = make_garden("garden"), make_garden("clone")
    (second.root / "pyproject.toml").write_text("[tool.heyhi]\nproject = 'garden'\n")
    first(*CARROT, f"note={first.exp}/p/data")
    first.exp.rename(second.exp)
    done = second(*CARROT, f"note={second.exp}/p/data")
    assert (done.status, done.err.count("DONE"), second.executions()) == (0, 1, 0)
    assert "drifted" not in done.err


# ---- What run.py costs --------------------------------------------------------------------------

HEAVY = {
    "snakemake",
    "pandas",
    "numpy",
    "submitit",
    "rich",
    "psutil",
    "hydra",
    "asyncio",
    "grpc_tools",
    "subprocess",
}


def test_printing_a_config_imports_nothing_heavy(garden: Garden) -> None:
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['run.py', '-c', 'conf/beds/carrot.prototxt', '--print']\n"
        f"runpy.run_path({str(garden.root / 'run.py')!r}, run_name='__main__')\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=garden.root,
        env=garden.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "heyhi" in done.stderr.split()
    assert HEAVY & set(done.stderr.split()) == set()


def test_time_stands_still_for_a_done_run(garden: Garden) -> None:
    garden(*CARROT)
    folder = garden.folder(*CARROT)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    time.sleep(0.01)
    for words in ((), ("--mode", "dryrun"), ("--print",), ("--mode", "start_restart")):
        assert garden(*CARROT, *words).status == 0
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_child_that_the_task_forked_leaves_nothing_behind(garden: Garden) -> None:
    done = garden(*CARROT, "fail=fork")
    assert done.status == 0, done.err
    assert garden.executions("end") == 2  # both came to the end of the task
    assert done.err.count(": DONE\n") == 1


def test_the_task_sees_a_terminal_so_that_a_debugger_works(garden: Garden) -> None:
    import pexpect

    child = pexpect.spawn(
        sys.executable,
        [str(garden.root / "run.py"), *CARROT, "fail=debug"],
        cwd=garden.root,
        env=garden.environment(),
        encoding="utf-8",
        timeout=30,
    )
    child.expect(r"\(Pdb\) ")
    child.sendline("p cfg.note")
    child.expect("'carrot'")
    child.sendline("c")
    child.expect(": DONE")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
