"""What the tests of tasks/ share: this repository's own configs, and its tasks in a folder of the test's."""

import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import heyhi
from tasks.compare_agents import compare_agents
from tasks.play_games import play_games
from tasks.train import train
from tests.conftest import Done

ROOT = Path(__file__).parent.parent.parent
GAMES = "conf/c00_games/games.prototxt"
COMPARE = "conf/c01_ag_cmp/cmp.prototxt"
TRAIN = "conf/c02_sup_train/sl.prototxt"

#: A training of a quarter of a second: 1901 of three games, the last one for validation.
SMALL = (
    "dataset_params.max_games=3",
    "dataset_params.val_fraction=0.34",
    "dataset_params.debug_only_opening_phase=true",
    "batch_size=16",
    "clip_grad_norm=0.2",
    "num_epochs=2",
    "encoder.mlp.hidden_size=8",
)
TASKS: dict[str, Any] = {GAMES: play_games, COMPARE: compare_agents, TRAIN: train}


def config(path: str, *overrides: str) -> Any:
    """The task's config, frozen."""
    with chdir(ROOT):
        return heyhi.load_root_config(ROOT / path, overrides).task


def call(folder: Path, path: str, *overrides: str) -> dict[str, Any]:
    """What the config's task returns, called in the folder."""
    cfg = config(path, *overrides)
    folder.mkdir(exist_ok=True)
    with chdir(folder):
        result: dict[str, Any] = TASKS[path](cfg)
    return result


def command(*words: str) -> list[str]:
    """The command line of this repository's run.py."""
    return [sys.executable, str(ROOT / "run.py"), *words]


def environment(exp: Path, **more: str) -> dict[str, str]:
    """What its processes see."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HH_", "HEYHI", "SLURM"))}
    return {**kept, "HH_EXP_DIR": str(exp), **more}


def run_py(exp: Path, *words: str, **env: str) -> Done:
    """Run it to the end, with this experiment root."""
    done = subprocess.run(
        command(*words),
        cwd=ROOT,
        env=environment(exp, **env),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def run_folder(exp: Path, *words: str) -> Path:
    """The run folder of a command line."""
    done = run_py(exp, *words, "--print-out-dir")
    assert done.status == 0, done.err
    return Path(done.out.strip())
