"""heyhi start and stop, and what signals do to a driver and its jobs."""

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heyhi.batch import drivers
from heyhi.errors import LaunchError, UsageError
from heyhi.project import Project
from heyhi.runs import claim
from heyhi.runs.processes import this_host
from heyhi.runs.status import Status
from tests.batches import (
    CARROT,
    folder,
    needing,
    processes_of,
    read_until,
    start_snakemake,
    statuses,
    write_batch,
)
from tests.conftest import Done, Garden, wait_until

ORDERS = ".heyhi/orders"


def heyhi(garden: Garden, *words: str, cwd: Path | None = None, stdin: str = "") -> Done:
    return garden.python("-m", "heyhi.commands", *words, cwd=cwd, stdin=stdin)


def living(garden: Garden) -> list[Path]:
    """The locks of drivers that live."""
    return [path for path in (garden.exp / ORDERS).glob("*.lock") if claim.holder(path) is not None]


# ---- Starting -----------------------------------------------------------------------------------


def test_start_carries_a_batch_out(garden: Garden) -> None:
    batch = write_batch(garden, "seed=1")
    done = heyhi(garden, "start", str(batch))
    assert (done.status, garden.executions("end")) == (0, 1), done.err
    assert heyhi(garden, "start", str(batch), "--mode", "restart").status == 2
    assert heyhi(garden, "start", str(batch), "--mode", "restart", "--force").status == 0
    assert garden.executions("end") == 2
    assert not list((garden.exp / ORDERS).iterdir())


def test_start_reads_lines_on_stdin(garden: Garden) -> None:
    lines = f"{' '.join(CARROT)} seed=1 note='a b'\npython run.py {' '.join(CARROT)} seed=2\n"
    done = heyhi(garden, "start", "-", stdin=lines)
    assert (done.status, garden.executions("end")) == (0, 2), done.err


WRONG = {
    "profile": (["--profile", "locla"], "profile 'locla': no such profile; did you mean 'local'?"),
    "path": (["--profile", "./nowhere"], "profile './nowhere': no such profile; there are local, slurm"),
    "mode": (
        ["--mode", "restrat"],
        "no such mode 'restrat'; did you mean 'restart', 'start_restart'?",
    ),
}


def test_a_project_without_a_snakefile_says_what_to_do(garden: Garden) -> None:
    batch = write_batch(garden, "seed=1")
    (garden.root / "Snakefile").unlink()
    done = heyhi(garden, "start", str(batch))
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert f"{garden.root}: no Snakefile; copy the one that `heyhi init DIR` creates" in done.err


