"""The seam for schedulers: who knows Slurm's words, whose job a text names, one more scheduler."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from heyhi.errors import LaunchError
from heyhi.launch import here, schedulers, slurm
from heyhi.launch.scheduler import Allocation, JobSpec, Scheduler
from heyhi.launch.slurm_options import Resources, read_resources
from heyhi.runs import deaths
from heyhi.runs.folder import Run
from heyhi.runs.ids import JobId
from heyhi.runs.status import Queue, QueuedJob, RunState, Status
from tests.conftest import Garden, wait_until

HERE = Path(__file__).resolve().parents[2]
PROGRAMS = r"\b(sbatch|squeue|scancel|srun|scontrol|sacct|salloc)\b|\bSLURM_[A-Z]|_IN_SLURM"
KNOW_SLURM = ("heyhi/launch/slurm", "snakemake_executor_plugin_heyhi_slurm/", "heyhi/workflow/slurm_jobs.py")
# For users of Slurm: what they see in its queue, and their own settings of Snakemake's executor.
FOR_USERS = ("heyhi/template/conf/common.proto", "heyhi/template/profiles/slurm/config.yaml")
NOT_LOCAL = r"\.local is None|not [\w.]*\.job\.local\b|not job\.local\b"


def lines_with(pattern: str, *without: str) -> list[str]:
    """The lines of the package and its plugins that have a pattern, by file."""
    found = []
    for path in (*HERE.glob("heyhi/**/*"), *HERE.glob("snakemake_*/*.py")):
        name = str(path.relative_to(HERE))
        if path.is_file() and path.suffix not in (".pyc", ".png") and not name.startswith(without):
            lines = path.read_text(errors="replace").splitlines()
            found += [f"{name}: {line.strip()}" for line in lines if re.search(pattern, line)]
    return found


def test_only_the_module_of_slurm_knows_its_programs_and_variables() -> None:
    assert lines_with(PROGRAMS, *KNOW_SLURM, *FOR_USERS) == []


def test_a_job_that_is_not_local_is_nowhere_taken_for_one_of_slurm() -> None:
    assert lines_with(NOT_LOCAL) == []


JOBS = {
    "local:node7:4711": None,
    "62": "Slurm",
    "62_3": "Slurm",
    "submitting:sweep.ab12_3": "Slurm",
    "local": "Slurm",  # of the original: nothing is known of it
    "": "Slurm",
    "--user=anna": "Slurm",
    "sge:62": "SGE",
    "sge:submitting:sweep.ab12": "SGE",
}


@pytest.mark.parametrize("text", JOBS)
def test_the_text_of_a_job_says_whose_it_is(text: str) -> None:
    assert JobId(text).scheduler == JOBS[text]


# ---- Another scheduler --------------------------------------------------------------------------


class GridEngine:
    """A throw-away member: a queue in memory."""

    def __init__(self) -> None:
        self.queue: dict[str, QueuedJob] | None = {}
        self.said: list[tuple[str, ...]] = []

    def refuse_if_missing(self) -> None:
        pass

    def read_resources(self, launcher: object, where: str) -> Resources:
        return Resources()

    def max_array_size(self) -> int:
        return 7

    def submit(self, spec: JobSpec) -> str:
        return "sge:62"

    def ask_queue(self) -> Queue | None:
        return self.queue

    def ends_of(self, states: Mapping[Run, RunState], queue: Queue) -> dict[Run, str]:
        return dict.fromkeys(states, "SGE: h_rt")

    def cancel(self, *jobs: str) -> None:
        self.said.append(jobs)
        self.queue = {}

    def allocation(self) -> Allocation | None:
        return None

    def requeue(self, job: str) -> None:
        pass


@pytest.fixture
def sge(monkeypatch: pytest.MonkeyPatch) -> GridEngine:
    """The member, in its row of the table."""
    made = GridEngine()
    member: Scheduler = made
    monkeypatch.setitem(schedulers.SCHEDULERS, "SGE", member)
    return made


def run_of(folder: Path, job: str) -> Run:
    run = Run("p/it", folder / "p/it")
    run.folder.mkdir(parents=True)
    run.jobid.write_text(job)
    run.provenance.write_text(json.dumps({"slurm_name": "it"}))
    return run


def test_a_job_of_another_scheduler_is_asked_about_there(
    sge: GridEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "ask_queue", lambda: pytest.fail("Slurm does not know it"))
    run = run_of(tmp_path, "sge:62")
    sge.queue = {"sge:62": QueuedJob("sge:62", "RUNNING", "it")}
    assert schedulers.read_state(run) == RunState(Status.RUNNING, JobId("sge:62"))
    sge.queue = None
    state = schedulers.read_states([run])[run.folder]
    assert state == RunState(Status.UNKNOWN, JobId("sge:62"), "SGE cannot be asked about its job sge:62")
    sge.queue = {}
    assert schedulers.read_state(run) == RunState(Status.DEAD, JobId("sge:62"), "SGE: h_rt")
    assert deaths.cause(run) == "SGE: h_rt"


def test_a_job_of_another_scheduler_is_cancelled_there(sge: GridEngine, tmp_path: Path) -> None:
    run = run_of(tmp_path, "sge:62")
    sge.queue = {"sge:62": QueuedJob("sge:62", "RUNNING", "it")}
    here.kill(run, schedulers.read_state(run))
    assert sge.said == [("sge:62",)]


def test_a_launcher_chooses_a_scheduler_by_its_field(
    sge: GridEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = SimpleNamespace(
        DESCRIPTOR=SimpleNamespace(full_name="it.Sge"), SerializeToString=lambda deterministic: b""
    )
    config = SimpleNamespace(launcher=SimpleNamespace(sge=asked))
    monkeypatch.setattr(schedulers, "_chooses", lambda config, what: hasattr(config.launcher, what))
    assert schedulers.chosen(config) == "SGE"  # type: ignore[arg-type]
    assert schedulers.needs_of(config) == Resources()  # type: ignore[arg-type]


def test_a_job_of_a_scheduler_that_is_not_known_here_is_never_dead(tmp_path: Path) -> None:
    run = run_of(tmp_path, "pbs:62")
    state = schedulers.read_state(run)
    assert state == RunState(Status.UNKNOWN, JobId("pbs:62"), "PBS cannot be asked about its job pbs:62")
    with pytest.raises(LaunchError, match="job pbs:62 cannot be cancelled: this HeyHi knows no PBS"):
        here.kill(run, state)
    assert read_resources is slurm.read_resources


# ---- Jobs queued by the version before ----------------------------------------------------------

# As that version gave it to sbatch; a queued job runs this text, whatever HeyHi is by then.
SCRIPT = """\
#!/bin/bash
# Each task of this job does the run of one folder, with the copy of the code made at the submission.
runs=(
{folder}
)
run=${{runs[${{SLURM_ARRAY_TASK_ID:-0}}]}}
exec >> "$run/run.log" 2>&1
cd {code} || exit 1
# srun does not take it from the job by itself.
[[ ${{SLURM_CPUS_PER_TASK-}} ]] && export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
# --wait=0: the master may wait for room on a full disk when all others have ended.
exec srun --kill-on-bad-exit=1 --wait=0 --input=none {python} run.py --on-slurm "$run"
"""


@pytest.fixture
def queued(garden: Garden, tmp_path: Path) -> tuple[Garden, Run]:
    """A run with a bare id, waiting in the queue of a Slurm made of small scripts."""
    programs = {
        "sbatch": "cat > /dev/null; echo 62",
        "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
        "squeue": f"cat {tmp_path}/queue 2>/dev/null; true",
        "scancel": f'echo "$@" > {tmp_path}/cancelled; rm {tmp_path}/queue',
        "sacct": "exit 1",
    }
    (tmp_path / "programs").mkdir()
    for name, text in programs.items():
        path = tmp_path / "programs" / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    garden.more["PATH"] = f"{tmp_path}/programs:{os.environ['PATH']}"
    words = ("-c", "conf/beds/carrot.prototxt", "launcher.slurm.hours=1")
    done = garden(*words)
    assert "submitted: job 62\n" in done.err, done.err
    run = Run("", garden.folder(*words))
    assert run.jobid.read_text() == "62"
    name = json.loads(run.provenance.read_text())["slurm_name"]
    (tmp_path / "queue").write_text(f"62|PENDING|Priority|{name}|/\n")
    return garden, run


def test_a_job_that_the_version_before_queued_is_adopted_and_run(
    queued: tuple[Garden, Run], tmp_path: Path
) -> None:
    garden, run = queued
    words = ("-c", "conf/beds/carrot.prototxt", "launcher.slurm.hours=1")
    again = garden(*words)
    assert (again.status, "QUEUED (62): " in again.err) == (0, True), again.err
    name = json.loads(run.provenance.read_text())["slurm_name"]
    script = tmp_path / "script"
    code = json.loads(run.provenance.read_text())["snapshot"]
    python = garden.command()[0]
    script.write_text(
        SCRIPT.format(folder=shlex.quote(str(run.folder)), code=shlex.quote(code), python=python)
    )
    job = {"SLURM_JOB_ID": "62", "SLURM_JOB_NAME": name, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
    subprocess.run(["bash", str(script)], env=garden.environment(**job), check=True, timeout=120)
    wait_until(run.result.exists)
    assert garden(*words).out.startswith("lr: ")


def test_a_job_that_the_version_before_queued_is_killed(queued: tuple[Garden, Run], tmp_path: Path) -> None:
    garden, run = queued
    done = garden.python("-m", "heyhi", "kill", str(run.folder))
    assert done.status == 0, done.err
    assert (tmp_path / "cancelled").read_text() == "62\n"
