"""Batches on a real Slurm: as arrays, after one another, whatever becomes of the driver, the code or Slurm.

HEYHI_SLURM_KILL_ROUNDS=20     how many rounds of random kills (2)
HEYHI_SLURM_KILL_SEED=123      one round, that of this seed, which a failure names
"""

import hashlib
import json
import os
import random
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from heyhi.launch import slurm
from heyhi.runs.ids import SUBMITTING
from heyhi.runs.processes import this_host
from heyhi.runs.status import Status, read_state
from tests.batches import (
    command,
    folder,
    needing,
    read_until,
    run_of,
    snakemake,
    start_snakemake,
    write_batch,
)
from tests.cluster import Cluster
from tests.conftest import Done, Garden, wait_until

pytestmark = pytest.mark.slurm

ROUNDS = int(os.environ.get("HEYHI_SLURM_KILL_ROUNDS", "2"))
SEED = os.environ.get("HEYHI_SLURM_KILL_SEED")
LOCAL, HELD = "launcher.local=SELECT", "launcher.slurm.extra.-1=--hold"
PROGRAMS = ("sbatch", "squeue", "scancel", "sacct", "scontrol")
Driver = subprocess.Popen[str]


class Task(NamedTuple):
    """A line of squeue."""

    id: str
    state: str


class Field:
    """A garden whose batch goes to a cluster. What is asked of Slurm is counted; its programs can be sick."""

    def __init__(self, garden: Garden, cluster: Cluster, programs: Path) -> None:
        self.garden, self.cluster, self.programs = garden, cluster, programs
        self.label = f"field{secrets.token_hex(4)}"  # jobs are named after their batch
        self.batch = f"{self.label}.sh"
        garden.more.update(cluster.environment(), PATH=f"{programs}:{os.environ['PATH']}")
        (garden.home / "alone").mkdir()
        programs.mkdir()
        for name in PROGRAMS:
            self._write_program(name)

    def _write_program(self, name: str) -> None:
        path = self.programs / name
        real = shutil.which(name) or f"/usr/bin/{name}"
        path.write_text(
            f'#!/bin/sh\nREAL={real}\necho "$*" >> {path}.calls\n'
            f'[ -e {path}.sick ] && . {path}.sick\nexec $REAL "$@"\n'
        )
        path.chmod(0o755)

    def sicken(self, name: str, script: str) -> None:
        """Run shell lines before one of Slurm's programs, or in its place."""
        (self.programs / f"{name}.sick").write_text(f"{script}\n")

    def heal(self, name: str) -> None:
        (self.programs / f"{name}.sick").unlink()

    def calls(self, name: str) -> list[str]:
        """The command lines with which it was called."""
        path = self.programs / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def write(self, *lines: str) -> None:
        write_batch(self.garden, *lines, name=self.batch)

    def __call__(self, *words: str, **env: str) -> Done:
        return snakemake(self.garden, *words, batch=self.batch, profile="slurm", cwd=self.garden.home, **env)

    def start(self, *words: str, **env: str) -> Driver:
        driver = start_snakemake(
            self.garden, *words, batch=self.batch, profile="slurm", cwd=self.garden.home, **env
        )
        self.garden.started.append(driver)
        return driver

    def heyhi(self, *words: str) -> Done:
        return self.garden.python("-m", "heyhi.commands", *words)

    def plan(self) -> str:
        return self.heyhi("plan", str(self.garden.root / self.batch)).out

    def tasks(self) -> list[Task]:
        """All jobs that the batch has, or had; a task of an array is one."""
        done = self.cluster.client(*["squeue", "--all", "--states=all", "--array", "-h", "--format=%i|%T|%j"])
        rows = [line.split("|") for line in done.stdout.splitlines()]
        return [Task(job, state) for job, state, name in rows if name.startswith(self.label)]

    def tell(self, *words: str) -> None:
        """scontrol or scancel, with the ids of all jobs of the batch as the last word or words."""
        ids = sorted({task.id.partition("_")[0] for task in self.tasks()})
        for job in ids:
            self.cluster.client(*words, job)

    def folder(self, overrides: str) -> Path:
        return folder(self.garden, overrides)

    def folders(self) -> list[Path]:
        return sorted(path.parent for path in self.garden.exp.glob("p/*/*/*/config.prototxt"))

    def states(self) -> Counter[str]:
        """How many runs there are of each status."""
        queue = slurm.ask_queue()
        return Counter(read_state(run_of(self.garden, path), queue).status.value for path in self.folders())

    def jobs(self) -> list[str]:
        """What is recorded of each run."""
        found = (run_of(self.garden, path).jobid for path in self.folders())
        return [path.read_text().strip() for path in found if path.exists()]

    def shown(self, path: Path) -> str:
        """What Slurm tells of the job of a run."""
        return self.cluster.client(
            "scontrol", "show", "job", run_of(self.garden, path).jobid.read_text()
        ).stdout

    def is_submitted(self, number: int) -> bool:
        jobs = self.jobs()
        return len(jobs) >= number and not any(job.startswith(SUBMITTING) for job in jobs)

    def executions(self) -> list[tuple[str, int, str]]:
        """(start or end, when, folder) of each execution; no two of one run ever met."""
        path = self.garden.count_file
        lines = [line.split(" ", 3) for line in path.read_text().splitlines()] if path.exists() else []
        assert not any(word == "meeting" for word, *_ in lines)
        return [(word, int(when), place) for word, _, when, place in lines]


