"""What HeyHi asks of Slurm. Small scripts, first on the PATH, stand for Slurm's own programs."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heyhi.errors import LaunchError, UsageError
from heyhi.launch import schedulers, slurm
from heyhi.runs import deaths
from heyhi.runs.folder import Run
from heyhi.runs.ids import JobId
from heyhi.runs.status import QueuedJob, RunState, Status
from tests.conftest import ComposeText

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """program("squeue", "echo 1 RUNNING"): the programs on the PATH, and no other of Slurm."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(name: str, text: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)

    return write


ANSWERS = {
    "no jobs": ("", {}),
    "states": (
        "7|RUNNING|None|a\n8|PENDING|Priority|b c\n",
        {
            "7": QueuedJob("7", "RUNNING", "a"),
            "submitting:a": QueuedJob("7", "RUNNING", "a"),
            "8": QueuedJob("8", "PENDING", "b c", "Priority"),
            "submitting:b c": QueuedJob("8", "PENDING", "b c", "Priority"),
        },
    ),
    "array tasks": (
        "12_10|PENDING|None|a|b\n",
        {
            "12_10": QueuedJob("12_10", "PENDING", "a|b"),
            "submitting:a|b_10": QueuedJob("12_10", "PENDING", "a|b"),
        },
    ),
    "an array that was cancelled while it waited": (
        "12_[0-1,5%3]|CANCELLED|None|a\n",
        {
            key: QueuedJob(f"12_{number}", "CANCELLED", "a")
            for number in (0, 1, 5)
            for key in (f"12_{number}", f"submitting:a_{number}")
        },
    ),
    "spaces and empty lines": (
        "\n  5|RUNNING|None|a\n\n",
        {"5": QueuedJob("5", "RUNNING", "a"), "submitting:a": QueuedJob("5", "RUNNING", "a")},
    ),
}


@pytest.mark.processes
@pytest.mark.parametrize(("printed", "jobs"), ANSWERS.values(), ids=ANSWERS)
def test_the_jobs_in_the_queue(program: Program, printed: str, jobs: dict[str, QueuedJob]) -> None:
    program("squeue", f"cat <<'END'\n{printed}END")
    assert slurm.ask_queue() == jobs


NO_ANSWER = {
    "fails": "echo 5 RUNNING; echo slurm_load_jobs error >&2; exit 1",
    "dies": "kill -9 $$",
    "hangs": "sleep 20",
}


