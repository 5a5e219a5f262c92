"""The command lines of the documentation, through run.py; trainings on less data, so that they are quick."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Done
from tests.tasks.small_tasks import COMPARE, ROOT, TRAIN, command, environment, run_folder, run_py

pytestmark = pytest.mark.processes

TRANSFORMER = "conf/c02_sup_train/sl_20200901.prototxt"
QUICK = ("dataset_params.max_games=1", "dataset_params.val_fraction=0", "num_epochs=1")


def adhoc_result(exp: Path, done: Done) -> dict[str, float]:
    """The result of the only adhoc run there is."""
    assert done.status == 0, done.err
    (path,) = (exp / "adhoc").rglob("result.json")
    result: dict[str, float] = json.loads(path.read_text())
    return result


def test_print_flat_begins_as_documented(tmp_path: Path) -> None:
    assert run_py(tmp_path, "--cfg", TRAIN, "--print-flat").out.splitlines()[:5] == [
        "avg_embedding=False",
        "batch_size=1000",
        "checkpoint=./checkpoint.pth",
        "clip_grad_norm=0.5",
        "dataset_params.debug_only_opening_phase=False",
    ]


def test_searchbot_plays_six_models_in_a_fresh_clone(tmp_path: Path) -> None:
    done = run_py(tmp_path, "-c", COMPARE)
    assert done.status == 0, done.err
    folder = run_folder(tmp_path, "-c", COMPARE)
    (game,) = json.loads((folder / "output.json").read_text())
    assert game["seed"] == 0
    assert game["power_one"] == "AUSTRIA"
    assert (
        json.loads((folder / "result.json").read_text())["square_score"] == game["square_scores"]["AUSTRIA"]
    )


@pytest.mark.parametrize(
    "words",
    [
        (TRAIN, "batch_size=200", "--dataset_params.value_decay_alpha=1.0"),
        (TRANSFORMER, "batch_size=10", "encoder.transformer.num_heads=9"),
    ],
)
def test_a_documented_training_runs(words: tuple[str, ...], tmp_path: Path) -> None:
    done = run_py(tmp_path, "--adhoc", "--cfg", *words, *QUICK)
    assert adhoc_result(tmp_path, done)["epoch"] == 1


@pytest.mark.parametrize("more", [(), ("encoder.transformer=NULL",)])
def test_no_batch_size_composes_and_is_refused_by_the_task(more: tuple[str, ...], tmp_path: Path) -> None:
    words = ("--adhoc", "--cfg", TRANSFORMER, "batch_size=NULL", *more)
    printed = run_py(tmp_path, *words, "--print-flat")
    assert printed.status == 0
    assert "batch_size" not in printed.out
    done = run_py(tmp_path, *words)
    assert done.status == 1
    assert "ValueError: batch_size must be at least 1, not unset: set it in the config" in done.err
    assert not list(tmp_path.rglob("result.json"))


def test_no_encoder_composes_and_is_refused_by_the_task(tmp_path: Path) -> None:
    done = run_py(tmp_path, "--adhoc", "--cfg", TRANSFORMER, "encoder.transformer=NULL")
    assert done.status == 1
    assert "ValueError: encoder: none chosen; encoder.mlp=SELECT or encoder.transformer=SELECT" in done.err


def test_run_py_imports_what_computes_only_to_compute(tmp_path: Path) -> None:
    done = subprocess.run(
        [*command("-c", TRAIN, "--print")[:1], "-X", "importtime", *command("-c", TRAIN, "--print")[1:]],
        cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "heyhi" in imported
    assert not imported & {"numpy", "autograd", "diplomacy", "tasks"}