MakeField = Callable[[Cluster], Field]


@pytest.fixture
def make_field(garden: Garden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeField]:
    """make_field(cluster): a field whose jobs end with the test."""
    made: list[Field] = []

    def make(cluster: Cluster) -> Field:
        monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
        made.append(Field(garden, cluster, tmp_path / "programs"))
        return made[-1]

    yield make
    for field in made:
        garden.end()
        field.tell("scancel")


@pytest.fixture
def field(make_field: MakeField, cluster: Cluster) -> Field:
    """A field on the cluster that all tests share."""
    return make_field(cluster)


@pytest.fixture
def own_cluster(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster of the test's own, with small arrays; what is done to it harms no other test."""
    own = Cluster(Path(tempfile.mkdtemp(prefix="heyhi-own-", dir="/tmp")))
    own.up(settings={"MaxArraySize": "20"})
    yield own
    own.down()


# ---- Where runs go ------------------------------------------------------------------------------


def keep_conf(field: Field) -> None:
    """Snakemake's executor drops SLURM_CONF on the node, where this cluster has no other place for it."""
    srun = field.programs / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={field.cluster.conf} exec /usr/bin/srun "$@"\n')
    srun.chmod(0o755)


@pytest.mark.parametrize("executor", ["heyhi-slurm", "slurm"])
def test_a_rule_of_the_users_and_snakemakes_own_executor_work_on_the_same_snakefile(
    make_field: MakeField, cluster: Cluster, executor: str
) -> None:
    field = make_field(cluster)
    keep_conf(field)
    (field.garden.root / "workflows/mine.smk").write_text(
        'rule weigh:\n    input:\n        runs.results("grow"),\n    output:\n        "weights.txt",\n'
        '    resources:\n        runtime=5,\n    shell:\n        "cat {input:q} > {output}"\n'
    )
    field.write("seed=1", needing("seed=1"), 'note="$T/mine.txt"')
    wait = ("--slurm-init-seconds-before-status-checks", "2")
    done = field("weigh", "--executor", executor, *wait)
    assert done.status == 0, done.err
    assert (field.garden.home / "weights.txt").read_text().count("note") == 2
    assert Counter(word for word, *_ in field.executions()) == {"start": 2, "end": 2}
    assert Counter(field.states()) == {"DONE": 2}


def test_runs_go_to_slurm_and_those_that_need_others_after_them(field: Field) -> None:
    first = "seed=1 seconds=0.5"
    lines = [first, "seed=2 launcher.slurm.partition=learnaccel", "seed=3", f"seed=4 {LOCAL}"]
    field.write(*lines, needing(first), 'note="$T/mine.txt"')
    done = field()
    assert done.status == 0, done.err
    assert field.states() == {"DONE": 5}
    jobs = field.jobs()
    assert sum(job.startswith("local:") for job in jobs) == 1
    assert len(field.tasks()) == 4
    _, *last = field.executions()[-2:]
    moments = {(word, Path(place).name): when for word, when, place in field.executions()}
    needed, needing_it = field.folder(first).name, Path(last[0][2]).name
    assert moments["end", needed] < moments["start", needing_it]
    assert field.calls("sacct") == []


def test_secrets_reach_tasks_also_after_a_requeue_and_different_ones_share_no_array(
    field: Field, tmp_path: Path
) -> None:
    vault, go = tmp_path / "vault", field.garden.home / "go"
    vault.mkdir()
    secret = {name: f"canary-{secrets.token_hex(8)}" for name in ("one", "two")}
    for name, value in secret.items():
        (vault / name).write_text(value)
    field.write(
        *[f"seed={number} fail=hash" for number in (1, 2)],
        f"!export HF_TOKEN=$(cat {vault}/one) A=1",
        *[f"seed={number} fail=hash" for number in (3, 4)],
        f"!HF_TOKEN=$(cat {vault}/two) python run.py -c conf/beds/carrot.prototxt seed=5 fail=hash",
    )
    driver = field.start(GARDEN_GO=str(go))
    wait_until(lambda: len(field.executions()) == 5)
    array = {number: array_of(field, number) for number in range(1, 6)}
    assert array[1] == array[2] != array[3] == array[4] != array[5] != array[1]
    requeued = (field.folder("seed=5 fail=hash") / "heyhi.jobid").read_text()
    field.cluster.client("scontrol", "requeue", requeued)
    wait_until(lambda: len(field.executions()) == 6, 90)
    go.touch()
    out, _ = driver.communicate(timeout=90)
    assert driver.returncode == 0, out
    for number, value in enumerate(["", "", secret["one"], secret["one"], secret["two"]], 1):
        told = (field.folder(f"seed={number} fail=hash") / "hash.txt").read_text()
        assert told == hashlib.sha256(value.encode()).hexdigest()
    provenance = json.loads((field.folder("seed=3 fail=hash") / "heyhi.json").read_text())
    assert provenance["environment"] == {"A": "1", "HF_TOKEN": True}
    files = [p for place in (field.garden.root, field.garden.home) for p in place.rglob("*") if p.is_file()]
    assert not [path for path in files if b"canary-" in path.read_bytes()]
    assert not any("canary-" in line for name in PROGRAMS for line in field.calls(name))
    assert "canary-" not in out


def test_snakemakes_own_executor_hands_on_a_secret_that_all_runs_have(field: Field, tmp_path: Path) -> None:
    keep_conf(field)
    (tmp_path / "secret").write_text(secret := f"canary-{secrets.token_hex(8)}")
    field.write(f"!export HF_TOKEN=$(cat {tmp_path}/secret)", "seed=1 fail=hash")
    done = field("--executor", "slurm", "--slurm-init-seconds-before-status-checks", "2")
    assert done.status == 0, done.err
    told = (field.folder("seed=1 fail=hash") / "hash.txt").read_text()
    assert told == hashlib.sha256(secret.encode()).hexdigest()


def array_of(field: Field, number: int) -> str:
    """The number of the job that a run is, or is a task of."""
    return (field.folder(f"seed={number} fail=hash") / "heyhi.jobid").read_text().partition("_")[0]


DEFAULTS = {
    "of the profile": ([], {"MinMemoryNode": "4000M", "NumCPUs": "1", "Partition": "debug"}),
    "given": (
        ["--default-resources", "mem_mb=2000", "cpus_per_task=2", "runtime=7", "slurm_partition=learnaccel"],
        {"MinMemoryNode": "2000M", "NumCPUs": "2", "Partition": "learnaccel", "TimeLimit": "00:07:00"},
    ),
    "set for the rule": (
        ["--set-resources", "launch:mem_mb=3000"],
        {"MinMemoryNode": "3000M", "NumCPUs": "1", "Partition": "debug"},
    ),
}


@pytest.mark.parametrize(("words", "asked"), DEFAULTS.values(), ids=DEFAULTS)
def test_a_run_without_launcher_gets_the_default_resources(
    field: Field, words: list[str], asked: dict[str, str]
) -> None:
    field.write("seed=1")
    config = [f"batch={field.garden.root / field.batch}"]
    own = command(field.garden, batch=field.batch, profile="slurm")
    done = field.garden.python(*own[1 : own.index("--config")], *words, "--config", *config)
    assert done.status == 0, done.err
    told = dict(re.findall(r"(\w+)=(\S+)", field.shown(field.folder("seed=1"))))
    assert {name: told[name] for name in asked} == asked


def test_runs_whose_launcher_is_local_stay_here_at_most_local_cores_at_once(field: Field) -> None:
    field.write(*[f"seed={number} seconds=0.7 {LOCAL}" for number in range(5)])
    done = field()
    assert done.status == 0, done.err
    assert field.tasks() == []
    living, most = 0, 0
    for word, *_ in sorted(field.executions(), key=lambda each: each[1]):
        living += 1 if word == "start" else -1
        most = max(most, living)
    assert most == 2


def test_a_rule_of_the_users_own_works_beside_the_runs(field: Field) -> None:
    field.write("seed=1")
    garden = field.garden
    (garden.root / "workflows" / "mine.smk").write_text(
        'rule count:\n    input:\n        runs.results("grow"),\n'
        f'    output:\n        "{garden.home}/counted.txt",\n'
        '    localrule: True\n    shell:\n        "ls {input:q} | wc -l > {output:q}"\n'
    )
    done = field(f"{garden.home}/counted.txt")
    assert done.status == 0, done.err
    assert (garden.home / "counted.txt").read_text().strip() == "1"
    assert field.states() == {"DONE": 1}


# ---- Queued jobs need nothing of what the user works on -------------------------------------------


def test_queued_jobs_are_immune_to_what_becomes_of_the_working_tree(field: Field) -> None:
    field.write(f"seed=1 fail=modules {HELD}", f"seed=2 {HELD}")
    place = field.folder(f"seed=1 fail=modules {HELD}")
    driver = field.start()
    wait_until(lambda: field.is_submitted(2))
    shutil.rmtree(field.garden.root)
    field.tell("scontrol", "release")
    out, _ = driver.communicate(timeout=200)
    assert driver.returncode == 0, out
    assert field.states() == {"DONE": 2}
    # The node does without Snakemake, and what it runs is the copy.
    modules = json.loads((place / "modules.json").read_text())
    assert "heyhi.launch.ranks" in modules
    assert not [name for name in modules if name.startswith("snakemake")]


# ---- Arrays -------------------------------------------------------------------------------------


def test_runs_of_equal_needs_are_one_array_of_which_each_task_is_by_itself(field: Field) -> None:
    small = [f"seed={number}" for number in range(40)]
    large = [f"seed={number} launcher.slurm.cpus_per_gpu=2" for number in range(18)]
    failing, slow = "seed=50 fail=raise", "seed=51 fail=slow"
    field.write(*small, *large, failing, slow)
    began = time.monotonic()
    driver = field.start()
    cancelled = run_of(field.garden, field.folder(slow))
    wait_until(lambda: cancelled.jobid.exists() and (cancelled.folder / "mine.txt").exists(), 60)
    job = cancelled.jobid.read_text()
    assert re.fullmatch(r"\d+_\d+", job)
    field.cluster.client("scancel", job)
    out, _ = driver.communicate(timeout=200)
    took = time.monotonic() - began
    assert driver.returncode == 1, out
    assert field.states() == {"DONE": 58, "DEAD": 2}
    assert len(field.calls("sbatch")) == 2
    assert len(field.calls("squeue")) <= 3 + took / 10
    assert field.calls("sacct") == []
    assert "ValueError: too dry" in (field.folder(failing) / "error.txt").read_text()
    assert "growing carrot" in (field.folder(small[7]) / "run.log").read_text()
    told = [line for line in out.splitlines() if "DEAD" in line]
    assert any("too dry" in line for line in told)
    assert any("ended by SIGTERM (Slurm: CANCELLED)" in line for line in told)


def test_no_array_is_larger_than_slurm_allows(make_field: MakeField, own_cluster: Cluster) -> None:
    field = make_field(own_cluster)
    field.write(*[f"seed={number}" for number in range(24)])
    done = field()
    assert done.status == 0, done.err
    assert field.states() == {"DONE": 24}
    assert sorted(re.findall(r"--array=\S+", " ".join(field.calls("sbatch")))) == [
        "--array=0-19",
        "--array=0-3",
    ]


# ---- What is asked for again, or only asked ------------------------------------------------------


def test_a_dry_run_changes_nothing_and_asks_for_the_queue_once(field: Field) -> None:
    field.write(f"seed=1 {HELD}", "seed=2")
    driver = field.start()
    wait_until(lambda: field.is_submitted(2))
    driver.kill()
    driver.wait()
    wait_until(lambda: field.states() == {"DONE": 1, "QUEUED": 1})
    before = {name: len(field.calls(name)) for name in PROGRAMS}
    known = {path: path.stat().st_mtime_ns for path in field.garden.exp.rglob("*")}
    for words in (["-n"], ["-n", "--forceall"], ["-n", "mode=restart"]):
        done = field(*words)
        assert done.status == 0, done.err
    assert {path: path.stat().st_mtime_ns for path in field.garden.exp.rglob("*")} == known
    asked = {name: len(field.calls(name)) - before[name] for name in ("sbatch", "squeue", "scancel")}
    assert asked == {"sbatch": 0, "squeue": 3, "scancel": 0}


@pytest.mark.parametrize("words", [["--forceall"], ["mode=restart"]], ids=["forceall", "mode=restart"])
def test_what_is_forced_is_cancelled_wiped_and_submitted_anew(field: Field, words: list[str]) -> None:
    lines = [f"seed=1 {HELD}", "seed=2"]
    field.write(*lines)
    driver = field.start()
    wait_until(lambda: field.is_submitted(2) and field.states()["DONE"] == 1)
    driver.kill()
    driver.wait()
    old = dict(zip(field.folders(), field.jobs(), strict=True))
    (field.folder(lines[1]) / "left.txt").touch()
    if words == ["mode=restart"]:  # Snakemake's own forcing is a word of its own
        assert "add --force (snakemake: --config force=1)" in field(*words).err
    driver = field.start(*words, "force=1")
    wait_until(lambda: field.is_submitted(2) and not set(field.jobs()) & set(old.values()), 60)
    for task in field.tasks():
        if task.state == "PENDING":
            field.cluster.client("scontrol", "release", task.id)
    out, _ = driver.communicate(timeout=200)
    assert driver.returncode == 0, out
    assert field.states() == {"DONE": 2}
    assert not (field.folder(lines[1]) / "left.txt").exists()
    states = {task.id: task.state for task in field.tasks()}
    assert states[old[field.folder(lines[0])]] == "CANCELLED"
    assert len(field.executions()) == 6


# ---- The driver dies ----------------------------------------------------------------------------

# What sbatch does that is called by a driver that dies at that moment; how often it is called in all.
DEATHS = {
    "before it": ("kill -9 $PPID; exit 1", 2),
    # What it is to submit it has read by then.
    "and it goes on": ('text=$(cat); kill -9 $PPID; sleep 1; echo "$text" | $REAL "$@"; exit', 1),
    "after it": ('$REAL "$@"; kill -9 $PPID; exit', 1),
}


@pytest.mark.parametrize(("script", "calls"), DEATHS.values(), ids=DEATHS)
def test_a_driver_may_die_at_its_submission(field: Field, script: str, calls: int) -> None:
    field.write(*[f"seed={number} {HELD}" for number in range(4)])
    field.sicken("sbatch", script)
    driver = field.start()
    driver.communicate(timeout=200)
    assert driver.returncode == -signal.SIGKILL
    field.heal("sbatch")
    wait_until(lambda: len(field.tasks()) == (4 if calls == 1 else 0))
    driver = field.start()
    said = read_until(driver, "4 to wait for" if calls == 1 else "4 to start")
    wait_until(lambda: len(field.tasks()) == 4)
    field.tell("scontrol", "release")
    out = said + driver.communicate(timeout=200)[0]
    assert driver.returncode == 0, out
    assert field.states() == {"DONE": 4}
    assert Counter(word for word, *_ in field.executions()) == {"start": 4, "end": 4}
    assert len(field.calls("sbatch")) == calls


@pytest.mark.parametrize("number", range(1 if SEED else ROUNDS))
def test_whenever_drivers_die_each_run_is_done_once(field: Field, number: int) -> None:
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**9)
    rng = random.Random(seed)
    print(f"HEYHI_SLURM_KILL_SEED={seed}")
    lines = [f"seed={n} seconds={rng.uniform(0, 3):.2f}" for n in range(44)]
    needs = [needing(lines[0]), *[f'note="$T/mine.txt" seed={n}' for n in range(6)]]
    field.write(*lines, *needs)
    for _ in range(rng.randint(1, 3)):
        driver, after = field.start(), rng.uniform(1.5, 8)
        blow = rng.choice([signal.SIGKILL, signal.SIGHUP])
        print(f"{blow.name} after {after:.2f} s")
        time.sleep(after)
        driver.send_signal(blow)
        driver.communicate(timeout=200)
    done = field()
    assert done.status == 0, done.err
    assert field.states() == {"DONE": 50}
    assert Counter(word for word, *_ in field.executions()) == {"start": 50, "end": 50}


