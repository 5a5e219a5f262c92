import subprocess
import sys
from pathlib import Path

import pytest

from heyhi.batch.intercept import VARIABLE, asks_to_show, capture_folder
from heyhi.errors import UsageError

SAYS = "import heyhi.batch.intercept as i; print(i.capture_folder())"


def folder_seen_by(*words: str, captured: str) -> str:
    """What the process of a command line that ends in SAYS finds; its shell has the variable."""
    command = [*words, sys.executable, "-c", SAYS]
    done = subprocess.run(
        ["sh", "-c", '"$@"; true', "sh", *command],
        env={VARIABLE: captured, "PATH": "/usr/bin:/bin"},
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip() or done.stderr.splitlines()[-1]


@pytest.mark.processes
def test_a_process_knows_that_it_is_captured_even_if_it_is_not_told(tmp_path: Path) -> None:
    assert folder_seen_by(captured=str(tmp_path)) == str(tmp_path)
    assert folder_seen_by("env", "-i", captured=str(tmp_path)) == str(tmp_path)
    assert folder_seen_by("env", "-u", VARIABLE, captured=str(tmp_path)) == str(tmp_path)


def test_without_a_capture_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert capture_folder() is None


@pytest.mark.processes
def test_a_capture_that_is_over_is_an_error_if_it_is_named_and_else_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = str(tmp_path / "gone")
    assert folder_seen_by("env", "-i", captured=gone) == "None"
    monkeypatch.setenv(VARIABLE, gone)
    with pytest.raises(UsageError, match=rf"{gone} is gone. `unset {VARIABLE}`"):
        capture_folder()


@pytest.mark.parametrize("word", ["--print", "--print-out-dir", "-h", "--help-cfg", "--explain=lr"])
def test_what_only_shows_something_is_answered(word: str) -> None:
    assert asks_to_show(["-c", "it.prototxt", word])
    assert not asks_to_show(["-c", "it.prototxt"])
