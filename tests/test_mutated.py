"""Run folders with files that are cut, fifos, links to nowhere, ...: every command that looks copes.

What is done to which file, and what must hold, is in tests/mutated.py. All of it is `make test-faults`.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import HERE, alone
from tests.mutated import KINDS, Findings

_MOST = 40  # lines of problems that a failure shows
_PARTS = 3  # of the files of a kind, so that processes share the work


@pytest.fixture
def base() -> Iterator[Path]:
    """A new folder's name: on a disk on which devices work, where another user may look."""
    above = Path(tempfile.mkdtemp(prefix="heyhi-mutated-"))
    yield above / "w"
    shutil.rmtree(above)


@pytest.mark.faults
@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("kind", KINDS)
def test_every_command_copes_with_a_broken_file_of_a_run(
    kind: str, part: int, base: Path, record_property: Callable[[str, object], None]
) -> None:
    command = alone("tests.mutated", kind, f"{part}/{_PARTS}", str(base))
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = Findings(**json.loads(done.stdout))
    left_out = "; ".join(f"{count} {why}" for why, count in found.left_out.items())
    tried = f"{kind:<12}part {part}: {found.looks:5} looks at a broken file, {found.seconds:5} s"
    record_property("tried", f"{tried}; left out: {left_out or 'none'}")
    shown = [*found.problems[:_MOST], *(["..."] if found.problems[_MOST:] else [])]
    assert not found.problems, "\n".join([f"{len(found.problems)} problems", *shown])
