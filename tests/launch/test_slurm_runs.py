"""Single runs on a real Slurm cluster: submitted, found again, killed at any moment, in ranks, requeued."""

import hashlib
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heyhi.runs.deaths import cause
from heyhi.runs.folder import Run
from tests.cluster import Cluster
from tests.conftest import Done, Garden, wait_until
from tests.tasks.small_tasks import SMALL, TRAIN, run_folder, run_py

pytestmark = pytest.mark.slurm

CARROT = ("-c", "conf/beds/carrot.prototxt")
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"}
LATER = "launcher.slurm.extra.0=--begin=now+3600"


class Plot:
    """One run of the garden, by its command line; its jobs are known in the queue by their comment."""

    def __init__(self, garden: Garden, cluster: Cluster, *overrides: str) -> None:
        self.garden = garden
        self.cluster = cluster
        self.comment = secrets.token_hex(4)
        self.words = (*CARROT, f"launcher.slurm.comment={self.comment}", *overrides)
        self.folder = garden.folder(*self.words)
        self.run = Run("", self.folder)
        self.go = garden.home / "go"

    def __call__(self, *more: str, **env: str) -> Done:
        return self.garden(*self.words, *more, env=env)

    def jobs(self) -> dict[str, str]:
        """All jobs that there are, or were, and their states."""
        done = self.cluster.client("squeue", "-a", "-t", "all", "-h", "-o", "%i|%T|%k")
        assert done.returncode == 0, done.stderr
        lines = (line.split("|") for line in done.stdout.splitlines())
        return {job: state for job, state, comment in lines if comment == self.comment}

    def alive(self) -> list[str]:
        return [job for job, state in self.jobs().items() if state not in ENDED]

    def state(self) -> str:
        """What its command line says that it is."""
        match = re.search(r"^\S+: ([A-Z_]+)", self("--mode", "dryrun").err, re.MULTILINE)
        assert match
        return match[1]

    def starts(self) -> list[str]:
        return [start["status"] for start in json.loads(self.run.provenance.read_text())["starts"]]

    def started(self, times: int = 1) -> None:
        wait_until(lambda: self.garden.executions() >= times)

    def ended(self) -> None:
        wait_until(lambda: not self.alive())


MakePlot = Callable[..., Plot]


@pytest.fixture
def plot(slurm_garden: Garden, cluster: Cluster) -> Iterator[MakePlot]:
    """plot("lr=1"): a run on the cluster that all tests share."""
    made: list[Plot] = []

    def make(*overrides: str) -> Plot:
        made.append(Plot(slurm_garden, cluster, *overrides))
        return made[-1]

    yield make
    for each in made:
        if alive := each.alive():
            cluster.client("scancel", *alive)


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """A cluster of this file's: its nodes may be lost, and a requeued job waits no more than some seconds."""
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="hh-")))
    bring_up(cluster)
    yield cluster
    cluster.down()


def bring_up(cluster: Cluster) -> None:
    cluster.up(settings={"AuthInfo": f"socket={cluster.dir}/munge.socket,cred_expire=5"})


@pytest.fixture
def own_plot(garden: Garden, own_cluster: Cluster) -> Iterator[MakePlot]:
    """own_plot("lr=1"): a run on a cluster whose nodes may be lost; the next test has them again."""
    garden.more.update(own_cluster.environment())
    yield lambda *overrides: Plot(garden, own_cluster, *overrides)
    bring_up(own_cluster)