def queued_field(field: Field) -> set[str]:
    """Three runs in the queue, whose driver is dead: their jobs."""
    field.write(*[f"seed={number} {HELD}" for number in range(3)])
    driver = field.start()
    wait_until(lambda: field.is_submitted(3))
    driver.send_signal(signal.SIGHUP)
    driver.communicate(timeout=200)
    field.write(*[f"seed={number} {HELD}" for number in range(6)])
    return set(field.jobs())


def stop(field: Field, driver: Driver) -> None:
    done = field.heyhi("stop")
    assert done.status == 0, done.err


def interrupt(field: Field, driver: Driver) -> None:
    driver.send_signal(signal.SIGINT)


@pytest.mark.parametrize("end", [interrupt, stop])
def test_a_driver_that_is_stopped_cancels_what_it_submitted_and_nothing_else(
    field: Field, end: Callable[[Field, Driver], None]
) -> None:
    adopted = queued_field(field)
    driver = field.start()
    wait_until(lambda: field.is_submitted(6))
    end(field, driver)
    out, _ = driver.communicate(timeout=200)
    assert driver.returncode == 130, out
    assert "interrupted: 3 runs were cancelled in Slurm" in out
    states = {task.id: task.state for task in field.tasks()}
    assert {job for job, state in states.items() if state == "PENDING"} == adopted
    assert set(states.values()) == {"PENDING", "CANCELLED"}
    assert out.count("DEAD (stopped with its driver)") == 3
    assert field.heyhi("status").out.count("stopped with its driver") == 3


