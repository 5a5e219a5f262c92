"""GPUs that are made up: HEYHI_GPUS says how many there are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heyhi.errors import UsageError
from heyhi.launch import gpus
from tests.batches import folder, snakemake, start_snakemake, write_batch
from tests.conftest import Garden

NAMES = {
    "HEYHI_GPUS=2": ["0", "1"],
    "HEYHI_GPUS=0": [],
    "CUDA_VISIBLE_DEVICES=3,5": ["3", "5"],
    "CUDA_VISIBLE_DEVICES=": [],
    "CUDA_VISIBLE_DEVICES=-1": [],
    "HEYHI_GPUS=1 CUDA_VISIBLE_DEVICES=3,5": ["0"],
}


@pytest.mark.parametrize(("settings", "names"), NAMES.items())
def test_names(monkeypatch: pytest.MonkeyPatch, settings: str, names: list[str]) -> None:
    for setting in settings.split():
        monkeypatch.setenv(*setting.split("=", 1))
    assert gpus.names() == names


@pytest.mark.processes
def test_nvidia_smi_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("HEYHI_GPUS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A100 (UUID: GPU-1)'\necho 'GPU 1: A100 (UUID: GPU-2)'\n")
    tool.chmod(0o755)
    assert gpus.names() == ["0", "1"]
    tool.write_text("#!/bin/sh\necho 'no driver'; exit 9\n")
    assert gpus.names() == []


def test_a_wrong_count_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEYHI_GPUS", "two")
    with pytest.raises(UsageError, match="HEYHI_GPUS=two: expected how many GPUs"):
        gpus.names()


_HOLD = """
import os, sys, time
from heyhi.launch import gpus
with gpus.own(int(sys.argv[1])):
    names = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    for name in names:
        os.mkdir(os.path.join(sys.argv[2], name))
    time.sleep(0.05)
    for name in names:
        os.rmdir(os.path.join(sys.argv[2], name))
"""


@pytest.mark.processes
def test_processes_that_want_different_numbers_never_share_and_never_wait_for_ever(tmp_path: Path) -> None:
    env = {**os.environ, "HEYHI_GPUS": "3", "TMPDIR": str(tmp_path)}
    (tmp_path / "held").mkdir()
    jobs = [
        subprocess.Popen([sys.executable, "-c", _HOLD, str(count), str(tmp_path / "held")], env=env)
        for count in (1, 2, 3, 2, 1, 3, 2, 2)
    ]
    assert [job.wait(timeout=60) for job in jobs] == [0] * len(jobs)


def intervals(garden: Garden) -> dict[str, tuple[int, int]]:
    """When each task began and ended, by its folder."""
    found: dict[str, list[int]] = {}
    for line in garden.count_file.read_text().splitlines():
        _, _, when, path = line.split(" ", 3)
        found.setdefault(path, []).append(int(when))
    return {path: (times[0], times[1]) for path, times in found.items()}


def test_two_drivers_never_give_one_gpu_twice(garden: Garden) -> None:
    asks = "Ilauncher=slurm fail=tell seconds=0.4"
    for name, seeds in (("batch.sh", (1, 2, 3)), ("other.sh", (4, 5, 6))):
        write_batch(garden, *[f"seed={seed} {asks}" for seed in seeds], f"seed={seeds[0]}", name=name)
    both = [
        start_snakemake(garden, batch=name, HEYHI_GPUS="2", TMPDIR=temporary)
        for name, temporary in (("batch.sh", str(garden.home)), ("other.sh", "/tmp"))
    ]
    for driver in both:
        out, _ = driver.communicate(timeout=90)
        assert driver.returncode == 0, out
    given = {}
    for path, interval in intervals(garden).items():
        told = Path(path) / "environment.json"
        if told.exists():
            given[interval] = json.loads(told.read_text())["CUDA_VISIBLE_DEVICES"]
    assert len(given) == 6
    assert set(given.values()) == {"0", "1"}
    for one in given:
        for other in given:
            apart = one == other or one[1] <= other[0] or other[1] <= one[0]
            assert apart or given[one] != given[other]


def test_a_run_that_asks_for_more_than_there_are_is_refused_before_anything_starts(garden: Garden) -> None:
    write_batch(garden, "seed=1", "seed=2 Ilauncher=slurm launcher.slurm.num_gpus=3")
    done = snakemake(garden, HEYHI_GPUS="2")
    assert (done.status, garden.executions()) == (2, 0)
    assert "asks for 3 GPUs, and this machine has 2" in done.err.splitlines()[-1]
    assert "batch.sh:4" in done.err.splitlines()[-1]
    assert not list(garden.exp.glob("p/*/*/*"))


def test_a_launcher_that_asks_for_slurm_runs_here(garden: Garden) -> None:
    write_batch(garden, "Ilauncher=slurm launcher.slurm.num_gpus=0")
    done = snakemake(garden, HEYHI_GPUS="0")
    assert done.status == 0, done.err
    assert (folder(garden, "Ilauncher=slurm launcher.slurm.num_gpus=0") / "result.json").exists()
