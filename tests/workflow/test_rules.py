"""Batches through Snakemake itself, in a project of their own."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from heyhi.runs.status import Status
from heyhi.workflow.rules import RULES
from tests.batches import (
    CARROT,
    all_files,
    command,
    folder,
    needing,
    read_until,
    run_of,
    snakemake,
    start_snakemake,
    starts,
    statuses,
    told_about,
    write_batch,
)
from tests.conftest import HERE, Garden, wait_until


def done_batch(garden: Garden, *lines: str) -> None:
    """A batch that is done."""
    write_batch(garden, *(lines or ("seed=1", "seed=2")))
    done = snakemake(garden)
    assert done.status == 0, done.err


# ---- Only what is missing -----------------------------------------------------------------------


def test_a_batch_is_done_once_and_the_second_call_starts_nothing(garden: Garden) -> None:
    batch = write_batch(garden, "seed=1", "seed=2")
    first = snakemake(garden)
    assert (first.status, first.out) == (0, "")
    assert sorted(first.err.splitlines()) == sorted(
        [
            f"Using profile {garden.root}/profiles/local for setting default command line arguments.",
            f"{batch}: 2 runs: 2 NOT_STARTED; 2 to start",
            *(f"[{n}/2] {told_about(first, f'[{n}/2]')[0].split()[1]} done" for n in (1, 2)),
            "all 2 runs are done",
            f"summary: {garden.exp}/.heyhi/summaries/batch.csv",
        ]
    )
    before = all_files(garden.exp)
    second = snakemake(garden)
    assert (second.status, second.err.splitlines()[1:]) == (0, [f"{batch}: 2 runs: 2 DONE; nothing to do"])
    assert garden.executions() == 2
    assert all_files(garden.exp) == before


def test_only_what_is_missing_is_in_the_workflow(garden: Garden) -> None:
    done_batch(garden)
    write_batch(garden, "seed=1", "seed=2", "seed=3")
    listed = snakemake(garden, "-n")
    name = folder(garden, "seed=3").name
    assert listed.err.splitlines()[2:] == [f"p/beds/carrot/{name}: NOT_STARTED: start"]
    done = snakemake(garden)
    assert (done.status, garden.executions()) == (0, 3)
    assert "[1/1]" in done.err


def test_a_run_starts_after_what_its_config_names(garden: Garden) -> None:
    write_batch(
        garden,
        "seed=1 seconds=0.5",
        needing("seed=1 seconds=0.5"),
        'note="$T/mine.txt"',
    )
    done = snakemake(garden)
    assert done.status == 0, done.err
    words = [line.split()[0] for line in garden.count_file.read_text().splitlines()]
    assert words == ["start", "end", "start", "end"]


def test_a_target_is_the_path_of_a_result_and_what_it_needs(garden: Garden) -> None:
    write_batch(
        garden,
        "seed=1",
        needing("seed=1"),
        'note="$T/mine.txt"',
        "seed=3",
    )
    first = folder(garden, "seed=1")
    target = folder(garden, f"note='{first}/mine.txt'")
    done = snakemake(garden, str(target / "result.json"))
    assert done.status == 0, done.err
    assert {path.parent for path in garden.exp.rglob("result.json")} == {first, target}
    again = snakemake(garden, str(target / "result.json"))
    assert (again.status, garden.executions()) == (0, 2)


def test_the_frozen_config_alone_is_a_target_too(garden: Garden) -> None:
    write_batch(garden, "seed=1", "seed=2")
    target = folder(garden, "seed=1")
    done = snakemake(garden, str(target / "config.prototxt"))
    assert done.status == 0, done.err
    assert (target / "config.prototxt").read_text().startswith("seed: 1\n")
    assert (garden.executions(), statuses(garden)[target.name]) == (0, Status.NOT_STARTED)


def test_a_target_that_is_no_run_of_the_batch_is_refused_in_a_line(garden: Garden) -> None:
    write_batch(garden, "seed=1")
    target = garden.exp / "p/beds/carrot/other"
    done = snakemake(garden, str(target / "result.json"))
    assert done.status == 2
    assert done.err.splitlines()[-1] == f"error: {target}: no run of {garden.root}/batch.sh"


def test_a_rule_of_the_users_takes_results_of_runs(garden: Garden) -> None:
    (garden.root / "workflows/mine.smk").write_text(
        'rule weigh:\n    input:\n        runs.results("grow"),\n    output:\n        "weights.txt",\n'
        '    shell:\n        "cat {input:q} > {output}"\n'
    )
    write_batch(garden, "seed=1", "seed=2")
    done = snakemake(garden, "weigh")
    assert done.status == 0, done.err
    assert (garden.root / "weights.txt").read_text().count("carrot") == 2
    assert "[3/3] weigh: done" in done.err


def test_a_script_is_captured_once_also_if_snakemake_starts_itself_again(garden: Garden) -> None:
    (garden.root / "workflows/mine.smk").write_text(
        'rule weigh:\n    input:\n        runs.results("grow"),\n    output:\n        "weights.txt",\n'
        "    run:\n        Path(output[0]).write_text(str(len(runs.results('grow'))))\n"
    )
    write_batch(garden, "seed=1", "seed=2", "!echo captured >> times.txt")
    done = snakemake(garden, "weigh")
    assert done.status == 0, done.err
    assert (garden.root / "weights.txt").read_text() == "2"
    assert (garden.root / "times.txt").read_text() == "captured\n"


def test_a_call_of_snakemake_asks_nothing_of_slurm(garden: Garden, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sinfo", "scontrol", "squeue", "sacct", "sbatch"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/asked\n")
        (programs / name).chmod(0o755)
    write_batch(garden, "seed=1")
    done = snakemake(garden, PATH=f"{programs}:{os.environ['PATH']}")
    assert done.status == 0, done.err
    assert not (tmp_path / "asked").exists()


@pytest.mark.processes
def test_the_curves_of_trainings_are_one_picture(tmp_path: Path) -> None:
    for name, losses in (("one", [2.0, 1.0]), ("two", [3.0, 2.5])):
        run = tmp_path / name
        run.mkdir()
        lines = [{"epoch": n, "train_loss": loss, "val_loss": None} for n, loss in enumerate(losses, 1)]
        (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    script = HERE / "workflows/scripts/plot_curves.py"
    results = [str(tmp_path / name / "result.json") for name in ("one", "two")]
    subprocess.run([sys.executable, str(script), str(tmp_path / "x.svg"), *results], check=True)
    picture = (tmp_path / "x.svg").read_text()
    assert "Matplotlib" in picture
    for text in (">one<", ">two<", ">epoch<", ">loss<"):
        assert text in picture


# Words on the command line -> whether Snakemake still limits how many jobs start in a second.
LIMITS = {(): False, ("--max-jobs-per-timespan", "5/1s"): True}


@pytest.mark.parametrize("words", LIMITS, ids=["default", "asked for"])
def test_no_limit_of_starts_that_nobody_asked_for(words: tuple[str, ...], garden: Garden) -> None:
    (garden.root / "workflows/mine.smk").write_text(
        "onsuccess:\n    print('limited', bool(workflow.scheduler.job_rate_limiter))\n"
    )
    write_batch(garden, "seed=1")
    done = snakemake(garden, *words)
    assert f"limited {LIMITS[words]}" in done.out + done.err


# ---- What a job sees ----------------------------------------------------------------------------


def test_a_lines_environment_reaches_the_task_and_its_folder_is_the_cwd(garden: Garden) -> None:
    line = f"python run.py {' '.join(CARROT)} fail=tell"
    write_batch(garden, f"!COLOUR='a b$c' PYTHONHASHSEED=7 {line}")
    for executor in ("heyhi", "local"):
        done = snakemake(garden, "--executor", executor, "-F")
        assert done.status == 0, done.err
        told = json.loads((folder(garden, "fail=tell") / "environment.json").read_text())
        assert (told["COLOUR"], told["PYTHONHASHSEED"]) == ("a b$c", "7")
        assert "HEYHI_HAS_ENVIRONMENT" not in told


def test_queued_jobs_run_from_the_copy_of_the_code(garden: Garden, tmp_path: Path) -> None:
    write_batch(garden, "seed=1", needing("seed=1"), 'note="$T/mine.txt"')
    second = folder(garden, f"note='{folder(garden, 'seed=1')}/mine.txt'")
    go = garden.home / "go"
    driver = start_snakemake(garden, cwd=tmp_path, GARDEN_GO=str(go))
    wait_until(lambda: garden.executions() == 1)
    shutil.rmtree(garden.root)
    go.touch()
    out, _ = driver.communicate(timeout=60)
    assert (driver.returncode, garden.executions("end")) == (0, 2), out
    assert (second / "result.json").exists()


def test_queued_jobs_go_on_when_the_cwd_of_the_driver_is_deleted(garden: Garden) -> None:
    write_batch(garden, "seed=1", needing("seed=1"), 'note="$T/mine.txt"')
    go = garden.home / "go"
    driver = start_snakemake(garden, GARDEN_GO=str(go))
    wait_until(lambda: garden.executions() == 1)
    shutil.rmtree(garden.root)
    go.touch()
    out, _ = driver.communicate(timeout=60)
    assert garden.executions("end") == 2, out


def test_each_line_has_its_own_place_for_the_copy_of_the_code(garden: Garden, tmp_path: Path) -> None:
    write_batch(garden, "seed=1", "seed=2 --checkpoint ''", f"seed=3 --checkpoint {tmp_path}/copies")
    done = snakemake(garden)
    assert done.status == 0, done.err
    assert (folder(garden, "seed=1") / "ckpt.link").read_text().startswith(f"{garden.exp}/checkpoints/")
    assert not (folder(garden, "seed=2") / "ckpt.link").exists()
    assert (folder(garden, "seed=3") / "ckpt.link").read_text().startswith(f"{tmp_path}/copies/")


# ---- Modes --------------------------------------------------------------------------------------

FORCINGS = {
    "mode=restart": (["mode=restart", "force=1"], "heyhi"),
    "mode=restart, local": (["mode=restart", "force=1"], "local"),
    "--forceall": (["--forceall"], "heyhi"),
    "--forcerun launch": (["--forcerun", "launch"], "local"),
    "-R launch": (["-R", "launch"], "heyhi"),
}


@pytest.mark.parametrize(("words", "executor"), FORCINGS.values(), ids=FORCINGS)
def test_a_restart_wipes_and_starts_all(garden: Garden, words: list[str], executor: str) -> None:
    done_batch(
        garden,
        "seed=1",
        needing("seed=1"),
        'note="$T/mine.txt"',
    )
    for path in garden.exp.glob("p/*/*/*"):
        (path / "old.txt").touch()
    before = all_files(garden.exp)
    listed = snakemake(garden, "-n", "--executor", executor, *words)
    assert listed.status == 0, listed.err
    assert listed.err.count("wipe, start") == 2
    assert all_files(garden.exp) == before
    done = snakemake(garden, "--executor", executor, *words)
    assert (done.status, garden.executions("end")) == (0, 4), done.err
    assert not list(garden.exp.rglob("old.txt"))
    assert set(statuses(garden).values()) == {Status.DONE}


def test_one_run_is_forced_by_its_path(garden: Garden) -> None:
    done_batch(garden)
    target = folder(garden, "seed=1")
    done = snakemake(garden, "-f", str(target / "result.json"))
    assert (done.status, garden.executions()) == (0, 3), done.err


def test_a_restart_is_refused_without_a_word(garden: Garden) -> None:
    done_batch(garden)
    before = all_files(garden.exp)
    done = snakemake(garden, "mode=restart")
    assert done.status == 2
    assert done.err.splitlines()[-1] == (
        "error: 2 runs that are done or alive would be wiped; add --force (snakemake: --config force=1)"
    )
    assert all_files(garden.exp) == before


@pytest.fixture(scope="module")
def begun(
    processes: None, garden_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Garden]:
    """A garden with a batch of which two runs are done, one is DEAD and one is missing."""
    place = tmp_path_factory.mktemp("begun")
    shutil.copytree(garden_template, place / "garden")
    (place / "home").mkdir()
    garden = Garden(place / "garden", place / "home")
    done_batch(garden)
    write_batch(garden, "seed=1", "seed=2", "seed=3", "fail=raise")
    assert snakemake(garden, str(folder(garden, "fail=raise") / "result.json")).status == 1
    yield garden
    garden.end()


@pytest.mark.parametrize("mode", ["gentle_start", "start_restart", "start_continue", "restart", "dryrun"])
def test_a_dry_run_changes_no_file(begun: Garden, mode: str) -> None:
    places = (begun.exp, begun.root / "conf")
    before = all_files(*places)
    done = snakemake(begun, "-n", f"mode={mode}")
    assert done.status == 0, done.err
    assert all_files(*places) == before


def test_mode_dryrun_starts_nothing_and_lists_what_is_pending(garden: Garden) -> None:
    write_batch(garden, "seed=1")
    done = snakemake(garden, "mode=dryrun")
    assert (done.status, garden.executions()) == (0, 0), done.err
    assert not garden.exp.exists()
    assert folder(garden, "seed=1").name in done.err


@pytest.mark.parametrize("executor", ["heyhi", "local"])
def test_start_continue_goes_on_in_the_folder_and_start_restart_wipes_it(
    garden: Garden, executor: str
) -> None:
    write_batch(garden, "fail=once")
    first = snakemake(garden, "--executor", executor)
    assert first.status == 1
    path = folder(garden, "fail=once")
    (path / "checkpoint").write_text("mine")
    left = snakemake(garden, "--executor", executor)
    assert (left.status, garden.executions()) == (1, 1)
    done = snakemake(garden, "--executor", executor, "mode=start_continue")
    assert done.status == 0, done.err
    assert (path / "checkpoint").read_text() == "mine"
    assert starts(path) == 2
    again = snakemake(garden, "--executor", executor, "mode=start_restart")
    assert (again.status, garden.executions()) == (0, 2)


def test_start_restart_wipes_what_is_dead(garden: Garden) -> None:
    write_batch(garden, "fail=once")
    assert snakemake(garden).status == 1
    (folder(garden, "fail=once") / "checkpoint").touch()
    assert snakemake(garden, "mode=start_restart").status == 1
    assert not (folder(garden, "fail=once") / "checkpoint").exists()
    assert garden.executions() == 2


@pytest.mark.parametrize("executor", ["heyhi", "local"])
def test_a_restart_that_fails_is_dead_and_has_no_old_result(garden: Garden, executor: str) -> None:
    write_batch(garden, "fail=tell")
    assert snakemake(garden, "--executor", executor).status == 0
    # From now on the task fails: the code is another one.
    run_py = garden.root / "run.py"
    run_py.write_text(run_py.read_text().replace('"tell": lambda _:', '"tell": _raise, "told": lambda _:'))
    done = snakemake(garden, "--executor", executor, "mode=restart", "force=1")
    assert done.status == 1, done.err
    path = folder(garden, "fail=tell")
    assert not (path / "result.json").exists()
    assert set(statuses(garden).values()) == {Status.DEAD}
    # Nor does a later failure bring it back.
    assert snakemake(garden, "--executor", executor, "mode=start_continue").status == 1
    assert not (path / "result.json").exists()


@pytest.mark.parametrize("executor", ["heyhi", "local"])
def test_a_forced_run_that_cannot_begin_keeps_its_result(garden: Garden, executor: str) -> None:
    write_batch(garden, "seed=1 --checkpoint ''")
    assert snakemake(garden, "--executor", executor).status == 0
    (garden.root / "run.py").write_text("raise SystemExit('broken')\n")
    result = next(garden.exp.glob("p/*/*/*/result.json"))
    assert snakemake(garden, "--executor", executor, "-R", "launch").status == 1
    assert result.exists()


def test_a_lines_own_mode_wins_over_the_batchs(garden: Garden) -> None:
    done_batch(garden, "seed=1", "seed=2")
    write_batch(garden, "seed=1 --mode gentle_start", "seed=2")
    done = snakemake(garden, "mode=restart", "force=1")
    assert (done.status, garden.executions()) == (0, 3), done.err
    write_batch(garden, "seed=1 --mode restart", "seed=2")
    done = snakemake(garden, "force=1")
    assert (done.status, garden.executions()) == (0, 4), done.err


# ---- Reruns only when HeyHi says so -------------------------------------------------------------


def test_nothing_that_is_done_runs_again_whatever_changes_around_it(garden: Garden) -> None:
    done_batch(
        garden,
        "seed=1",
        needing("seed=1"),
        'note="$T/mine.txt"',
    )
    for name in ("Snakefile", "profiles/local/config.yaml", "run.py"):
        path = garden.root / name
        path.write_text(f"{path.read_text()}\n# edited\n")
    # The rules of another HeyHi.
    rules = RULES.read_text()
    assert '"{params.command}"' in rules
    (garden.root / "rules.smk").write_text(rules.replace('"{params.command}"', '"true && {params.command}"'))
    snakefile = garden.root / "Snakefile"
    snakefile.write_text(snakefile.read_text().replace("heyhi.workflow.RULES", '"rules.smk"'))
    assert '"rules.smk"' in snakefile.read_text()
    base = garden.root / "conf/beds/carrot.prototxt"
    base.write_text(base.read_text().replace("lr: 0.5", "lr: 0.25"))
    time.sleep(0.01)
    for path in garden.exp.rglob("*.*"):
        if path.name != "result.json":
            path.touch()
    shutil.rmtree(garden.root / ".snakemake")
    for words in ((), ("--executor", "local"), ("--rerun-triggers", "mtime", "params", "code", "input")):
        done = snakemake(garden, *words)
        assert (done.status, garden.executions()) == (0, 2), done.err


# ---- Failures -----------------------------------------------------------------------------------


def test_snakemakes_own_executor_says_no_more_of_a_failure(garden: Garden) -> None:
    write_batch(garden, "fail=raise")
    done = snakemake(garden, "--executor", "local")
    assert done.status == 1
    told = [line for line in done.err.splitlines() if "fail@raise" in line]
    assert len(told) == 1
    assert told[0].endswith(": DEAD (ValueError: too dry)")
    assert "Error" not in done.err.replace("ValueError", "")


def test_one_of_many_fails_and_the_others_finish(garden: Garden) -> None:
    lines = [f"seed={n}" for n in range(12)]
    need = needing("fail=raise")
    write_batch(garden, *lines, "fail=raise", need, 'note="$T/mine.txt"', 'note="$T/other.txt"')
    done = snakemake(garden)
    dead = folder(garden, "fail=raise")
    assert done.status == 1
    assert garden.executions("end") == 12
    run = f"p/beds/carrot/{dead.name}"
    lines = done.err.splitlines()
    assert f"{run}: DEAD: ValueError: too dry ({dead})" in lines
    waiting = [line for line in lines if "waits until" in line]
    assert len(waiting) == 2
    assert all(line.endswith(f": waits until {run} is done") for line in waiting)
    assert "12 of 15 runs are done" in lines
    batch = garden.root / "batch.sh"
    how = "--mode start_continue (or start_restart, which wipes first)"
    assert lines[-1] == f"go on: heyhi start {batch} {how}"
    assert "Traceback" not in done.err
    assert "WorkflowError" not in done.err


def test_what_killed_a_run_is_said_by_all_that_show_it_then_and_later(garden: Garden) -> None:
    write_batch(garden, "fail=kill", "seed=1")
    cause = "ended by SIGKILL (out of memory?)"
    at_first = snakemake(garden).err
    killed = folder(garden, "fail=kill")
    assert f"p/beds/carrot/{killed.name}: DEAD: {cause} ({killed})" in at_first
    assert f"  p/beds/carrot/{killed.name}: DEAD ({cause})" in at_first, "in the list at the end"
    assert f"DEAD ({cause}): left" in snakemake(garden).err
    assert garden(*CARROT, "fail=kill").err.count(f"  last error: {cause}\n") == 1
    for words in (
        ("status",),
        ("plan", "batch.sh"),
        ("summary", "batch.sh", "--csv", "-"),
        ("logs", str(killed)),
    ):
        done = garden.python("-m", "heyhi.commands", *words)
        assert (done.out + done.err).count(cause) == 1, words
    assert (
        cause in garden.python("-m", "heyhi.commands", "diff", str(killed), str(folder(garden, "seed=1"))).out
    )
    garden.python("-m", "heyhi.commands", "report", "batch.sh", "-o", "page.html")
    assert cause in (garden.root / "page.html").read_text()


def test_a_dead_run_that_is_left_costs_no_process_and_is_named(garden: Garden) -> None:
    write_batch(garden, "fail=raise")
    assert snakemake(garden).status == 1
    before = all_files(garden.exp / "p")
    left = snakemake(garden)
    assert left.status == 1
    path = folder(garden, "fail=raise")
    reason = "DEAD (ValueError: too dry): left; mode=start_continue goes on, mode=start_restart starts anew"
    assert f"p/beds/carrot/{path.name}: {reason} ({path})" in left.err.splitlines()
    assert all_files(garden.exp / "p") == before


def test_a_job_that_cannot_even_begin_says_why(garden: Garden) -> None:
    (garden.root / "run.py").write_text("import nonsense\n")
    write_batch(garden, "!python run.py -c conf/beds/carrot.prototxt seed=1")
    done = snakemake(garden)
    assert done.status == 1
    assert "No module named 'nonsense'" in done.err


WRONG = {
    "mode": (["mode=restrat"], "no such mode 'restrat'; did you mean 'restart'"),
    "word": (["moed=restart"], "--config moed=...: unknown; did you mean 'mode'?"),
    "batch": (["batch=nope.sh"], "nope.sh"),
}


@pytest.mark.parametrize(("words", "problem"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_call_is_a_line_and_status_2(
    garden: Garden, words: list[str], problem: str
) -> None:
    write_batch(garden, "seed=1")
    done = snakemake(garden, *words)
    assert done.status == 2
    last = done.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert problem in last


# ---- Adoption -----------------------------------------------------------------------------------


def test_a_run_that_lives_elsewhere_is_waited_for(garden: Garden, tmp_path: Path) -> None:
    write_batch(garden, "seed=1", needing("seed=1"), 'note="$T/mine.txt"')
    go = garden.home / "go"
    single = garden.popen(*CARROT, "seed=1", env={"GARDEN_GO": str(go)})
    wait_until(lambda: garden.executions() == 1)
    driver = start_snakemake(garden, cwd=tmp_path)
    lines = read_until(driver, "RUNNING")
    go.touch()
    lines += driver.communicate(timeout=60)[0]
    single.communicate()
    assert (driver.returncode, garden.executions("end")) == (0, 2), lines
    assert run_of(garden, folder(garden, "seed=1")).result.exists()


def test_a_restart_kills_what_lives(garden: Garden) -> None:
    write_batch(garden, "fail=slow")
    single = garden.popen(*CARROT, "fail=slow")
    wait_until(lambda: garden.executions() == 1)
    done = snakemake(garden, "mode=restart", "force=1", GARDEN_FAST="1")
    single.communicate(timeout=60)
    assert (done.status, garden.executions(), garden.executions("end")) == (0, 2, 1), done.err
    assert single.returncode != 0


# ---- On a terminal ------------------------------------------------------------------------------


def test_a_terminal_gets_a_progress_bar_and_the_failures(garden: Garden) -> None:
    write_batch(garden, "seed=1", "fail=raise")
    child = pexpect.spawn(
        shlex.join(command(garden)),
        env=garden.environment(TERM="xterm"),
        cwd=str(garden.root),
        timeout=60,
        encoding="utf-8",
    )
    child.expect(pexpect.EOF)
    child.close()
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", str(child.before))
    assert child.exitstatus == 1
    assert "━" in told
    assert re.search(
        r"DEAD: ValueError: too dry \(.*/p/beds/carrot/fail@raise_\w+\)", told.replace("\r\n", "")
    )
    assert "1 of 2 runs are done" in told
    assert "1/2 done" in told


def test_a_terminal_is_asked_before_anything_is_wiped(garden: Garden) -> None:
    done_batch(garden)
    for answer, status, count in (("n", 2, 2), ("y", 0, 4)):
        child = pexpect.spawn(
            shlex.join(command(garden, "mode=restart")),
            env=garden.environment(),
            cwd=str(garden.root),
            timeout=60,
        )
        child.expect("2 runs that are done or alive would be wiped. Wipe them")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert (child.exitstatus, garden.executions()) == (status, count)


# ---- The profiles -------------------------------------------------------------------------------


@pytest.mark.processes
def test_make_profiles_lets_snakemake_find_them_from_anywhere(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = {"HOME": str(home), "PATH": f"{HERE}/.venv/bin:/usr/bin:/bin", "HH_EXP_DIR": str(tmp_path / "exp")}
    subprocess.run(["make", "-C", str(HERE), "profiles"], env=env, check=True, capture_output=True)
    snakefile = str(HERE / "Snakefile")
    words = ["snakemake", "--snakefile", snakefile, "--profile", "local", "-n"]
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "workflows/demo.sh: 21 runs: 21 NOT_STARTED; 21 to start" in done.stderr
    assert (home / ".config/snakemake/slurm").is_symlink()


# ---- The summary --------------------------------------------------------------------------------


def summarized(path: Path) -> list[tuple[str, str]]:
    """Seed and status of each run in a summary."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["seed"], row["status"]) for row in csv.DictReader(file)]


