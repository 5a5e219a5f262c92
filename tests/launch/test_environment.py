import fcntl
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heyhi.errors import LaunchError
from heyhi.launch import environment
from tests.conftest import Garden, wait_until

# ---- Where am I ---------------------------------------------------------------------------------

OFF: dict[str, str] = {}
SALLOC = {"SLURM_JOB_ID": "5", "SLURM_JOB_NODELIST": "n1"}
FIRST = {
    "SLURM_JOB_ID": "5",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_NODELIST": "n[07-08]",
}
LAST = {**FIRST, "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}
ARRAY = {**FIRST, "SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2"}

# variables, is_on_slurm, is_master, get_slurm_job_id, get_slurm_master
PLACES = {
    "off Slurm": (OFF, False, True, None, "localhost"),
    "in salloc": (SALLOC, False, True, "5", "n1"),
    "first rank": (FIRST, True, True, "5", "n07"),
    "last rank": (LAST, True, False, "5", "n07"),
    "array task": (ARRAY, True, True, "5_2", "n07"),
}


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """slurm({"SLURM_JOB_ID": "5"}): these variables of Slurm and of submitit, and no others."""

    def set_variables(variables: dict[str, str]) -> None:
        for name in list(os.environ):
            if name.startswith(("SLURM", "SUBMITIT")):
                monkeypatch.delenv(name)
        for name in ("SUBMITIT_EXECUTOR", "SUBMITIT_LOCAL_JOB_ID"):
            monkeypatch.setenv(name, "")  # so that what get_job_env sets is taken back
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


Slurm = Callable[[dict[str, str]], None]


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_the_place_of_a_process(
    slurm: Slurm, place: tuple[dict[str, str], bool, bool, str | None, str]
) -> None:
    variables, on_slurm, master, job, host = place
    slurm(variables)
    assert environment.is_on_slurm() is on_slurm
    assert environment.is_master() is master
    assert environment.get_slurm_master() == host
    if job is not None:
        assert environment.get_slurm_job_id() == job


def test_off_slurm_there_is_no_slurm_job_id(slurm: Slurm) -> None:
    slurm(OFF)
    with pytest.raises(LaunchError, match="not in a Slurm job: SLURM_JOB_ID is not set"):
        environment.get_slurm_job_id()


NODES = {
    "n1": "n1",
    "n1,n2": "n1",
    "node[001-004,007],login": "node001",
    "node[9]": "node9",
    "rack[1-2]n[07,09]-ib,x": "rack1n07-ib",
    "": "localhost",
}


@pytest.mark.parametrize(("nodes", "host"), NODES.items())
def test_the_first_host_of_a_job(slurm: Slurm, nodes: str, host: str) -> None:
    slurm({"SLURM_JOB_NODELIST": nodes})
    assert environment.get_slurm_master() == host


# variables, (cluster, job_id, global_rank, local_rank, node, num_tasks, num_nodes)
JOBS = {
    "off Slurm": (OFF, ("local", "1", 0, 0, 0, 1, 1)),
    "in salloc": (SALLOC, ("local", "1", 0, 0, 0, 1, 1)),
    "first rank": (FIRST, ("slurm", "5", 0, 0, 0, 4, 2)),
    "last rank": (LAST, ("slurm", "5", 3, 1, 1, 4, 2)),
    "array task": (ARRAY, ("slurm", "5_2", 0, 0, 0, 4, 2)),
    "child of a local job": (
        {**LAST, "SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "1"},
        ("slurm", "5", 3, 1, 1, 4, 2),
    ),
}


@pytest.mark.parametrize(("variables", "job"), JOBS.values(), ids=JOBS)
def test_the_job_environment_is_that_of_submitit(
    slurm: Slurm, variables: dict[str, str], job: tuple[Any, ...]
) -> None:
    import submitit

    slurm(variables)
    env = environment.get_job_env()
    assert isinstance(env, submitit.JobEnvironment)
    found = (env.cluster, env.job_id, env.global_rank, env.local_rank, env.node, env.num_tasks, env.num_nodes)
    assert found == job


@pytest.mark.processes
def test_submitit_is_imported_for_the_job_environment_alone() -> None:
    program = (
        "import sys, heyhi, heyhi.util, heyhi.run\n"
        "heyhi.is_master(), heyhi.get_slurm_master(), heyhi.maybe_init_requeue_handler()\n"
        "assert 'submitit' not in sys.modules\n"
        "heyhi.get_job_env()\n"
        "assert 'submitit' in sys.modules\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SUBMITIT"))}
    subprocess.run([sys.executable, "-c", program], env=kept, check=True)


