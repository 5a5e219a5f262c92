"""What HeyHi asks of Slurm. Small scripts, first on the PATH, stand for Slurm's own programs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from heyhi import slurm
from heyhi.errors import LaunchError, UsageError
from heyhi.runs import QueuedJob
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


@pytest.mark.parametrize(("printed", "jobs"), ANSWERS.values(), ids=ANSWERS)
def test_the_jobs_in_the_queue(program: Program, printed: str, jobs: dict[str, QueuedJob]) -> None:
    program("squeue", f"cat <<'END'\n{printed}END")
    assert slurm.ask_queue() == jobs


NO_ANSWER = {
    "fails": "echo 5 RUNNING; echo slurm_load_jobs error >&2; exit 1",
    "dies": "kill -9 $$",
    "hangs": "sleep 20",
}


@pytest.mark.parametrize("text", NO_ANSWER.values(), ids=NO_ANSWER)
def test_a_squeue_that_fails_or_hangs_is_no_answer(
    program: Program, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(slurm, "_TIMEOUT", 0.3)
    program("squeue", text)
    assert slurm.ask_queue() is None


def test_without_squeue_there_is_no_answer(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"].split(":")[0])
    assert slurm.ask_queue() is None


def test_a_squeue_that_cannot_be_started_is_no_answer(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("squeue", "")
    monkeypatch.setenv("PATH", os.environ["PATH"].split(":")[0])
    path = Path(os.environ["PATH"]) / "squeue"
    path.write_text("#!/no/such/shell\n")
    assert slurm.ask_queue() is None


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


def test_a_job_is_cancelled_by_its_id(program: Program, tmp_path: Path) -> None:
    program("scancel", f'echo "$@" > {tmp_path}/asked')
    slurm.cancel("12_3")
    assert (tmp_path / "asked").read_text() == "12_3\n"


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
    assert slurm.wants_slurm(compose_text(text).config) is wants


def test_without_sbatch_it_says_where_to_go(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"].split(":")[0])
    with pytest.raises(UsageError, match="no sbatch on this machine"):
        slurm.refuse_without_slurm()
