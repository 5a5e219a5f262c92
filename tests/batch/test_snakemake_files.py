"""Batches where the home folder, the project or both cannot be written, as in a container."""

import subprocess
from pathlib import Path

import pytest

from tests.batches import command, write_batch
from tests.conftest import Done, Garden

_READ_ONLY = """
for f in $READ_ONLY; do mount --bind "$f" "$f" && mount -o remount,ro,bind "$f"; done
cd "$PWD" && exec "$@"
"""


def _in_a_container(garden: Garden, words: list[str], *read_only: Path, user: int = 0, **env: str) -> Done:
    """A command where folders cannot be written (a mount namespace of its own), as a user without a name."""
    before = ["unshare", "--mount", "bash", "-c", _READ_ONLY, "bash"]
    after = ["unshare", "--user", f"--map-user={user}", f"--map-group={user}"] if user else []
    environment = {**garden.environment(**env), "READ_ONLY": " ".join(map(str, read_only))}
    environment = {name: value for name, value in environment.items() if value != "UNSET"}
    done = subprocess.run(
        [*before, *after, *words],
        cwd=garden.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def contained(garden: Garden) -> Garden:
    """The garden, whose home is a folder without spaces. Skips where there are no namespaces."""
    garden.home = garden.root.parent / "home"
    garden.home.mkdir()
    garden.exp = garden.root.parent / "exp"
    garden.exp.mkdir()
    garden.count_file = garden.exp / "executions.txt"
    tried = _in_a_container(garden, ["true"], garden.home, user=4321)
    if tried.status:
        pytest.skip(f"no namespaces here: {tried.err.strip()}")
    write_batch(garden, "seed=1", "seed=2 fail=raise")
    return garden


# HOME (empty: as it is), and whether plain Snakemake is called.
CALLS = {
    "heyhi start": ("", False),
    "heyhi start, no home": ("UNSET", False),
    "snakemake": ("", True),
    "snakemake, no such home": ("/nonexistent", True),
}


@pytest.mark.slow
@pytest.mark.parametrize(("home", "plain"), CALLS.values(), ids=CALLS)
def test_a_batch_runs_where_home_and_project_are_read_only(contained: Garden, home: str, plain: bool) -> None:
    start = [*command(contained, "x")[:1], "-m", "heyhi.commands", "start", "batch.sh"]
    words = command(contained) if plain else start
    env = {"HOME": home} if home else {}
    done = _in_a_container(contained, words, contained.root, contained.home, user=4321, **env)
    assert (done.status, contained.executions()) == (1, 2), done.err
    assert "Traceback" not in done.err
    assert "1 of 2 runs are done" in done.err
    assert sorted(path.name for path in contained.root.glob(".*")) == []
    assert list(contained.home.iterdir()) == []
    assert not Path("/nonexistent").exists()
    # The jobs' own caches stay where they were.
    assert "XDG_CACHE_HOME" not in (next(contained.exp.rglob("heyhi.json")).read_text())


def test_where_nothing_can_be_written_that_is_a_line(contained: Garden) -> None:
    start = [*command(contained, "x")[:1], "-m", "heyhi.commands", "start", "batch.sh"]
    done = _in_a_container(contained, start, contained.root, contained.home, contained.exp)
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith(f"error: {contained.exp}/.heyhi"), done.err
    assert "Traceback" not in done.err
