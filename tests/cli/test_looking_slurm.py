"""Runs on a real Slurm, as they are seen: queued with the reason, followed to their end, made again."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.batches import CARROT
from tests.cluster import Cluster
from tests.conftest import Done, Garden, wait_until

pytestmark = pytest.mark.slurm

SLURM, HELD = "launcher.slurm=SELECT", "launcher.slurm.extra.0=--hold"


@pytest.fixture
def garden(slurm_garden: Garden, cluster: Cluster) -> Iterator[Garden]:
    yield slurm_garden
    if alive := [path.read_text().strip() for path in slurm_garden.exp.rglob("heyhi.jobid")]:
        cluster.client("scancel", *alive)


def heyhi(garden: Garden, *words: str) -> Done:
    return garden.python("-m", "heyhi.commands", *words)


def submit(garden: Garden, *words: str) -> Path:
    """Submit a run. Returns its folder."""
    done = garden(*CARROT, SLURM, *words)
    assert done.status == 0, done.err
    return garden.folder(*CARROT, SLURM, *words)


def test_what_is_held_is_told_and_followed_to_its_end(garden: Garden, cluster: Cluster) -> None:
    run = submit(garden, HELD)
    job = (run / "heyhi.jobid").read_text().strip()
    told = f"QUEUED ({job}): PENDING: JobHeldUser"
    assert told in garden(*CARROT, SLURM, HELD).err
    counts, _, row = heyhi(garden, "status").out.splitlines()
    assert counts == "runs 1: 1 QUEUED"
    assert re.fullmatch(rf"QUEUED +p/\S+ +2\S+ +- +{job} +PENDING: JobHeldUser", row)
    assert f"run.log: there is none yet; {told}" in heyhi(garden, "logs", job).err
    command = [sys.executable, "-m", "heyhi.commands", "logs", job, "-f"]
    follow = subprocess.Popen(
        command,
        cwd=garden.root,
        env=garden.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    garden.started.append(follow)
    assert follow.stderr is not None
    assert follow.stderr.readline().endswith(f": {told}\n")
    cluster.client("scontrol", "release", job)
    out, problems = follow.communicate(timeout=120)
    assert (follow.returncode, "growing carrot" in out) == (0, True), problems
    assert problems.endswith(": DONE\n")


def test_a_job_that_is_cancelled_ends_what_follows_it(garden: Garden, cluster: Cluster) -> None:
    run = submit(garden, HELD)
    cluster.client("scancel", (run / "heyhi.jobid").read_text().strip())
    done = heyhi(garden, "logs", str(run), "-f")
    assert done.status == 1
    assert "DEAD: Slurm: CANCELLED" in done.err
    assert "DEAD" in heyhi(garden, "status", str(run), "--watch").out, "nothing lives: it ends"


def test_a_run_of_slurm_is_made_again_in_slurm(garden: Garden, tmp_path: Path) -> None:
    run = submit(garden, "seed=1", "launcher.slurm.comment=a b")
    wait_until((run / "result.json").exists, 120)
    kept = tmp_path / "kept"
    wait_until(lambda: json.loads((run / "heyhi.json").read_text())["starts"][-1]["status"] == "DONE")
    shutil.move(run, kept)
    told = heyhi(garden, "replay", str(kept))
    assert told.status == 0, told.err
    environment = garden.environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    subprocess.run(["bash", "-c", told.out], cwd=tmp_path, env=environment, check=True, capture_output=True)
    wait_until((run / "result.json").exists, 120)
    for name in ("config.prototxt", "result.json"):
        assert (run / name).read_bytes() == (kept / name).read_bytes()
    known = [json.loads((place / "heyhi.json").read_text()) for place in (kept, run)]
    same = ("id", "snapshot", "project_root", "canonical_overrides", "fingerprint")
    assert {name: known[0][name] for name in same} == {name: known[1][name] for name in same}
    assert "local" not in (run / "heyhi.jobid").read_text()