@pytest.mark.parametrize(("words", "problem"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_start_is_a_line_and_status_2(
    garden: Garden, words: list[str], problem: str
) -> None:
    assert heyhi(garden, "start", "batch.sh", *words) == Done(2, "", f"error: {problem}\n")


def test_a_detached_driver_needs_no_terminal_and_stop_ends_it_and_its_jobs(garden: Garden) -> None:
    batch = write_batch(garden, "fail=slow", "seed=1")
    done = heyhi(garden, "start", str(batch), "--detach")
    assert done.status == 0, done.err
    first, tail, last = done.out.splitlines()
    pid = int(first.split()[2].rstrip(","))
    assert os.getsid(pid) == pid
    assert last == "  heyhi stop ends it"
    wait_until(lambda: garden.executions() == 2)
    other = write_batch(garden, "fail=slow seed=5", name="other.sh")
    assert heyhi(garden, "start", str(other), "--detach").status == 0
    wait_until(lambda: garden.executions() == 3)
    stopped = heyhi(garden, "stop", cwd=garden.root)
    assert (stopped.status, stopped.out) == (0, f"stopped: {batch}\nstopped: {other}\n"), stopped.err
    assert living(garden) == []
    assert processes_of(garden) == []
    error = (folder(garden, "fail=slow") / "error.txt").read_text()
    assert error.startswith("stopped with its driver\n")
    log = Path(tail.split(maxsplit=2)[2].strip("'"))
    assert "interrupted: 1 runs were ended" in log.read_text()
    assert heyhi(garden, "stop").out == "no driver lives\n"


def test_a_detached_batch_that_is_wrong_says_so_at_once(garden: Garden) -> None:
    batch = write_batch(garden, "sede=1")
    done = heyhi(garden, "start", str(batch), "--detach")
    assert done.status == 2
    assert "did you mean 'seed'?" in done.err
    assert "started" not in done.out


# ---- Stopping -----------------------------------------------------------------------------------


@pytest.mark.processes
def test_a_process_that_has_the_number_of_a_driver_is_never_signalled(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    lock = tmp_path / "one.lock"
    assert claim.take(lock, f"local:{this_host()}:{bystander.pid}")
    driver = drivers.Driver(tmp_path / "one", f"local:{this_host()}:{bystander.pid}", "b.sh", "")
    try:
        with pytest.raises(LaunchError, match="has not ended after"):
            drivers.stop(driver, patience=0.2)
        assert bystander.poll() is None
        claim.drop(lock)
        drivers.stop(driver, patience=0.2)  # it has ended
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_driver_on_another_host_is_not_stopped_from_here(tmp_path: Path) -> None:
    driver = drivers.Driver(tmp_path / "one", "local:moon:1", "b.sh", "")
    with pytest.raises(LaunchError, match=r"the driver of b.sh is process 1 on moon; run `heyhi stop` there"):
        drivers.stop(driver)


def test_what_killed_drivers_left_goes_a_month_after_it_was_found(tmp_path: Path) -> None:
    for name in ("dead", "alive"):
        for suffix in ("jsonl", "json", "lock"):
            (tmp_path / f"{name}.{suffix}").touch()
        (tmp_path / f"{name}.0.code").symlink_to("/")
    assert claim.take(tmp_path / "alive.lock", "local:here:1")
    try:
        before = set(tmp_path.iterdir())
        drivers.sweep(tmp_path)
        assert set(tmp_path.iterdir()) - before == {tmp_path / "dead.dead"}
        assert stat.S_IMODE((tmp_path / "dead.jsonl").stat().st_mode) == 0o600
        drivers.sweep(tmp_path)
        assert before <= set(tmp_path.iterdir())
        long_ago = time.time() - 31 * 86_400
        for name in ("dead.dead", "alive.jsonl"):
            os.utime(tmp_path / name, (long_ago, long_ago))
        drivers.sweep(tmp_path)
        assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"alive"}
    finally:
        claim.drop(tmp_path / "alive.lock")


def test_a_profile_is_found_by_name_and_by_path(garden: Garden) -> None:
    project = Project(garden.root)
    by_name = drivers.command(project, "/b.sh", "local", "restart", force=True)
    by_path = drivers.command(project, "/b.sh", str(garden.root / "profiles/local"), "restart", force=True)
    assert by_name == by_path
    assert by_name[-4:] == ["--config", "batch=/b.sh", "mode=restart", "force=1"]
    with pytest.raises(UsageError):
        drivers.command(project, "b.sh", "nope", "restart", force=True)


NAMES = {
    "sweep.sh": "sweep",
    "a/sweep.sh": "a_sweep",
    "ROOT/a/sweep.sh": "a_sweep",
    "EXP/.heyhi/batches/grid.sh": "grid",
    "p/c02": "p_c02",
    "../x": "_x",
    ".": "runs",
    "x" * 300: "x" * 150,
    "a, b c": "a_b_c",
}


@pytest.mark.parametrize(("batch", "name"), NAMES.items(), ids=[name[:9] for name in NAMES])
def test_files_about_a_batch_are_named_by_its_script(garden: Garden, batch: str, name: str) -> None:
    project = Project(garden.root)
    typed = batch.replace("ROOT", str(garden.root)).replace("EXP", str(project.experiment_root))
    place = drivers.file_about(project, typed, "reports", ".html")
    assert place == project.experiment_root / ".heyhi" / "reports" / f"{name}.html"


# ---- Signals ------------------------------------------------------------------------------------


# A driver whose main thread waits for a lock, as Snakemake's does, and another thread gets the signal.
WAITING = """
import signal, sys, threading
from pathlib import Path
from heyhi.batch import drivers

def take_signal():
    signal.pthread_kill(threading.get_ident(), int(sys.argv[2]))
    threading.Event().wait()

drivers.record(Path(sys.argv[1]), "b.sh", lambda: print("stop"))
threading.Timer(0.3, take_signal).start()
try:
    threading.Semaphore(0).acquire()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    drivers.os._exit(0)
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, ["interrupted"]), (drivers._STOP, ["stop", "interrupted"])]
)
def test_a_signal_that_another_thread_got_wakes_a_driver(
    tmp_path: Path, number: int, said: list[str]
) -> None:
    words = [sys.executable, "-c", WAITING, str(tmp_path / "driver"), str(int(number))]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=20)
    assert done.stdout.split() == said


# As Snakemake's scheduler: its handler of SIGTERM takes the lock that its main thread holds for a while.
HOLDING = """
import os, signal, sys, threading, time
from pathlib import Path
from heyhi.batch import drivers

lock, is_told = threading.Lock(), threading.Event()

def exit_gracefully(*args):
    with lock:
        is_told.set()

signal.signal(signal.SIGTERM, exit_gracefully)
drivers.record(Path(sys.argv[1]), "b.sh", lambda: None)
with lock:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.2)
print(is_told.wait(10), flush=True)
"""


@pytest.mark.processes
def test_a_driver_that_is_terminated_while_it_notes_an_end_goes_on_to_its_own(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDING, str(tmp_path / "driver")]
    assert subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=20).stdout == "True\n"


@pytest.mark.parametrize("number", [signal.SIGINT, drivers._STOP])
def test_ctrl_c_ends_the_jobs_and_they_are_dead(garden: Garden, number: int) -> None:
    write_batch(garden, "fail=slow", "fail=spawn")
    driver = start_snakemake(garden)
    child = folder(garden, "fail=spawn") / "child.txt"
    wait_until(lambda: garden.executions() == 2 and child.exists() and bool(child.read_text()))
    driver.send_signal(number)
    out, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, out
    assert processes_of(garden) == []
    assert set(statuses(garden).values()) == {Status.DEAD}
    assert "interrupted: 2 runs were ended" in out
    assert out.count("DEAD (stopped with its driver)") == 2
    told = heyhi(garden, "status").out
    assert (
        re.findall(r"^DEAD .*(stopped with its driver)$", told, re.MULTILINE)
        == ["stopped with its driver"] * 2
    )
    # Nor does what they started live on.
    wait_until(lambda: not Path(f"/proc/{child.read_text()}/cmdline").exists(), 5)


def test_another_ctrl_c_kills_a_job_that_does_not_listen(garden: Garden) -> None:
    write_batch(garden, "fail=deaf")
    driver = start_snakemake(garden)
    wait_until((folder(garden, "fail=deaf") / "deaf.txt").exists)
    driver.send_signal(signal.SIGINT)
    time.sleep(1)
    assert driver.poll() is None
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=20)
    assert driver.returncode == 130, out
    assert set(statuses(garden).values()) == {Status.DEAD}
    assert "DEAD (stopped with its driver)" in out


def test_sigterm_waits_for_what_runs_and_starts_no_more(garden: Garden) -> None:
    write_batch(garden, *[f"seed={n}" for n in range(9)])
    go = garden.home / "go"
    driver = start_snakemake(garden, GARDEN_GO=str(go))
    wait_until(lambda: garden.executions() == 4)
    driver.terminate()
    said = read_until(driver, "no more runs are started")
    go.touch()
    out = said + driver.communicate(timeout=60)[0]
    assert driver.returncode == 1, out
    assert garden.executions() == garden.executions("end") == 4
    assert out.count("no more runs are started; waiting for those that run") == 1
    assert "4 of 9 runs are done" in out


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_the_jobs_of_a_driver_that_died_go_on_and_are_adopted(
    garden: Garden, tmp_path: Path, number: int
) -> None:
    write_batch(garden, "seed=1", "seed=2")
    go = garden.home / "go"
    driver = start_snakemake(garden, GARDEN_GO=str(go))
    wait_until(lambda: garden.executions() == 2)
    driver.send_signal(number)
    driver.communicate(timeout=20)
    assert len(processes_of(garden)) == 2
    second = start_snakemake(garden, cwd=tmp_path)
    said = read_until(second, "RUNNING")
    go.touch()
    out = said + second.communicate(timeout=60)[0]
    assert (second.returncode, garden.executions(), garden.executions("end")) == (0, 2, 2), out


def test_a_start_is_its_driver_so_that_signals_reach_it(garden: Garden) -> None:
    batch = write_batch(garden, "fail=slow")
    words = [sys.executable, "-m", "heyhi.commands", "start", str(batch)]
    start = subprocess.Popen(words, cwd=garden.root, env=garden.environment(), start_new_session=True)
    wait_until(lambda: garden.executions() == 1)
    start.send_signal(signal.SIGINT)
    assert start.wait(timeout=60) == 130
    assert processes_of(garden) == []


def test_a_driver_says_who_it_is_as_long_as_it_lives(garden: Garden) -> None:
    batch = write_batch(garden, "seed=1 seconds=1")
    driver = start_snakemake(garden)
    wait_until(lambda: garden.executions() == 1)
    (lock,) = living(garden)
    assert claim.holder(lock) == f"local:{this_host()}:{driver.pid}"
    assert json.loads(lock.with_suffix(".json").read_text())["batch"] == str(batch)
    driver.communicate(timeout=60)
    assert not list((garden.exp / ORDERS).iterdir())


# What Snakemake, YAML, shells or terminals give a meaning to.
ODD = ["{b}", "<results>", "a,b", "a\nb", "it's", '"', "*?[a]", "~", " x ", "$HOME`id`", "a: b #c", "-x"]
ODD += ["\x1b[31m", "caf\udce9", "\\"]


def test_runs_in_folders_of_odd_names_are_made_remade_and_waited_for(garden: Garden) -> None:
    lines = [f"seed={number} --out {shlex.quote(f'odd/{name}')}" for number, name in enumerate(ODD)]
    needed = shlex.quote(str(garden.exp / "odd" / ODD[0]))
    text = "\n".join(f"python run.py {shlex.join(CARROT)} {line}" for line in lines)
    text += f"\npython run.py {shlex.join(CARROT)} seed=99 --after {needed} --out 'after,it'\n"
    (garden.root / "batch.sh").write_bytes(os.fsencode(text))
    done = heyhi(garden, "start", "batch.sh")
    assert (done.status, "Traceback" in done.err) == (0, False), done.err
    assert garden.executions("end") == len(ODD) + 1
    for name in ODD:
        assert (garden.exp / "odd" / name / "result.json").is_file()
    assert "nothing to do" in heyhi(garden, "plan", "batch.sh").out
    done = heyhi(garden, "start", "batch.sh", "--mode", "restart", "--force")
    assert (done.status, garden.executions("end")) == (0, 2 * (len(ODD) + 1)), done.err


@pytest.mark.parametrize("name", ["res{u}", "a: b #c", "caf\udce9"])
def test_an_experiment_root_and_a_script_may_have_odd_names(garden: Garden, name: str) -> None:
    garden.more["HH_EXP_DIR"] = str(garden.home / name)
    batch = write_batch(garden, "seed=1", needing("seed=1"), 'seed=2 --after "$T"', name=f"{name}.sh")
    done = heyhi(garden, "start", str(batch))
    assert (done.status, garden.executions("end")) == (0, 2), done.err
    assert "Traceback" not in done.err
    assert (garden.home / name / ".heyhi" / "summaries").is_dir()
