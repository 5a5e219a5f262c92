from pathlib import Path

import pytest

from heyhi.api import experiments
from heyhi.runs import claim
from heyhi.runs.folder import Run, execution_of, read_provenance
from heyhi.runs.ids import JobId
from heyhi.runs.processes import this_host
from heyhi.runs.status import QueuedJob, RunState, Status, read_state, status_on_disk


def test_the_columns_of_the_table_have_known_words() -> None:
    assert {status.phase for status in Status} <= {"none", "waits", "runs", "unknown", "ended"}
    assert {status.original for status in Status} == set(experiments.Status.__members__)
    ranks = [status.rank for status in Status]
    assert len(set(ranks)) == len(ranks), "each has its own place in lists"


def test_what_is_on_disk_is_the_same_for_readers_and_for_the_process_that_has_the_claim(run: Run) -> None:
    jobs: dict[str, dict[str, QueuedJob] | None] = {
        "": None,
        f"local:{this_host()}:99999999": None,
        "submitting:it": {},
    }
    for text, queue in jobs.items():
        job = JobId(text) if text else None
        run.jobid.write_text(text)
        assert read_state(run, queue).status is status_on_disk(job, is_done=False)
    run.result.write_text("null")
    assert read_state(run).status is status_on_disk(job, is_done=True) is Status.DONE


# Files in the folder, what squeue said -> what the run is.
STATES = [
    ("", None, Status.NOT_STARTED),
    ("config heyhi.lock", None, Status.NOT_STARTED),
    ("result", None, Status.DONE),
    ("here", None, Status.DEAD),
    ("here result", None, Status.DONE),
    ("here locked", None, Status.RUNNING),
    ("here locked result", None, Status.RUNNING),
    ("locked", None, Status.RUNNING),
    ("elsewhere", None, Status.UNKNOWN),
    ("elsewhere result", None, Status.DONE),
    ("elsewhere locked", None, Status.RUNNING),
    ("slurm", None, Status.UNKNOWN),
    ("slurm", {}, Status.DEAD),
    ("slurm", {"12_3": "RUNNING"}, Status.RUNNING),
    ("slurm", {"12_3": "COMPLETING"}, Status.RUNNING),
    ("slurm", {"12_3": "PENDING"}, Status.QUEUED),
    ("slurm", {"12_4": "RUNNING"}, Status.DEAD),
    ("slurm result", {}, Status.DONE),
    ("slurm result", None, Status.DONE),
    ("slurm result", {"12_3": "COMPLETING"}, Status.DONE),
    ("slurm", {"12_3": "SUSPENDED"}, Status.RUNNING),
    ("slurm", {"12_3": "REQUEUED"}, Status.QUEUED),
    ("slurm", {"12_3": "TIMEOUT"}, Status.DEAD),
    ("slurm", {"12_3": "a state of another release"}, Status.DEAD),
    ("submitting", None, Status.UNKNOWN),
    ("submitting", {}, Status.NOT_STARTED),
    ("submitting", {"submitting:it.ab_3": "PENDING"}, Status.QUEUED),
    ("submitting result", {}, Status.DONE),
    ("slurm locked", {}, Status.RUNNING),
]
_JOBS = {
    "here": f"local:{this_host()}:1",
    "elsewhere": "local:elsewhere:1",
    "slurm": "12_3",
    "submitting": "submitting:it.ab_3",
}


@pytest.mark.parametrize(("files", "queue", "status"), STATES, ids=[f"{f}-{q}" for f, q, _ in STATES])
def test_status(run: Run, files: str, queue: dict[str, str] | None, status: Status) -> None:
    told = None if queue is None else {key: QueuedJob("12_3", state, "it.ab") for key, state in queue.items()}
    for word in files.split():
        if word in _JOBS:
            run.jobid.write_text(_JOBS[word])
        elif word == "result":
            run.result.write_text("null\n")
        elif word != "locked":
            (run.folder / word).touch()
    if "locked" not in files:
        assert read_state(run, told).status is status
        return
    assert claim.take(run.lock, "local:somewhere:5")
    try:
        state = read_state(run, told)
        assert (state.status, state.job) == (status, JobId("local:somewhere:5"))
    finally:
        claim.drop(run.lock)


def test_a_job_id_that_was_given_to_another_job_is_not_the_runs(run: Run) -> None:
    run.jobid.write_text("12")
    run.provenance.write_text('{"slurm_name": "it.ab"}')
    told = read_state(run, {"12": QueuedJob("12", "RUNNING", "it.ab")})
    assert (told.status, told.detail) == (Status.RUNNING, "")
    assert read_state(run, {"12": QueuedJob("12", "COMPLETING", "it.ab")}).detail == "COMPLETING"
    state = read_state(run, {"12": QueuedJob("12", "RUNNING", "a stranger's")})
    assert state == RunState(Status.DEAD, JobId("12"), "Slurm does not know it any more")


@pytest.mark.parametrize("text", ["x" * 3_000_000, "12 \n" * 1_000_000, "12" + " " * 500 + "x"])
def test_of_a_broken_job_id_the_beginning_is_told(run: Run, text: str) -> None:
    run.jobid.write_text(text)
    queues: list[dict[str, QueuedJob] | None] = [None, {}]
    for queue in queues:
        state = read_state(run, queue)
        assert state.job is not None
        assert len(state.job.text) <= 60
        assert len(state.text) < 150, "also where Slurm cannot be asked"


def test_a_long_name_of_a_job_is_one(run: Run) -> None:
    name = f"submitting:{'x' * 255}.0123abcd_100"
    run.jobid.write_text(name)
    assert read_state(run, {name: QueuedJob("12", "PENDING", name)}).job == JobId("12")


def test_a_submission_that_is_found_by_its_name_has_its_id(run: Run) -> None:
    run.jobid.write_text("submitting:it.ab")
    state = read_state(run, {"submitting:it.ab": QueuedJob("12", "PENDING", "it.ab")})
    assert state == RunState(Status.QUEUED, JobId("12"), "PENDING")


def test_how_a_job_ended_is_told(run: Run) -> None:
    run.jobid.write_text("12")
    state = read_state(run, {"12": QueuedJob("12", "NODE_FAIL", "it.ab")})
    assert state == RunState(Status.DEAD, JobId("12"), "Slurm: NODE_FAIL")


def test_a_folder_that_is_not_there_is_not_started(tmp_path: Path) -> None:
    run = Run("p/it", tmp_path / "p" / "it")
    assert read_state(run).status is Status.NOT_STARTED
    (tmp_path / "p").write_text("a file in its way")
    assert read_state(run).status is Status.NOT_STARTED


NO_OBJECTS = ["", "[]", "{", "\udcff", '{"a":' * 300 + "1" + "}" * 300, "[" * 100_000]


@pytest.mark.parametrize("text", NO_OBJECTS, ids=range(len(NO_OBJECTS)))
def test_a_file_that_says_nothing_of_a_run_is_damaged_to_all_that_read_it(run: Run, text: str) -> None:
    run.folder.mkdir(exist_ok=True)
    run.provenance.write_text(text, errors="surrogateescape")
    run.jobid.write_text("local:here:1")
    run.ended(execution_of(run)).write_text(text, errors="surrogateescape")
    assert read_provenance(run) == {}
    state = read_state(run)
    assert (state.status, state.keeps) == (Status.UNKNOWN, ""), "of another host, and not settled"
    run.jobid.write_text(f"local:{this_host()}:1")
    state = read_state(run)
    assert (state.status, state.keeps) == (Status.DEAD, "heyhi.json is damaged")
