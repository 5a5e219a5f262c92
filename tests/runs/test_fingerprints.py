import os
import subprocess
import sys
from pathlib import Path

import pytest

from heyhi.runs.fingerprints import ids_of, note


def test_runs_of_one_config_find_each_other(tmp_path: Path) -> None:
    assert ids_of(tmp_path, "ab12") == []
    for fingerprint, run_id in [("ab12", "p/a"), ("ab12", "p/b c"), ("ab99", "p/d"), ("ab12", "p/a")]:
        note(tmp_path, fingerprint, run_id)
    assert ids_of(tmp_path, "ab12") == ["p/a", "p/b c"]
    assert ids_of(tmp_path, "ab99") == ["p/d"]
    assert ids_of(tmp_path, "ab1") == []


def test_a_note_is_made_once(tmp_path: Path) -> None:
    for _ in range(3):
        note(tmp_path, "ab12", "p/a")
    assert (tmp_path / ".heyhi/fingerprints/ab").read_text() == "ab12 p/a\n"


def test_a_line_that_was_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    notes = tmp_path / ".heyhi/fingerprints/ab"
    note(tmp_path, "ab12", "p/a")
    with notes.open("a") as file:
        file.write("ab12 p/cu")
    note(tmp_path, "ab12", "p/b")
    assert {"p/a", "p/b"} <= set(ids_of(tmp_path, "ab12"))
    assert notes.read_text() == "ab12 p/a\nab12 p/cu\nab12 p/b\n"


def test_a_fifo_among_the_notes_is_passed_over_at_once(tmp_path: Path) -> None:
    notes = tmp_path / ".heyhi/fingerprints/ab"
    notes.parent.mkdir(parents=True)
    os.mkfifo(notes)
    note(tmp_path, "ab12", "p/a")
    assert ids_of(tmp_path, "ab12") == []


@pytest.mark.processes
def test_notes_of_many_processes_do_not_mix(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from heyhi.runs.fingerprints import note\n"
        "for n in range(50): note(Path(sys.argv[1]), 'ab12', f'p/{sys.argv[2]}-{n}-' + 'x' * 300)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    assert len(ids_of(tmp_path, "ab12")) == 8 * 50