@pytest.mark.processes
@pytest.mark.parametrize("text", NO_ANSWER.values(), ids=NO_ANSWER)
def test_a_squeue_that_fails_or_hangs_is_no_answer(
    program: Program, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(slurm, "_TIMEOUT", 0.3)
    program("squeue", text)
    assert slurm.ask_queue() is None


@pytest.mark.processes
def test_without_squeue_there_is_no_answer(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"].split(":")[0])
    assert slurm.ask_queue() is None


@pytest.mark.processes
def test_a_squeue_that_cannot_be_started_is_no_answer(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("squeue", "")
    monkeypatch.setenv("PATH", os.environ["PATH"].split(":")[0])
    path = Path(os.environ["PATH"]) / "squeue"
    path.write_text("#!/no/such/shell\n")
    assert slurm.ask_queue() is None


@pytest.mark.processes
def test_squeue_is_asked_for_all_array_tasks_whatever_the_users_defaults_are(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    program("squeue", 'echo "$*|${SQUEUE_STATES-unset}|"')
    (known, _) = (slurm.ask_queue() or {}).values()
    assert known.id == "--all --states=all --array --noheader --format=%i"
    assert known.name.endswith("unset|")


CANCELS = {
    "refused": ("echo ' Invalid job id' >&2; exit 1", "job 5 cannot be cancelled: Invalid job id"),
    "hangs": ("sleep 20", "job 5 cannot be cancelled: no answer in 0.3 seconds"),
    "absent": (None, "job 5 cannot be cancelled: no scancel on this machine"),
}


@pytest.mark.processes
@pytest.mark.parametrize(("text", "error"), CANCELS.values(), ids=CANCELS)
def test_a_job_that_cannot_be_cancelled(
    program: Program, monkeypatch: pytest.MonkeyPatch, text: str | None, error: str
) -> None:
    monkeypatch.setattr(slurm, "_TIMEOUT", 0.3)
    if text is not None:
        program("scancel", text)
    else:
        monkeypatch.setenv("PATH", os.environ["PATH"].split(":")[0])  # there may be a real one elsewhere
    with pytest.raises(LaunchError) as info:
        slurm.cancel("5")
    assert str(info.value) == error


@pytest.mark.processes
def test_a_job_is_cancelled_by_its_id(program: Program, tmp_path: Path) -> None:
    program("scancel", f'echo "$@" > {tmp_path}/asked')
    slurm.cancel("12_3")
    assert (tmp_path / "asked").read_text() == "12_3\n"


# ---- How jobs ended -----------------------------------------------------------------------------


class Ended:
    """Runs whose jobs squeue and sacct have been told about; how often they were asked."""

    def __init__(self, folder: Path, program: Program) -> None:
        self.folder = folder
        self.program = program
        self.calls = folder / "calls"
        self.squeue()

    def run(self, job: str, name: str = "it") -> Run:
        run = Run(f"p/{job}", self.folder / "p" / job)
        run.folder.mkdir(parents=True)
        run.jobid.write_text(job)
        run.provenance.write_text(json.dumps({"slurm_name": name}))
        return run

    def squeue(self, *lines: str, statuses: str = "") -> None:
        self._answer("squeue", "\n".join(lines), f"case $* in *exit_code*) echo '{statuses}'; exit;; esac")

    def sacct(self, *lines: str) -> None:
        self._answer("sacct", "\n".join(lines), "")

    def _answer(self, name: str, text: str, before: str) -> None:
        self.program(name, f"echo {name} $* >> {self.calls}\n{before}\ncat <<'END'\n{text}\nEND")

    def questions(self, name: str) -> list[str]:
        """How a program was called."""
        return [line for line in self.calls.read_text().splitlines() if line.startswith(name)]

    def anew(self) -> None:
        """As in the next process."""
        slurm._asked_accounting.clear()


@pytest.fixture
def ended(processes: None, tmp_path: Path, program: Program) -> Iterator[Ended]:
    made = Ended(tmp_path, program)
    made.anew()
    yield made
    made.anew()


ENDS_IN_SQUEUE = {
    "TIMEOUT|TimeLimit": "Slurm: TIMEOUT",
    "OUT_OF_MEMORY|OutOfMemory": "Slurm: OUT_OF_MEMORY",
    "NODE_FAIL|None": "Slurm: NODE_FAIL",
    "COMPLETED|None": "Slurm: COMPLETED",
    "CANCELLED|JobHeldUser": "Slurm: CANCELLED",
    "FAILED|JobLaunchFailure": "Slurm: FAILED: JobLaunchFailure",
}


@pytest.mark.parametrize(("told", "reason"), ENDS_IN_SQUEUE.items())
def test_what_squeue_says_of_an_end_is_kept_when_it_has_forgotten_it(
    ended: Ended, told: str, reason: str
) -> None:
    run = ended.run("5")
    ended.squeue(f"5|{told}|it")
    assert schedulers.read_state(run) == RunState(Status.DEAD, JobId("5"), reason)
    ended.squeue()
    assert schedulers.read_state(run) == RunState(Status.DEAD, JobId("5"), reason)
    assert schedulers.read_states([run])[run.folder].detail == deaths.cause(run) == reason
    assert ended.questions("sacct") == []


FAILED = {
    "768": "Slurm: FAILED: exit status 3",
    "9": "Slurm: FAILED: ended by SIGKILL (out of memory?)",
    "35072": "Slurm: FAILED: ended by SIGKILL (out of memory?)",
    "139": "Slurm: FAILED: ended by SIGSEGV",  # and a core was dumped
    "0": "Slurm: FAILED: NonZeroExitCode",
    "?": "Slurm: FAILED: NonZeroExitCode",
}


NO_IDS = ["\0\0\0", "--user=anna", "12,13", "12 13", "$(date)", "1\n2", "12_[0-3]"]


@pytest.mark.parametrize("text", NO_IDS)
def test_what_is_no_id_of_a_job_is_given_to_no_program(text: str, ended: Ended) -> None:
    ended.sacct()
    ended.program("scancel", f"echo scancel >> {ended.calls}")
    run = ended.run("5")
    run.jobid.write_text(text)
    assert schedulers.read_state(run).status is Status.DEAD
    with pytest.raises(LaunchError, match="is no id of a job of Slurm; nothing was cancelled"):
        slurm.cancel("5", text)
    assert (ended.questions("sacct"), ended.questions("scancel")) == ([], [])


@pytest.mark.parametrize(("status", "reason"), FAILED.items())
def test_of_a_job_that_failed_without_a_word_squeue_is_asked_how(
    ended: Ended, status: str, reason: str
) -> None:
    runs = [ended.run(job) for job in ("5_0", "5_1", "6")]
    runs[2].error.write_text("ValueError: too dry\n\nTraceback\n")
    ended.squeue(
        *(f"{job}|FAILED|NonZeroExitCode|it" for job in ("5_0", "5_1", "6")), statuses=f"5_0 {status}"
    )
    found = schedulers.read_states(runs)
    assert [found[run.folder].detail for run in runs] == [
        reason,
        "Slurm: FAILED: NonZeroExitCode",
        "Slurm: FAILED",
    ]
    assert next(q for q in ended.questions("squeue") if "exit_code" in q).endswith("--jobs=5_0,5_1")
    assert not list(runs[2].folder.glob("ended.*")), "its job has said it itself"
    schedulers.read_states(runs)
    assert len([line for line in ended.questions("squeue") if "exit_code" in line]) == 1


def test_of_runs_that_left_squeue_silently_the_accounting_is_asked_once_for_all(ended: Ended) -> None:
    runs = [ended.run(job) for job in ("5_0", "5_7", "6", "7", "8", "9")]
    ended.sacct(
        "5_0|OUT_OF_MEMORY|0:125|0:0|it",
        "5_[6-9]|CANCELLED by 0|0:0|0:0|it",
        "6|FAILED|9:0|0:9|it",
        "7|TIMEOUT|0:0|0:0|a stranger|s",
        "8|FAILED|3:0|0:0|it",
        "9|FAILED|9:0|0:0|it",
    )
    found = schedulers.read_states(runs)
    reasons = [
        "Slurm: OUT_OF_MEMORY",
        "Slurm: CANCELLED by root",
        "Slurm: FAILED: ended by SIGKILL (out of memory?)",
        "Slurm does not know it any more",
        "Slurm: FAILED: exit status 3",
        "Slurm: FAILED: exit status 9, or ended by SIGKILL (out of memory?)",
    ]
    assert [found[run.folder].detail for run in runs] == reasons
    assert ended.questions("sacct")[0].endswith("--jobs=5,6,7,8,9")
    schedulers.read_states(runs)
    assert len(ended.questions("sacct")) == 1
    ended.anew()
    found = schedulers.read_states(runs)
    assert [found[run.folder].detail for run in runs] == reasons
    assert [line.rpartition("=")[2] for line in ended.questions("sacct")] == ["5,6,7,8,9", "7"]


NO_ACCOUNTING = {
    "absent": None,
    "disabled": "echo 'Slurm accounting storage is disabled' >&2; exit 1",
    "down": "echo 'sacct: error: Problem talking to the database' >&2; exit 1",
    "hangs": "sleep 20",
}


@pytest.mark.parametrize("text", NO_ACCOUNTING.values(), ids=NO_ACCOUNTING)
def test_without_an_answer_of_the_accounting_nothing_is_said_and_nothing_kept(
    ended: Ended, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], text: str | None
) -> None:
    monkeypatch.setattr(slurm, "_PATIENCE", 0.3)
    run = ended.run("5")
    if text is not None:
        ended.program("sacct", f"echo sacct >> {ended.calls}; {text}")
    for path in run.folder.iterdir():
        os.utime(path, (0, 0))
    for _ in range(2):
        assert schedulers.read_state(run) == RunState(
            Status.DEAD, JobId("5"), "Slurm does not know it any more"
        )
    assert capfd.readouterr() == ("", "")
    assert not list(run.folder.glob("ended.*"))
    assert len(ended.questions("sacct")) == (text is not None), "once in a process"


@pytest.mark.parametrize("line", ["5|RUNNING|0:0|0:0|it", ""])
def test_an_accounting_that_lags_behind_is_asked_again_later(ended: Ended, line: str) -> None:
    run = ended.run("5")
    ended.sacct(line)
    assert schedulers.read_state(run).detail == "Slurm does not know it any more"
    assert not list(run.folder.glob("ended.*"))
    ended.anew()
    ended.sacct("5|NODE_FAIL|0:0|0:0|it")
    assert schedulers.read_state(run).detail == "Slurm: NODE_FAIL"


@pytest.mark.parametrize("line", ["5|RUNNING|0:0|0:0|it", ""])
def test_an_accounting_that_knows_nothing_an_hour_later_is_asked_no_more(ended: Ended, line: str) -> None:
    run = ended.run("5")
    ended.sacct(line)
    for path in run.folder.iterdir():
        os.utime(path, (0, 0))
    for _ in range(2):
        assert schedulers.read_state(run).detail == "Slurm does not know it any more"
        ended.anew()
    assert len(ended.questions("sacct")) == 1


def test_a_run_that_was_submitted_anew_meanwhile_has_not_ended(ended: Ended) -> None:
    run = ended.run("5")
    ended.program("squeue", f"echo '5|TIMEOUT|None|it'; echo 6 > {run.jobid}; echo '6|RUNNING|None|it'")
    assert schedulers.read_states([run])[run.folder].status is Status.UNKNOWN
    assert schedulers.read_state(run).status is Status.RUNNING
    assert not list(run.folder.glob("ended.*"))


# ---- Who asks for Slurm -------------------------------------------------------------------------
LAUNCHERS = {
    "grow {}": False,
    "grow { launcher {} }": False,
    "grow { launcher { local {} } }": False,
    "grow { launcher { slurm {} } }": True,
    "pick { what: 'a' }": False,  # has no launcher
}


@pytest.mark.parametrize(("text", "wants"), LAUNCHERS.items())
def test_only_a_launcher_that_chooses_slurm_wants_it(
    compose_text: ComposeText, text: str, wants: bool
) -> None:
    assert (schedulers.chosen(compose_text(text).config) == "Slurm") is wants


def test_without_sbatch_it_says_where_to_go(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"].split(":")[0])
    with pytest.raises(UsageError, match="no sbatch on this machine"):
        slurm.refuse_if_missing()