def test_a_summary_is_written_at_the_end_also_when_runs_have_failed(garden: Garden) -> None:
    write_batch(garden, "seed=1", "seed=2 fail=raise")
    done = snakemake(garden)
    assert done.status == 1
    place = garden.exp / ".heyhi" / "summaries" / "batch.csv"
    assert told_about(done, "summary: ") == [f"summary: {place}"]
    assert summarized(place) == [("1", "DONE"), ("2", "DEAD")]


def test_the_summary_is_a_rule_of_its_own_and_goes_where_it_is_told(garden: Garden) -> None:
    done_batch(garden)
    place = garden.home / "new" / "x.csv"
    listed = snakemake(garden, "-n", "summary", f"summary={place}")
    assert (listed.status, place.exists(), garden.executions()) == (0, False, 2)
    done = snakemake(garden, "summary", f"summary={place}")
    assert (done.status, told_about(done, "summary: ")) == (0, [f"summary: {place}"])
    assert (summarized(place), garden.executions()) == ([("1", "DONE"), ("2", "DONE")], 2)
    write_batch(garden, "seed=1", "seed=3")
    assert snakemake(garden, "summary", f"summary={place}").status == 0
    assert (summarized(place), garden.executions()) == ([("1", "DONE"), ("3", "DONE")], 3)


def test_a_summary_that_cannot_be_written_is_no_failure(garden: Garden) -> None:
    write_batch(garden, "seed=1")
    done = snakemake(garden, f"summary={garden.root}/conf")
    assert done.status == 0
    assert told_about(done, "summary: ") == [f"summary: {garden.root}/conf cannot be written: Is a directory"]


def test_batches_of_one_name_have_summaries_of_their_own(garden: Garden) -> None:
    (garden.root / "a").mkdir()
    for name, seed in (("a/x.sh", 1), ("x.sh", 2)):
        write_batch(garden, f"seed={seed}", name=name)
        assert snakemake(garden, batch=name).status == 0
    written = (garden.exp / ".heyhi" / "summaries").iterdir()
    assert sorted(path.name for path in written) == ["a_x.csv", "x.csv"]
