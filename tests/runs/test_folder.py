from pathlib import Path

import pytest

from heyhi.errors import UsageError
from heyhi.project import Project
from heyhi.runs import claim
from heyhi.runs import folder as runs
from heyhi.runs.folder import (
    JobId,
    QueuedJob,
    Run,
    RunState,
    Status,
    make_id,
    read_state,
    relative_to_root,
    this_host,
)

PROJECT = Project(Path("/code/project"))
SL = PROJECT.conf / "c02_sup_train" / "sl.prototxt"

# ---- Ids ----------------------------------------------------------------------------------------

# Canonical overrides, and the id that they give; the first two are the original's own.
IDS = [
    ([], "p/c02_sup_train/sl/default_d7517139"),
    (
        ["lr=0.1", "dataset_params.value_decay_alpha=1.0"],
        "p/c02_sup_train/sl/lr@0.1@dat.val@1.0_ac094496",
    ),
    (["batch_size=NULL"], "p/c02_sup_train/sl/bat@NULL_10870928"),
    (["Ilauncher=slurm_8gpus"], "p/c02_sup_train/sl/Ila@slurm_8gpus_3785e38d"),
    (["out=/a/b/c/d.json"], "p/c02_sup_train/sl/out@c_d.json_3b5b0ee2"),
    (["note=a b;{c},$(d)\n%ü"], "p/c02_sup_train/sl/note@a_b__c____d_____1e0f6171"),
]


@pytest.mark.parametrize(("overrides", "expected"), IDS, ids=[expected for _, expected in IDS])
def test_id(overrides: list[str], expected: str) -> None:
    assert make_id(SL, overrides, PROJECT) == expected


def test_the_tag_is_cut_but_the_hash_tells_apart() -> None:
    long = [f"note={'x' * 3000}{end}" for end in "ab"]
    first, second = (make_id(SL, [text], PROJECT) for text in long)
    assert first != second
    assert first[:-8] == second[:-8]
    assert len(first.split("/")[-1]) == 100 + len("_12345678")


# Base config -> folder and name in the id.
FOLDERS = {
    "/code/project/conf/c01/cmp.prototxt": "p/c01/cmp/",
    "/code/project/conf/c01/deep/er/cmp.prototxt": "p/c01_deep_er/cmp/",
    "/code/project/conf/cmp.prototxt": "p/root/cmp/",
    "/code/project/conf/c01/../c02/v1.2.prototxt": "p/c02/v1.2/",
    "/code/project/conf/c01/no_suffix": "p/c01/no_suffix/",
    "/code/project/conf/c 1/a;b.prototxt": "p/c_1/a_b/",
    "/code/project/conf_old/cmp.prototxt": "p/fee72aed/cmp/",
}


@pytest.mark.parametrize("base", FOLDERS)
def test_the_config_names_the_folder(base: str) -> None:
    assert make_id(Path(base), [], PROJECT) == FOLDERS[base] + "default_d7517139"