def sbatch_that(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script in place of sbatch. What it calls as `sbatch` is the real one."""
    real = subprocess.run(["which", "sbatch"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "bin").mkdir()
    program = folder / "bin" / "sbatch"
    program.write_text(f'#!/bin/bash\nsbatch() {{ {real} "$@"; }}\n{text}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


# ---- One run ------------------------------------------------------------------------------------


def test_a_run_is_submitted_once_and_its_command_line_tells_its_state(plot: MakePlot) -> None:
    carrot = plot()
    first = carrot(GARDEN_GO=str(carrot.go))
    assert first.status == 0, first.err
    (job,) = carrot.alive()
    assert first.status == 0, first.err
    assert first.err.count(f"  folder {carrot.folder}\n") == 1
    assert f"  submitted: job {job}\n  tail -F {shlex.quote(str(carrot.run.log))}\n" in first.err
    assert carrot.run.jobid.read_text() == job
    assert re.search(rf": (QUEUED|RUNNING) \({job}\)", first.err)
    carrot.started()
    again = carrot()
    assert (again.status, again.err.count(f"RUNNING ({job})")) == (0, 1)
    carrot.go.touch()
    carrot.ended()
    last = carrot()
    assert (last.status, last.out.splitlines()[0]) == (0, "lr: 0.5")
    assert list(carrot.jobs()) == [job]
    assert carrot.garden.executions() == 1
    assert carrot.starts() == ["DONE"]


def test_what_a_task_prints_is_in_its_log_at_once(plot: MakePlot) -> None:
    carrot = plot("note=ripe")
    carrot.garden.more["PYTHONUNBUFFERED"] = ""
    carrot(GARDEN_GO=str(carrot.go))
    wait_until(lambda: carrot.run.log.exists() and "growing ripe\n" in carrot.run.log.read_text())
    assert carrot.alive()
    carrot.go.touch()


def test_a_launcher_that_cannot_be_is_refused_before_anything_is_written(plot: MakePlot) -> None:
    done = plot("launcher.slurm.num_gpus=12")()
    assert done.status == 2
    assert "num_gpus: 12 GPUs are more than a node has" in done.err
    assert not plot().garden.exp.exists()


def test_what_sbatch_refuses_is_not_started(plot: MakePlot) -> None:
    carrot = plot("launcher.slurm.partition=jungle")
    done = carrot()
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("error: sbatch: ")
    assert "invalid partition specified: jungle" in done.err
    assert carrot.state() == "NOT_STARTED"
    assert not carrot.run.jobid.exists()
    assert not carrot.jobs()


@pytest.mark.parametrize(("overrides", "state"), [((), "RUNNING"), ((LATER,), "QUEUED")])
def test_restart_of_a_job_that_lives_cancels_it_and_needs_force(
    plot: MakePlot, overrides: tuple[str, ...], state: str
) -> None:
    carrot = plot(*overrides)
    carrot(GARDEN_GO=str(carrot.go))
    if state == "RUNNING":
        carrot.started()
    (carrot.folder / "old.txt").touch()
    (old,) = carrot.alive()
    refused = carrot("--mode", "restart")
    assert (refused.status, carrot.alive()) == (2, [old])
    assert f"is {state}: 1 run would be wiped; add --force to do it" in refused.err
    done = carrot("--mode", "restart", "--force")
    assert done.status == 0, done.err
    (new,) = carrot.alive()
    assert new != old
    assert carrot.run.jobid.read_text() == new
    assert not (carrot.folder / "old.txt").exists()
    assert carrot.jobs()[old] == "CANCELLED"


@pytest.mark.parametrize(("fail", "status"), [("", 0), ("raise", 1)])
def test_wait_ends_with_the_status_of_the_task(plot: MakePlot, fail: str, status: int) -> None:
    carrot = plot(f"fail={fail}")
    done = carrot("--wait")
    assert done.status == status
    if status:
        assert "DEAD: Slurm: FAILED" in done.err
        assert "last error: ValueError: too dry" in done.err
        assert "--mode start_continue" in done.err
        assert carrot.run.log.read_text().count("ValueError: too dry") == 1
    else:
        assert "lr: 0.5\n" in done.out


def test_interrupted_wait_leaves_the_job_alone(plot: MakePlot) -> None:
    carrot = plot()
    waiting = carrot.garden.popen(*carrot.words, "--wait", env={"GARDEN_GO": str(carrot.go)})
    carrot.started()
    (job,) = carrot.alive()
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    assert f"({job}): it goes on" in err
    carrot.go.touch()
    assert carrot("--wait").status == 0
    assert carrot.garden.executions() == 1


def test_a_job_that_is_cancelled_while_it_waits_is_dead(plot: MakePlot) -> None:
    carrot = plot(LATER)
    carrot()
    carrot.cluster.client("scancel", *carrot.alive())
    carrot.ended()
    done = carrot()
    assert done.status == 1
    assert "DEAD: Slurm: CANCELLED" in done.err
    assert carrot.garden.executions() == 0


def test_a_job_that_is_cancelled_while_it_runs_has_its_end_on_record(plot: MakePlot) -> None:
    carrot = plot("fail=slow")
    carrot()
    carrot.started()
    carrot.cluster.client("scancel", *carrot.alive())
    carrot.ended()
    done = carrot()
    assert done.status == 1
    assert "DEAD: Slurm: CANCELLED" in done.err
    assert cause(carrot.run) == "ended by SIGTERM (Slurm: CANCELLED)"
    assert carrot.starts() == ["DEAD"]
    assert carrot("--mode", "start_restart", "--wait", GARDEN_FAST="1").status == 0


@pytest.mark.parametrize("is_waiting", [True, False])
def test_a_job_that_heyhi_kills_says_so(plot: MakePlot, is_waiting: bool) -> None:
    carrot = plot("fail=slow", *([LATER] if is_waiting else []))
    carrot()
    if not is_waiting:
        carrot.started()
    done = carrot.garden.python("-m", "heyhi.commands", "kill", str(carrot.folder))
    assert done.status == 0, done.err
    assert "stopped by heyhi kill" in carrot().err
    assert carrot.run.error.exists() is not is_waiting
    assert cause(carrot.run) == "stopped by heyhi kill"


def test_a_kill_that_slurm_refuses_leaves_no_word_of_it(
    plot: MakePlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrot = plot(LATER)
    carrot()
    (tmp_path / "scancel").write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    (tmp_path / "scancel").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = carrot.garden.python("-m", "heyhi.commands", "kill", str(carrot.folder))
    assert (done.status, "cannot be cancelled: no" in done.err) == (1, True)
    assert not list(carrot.folder.glob("ended.*"))
    assert carrot.state() == "QUEUED"


def test_a_job_that_was_killed_without_a_word_was_killed_as_slurm_says(plot: MakePlot) -> None:
    carrot = plot("fail=kill")
    told = "DEAD: Slurm: FAILED: ended by SIGKILL (out of memory?)"
    assert told in carrot("--wait").err
    (record,) = carrot.folder.glob("ended.*.json")
    assert json.loads(record.read_text())["by"] == "Slurm"
    (start,) = json.loads(carrot.run.provenance.read_text())["starts"]
    assert record.name == f"ended.{start['id']}.json"
    assert carrot("--mode", "start_continue", "--wait").status == 1
    assert len(list(carrot.folder.glob("ended.*.json"))) == 2


def test_an_error_of_before_is_not_that_of_a_job_that_was_never_started(plot: MakePlot) -> None:
    carrot = plot("fail=once")
    assert carrot("--wait").status == 1
    assert cause(carrot.run) == "ValueError: too dry"
    carrot("--mode", "start_continue", SBATCH_HOLD="1")
    carrot.cluster.client("scancel", *carrot.alive())
    carrot.ended()
    assert "DEAD: Slurm: CANCELLED" in carrot().err
    assert cause(carrot.run) == "Slurm: CANCELLED"


def test_a_job_takes_all_from_its_folder(
    make_garden: Callable[[str], Garden], cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its node HH_EXP_DIR is another one; and the names have spaces and quotes."""
    garden = make_garden("it's a garden")
    garden.more.update(cluster.environment())
    sbatch_that(tmp_path, 'sbatch "$@" --export=ALL,HH_EXP_DIR=/nowhere', monkeypatch)
    carrot = Plot(garden, cluster, "fail=tell", "note=it's $HOME")
    assert carrot("--wait").status == 0
    assert json.loads((carrot.folder / "environment.json").read_text())["HH_EXP_DIR"] == "/nowhere"
    assert json.loads(carrot.run.result.read_text())["note"] == "it's $HOME"


# ---- Inside another job -------------------------------------------------------------------------


def test_within_a_step_a_run_is_done_there(plot: MakePlot) -> None:
    carrot = plot()
    done = in_slurm(carrot, "srun", "--quiet")
    assert "lr: 0.5\n" in done.stdout
    assert not carrot.jobs()
    assert carrot.run.jobid.read_text().startswith("local:")


def test_within_an_allocation_a_run_is_submitted_as_elsewhere(plot: MakePlot) -> None:
    carrot = plot()
    done = in_slurm(carrot, "salloc", "--quiet", "--nodes=2", "--ntasks=4")
    assert "submitted: job" in done.stderr
    carrot.ended()
    assert carrot.state() == "DONE"
    assert carrot.garden.executions() == 1


def test_a_run_is_started_by_the_first_task_of_a_step_alone(plot: MakePlot) -> None:
    carrot = plot()
    second = 'export SLURM_PROCID=1; exec "$0" "$@"'
    done = in_slurm(carrot, "srun", "--quiet", "bash", "-c", second)
    assert "this is rank 1 of a Slurm step; rank 0 starts the run" in done.stderr
    assert (done.returncode, carrot.state()) == (0, "NOT_STARTED")
    in_slurm(carrot, "srun", "--quiet", "--ntasks=2")
    assert carrot.state() == "DONE"
    assert carrot.garden.executions() == 1


def in_slurm(carrot: Plot, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*words, *carrot.garden.command(*carrot.words)],
        cwd=carrot.garden.root,
        env=carrot.garden.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


# ---- Killed while it submits --------------------------------------------------------------------

FILES = ("config.prototxt", "config_meta.prototxt", "ckpt.link", "heyhi.json", "heyhi.jobid")


@pytest.mark.parametrize("file", FILES)
def test_killed_before_it_submits_it_is_submitted_by_the_next(plot: MakePlot, file: str) -> None:
    carrot = plot()
    assert carrot(GARDEN_KILL_BEFORE=file).status == -signal.SIGKILL
    assert carrot.state() == "NOT_STARTED"
    assert not carrot.jobs()
    assert "submitted: job" in carrot().err
    ends_well(carrot)


# The script in place of sbatch, and whether the job is there afterwards.
BLOWS = {
    "before": ("kill -9 $PPID", False),
    "during": ('text=$(cat); kill -9 $PPID; sbatch "$@" <<< "$text"', True),
    "long before": ('text=$(cat); kill -9 $PPID; sleep 1.5; sbatch "$@" <<< "$text"', True),
    "after": ('sbatch "$@"; kill -9 $PPID', True),
}


@pytest.mark.parametrize(("text", "is_there"), BLOWS.values(), ids=BLOWS)
def test_killed_while_it_submits_the_job_is_found_by_its_name(
    plot: MakePlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, is_there: bool
) -> None:
    carrot = plot()
    with monkeypatch.context() as patch:
        sbatch_that(tmp_path, text, patch)
        assert carrot(GARDEN_GO=str(carrot.go)).status == -signal.SIGKILL
    if "sleep" in text:
        # sbatch has inherited the claim: as long as it may submit, nobody else does.
        assert (": RUNNING" in carrot().err, carrot.jobs()) == (True, {})
    wait_until(lambda: bool(carrot.jobs()) is is_there)
    done = carrot(GARDEN_GO=str(carrot.go))
    assert ("submitted: job" in done.err) is not is_there
    (job,) = carrot.alive()
    assert f"({job})" in done.err
    carrot.go.touch()
    ends_well(carrot)
    assert list(carrot.jobs()) == [job]


def test_a_job_that_was_found_by_its_name_can_be_restarted(
    plot: MakePlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrot = plot(LATER)
    with monkeypatch.context() as patch:
        sbatch_that(tmp_path, BLOWS["after"][0], patch)
        carrot()
    (old,) = carrot.alive()
    done = carrot("--mode", "restart", "--force")
    (new,) = carrot.alive()
    assert f"submitted: job {new}" in done.err
    assert (new != old, carrot.jobs()[old]) == (True, "CANCELLED")


def test_interrupted_while_it_submits_nothing_is_lost(
    plot: MakePlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrot = plot()
    with monkeypatch.context() as patch:
        sbatch_that(tmp_path, 'sbatch "$@"; kill -2 $PPID; sleep 1', patch)
        assert carrot().status == 130
    ends_well(carrot)


def ends_well(carrot: Plot) -> None:
    """One execution, DONE, nothing left in the queue."""
    wait_until(carrot.run.result.exists)
    carrot.ended()
    assert carrot.state() == "DONE"
    assert carrot.garden.executions() == 1
    assert carrot.run.jobid.read_text() in carrot.jobs()


def test_of_local_starts_and_submissions_at_once_one_executes(plot: MakePlot, tmp_path: Path) -> None:
    carrot = plot()
    out = ("--out", str(tmp_path / "one"))
    lines = [(*CARROT, *out), (*carrot.words, *out)] * 2
    processes = [carrot.garden.popen(*line) for line in lines]
    for process in processes:
        process.communicate(timeout=60)
    wait_until(lambda: (tmp_path / "one" / "result.json").exists())
    carrot.ended()
    assert carrot.garden.executions() == 1
    assert len(carrot.jobs()) <= 1


# ---- Ranks --------------------------------------------------------------------------------------


def test_each_rank_knows_its_place_and_the_master_alone_writes(plot: MakePlot) -> None:
    carrot = plot("fail=place", "launcher.slurm.num_gpus=16")
    assert carrot("--wait").status == 0, cause(carrot.run)
    (job,) = carrot.jobs()
    places = [json.loads((carrot.folder / f"place.{rank}.json").read_text()) for rank in range(16)]
    master = places[0]["master"]
    assert re.fullmatch(r"node0[1-6]", master)
    assert places == [
        {
            "global_rank": rank,
            "local_rank": rank % 8,
            "node": rank // 8,
            "num_tasks": 16,
            "num_nodes": 2,
            "job": job,
            "is_master": rank == 0,
            "master": master,
        }
        for rank in range(16)
    ]
    assert carrot.garden.executions() == 16
    assert carrot.starts() == ["DONE"]
    assert json.loads(carrot.run.result.read_text())["note"] == "carrot"
    assert [path.name for path in carrot.folder.glob(".*")] == []


# GARDEN_DEATH, and what its error says.
DEATHS = {
    "1-exit-early": "rank 1 failed: SystemExit: 0",
    "1-raise-early": "rank 1 failed: ValueError: too dry",
    "1-kill-early": "rank 1 has died",
    "1-exit-late": "rank 1 failed: SystemExit: 0",
    "1-raise-late": "rank 1 failed: ValueError: too dry",
    "1-kill-late": "rank 1 has died",
    "1-quit-late": "rank 1 has died",
    "0-raise-early": "ValueError: too dry",
    "0-kill-early": "",
}


@pytest.mark.parametrize(("death", "error"), DEATHS.items(), ids=DEATHS)
def test_a_rank_that_dies_fails_the_run(plot: MakePlot, death: str, error: str) -> None:
    carrot = plot("fail=rank", "launcher.slurm.nodes=2")
    carrot(GARDEN_DEATH=death)
    carrot.ended()
    assert carrot().status == 1
    assert error in cause(carrot.run)
    assert (carrot.alive(), carrot.run.result.exists()) == ([], False)
    assert carrot.state() == "DEAD"


def test_a_secret_of_a_single_run_reaches_its_task_and_is_in_no_file(plot: MakePlot) -> None:
    carrot, secret = plot("fail=hash"), f"canary-{os.urandom(8).hex()}"
    done = carrot("--wait", HF_TOKEN=secret, HEYHI_EXPORTED="HF_TOKEN")
    assert done.status == 0, done.err
    assert (carrot.folder / "hash.txt").read_text() == hashlib.sha256(secret.encode()).hexdigest()
    assert json.loads(carrot.run.provenance.read_text())["environment"] == {"HF_TOKEN": True}
    places = (carrot.garden.root, carrot.garden.home)
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert not [path for path in files if secret.encode() in path.read_bytes()]


# ---- Signals and requeue ------------------------------------------------------------------------


def test_a_task_without_a_handler_does_not_die_of_the_announcement(plot: MakePlot) -> None:
    carrot = plot("launcher.slurm.nodes=2")
    carrot(GARDEN_GO=str(carrot.go))
    carrot.started(2)
    carrot.cluster.client("scancel", "--signal=USR1", *carrot.alive())
    carrot.go.touch()
    carrot.ended()
    assert carrot.state() == "DONE"


def by_usr1(carrot: Plot, job: str) -> None:
    carrot.cluster.client("scancel", "--signal=USR1", job)


def by_hand(carrot: Plot, job: str) -> None:
    carrot.cluster.client("scontrol", "requeue", job)


def by_preemption(carrot: Plot, job: str) -> None:
    nodes = carrot.cluster.client("squeue", "-h", "-j", job, "-o", "%N").stdout.strip()
    carrot.cluster.client("srun", "-p", "urgent", "--exclusive", "-w", nodes, "-N", "2", "true", timeout=60)


def by_its_time_limit(carrot: Plot, job: str) -> None:
    """Slurm itself announces the end, at one of its looks, which are half a minute apart."""
    carrot.cluster.client("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    wait_until(lambda: carrot.state() == "QUEUED", 90)
    carrot.cluster.client("scontrol", "update", f"JobId={job}", "TimeLimit=60")


# How it is requeued; whether its callback is called; what heyhi.json says of the first start.
REQUEUES = {
    "USR1": (by_usr1, True, "REQUEUED"),
    "time limit": (by_its_time_limit, True, "REQUEUED"),
    "preemption": (by_preemption, True, "REQUEUED"),
    "by hand": (by_hand, False, "DEAD"),
}


@pytest.mark.parametrize(("requeue", "is_called", "status"), REQUEUES.values(), ids=REQUEUES)
def test_a_requeued_job_goes_on_in_its_folder(
    own_plot: MakePlot, requeue: Callable[[Plot, str], None], is_called: bool, status: str
) -> None:
    carrot = own_plot("fail=count", "launcher.slurm.nodes=2", "launcher.slurm.partition=learnaccel")
    (carrot.garden.home / "alone").mkdir()
    carrot()
    wait_until(lambda: all((carrot.folder / f"ready.{rank}").exists() for rank in range(2)))
    (job,) = carrot.alive()
    requeue(carrot, job)
    wait_until(lambda: carrot.state() == "QUEUED")
    assert not carrot.run.error.exists()
    (carrot.folder / "go-on").touch()
    assert carrot("--wait").status == 0, cause(carrot.run)
    assert list(carrot.jobs()) == [job]
    assert (carrot.folder / "end.txt").read_text() == "100"
    callback = carrot.folder / "callback.txt"
    assert (callback.read_text() if callback.exists() else "") == ("0 at 50\n" if is_called else "")
    assert carrot.starts() == [status, "DONE"]
    assert carrot.garden.executions() == 4
    assert carrot.garden.executions("meeting") == 0
    assert not carrot.run.error.exists()
    assert json.loads(carrot.run.result.read_text())["lr"] == 0.5


def test_a_training_that_was_requeued_ends_bit_for_bit_as_one_that_was_not(
    own_cluster: Cluster, tmp_path: Path
) -> None:
    words = ("-c", TRAIN, *SMALL, "num_epochs=60")
    on_slurm = (*words, "launcher.slurm.hours=1")
    env = own_cluster.environment()
    plain, requeued = tmp_path / "plain", tmp_path / "requeued"
    assert run_py(plain, *words).status == 0
    folder = run_folder(requeued, *on_slurm)
    assert run_py(requeued, *on_slurm, **env).status == 0
    wait_until((folder / "metrics.jsonl").exists)
    job = (folder / "heyhi.jobid").read_text()
    own_cluster.client("scancel", "--signal=USR1", job)
    assert run_py(requeued, *on_slurm, "--wait", **env).status == 0
    starts = json.loads((folder / "heyhi.json").read_text())["starts"]
    assert [start["status"] for start in starts] == ["REQUEUED", "DONE"]
    (whole,) = plain.glob("p/*/*/*/model.json")
    for name in ("model.json", "result.json", "metrics.jsonl"):
        assert (folder / name).read_bytes() == (whole.parent / name).read_bytes(), name


# ---- A node that is lost ------------------------------------------------------------------------


def lose_node_of(carrot: Plot) -> None:
    """The slurmd where its last rank is dies, and its processes live on."""
    (job,) = carrot.alive()
    names = carrot.cluster.client("squeue", "-h", "-j", job, "-o", "%N").stdout.strip()
    node = carrot.cluster.client("scontrol", "show", "hostnames", names).stdout.split()[-1]
    carrot.cluster.kill_daemon(node)
    carrot.cluster.client("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_whose_node_is_lost_waits_for_what_still_lives_of_it(own_plot: MakePlot, ranks: int) -> None:
    carrot = own_plot(f"launcher.slurm.nodes={ranks}")
    (carrot.garden.home / "alone").mkdir()
    carrot(GARDEN_GO=str(carrot.go))
    carrot.started(ranks)
    lose_node_of(carrot)
    wait_until(lambda: "RUNNING" not in carrot.jobs().values())
    wait_until(lambda: list(carrot.jobs().values()) == ["RUNNING"])
    assert "RUNNING" in carrot().err
    time.sleep(2)  # by now it would have begun
    assert carrot.garden.executions() == ranks
    kill_executions(carrot)
    carrot.started(2 * ranks)
    carrot.go.touch()
    carrot.ended()
    assert carrot.state() == "DONE"
    assert (carrot.garden.executions(), carrot.garden.executions("meeting")) == (2 * ranks, 0)


def test_a_run_whose_node_is_lost_is_dead_if_it_may_not_be_requeued(own_plot: MakePlot) -> None:
    carrot = own_plot("launcher.slurm.requeue=false")
    carrot(GARDEN_GO=str(carrot.go))
    carrot.started()
    lose_node_of(carrot)
    wait_until(lambda: not carrot.alive())
    assert carrot.state() == "RUNNING"  # its process lives: nothing is started beside it
    kill_executions(carrot)
    done = carrot()
    assert done.status == 1
    assert "DEAD: Slurm: NODE_FAIL" in done.err
    assert carrot("--mode", "start_continue", "--wait").status == 0
    assert carrot.garden.executions() == 2


def test_a_run_is_not_wiped_under_a_rank_that_lives_on_a_lost_node(own_plot: MakePlot) -> None:
    carrot = own_plot("launcher.slurm.nodes=2", "launcher.slurm.requeue=false")
    carrot(GARDEN_GO=str(carrot.go))
    carrot.started(2)
    lose_node_of(carrot)
    wait_until(lambda: not carrot.alive() and carrot.state() == "DEAD")
    refused = carrot("--mode", "start_restart")
    assert refused.status == 2
    assert "a rank of its last job lives on, on a node that Slurm has lost; nothing was wiped" in refused.err
    assert carrot.state() == "DEAD"
    kill_executions(carrot)
    carrot.go.touch()
    assert carrot("--mode", "start_restart", "--wait").status == 0
    assert carrot.garden.executions() == 4


def kill_executions(carrot: Plot) -> None:
    """What a machine that fails does to the processes of a task."""
    for line in carrot.garden.count_file.read_text().splitlines():
        try:
            os.kill(int(line.split()[1]), signal.SIGKILL)
        except ProcessLookupError:
            pass  # of a node that was not lost


# ---- A full disk --------------------------------------------------------------------------------


@pytest.fixture
def full_plot(plot: MakePlot, slurm_garden: Garden, small_disk: Callable[[int], Path]) -> MakePlot:
    """full_plot("fail=fill"): a run whose root is on a small disk, which its task fills."""
    slurm_garden.exp = small_disk(1000)
    slurm_garden.more["HEYHI_KEEP_DIR"] = str(slurm_garden.home / "kept")
    return plot


def free(carrot: Plot) -> None:
    (carrot.folder / "filler").unlink()


def waits_for_room(carrot: Plot, ranks: int = 1) -> None:
    """Return once the task has ended, and its result has no room."""
    carrot.garden.more["HEYHI_WAIT_FOR_ROOM"] = "600"
    carrot()
    wait_until(lambda: carrot.garden.executions("end") == ranks)
    time.sleep(0.5)  # from its end until it waits; a signal before is noted as well
    assert len(carrot.alive()) == 1


@pytest.mark.parametrize(("fail", "ranks"), [("fill", 1), ("fill_master", 2)])
def test_on_a_full_disk_a_job_waits_until_there_is_room(full_plot: MakePlot, fail: str, ranks: int) -> None:
    carrot = full_plot(f"fail={fail}", f"launcher.slurm.num_gpus={ranks}")
    waits_for_room(carrot, ranks)
    free(carrot)
    carrot.ended()
    last = carrot()
    assert (last.status, last.out.splitlines()[0]) == (0, "lr: 0.5")
    assert carrot.starts() == ["DONE"]


def test_without_room_its_result_is_elsewhere_and_the_next_start_moves_it_in(full_plot: MakePlot) -> None:
    carrot = full_plot("fail=fill")
    done = carrot("--wait", HEYHI_WAIT_FOR_ROOM="0")
    (kept,) = (carrot.garden.home / "kept").iterdir()
    assert done.status == 1, done.err
    assert f"DONE (result at {kept})" in done.err
    assert f"is DONE (result at {kept}): 1 run would be wiped" in carrot("--mode", "restart").err
    free(carrot)
    last = carrot()
    assert (last.status, last.out.splitlines()[0]) == (0, "lr: 0.5")
    assert len(carrot.jobs()) == 1


@pytest.mark.parametrize("words", [(), ("--signal=USR1",), ("--signal=TERM",)])
def test_what_ends_a_job_that_waits_for_room_loses_no_result(
    full_plot: MakePlot, cluster: Cluster, words: tuple[str, ...]
) -> None:
    carrot = full_plot("fail=fill")
    waits_for_room(carrot)
    cluster.client("scancel", *words, *carrot.alive())
    carrot.ended()
    (kept,) = (carrot.garden.home / "kept").iterdir()
    assert f"DONE (result at {kept})" in carrot("--mode", "dryrun").err
    free(carrot)
    assert carrot().status == 0


def test_what_a_job_prints_on_a_full_disk_ends_nothing(full_plot: MakePlot) -> None:
    carrot = full_plot("fail=print")
    waits_for_room(carrot)
    free(carrot)
    carrot.ended()
    assert carrot().status == 0
    assert re.search(r"heyhi: 10\d lines of this log were lost: No space left", carrot.run.log.read_text())