ANSWERS = {
    "yes": ("y", "CANCELLED"),
    "no": ("n", "PENDING"),
    "enter": ("", "PENDING"),
    "stop": (None, "CANCELLED"),
}


@pytest.mark.parametrize(("answer", "state"), ANSWERS.values(), ids=ANSWERS)
def test_on_a_terminal_the_user_is_asked_what_becomes_of_the_jobs(
    field: Field, answer: str | None, state: str
) -> None:
    import pexpect

    field.write(f"seed=1 {HELD}", f"seed=2 {HELD}")
    words = command(field.garden, batch=field.batch, profile="slurm")
    child = pexpect.spawn(
        words[0],
        words[1:],
        env=field.garden.environment(),
        cwd=field.garden.root,
        timeout=100,
        encoding="utf-8",
    )
    try:
        wait_until(lambda: field.is_submitted(2))
        if answer is None:
            assert field.heyhi("stop").status == 0
        else:
            child.sendintr()
            child.expect_exact("2 runs of this call are in Slurm. Cancel them?")
            child.sendline(answer)
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 130
    assert {task.state for task in field.tasks()} == {state}


# ---- Slurm is sick ------------------------------------------------------------------------------


def test_what_sbatch_refuses_fails_with_its_words_and_the_next_call_tries_again(field: Field) -> None:
    field.write("seed=1", "seed=2 launcher.slurm.partition=nowhere", f"seed=3 {LOCAL}")
    for attempt in (1, 2):
        done = field()
        assert done.status == 1, done.err
        assert "not submitted: sbatch: invalid partition specified: nowhere" in done.err
        assert field.states() == {"DONE": 2, "NOT_STARTED": 1}
        assert sum("nowhere" in call for call in field.calls("sbatch")) == attempt