@pytest.mark.parametrize(
    ("folder", "adhoc"), [("adhoc/2020/x", True), ("p/adhoc_x", False), ("my adhoc", False)]
)
def test_an_adhoc_run_is_one_below_a_folder_adhoc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, adhoc: bool
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / folder)
    assert environment.is_adhoc() is adhoc


# ---- Requeue ------------------------------------------------------------------------------------


def test_off_slurm_the_requeue_handler_is_none(slurm: Slurm) -> None:
    slurm(OFF)
    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)]
    environment.maybe_init_requeue_handler(lambda: None)
    assert [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)] == before


TASK = """
import logging, sys, time
import heyhi

def save():
    print("saving", flush=True)
    raise ValueError("no disk")

heyhi.setup_logging()
heyhi.maybe_init_requeue_handler(save)
print("ready", flush=True)
time.sleep(20)
print("went on")
"""


class Rank:
    """A task under a made-up Slurm, whose scontrol writes down what it is asked."""

    def __init__(
        self, folder: Path, variables: dict[str, str], scontrol: str = "", meanwhile: str = "time.sleep(20)"
    ) -> None:
        self.asked = folder / "asked"
        (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {self.asked}\n{scontrol}\n')
        (folder / "scontrol").chmod(0o755)
        unwanted = ("SLURM", "PYTHONUNBUFFERED")  # a print that is not buffered has no middle
        kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", TASK.replace("time.sleep(20)", meanwhile)],
            env={**kept, **variables, "PATH": f"{folder}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    @property
    def unread(self) -> int:
        """Bytes that it has printed, and nobody has read."""
        assert self.process.stdout is not None
        return int.from_bytes(fcntl.ioctl(self.process.stdout, termios.FIONREAD, bytes(4)), sys.byteorder)

    def after(self, *signals: signal.Signals) -> tuple[int, str, str]:
        """Exit status and output of the task after these signals."""
        for number in signals:
            self.process.send_signal(number)
            time.sleep(0.05)  # two signals at once come in the order of their numbers
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.mark.processes
def test_the_first_rank_saves_and_requeues_whatever_its_callback_does(tmp_path: Path) -> None:
    rank = Rank(tmp_path, ARRAY)
    status, out, err = rank.after(signal.SIGTERM, signal.SIGUSR1)
    assert (status, out) == (255, "saving\n")
    assert rank.asked.read_text() == "requeue 5_2\n"
    assert re.search("SIGTERM is ignored.*SIGUSR1: job 5_2.*ValueError: no disk", err, re.DOTALL)


@pytest.mark.processes
def test_a_requeue_that_slurm_refuses_is_an_error(tmp_path: Path) -> None:
    status, _, err = Rank(tmp_path, FIRST, scontrol="exit 1").after(signal.SIGUSR1)
    assert status == 1
    assert "CalledProcessError" in err


@pytest.mark.processes
def test_a_callback_that_comes_amid_a_print_is_called_once_more(tmp_path: Path) -> None:
    prints = "while True: print('x' * 1_000_000, flush=True); time.sleep(0.05)"  # more than a pipe holds
    rank = Rank(tmp_path, FIRST, meanwhile=prints)
    wait_until(lambda: rank.unread > 30_000)  # it waits for a reader
    status, out, err = rank.after(signal.SIGUSR1)
    assert (status, out.count("saving\n"), err.count("ValueError: no disk")) == (255, 1, 1)
    assert err.count("is to be requeued") > 1
    assert rank.asked.read_text() == "requeue 5\n"


@pytest.mark.processes
def test_a_callback_that_never_can_print_keeps_no_job_from_being_requeued(tmp_path: Path) -> None:
    rank = Rank(tmp_path, FIRST, meanwhile="print('x' * 1_000_000, flush=True)")
    wait_until(lambda: rank.unread > 30_000)
    rank.process.send_signal(signal.SIGUSR1)
    wait_until(rank.asked.exists)  # though nobody reads
    assert "reentrant call" in rank.after()[2]


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_requeue_that_ends_scontrol_with_the_step_is_none(tmp_path: Path, number: signal.Signals) -> None:
    rank = Rank(tmp_path, FIRST, scontrol=f"kill -{number} $$; echo answered >> {tmp_path}/asked")
    status, _, err = rank.after(signal.SIGUSR1)
    assert (status, "CalledProcessError" in err) == (255, False)
    assert ("answered" in rank.asked.read_text()) is (number is signal.SIGTERM)


@pytest.mark.processes
def test_the_other_ranks_leave_in_peace(tmp_path: Path) -> None:
    rank = Rank(tmp_path, LAST)
    assert rank.after(signal.SIGTERM, signal.SIGUSR1)[:2] == (0, "")
    assert not rank.asked.exists()


# ---- Files --------------------------------------------------------------------------------------


@pytest.fixture
def repository(garden: Garden, monkeypatch: pytest.MonkeyPatch) -> Garden:
    """The garden, committed, as the project of this process; the cwd beside it."""
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", *author, *words], cwd=garden.root, check=True)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(garden.root / "run.py"), raising=False)
    monkeypatch.chdir(garden.home)
    return garden


def test_git_status_of_a_clean_tree_is_its_commit(
    repository: Garden, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    environment.log_git_status()
    (line,) = caplog.messages
    assert re.fullmatch("git commit [0-9a-f]{40}", line)
    assert os.listdir(repository.home) == []


def test_git_status_of_a_dirty_tree_is_also_a_file_of_the_first_rank(
    repository: Garden, slurm: Slurm
) -> None:
    (repository.root / "run.py").write_text("changed\n")
    slurm(LAST)
    environment.log_git_status()
    assert os.listdir(repository.home) == []
    slurm(FIRST)
    environment.log_git_status()
    assert "+changed\n" in (repository.home / "workdir.diff").read_text()
    environment.log_git_status(repository.root / "conf")
    assert (repository.root / "conf" / "workdir.diff").exists()


def test_what_goes_wrong_with_git_status_is_logged(
    repository: Garden, caplog: pytest.LogCaptureFixture
) -> None:
    (repository.root / "run.py").write_text("changed\n")
    environment.log_git_status("/no/such/folder")
    shutil.rmtree(repository.root / ".git")
    environment.log_git_status()
    assert [record.levelname[0] for record in caplog.records] == ["E", "E"]
    assert "No such file or directory" in caplog.messages[0]
    assert "not a git repository" in caplog.messages[1]


def test_a_result_is_saved_in_the_current_folder_by_the_first_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm: Slurm
) -> None:
    @environment.save_result_in_cwd
    def task(number: int, *, more: int) -> dict[str, int]:
        """Add."""
        return {"sum": number + more}

    monkeypatch.chdir(tmp_path)
    slurm(LAST)
    assert task(1, more=2) == {"sum": 3}
    assert os.listdir(tmp_path) == []
    slurm(OFF)
    assert task(1, more=2) == {"sum": 3}
    assert json.loads((tmp_path / "result.json").read_text()) == {"sum": 3}
    assert (task.__name__, task.__doc__) == ("task", "Add.")
