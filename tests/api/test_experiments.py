import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heyhi.api import experiments
from heyhi.api.experiments import ExperimentDir, Status, handle_dst
from heyhi.errors import RefusedError, UsageError
from heyhi.launch.job import claimed
from heyhi.runs.folder import Run
from heyhi.runs.processes import this_host
from tests.conftest import Done, Garden, wait_until

# ---- Launching from Python ----------------------------------------------------------------------

PRELUDE = """
import os, pathlib, sys
import heyhi, run
from heyhi.run import maybe_launch
from heyhi.util import ExperimentDir, Status, get_exp_id, handle_dst

CARROT = pathlib.Path("conf/beds/carrot.prototxt")

def launch(*overrides, mode="gentle_start", **more):
    more = {"exp_root": None, "cfg": CARROT, **more}
    return maybe_launch(run.main, overrides=overrides, mode=mode, **more)

"""


def python(garden: Garden, text: str, **env: str) -> Done:
    """Run a program of the garden's own, in its folder."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + text],
        cwd=garden.root,
        env=garden.environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_launch_from_python_is_that_of_run_py_and_a_done_run_is_not_repeated(garden: Garden) -> None:
    program = (
        'done = launch("lr=0.25")\n'
        'again = launch("lr=.25", exp_root=pathlib.Path(os.environ["HH_EXP_DIR"]))\n'
        "assert done.exp_path == again.exp_path and done.is_done()\n"
        "assert pathlib.Path.cwd() == pathlib.Path(run.__file__).parent\n"
        'print(done.exp_path, done.exp_id, sep="\\n")\n'
    )
    done = python(garden, program)
    assert done.status == 0, done.err
    folder, run_id = done.out.splitlines()[-2:]
    assert (
        (garden.exp / run_id) == Path(folder) == garden.folder("-c", "conf/beds/carrot.prototxt", "lr=0.25")
    )
    assert json.loads((Path(folder) / "result.json").read_text())["lr"] == 0.25
    assert garden("-c", "conf/beds/carrot.prototxt", "lr=0.25").status == 0
    assert garden.executions() == 1


def test_its_command_line_is_on_record(garden: Garden) -> None:
    done = python(garden, 'print(launch("lr=1", adhoc=True, mode="restart").exp_path)')
    folder = Path(done.out.splitlines()[-1])
    argv = json.loads((folder / "heyhi.json").read_text())["argv"]
    assert argv == [
        *("-c", "conf/beds/carrot.prototxt", "--mode=restart", "--snapshot=DEFAULT", "--adhoc"),
        "lr=1",
    ]
    assert folder.is_relative_to(garden.exp / "adhoc")
    assert garden(*argv).status == 0


def test_what_the_task_raises_is_raised(garden: Garden) -> None:
    program = (
        "try:\n"
        '    launch("fail=raise")\n'
        "except ValueError as problem:\n"
        '    print("raised", problem)\n'
        'dead = launch("fail=raise")\n'
        "assert dead.get_status() is Status.DEAD\n"
    )
    done = python(garden, program)
    assert done.status == 0, done.err
    assert "raised too dry" in done.out
    assert garden.executions() == 1


# Arguments of a launch, and the error.
MISTAKES = {
    'mode="restrat"': "UsageError: no such mode 'restrat'; did you mean 'restart', ",
    '"lr=fast"': "ConfigError: .*lr.*fast",
    'cfg=pathlib.Path("nowhere")': "ConfigError: .*nowhere",
    'exp_id_pattern_override="%(nope)s"': "UsageError: bad pattern '%\\(nope\\)s'",
}


@pytest.mark.parametrize(("arguments", "error"), MISTAKES.items())
def test_a_mistake_is_an_error(garden: Garden, arguments: str, error: str) -> None:
    done = python(garden, f"launch({arguments})")
    assert done.status == 1
    assert re.search(f"heyhi.errors.{error}", done.err), done.err
    assert garden.executions() == 0


def test_a_done_run_is_wiped_only_by_force_where_nobody_can_be_asked(garden: Garden) -> None:
    program = (
        "launch()\n"
        "try:\n"
        '    launch(mode="restart")\n'
        "except heyhi.HeyhiError as problem:\n"
        "    print(problem)\n"
        'launch(mode="restart", force=True)\n'
    )
    done = python(garden, program)
    assert done.status == 0, done.err
    assert "add --force to do it" in done.out
    assert garden.executions() == 2


IDS = {
    'get_exp_id(CARROT, ["lr=0.1"], adhoc=False)': r"p/beds/carrot/lr@0\.1_[0-9a-f]{8}",
    "get_exp_id(CARROT, [], adhoc=False)": "p/beds/carrot/default_d7517139",
    "get_exp_id(str(CARROT), [], True)": r"adhoc/[\dT.-]+/beds/carrot/default_d7517139",
    'get_exp_id(CARROT, ["seed=1"], False, "mine/%(cfg)s")': "mine/carrot",
    'get_exp_id(CARROT, ["lr=.1"], False) == get_exp_id(CARROT, ["lr=1e-1"], False)': "True",
    "heyhi.get_default_exp_dir()": "/.*/home of garden/exp",
    'heyhi.run.get_exp_dir("x")': "/.*/home of garden/exp",
    "heyhi.run.PROJECT_NAME": "garden",
    '",".join(heyhi.MODES)': "gentle_start,start_restart,start_continue,restart,dryrun",
}


def test_ids_and_places(garden: Garden) -> None:
    done = python(garden, "".join(f"print({expression})\n" for expression in IDS))
    assert done.status == 0, done.err
    for printed, pattern in zip(done.out.splitlines(), IDS.values(), strict=True):
        assert re.fullmatch(pattern, printed), (printed, pattern)
    assert not garden.exp.exists()


@pytest.mark.parametrize(
    ("chosen", "folder"), [("/a/b", "/a/b"), ("~/c", "/home/me/c"), (None, "/home/me/results/x")]
)
def test_the_experiment_root(monkeypatch: pytest.MonkeyPatch, chosen: str | None, folder: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    if chosen is None:
        monkeypatch.delenv("HH_EXP_DIR", raising=False)
    else:
        monkeypatch.setenv("HH_EXP_DIR", chosen)
    assert experiments.get_exp_dir("x") == Path(folder)


# ---- A run by its folder ------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _own_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No program of Slurm but those that a test writes."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    experiments.reset_slurm_cache()
    yield
    experiments.reset_slurm_cache()


def _program(folder: Path, name: str, text: str) -> None:
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


GONE = f"local:{this_host()}:1"  # its lock is free, whoever has the number now
ELSEWHERE = "local:elsewhere:1"

# what is in heyhi.jobid, whether there is a result, what squeue prints (None: there is none), the status
STATUSES = {
    "nothing": (None, False, None, Status.NOT_STARTED),
    "dead": (GONE, False, None, Status.DEAD),
    "done": (GONE, True, None, Status.DONE),
    "on another host": (ELSEWHERE, False, None, Status.RUNNING),
    "done on another host": (ELSEWHERE, True, None, Status.DONE),
    "slurm cannot be asked": ("5", False, None, Status.RUNNING),
    "slurm has no answer": ("5", False, "exit 1", Status.RUNNING),
    "queued": ("5", False, "echo '5|PENDING|None|it'", Status.RUNNING),
    "running": ("5_1", False, "echo '5_1|RUNNING|None|it'", Status.RUNNING),
    "ended in slurm": ("5", False, "echo '6|RUNNING|None|it'", Status.DEAD),
    "done in slurm": ("5", True, None, Status.DONE),
}


@pytest.mark.processes
@pytest.mark.parametrize(("job", "has_result", "squeue", "status"), STATUSES.values(), ids=STATUSES)
def test_status(
    run: Run, tmp_path: Path, job: str | None, has_result: bool, squeue: str | None, status: Status
) -> None:
    experiment = ExperimentDir(run.folder)
    if job is not None:
        experiment.save_job_id(job)
    if has_result:
        run.result.write_text("1\n")
    if squeue is not None:
        _program(tmp_path, "squeue", squeue)
    assert experiment.get_status() is status
    assert experiment.is_started() is (status is not Status.NOT_STARTED)
    assert experiment.is_running() is (status is Status.RUNNING)
    assert experiment.is_done() is (status is Status.DONE)
    assert experiment.maybe_get_job_id() == job


def test_a_claimed_run_is_running(run: Run) -> None:
    with claimed(run):
        assert ExperimentDir(run.folder).is_running()
    assert not ExperimentDir(run.folder).is_running()


def test_its_names_are_those_of_a_run(run: Run) -> None:
    experiment = ExperimentDir(run.folder, "my id")
    assert (experiment.exp_path, experiment.exp_id) == (run.folder, "my id")
    assert (experiment.job_id_path, experiment.result_path) == (run.jobid, run.result)
    assert experiment.slurm_path == run.folder / "slurm"
    assert ExperimentDir(str(run.folder)).exp_path == run.folder
    assert [(status.name, status.value) for status in Status] == [
        *(("NOT_STARTED", 1), ("DONE", 2), ("DEAD", 3), ("RUNNING", 4)),
    ]


@pytest.mark.processes
def test_slurm_is_asked_once_until_the_cache_is_reset(run: Run, tmp_path: Path) -> None:
    experiment = ExperimentDir(run.folder)
    experiment.save_job_id("5")
    _program(
        tmp_path,
        "squeue",
        f"echo x >> {tmp_path}/asked; echo '5|RUNNING|None|it'; echo '6_1|PENDING|None|it'",
    )
    assert experiments.get_all_runing_job_ids() == {"5", "6_1"}
    assert experiment.is_running()
    _program(tmp_path, "squeue", f"echo x >> {tmp_path}/asked")
    assert experiment.is_running()
    assert (tmp_path / "asked").read_text() == "x\n"
    experiments.reset_slurm_cache()
    assert experiment.get_status() is Status.DEAD
    assert experiments.get_all_runing_job_ids() == frozenset()


# What each mode does: `run` in the folder as it is, `wipe` it and run, or nothing. RUNNING is a live
# job of this machine, QUEUED one of Slurm's, UNKNOWN one that cannot be asked about.
DECISIONS = """
                NOT_STARTED  DONE  DEAD  RUNNING  QUEUED  UNKNOWN