def test_a_run_whose_folder_cannot_be_made_ready_harms_no_other_of_its_array(field: Field) -> None:
    field.write("seed=1", "seed=2", "seed=3")
    dead = field.folder("seed=2")
    (dead / "inner").mkdir(parents=True)
    (dead / "heyhi.json").write_text("{}")
    for path in (dead / "heyhi.jobid", dead / "inner" / "heyhi.jobid"):
        path.write_text(f"local:{this_host()}:99999999")
    done = field("mode=start_restart")
    assert done.status == 1
    assert f"not submitted: {dead}: {dead}/inner is another run, in it; nothing was wiped" in done.err
    assert field.states() == {"DONE": 2, "DEAD": 1}
    assert len(field.calls("sbatch")) == 1


def test_a_queue_that_cannot_be_seen_is_waited_for(field: Field) -> None:
    field.write("seed=1", "seed=2 seconds=2")
    field.sicken("squeue", "exec sleep 100")
    done = field()
    assert done.status == 0, done.err
    assert field.states() == {"DONE": 2}


def test_nobody_knows_what_came_of_a_submission_until_slurm_answers(field: Field) -> None:
    field.write("seed=1", "seed=2")
    field.sicken("sbatch", "echo 'sbatch: error: Batch job submission failed: Socket timed out' >&2; exit 1")
    field.sicken("squeue", "exit 1")
    driver = field.start()
    said = read_until(driver, "trying again until Slurm answers")
    for name in ("sbatch", "squeue"):
        field.heal(name)
    out = said + driver.communicate(timeout=200)[0]
    assert driver.returncode == 0, out
    assert field.states() == {"DONE": 2}
    assert out.count("trying again") == 1
    assert Counter(word for word, *_ in field.executions()) == {"start": 2, "end": 2}