# --out -> the id of an adhoc run of sl.prototxt with lr=0.1
PATTERNS = {
    "here": "here",
    "/abs/olute": "/abs/olute",
    "%(cfg)s-%(redefines)s": "sl-lr@0.1",
    "%(prefix)s/%(cfg_folder)s": "adhoc/now/c02_sup_train",
    "100%%/%(redefines_hash)s/%(date)s": "100%/e7b0a4ba/now",
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_replaces_the_id(pattern: str) -> None:
    made = make_id(SL, ["lr=0.1"], PROJECT, prefix="adhoc/now", date="now", pattern=pattern)
    assert made == PATTERNS[pattern].replace("e7b0a4ba", runs._md5(repr(["lr=0.1"])))


@pytest.mark.parametrize("pattern", ["%(user)s", "50%", "%d", "%(cfg)d"])
def test_a_bad_pattern_is_refused_with_those_that_may_be_used(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"bad pattern .*%\(redefines_hash\)s, and %% for a percent sign"):
        make_id(SL, [], PROJECT, pattern=pattern)


RELATIVE = {
    "path=/exp/p/a/model.json": "path={{EXP_DIR}}/p/a/model.json",
    "path=/exp": "path={{EXP_DIR}}",
    "path=/expo/p": "path=/expo/p",
    "path=p/a": "path=p/a",
    # A text that reads like it is another text, with another id.
    "path={{EXP_DIR}}/p/a/model.json": "path=\\{{EXP_DIR}}/p/a/model.json",
    "path=\\{{EXP_DIR}}/p": "path=\\\\{{EXP_DIR}}/p",
}


@pytest.mark.parametrize("override", RELATIVE)
def test_a_value_in_the_experiment_root_is_relative_to_it(override: str) -> None:
    assert relative_to_root(override, Path("/exp")) == RELATIVE[override]


def test_a_root_behind_a_link_is_the_same_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name in ("real", "link"):
        text = relative_to_root(f"path={tmp_path / name}/p", tmp_path / "link")
        assert text == "path={{EXP_DIR}}/p"


# ---- Status -------------------------------------------------------------------------------------

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


JOBS = {"local:a:1": ("a", 1), "local:a:b:12": ("a:b", 12), "123": None, "123_4": None, "local:": None}


@pytest.mark.parametrize("text", JOBS)
def test_a_local_job_has_a_host_and_a_pid(text: str) -> None:
    assert JobId(text).local == JOBS[text]


# ---- Files --------------------------------------------------------------------------------------


def test_broken_provenance_reads_as_none(run: Run) -> None:
    assert runs.read_provenance(run) == {}
    for text in ("", "{", "[1]", "\x00", "[" * 100_000):
        run.provenance.write_text(text)
        assert runs.read_provenance(run) == {}


ONE, TWO = "1" * 16, "2" * 16
EXECUTIONS = {
    "of its last start": (f'[{{"job": "7", "id": "{ONE}"}}, {{"job": "7", "id": "{TWO}"}}]', TWO),
    "not of another job's": (f'[{{"job": "7", "id": "{ONE}"}}, {{"job": "8", "id": "{TWO}"}}]', ONE),
    "of a start of before": ('[{"job": "7", "started": "2026-01-01"}]', "98098534b6a8f7d2"),
    "of a forged id": ('[{"job": "7", "id": "../../x", "started": "2026-01-01"}]', "98098534b6a8f7d2"),
    "of a job that noted no start": ("[]", "7902699be42c8a8e"),
    "of a job with other starts": (f'[{{"job": "8", "id": "{ONE}"}}, 3, {{}}]', "7902699be42c8a8e"),
    "of broken starts": ('{"job": "7"}', "7902699be42c8a8e"),
}


@pytest.mark.parametrize(("starts", "execution"), EXECUTIONS.values(), ids=EXECUTIONS)
def test_each_start_is_an_execution(run: Run, starts: str, execution: str) -> None:
    run.jobid.write_text("7")
    run.provenance.write_text(f'{{"starts": {starts}}}')
    assert runs.execution_of(run) == runs.execution_of(run, JobId("7")) == execution


def test_what_a_killed_process_left_half_written_is_removed_whatever_file_of_ours_it_was(run: Run) -> None:
    properties = [name for name, value in vars(Run).items() if isinstance(value, property)]
    # The lock and the log are never written beside their place.
    ours = [getattr(run, name) for name in properties if name not in ("lock", "log")]
    ours += [run.ended("0123456789abcdef")]
    assert len(ours) >= 9
    for path in ours:
        (run.folder / f".{path.name}.0123abcd.partial").touch()
    theirs = (".model.json.0123abcd.partial", "result.json.partial", ".result.json")
    others = [run.folder / name for name in theirs]
    for path in others:
        path.touch()
    runs.remove_partials(run)
    assert sorted(run.folder.iterdir()) == sorted([*others, run.provenance])