gentle_start    run          -     -     -        -       -
start_restart   run          -     wipe  -        -       -
start_continue  run          -     run   -        -       -
restart         run          wipe  wipe  wipe     wipe    refuse
dryrun          -            -     -     -        -       -
"""


def _decisions() -> list[tuple[str, str, str]]:
    head, *rows = (line.split() for line in DECISIONS.strip().splitlines())
    return [(mode, state, cell) for mode, *cells in rows for state, cell in zip(head, cells, strict=True)]


LIVE_JOB = """
import pathlib, sys, time
from heyhi.launch.job import claimed
from heyhi.runs.folder import Run
with claimed(Run("", pathlib.Path(sys.argv[1]))):
    print("claimed", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def live_job(run: Run) -> Iterator[None]:
    """A process that has claimed the run."""
    command = [sys.executable, "-c", LIVE_JOB, str(run.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        yield
        process.kill()


@pytest.fixture
def in_state(run: Run, tmp_path: Path, request: pytest.FixtureRequest) -> ExperimentDir:
    """The run in the state that the test is for; it holds one file of its task's."""
    state = request.param
    experiment = ExperimentDir(run.folder)
    jobs = {"DONE": GONE, "DEAD": GONE, "QUEUED": "5", "UNKNOWN": ELSEWHERE}
    if state in jobs:
        experiment.save_job_id(jobs[state])
    if state == "DONE":
        run.result.write_text("1\n")
    if state == "RUNNING":
        request.getfixturevalue("live_job")
    if state == "QUEUED":
        _program(tmp_path, "squeue", f"test -e {tmp_path}/cancelled || echo '5|PENDING|None|it'")
        _program(tmp_path, "scancel", f'echo "$@" > {tmp_path}/cancelled')
    (run.folder / "mine").touch()
    return experiment


@pytest.mark.processes
@pytest.mark.parametrize(("mode", "in_state", "what"), _decisions(), indirect=["in_state"])
def test_handle_dst(mode: str, in_state: ExperimentDir, what: str, tmp_path: Path) -> None:
    before = in_state.get_status()
    if what == "refuse":
        with pytest.raises(RefusedError, match="it is not removed on a guess"):
            handle_dst(in_state, mode)
    else:
        assert handle_dst(in_state, mode) is (what != "-")
    assert in_state.exp_path.exists() is (what != "wipe")
    assert (in_state.exp_path / "mine").exists() is (what != "wipe")
    assert in_state.get_status() is (Status.NOT_STARTED if what == "wipe" else before)
    was_cancelled = what == "wipe" and (tmp_path / "bin" / "scancel").exists()
    assert (tmp_path / "cancelled").exists() is was_cancelled


def test_an_unknown_mode_is_an_error(run: Run) -> None:
    with pytest.raises(UsageError, match="no such mode 'again'; one of gentle_start"):
        handle_dst(ExperimentDir(run.folder), "again")


@pytest.mark.parametrize("silent", [False, True])
def test_it_says_what_is_removed(run: Run, capsys: pytest.CaptureFixture[str], silent: bool) -> None:
    experiment = ExperimentDir(run.folder)
    experiment.save_job_id(GONE)
    experiment.kill_and_prune(silent=silent)
    assert capsys.readouterr().err == ("" if silent else f"{run.folder}: DEAD: removed\n")
    experiment.kill_and_prune()
    assert not run.folder.exists()
    assert capsys.readouterr().err == ""


def test_a_live_local_run_is_killed_and_removed(garden: Garden) -> None:
    words = ("-c", "conf/beds/carrot.prototxt", "seconds=60")
    experiment = ExperimentDir(garden.folder(*words))
    with garden.popen(*words) as process:
        wait_until(lambda: garden.executions() == 1)
        assert experiment.is_running()
        experiment.kill_and_prune(silent=True)
        process.communicate(timeout=20)
    assert process.returncode != 0
    assert not os.path.lexists(experiment.exp_path)
    assert experiment.get_status() is Status.NOT_STARTED