def test_a_controller_that_is_down_is_waited_for(make_field: MakeField, own_cluster: Cluster) -> None:
    field = make_field(own_cluster)
    field.write(f"seed=1 {HELD}")
    driver = field.start()
    wait_until(lambda: field.is_submitted(1))
    own_cluster.kill_daemon("slurmctld", signal.SIGTERM)
    time.sleep(12)  # it polls while there is no answer
    assert driver.poll() is None
    driver.kill()
    driver.wait()
    field.write(f"seed=1 {HELD}", "seed=2")
    plan = field.plan()
    assert "Slurm cannot be asked about its job" in plan
    driver = field.start()
    said = read_until(driver, "trying again until Slurm answers")
    own_cluster.up(settings={"MaxArraySize": "20"})
    field.tell("scontrol", "release")
    out = said + driver.communicate(timeout=200)[0]
    assert driver.returncode == 0, out
    assert field.states() == {"DONE": 2}
    assert out.count("trying again") == 1
    assert Counter(word for word, *_ in field.executions()) == {"start": 2, "end": 2}


def test_a_job_that_has_got_the_id_of_a_lost_one_is_a_strangers(
    make_field: MakeField, own_cluster: Cluster
) -> None:
    field = make_field(own_cluster)
    field.write(f"seed=1 {HELD}")
    driver = field.start()
    wait_until(lambda: field.is_submitted(1))
    driver.kill()
    driver.wait()
    (lost,) = field.jobs()
    own_cluster.kill_daemon("slurmctld")
    shutil.rmtree(own_cluster.dir / "state")
    (own_cluster.dir / "state").mkdir()
    own_cluster.up(settings={"MaxArraySize": "20"})
    sbatch = ("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true")
    wait_until(lambda: own_cluster.client(*sbatch).stdout.strip() == lost)
    assert field.states() == {"DEAD": 1}
    assert field().status == 1
    driver = field.start("mode=start_restart")
    wait_until(lambda: field.is_submitted(1) and field.jobs() != [lost])
    field.tell("scontrol", "release")
    out, _ = driver.communicate(timeout=200)
    assert driver.returncode == 0, out
    assert field.states() == {"DONE": 1}
    assert "PENDING" in own_cluster.client("squeue", "-h", "--format=%T", "-j", lost).stdout
    assert Status.DONE.value in field.plan()


