"""Tests of this project: configs compose, the task fits, the batch has no errors."""

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tasks.fit import fit, make_points

import heyhi

if TYPE_CHECKING:
    from conf import conf_cfgs

ROOT = Path(__file__).resolve().parent.parent
SINE = str(ROOT / "conf/fit/sine.prototxt")
os.environ["HEYHI_PROJECT"] = str(ROOT)  # whatever folder pytest is called from


def run(exp: Path, *words: str) -> str:
    """Run a Python program in the project, with an experiment root of its own; what it prints."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "HH_EXP_DIR": str(exp)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_config_composes(tmp_path: Path) -> None:
    assert ", 0 with errors" in run(tmp_path, "-m", "heyhi.commands", "validate")


def test_the_sweep_has_no_mistakes(tmp_path: Path) -> None:
    lines = run(tmp_path, "-m", "heyhi.commands", "plan", "sweep.sh", "--json").splitlines()
    assert {json.loads(line)["status"] for line in lines} == {"NOT_STARTED"}


def test_a_run_leaves_its_result(tmp_path: Path) -> None:
    words = ("run.py", "-c", SINE, "num_steps=10")
    folder = Path(run(tmp_path, *words, "--print-out-dir").strip())
    run(tmp_path, *words)
    assert json.loads((folder / "result.json").read_text())["loss"] < 1


# ---- The task -----------------------------------------------------------------------------------


def config(*overrides: str) -> "conf_cfgs.FitTask":
    """The config as a run gets it."""
    cfg: conf_cfgs.FitTask = heyhi.load_root_config(SINE, overrides).fit
    return cfg


def test_points_lie_on_the_curve_but_for_the_noise() -> None:
    points = make_points(config("points.noise=0", "points.num=3").points, random.Random(0))
    assert points == [pytest.approx((x, math.sin(3 * x))) for x in (-2 / 3, 0, 2 / 3)]


def test_more_steps_fit_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for cfg in (config("num_steps=1"), config("num_steps=10"), config("num_steps=100")):
        monkeypatch.chdir(new_folder(tmp_path, str(cfg.num_steps)))
        losses.append(fit(cfg)["loss"])
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.1


def test_a_fit_that_was_stopped_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, both = config("num_steps=100"), config("num_steps=200")
    monkeypatch.chdir(new_folder(tmp_path, "at once"))
    at_once = fit(both)
    monkeypatch.chdir(new_folder(tmp_path, "in two parts"))
    fit(first)
    assert fit(both) == at_once
    assert Path("metrics.jsonl").read_text() == Path("../at once/metrics.jsonl").read_text()


def new_folder(place: Path, name: str) -> Path:
    """A folder as a run's: the task finds itself in it."""
    (place / name).mkdir()
    return place / name