@pytest.fixture(scope="module")
def accounts() -> Iterator[Cluster]:
    """A cluster with accounting, where the QOS `tiny` lets a user have one job; squeue soon forgets ends."""
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="heyhi-own-", dir="/tmp")))
    cluster.up(accounting=True, settings={"MinJobAge": "5"})
    yield cluster
    cluster.down()


def test_more_runs_than_may_be_in_the_queue_go_one_after_another(
    accounts: Cluster, make_field: MakeField
) -> None:
    field = make_field(accounts)
    field.write(*[f"seed={n} launcher.slurm.qos=tiny" for n in range(3)])
    done = field()
    assert done.status == 0, done.err
    assert "QOSMaxSubmitJobPerUserLimit" in done.err
    assert done.err.count("trying again as jobs end") >= 1
    assert Counter(word for word, *_ in field.executions()) == {"start": 3, "end": 3}


def test_an_account_that_there_is_not_is_refused_in_slurms_words(
    accounts: Cluster, make_field: MakeField
) -> None:
    field = make_field(accounts)
    field.write("seed=9 launcher.slurm.account=nobodys")
    refused = field()
    assert refused.status == 1
    assert "Invalid account" in refused.err
    assert field.states() == {"NOT_STARTED": 1}


def test_of_runs_that_left_the_queue_unseen_the_accounting_tells_what_they_died_of(
    accounts: Cluster, make_field: MakeField
) -> None:
    field = make_field(accounts)
    field.write("fail=kill", "fail=slow", f"seed=1 {HELD}")
    driver = field.start()
    wait_until(lambda: len(field.executions()) == 2 and field.is_submitted(3))
    driver.kill()
    driver.communicate()
    accounts.client("scancel", run_of(field.garden, field.folder(f"seed=1 {HELD}")).jobid.read_text().strip())
    accounts.client("scancel", run_of(field.garden, field.folder("fail=slow")).jobid.read_text().strip())
    wait_until(lambda: not field.tasks(), 300)
    reasons = {
        "Slurm: CANCELLED by root": 2,
        "ended by SIGKILL (out of memory?)": 1,
        "  ended by SIGTERM (Slurm: CANCELLED by root)": 1,
    }
    told = field.heyhi("status").out
    if list(reasons.values()) != [told.count(reason) for reason in reasons]:
        time.sleep(10)  # the accounting lags behind
        told = field.heyhi("status").out
    assert list(reasons.values()) == [told.count(reason) for reason in reasons], told
    asked = len(field.calls("sacct"))
    assert field.heyhi("status").out.count("Slurm: ") == 3
    assert len(field.calls("sacct")) == asked, "it is asked no more once it has answered"
    accounts.kill_daemon("slurmdbd")
    assert field.plan().count("Slurm: ") == 3
    accounts.start_daemon("slurmdbd")


# ---- A full disk --------------------------------------------------------------------------------


def test_a_result_that_found_no_room_is_moved_in_by_the_next_driver(
    field: Field, small_disk: Callable[[int], Path]
) -> None:
    garden = field.garden
    garden.exp = small_disk(1000)
    garden.more.update(HEYHI_WAIT_FOR_ROOM="0", HEYHI_KEEP_DIR=str(garden.home / "kept"))
    field.write("fail=fill", needing("fail=fill"), "note=$T/mine.txt")
    first = field()
    (kept,) = (garden.home / "kept").iterdir()
    assert first.status == 1
    assert f"DONE (result at {kept}): make room, and start the batch again" in first.err
    assert f"waits until the result of p/beds/carrot/fail@fill_b4102b05 is moved in from {kept}" in first.err
    next(garden.exp.rglob("filler")).unlink()
    done = field()
    assert done.status == 0, done.err
    assert "all 2 runs are done" in done.err
    assert garden.executions() == 2
    assert not kept.exists()
