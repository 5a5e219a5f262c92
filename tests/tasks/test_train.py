import gzip
import json
import math
import random
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import optimizer
from tasks.dataset import load_examples, make_examples, position_weights, read_games, write_games
from tasks.loss import loss_and_gradient
from tasks.model import Architecture, Weights, initial_weights, load_model
from tasks.progress import Progress, load_progress
from tasks.train import Schedule, run_epoch
from tests.tasks.small_tasks import (
    GAMES,
    ROOT,
    SMALL,
    TRAIN,
    call,
    command,
    config,
    environment,
    run_folder,
    run_py,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small training, done once."""
    folder = tmp_path_factory.mktemp("base")
    call(folder, TRAIN, *SMALL)
    return folder


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# ---- Every field ----------------------------------------------------------------------------------


def test_the_same_config_trains_the_same_model(base: Path, tmp_path: Path) -> None:
    call(tmp_path, TRAIN, *SMALL)
    for name in ("model.json", "metrics.jsonl"):
        assert (tmp_path / name).read_bytes() == (base / name).read_bytes()


@pytest.mark.parametrize(
    "override",
    [
        "batch_size=15",
        "lr=0.02",
        "lr_decay=0.9",
        "lr_decay=NULL",
        "clip_grad_norm=0.1",
        "clip_grad_norm=0",
        "avg_embedding=true",
        "num_epochs=3",
        "seed=1",
        "dataset_params.val_fraction=0.67",
        "dataset_params.debug_only_opening_phase=false",
        "dataset_params.value_decay_alpha=1.0",
        "dataset_params.value_decay_alpha=NULL",
        "dataset_params.max_games=4",
        "encoder.mlp.hidden_size=9",
        "encoder.mlp.num_layers=1",
    ],
)
def test_a_changed_field_trains_another_model(override: str, base: Path, tmp_path: Path) -> None:
    call(tmp_path, TRAIN, *SMALL, override)
    assert (tmp_path / "model.json").read_bytes() != (base / "model.json").read_bytes()


def test_what_is_learnt_is_the_data_set_that_is_named(base: Path, tmp_path: Path) -> None:
    call(tmp_path, GAMES, "Iagent=agents/random", "num_games=3", "max_year=1901")
    call(tmp_path, TRAIN, *SMALL, f"dataset_params.games_path={tmp_path}/games.jsonl.gz")
    assert metrics(tmp_path)[0]["train_loss"] != metrics(base)[0]["train_loss"]


def transformer(folder: Path, **fields: int) -> dict[str, Any]:
    sizes = {"hidden_size": 8, "num_layers": 1, "num_heads": 2} | fields
    overrides = (f"encoder.transformer.{name}={value}" for name, value in sizes.items())
    return call(folder, TRAIN, *SMALL[:-1], *overrides)


def test_heads_of_a_transformer_change_the_model_not_its_size(tmp_path: Path) -> None:
    two, four = transformer(tmp_path, num_heads=2), transformer(tmp_path / "four", num_heads=4)
    assert two["num_weights"] == four["num_weights"]
    assert two["train_loss"] != four["train_loss"]


def test_a_transformer_grows_with_its_layers_and_width(tmp_path: Path) -> None:
    sizes = [
        transformer(tmp_path / str(fields), **fields)["num_weights"]
        for fields in ({}, {"num_layers": 2}, {"num_layers": 3}, {"hidden_size": 16})
    ]
    layer = 8 * 8 * (4 + 2 + 2)  # query, key, value, seen; wide and narrow: twice the width
    assert sizes[:3] == [sizes[0], sizes[0] + layer, sizes[0] + 2 * layer]
    assert sizes[3] > 2 * sizes[0]


def test_lr_decay_multiplies_the_learning_rate_after_each_epoch(tmp_path: Path) -> None:
    call(tmp_path, TRAIN, *SMALL, "num_epochs=3", "lr=0.5", "lr_decay=0.5")
    assert [line["lr"] for line in metrics(tmp_path)] == [0.5, 0.25, 0.125]


def test_an_epoch_takes_a_step_for_each_batch(base: Path) -> None:
    positions = call(base, TRAIN, *SMALL)["num_positions"]
    assert load_progress(base / "checkpoint.pth").adam.steps == 2 * math.ceil(positions / 16)


def test_each_epoch_goes_through_the_data_in_an_order_of_its_own() -> None:
    examples = make_examples(read_games(ROOT / "tasks/data/games.jsonl.gz")[:1], None, True)
    arch, schedule = Architecture("mlp", 4, 1, 1, False), Schedule(9, 4, 0.1, 1.0, math.inf, 0)
    weights = initial_weights(arch, 0)
    first = Progress(arch, weights, optimizer.initial_state(weights))
    second = replace(first, metrics=({"epoch": 1},))
    one, two = (run_epoch(start, schedule, examples, examples).weights["in"] for start in (first, second))
    assert not np.allclose(one, two)


def test_no_clipping_is_as_a_limit_that_is_never_met(tmp_path: Path) -> None:
    for name, limit in (("zero", "0"), ("unset", "NULL"), ("high", "1e9")):
        call(tmp_path / name, TRAIN, *SMALL, f"clip_grad_norm={limit}")
    models = {(tmp_path / name / "model.json").read_bytes() for name in ("zero", "unset", "high")}
    assert len(models) == 1


def test_clipping_shortens_the_whole_gradient_and_keeps_its_direction() -> None:
    gradient = {"a": np.array([3.0], np.float32), "b": np.array([0.0, 4.0], np.float32)}
    assert optimizer.norm(gradient) == 5
    clipped = optimizer.clip(gradient, 0.5)
    assert np.allclose(clipped["a"], [0.3])
    assert np.allclose(clipped["b"], [0.0, 0.4])
    assert optimizer.clip(gradient, 5.0) is gradient


def test_files_are_named_as_the_config_says(tmp_path: Path) -> None:
    call(tmp_path, TRAIN, *SMALL, "out=here/policy.json", "checkpoint=last.npz")
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"here/policy.json", "last.npz", "metrics.jsonl"}


def test_without_a_checkpoint_none_is_written(tmp_path: Path) -> None:
    call(tmp_path, TRAIN, *SMALL, "checkpoint=NULL")
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "metrics.jsonl"}


def test_training_learns(tmp_path: Path) -> None:
    call(tmp_path, TRAIN, *SMALL, "num_epochs=30")
    losses = [line["train_loss"] for line in metrics(tmp_path)]
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_size=NULL", "batch_size must be at least 1, not unset"),
        ("batch_size=0", "batch_size must be at least 1, not 0"),
        ("lr=NULL", "lr must be above 0, not unset"),
        ("lr=-1", "lr must be above 0, not -1.0"),
        ("lr=nan", "lr must be above 0, not nan"),
        ("lr_decay=1.5", "lr_decay must be between 0 and 1, not 1.5"),
        ("clip_grad_norm=-1", "clip_grad_norm must be at least 0.0, not -1.0"),
        ("num_epochs=0", "num_epochs must be at least 1, not 0"),
        ("seed=-1", "seed must be at least 0, not -1"),
        ("out=", "out must name a file, not ''"),
        ("encoder=NULL", "encoder: none chosen; encoder.mlp=SELECT or encoder.transformer=SELECT"),
        ("encoder.mlp.hidden_size=0", "encoder.mlp.hidden_size must be at least 1, not 0"),
        ("encoder.mlp.num_layers=0", "encoder.mlp.num_layers must be at least 1, not 0"),
        ("encoder.transformer.num_heads=5", "5 does not divide 36"),
        ("dataset_params.games_path=NULL", "dataset_params.games_path must name a file, not unset"),
        ("dataset_params.games_path=nowhere.gz", "dataset_params.games_path: no file 'nowhere.gz'"),
        ("dataset_params.val_fraction=1", "dataset_params.val_fraction must be between 0 and 0.9, not 1.0"),
        ("dataset_params.value_decay_alpha=2", "value_decay_alpha must be between 0 and 1, not 2.0"),
        ("dataset_params.max_games=0", "dataset_params.max_games must be at least 1, not 0"),
        ("dataset_params.max_games=1", "nothing to train on"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    override: str, message: str, tmp_path: Path
) -> None:
    small = (*SMALL[:-1], "dataset_params.val_fraction=0.6")
    with pytest.raises(ValueError, match=re.escape(message)):
        call(tmp_path, TRAIN, *small, override)
    assert not list(tmp_path.iterdir())


# ---- The data -------------------------------------------------------------------------------------


def num_examples(*overrides: str) -> tuple[int, int]:
    cfg = config(TRAIN, *(f"dataset_params.{override}" for override in overrides))
    train, val = load_examples(cfg.dataset_params)
    return len(train), len(val)


def test_validation_takes_the_last_games() -> None:
    all_four, none = num_examples("max_games=4", "val_fraction=0")
    first_three, last = num_examples("max_games=4", "val_fraction=0.25")
    assert none == 0
    assert (first_three, 0) == num_examples("max_games=3", "val_fraction=0")
    assert first_three + last == all_four


def test_the_opening_phase_is_the_first_year() -> None:
    count, _ = num_examples("max_games=1", "val_fraction=0", "debug_only_opening_phase=true")
    game = read_games(ROOT / "tasks/data/games.jsonl.gz")[0]
    opening = [orders for phase, orders in game.phases if phase[1:5] == "1901"]
    assert count == sum(bool(texts) for orders in opening for texts in orders.values())


#: Two powers, three phases, the end: centres.
COURSE = ({"X": 1, "Y": 1}, {"X": 2, "Y": 1}, {"X": 3, "Y": 1}, {"X": 3, "Y": 0})


@pytest.mark.parametrize(
    ("alpha", "of_x"),
    [
        (None, [1, 1, 1]),
        (1.0, [2, 2, 2]),  # The end's score: 1 of 1, times two powers.
        (0.0, [1, 2 * 4 / 5, 2 * 9 / 10]),  # Each phase's own.
        (0.5, [1.375, 1.75, 1.9]),  # From the end: (1 + 0.9) / 2, (0.95 + 0.8) / 2, (0.875 + 0.5) / 2, twice.
    ],
)
def test_orders_weigh_as_much_as_the_value_of_their_position(alpha: float | None, of_x: list[float]) -> None:
    weights = position_weights(COURSE, alpha)
    assert [weight["X"] for weight in weights] == pytest.approx(of_x)
    assert [sum(weight.values()) for weight in weights] == pytest.approx([2, 2, 2])


def test_a_data_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    games = read_games(ROOT / "tasks/data/games.jsonl.gz")
    write_games(tmp_path / "again.jsonl.gz", games)
    assert read_games(tmp_path / "again.jsonl.gz") == games


GOOD = (ROOT / "tasks/data/games.jsonl.gz").read_bytes()


@pytest.mark.parametrize(
    "content",
    [b"{}", GOOD[:5000], GOOD[:5000] + b"torn" + GOOD[5004:], gzip.compress(b'{"seed": 0}')],
    ids=["no gzip", "half", "torn", "no game"],
)
def test_a_file_that_is_no_data_set_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "games.gz").write_bytes(content)
    with pytest.raises(ValueError, match="not a data set that play_games wrote"):
        read_games(tmp_path / "games.gz")


# ---- The model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("avg_embedding", [False, True])
@pytest.mark.parametrize("encoder", ["mlp", "transformer"])
def test_the_gradient_is_the_slope_of_the_loss(encoder: str, avg_embedding: bool) -> None:
    examples = make_examples(read_games(ROOT / "tasks/data/games.jsonl.gz")[:2], 0.5, True)
    positions = np.arange(len(examples))  # More than one chunk.
    arch = Architecture(encoder, 4, 2, 2, avg_embedding)
    rng = np.random.default_rng(0)
    weights: Weights = {
        name: weight + 0.1 * rng.standard_normal(weight.shape)  # float64, and no score at zero.
        for name, weight in initial_weights(arch, 0).items()
    }
    direction = {name: rng.standard_normal(weight.shape) for name, weight in weights.items()}
    _, gradient = loss_and_gradient(arch, weights, examples, positions)

    def loss_at(step: float) -> float:
        moved = {name: weight + step * direction[name] for name, weight in weights.items()}
        return loss_and_gradient(arch, moved, examples, positions)[0]

    slope = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5
    assert sum(float((gradient[n] * direction[n]).sum()) for n in weights) == pytest.approx(
        slope, rel=1e-3
    )  # relu's kinks


def test_the_first_step_of_adam_has_the_size_of_the_learning_rate() -> None:
    weights = {"w": np.zeros(2, np.float32)}
    gradient = {"w": np.array([5.0, -0.01], np.float32)}
    moved, state = optimizer.step(weights, gradient, optimizer.initial_state(weights), 0.1)
    assert moved["w"] == pytest.approx([-0.1, 0.1], rel=1e-3)
    assert state.steps == 1


def test_a_model_is_read_bit_for_bit(base: Path) -> None:
    model, progress = load_model(base / "model.json"), load_progress(base / "checkpoint.pth")
    assert model.arch == progress.arch
    assert {name: weight.tobytes() for name, weight in model.weights.items()} == {
        name: weight.tobytes() for name, weight in progress.weights.items()
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"architecture"', '"building"', "not a model that train wrote"),
        ("}", "", "not a model that train wrote"),
        ('"our_army"', '"our_tank"', "trained on other features"),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    old: str, new: str, message: str, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.json").write_text((base / "model.json").read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "model.json")


# ---- Going on -------------------------------------------------------------------------------------


def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    call(tmp_path / "whole", TRAIN, *SMALL, "num_epochs=4")
    call(tmp_path / "parts", TRAIN, *SMALL, "num_epochs=1")
    call(tmp_path / "parts", TRAIN, *SMALL, "num_epochs=4")
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    whole, parts = (tmp_path / name / "model.json" for name in ("whole", "parts"))
    assert parts.read_bytes() == whole.read_bytes()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    call(tmp_path, TRAIN, *SMALL)
    with pytest.raises(ValueError, match=r"checkpoint: checkpoint\.pth is of .*hidden_size=8.*, not of"):
        call(tmp_path, TRAIN, *SMALL, "encoder.mlp.hidden_size=9")


def test_a_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pth").write_bytes(b"PK of no use")
    with pytest.raises(ValueError, match=r"checkpoint: checkpoint\.pth is not one that train wrote"):
        call(tmp_path, TRAIN, *SMALL)


@pytest.mark.processes
def test_a_training_killed_at_random_moments_ends_with_the_same_model(tmp_path: Path) -> None:
    words = ("-c", TRAIN, *SMALL, "num_epochs=120")
    assert run_py(tmp_path / "whole", *words).status == 0
    whole, killed = (run_folder(tmp_path / name, *words) for name in ("whole", "killed"))
    delays = [random.uniform(0, 0.3) for _ in range(3)]
    for delay in delays:
        _kill_after(tmp_path / "killed", delay, killed, *words, "--mode", "start_continue")
    assert not (killed / "result.json").exists(), f"done before it could be killed: {delays}"
    done = run_py(tmp_path / "killed", *words, "--mode", "start_continue")
    assert done.status == 0, done.err
    assert "continuing from checkpoint.pth after epoch" in done.err + done.out
    for name in ("model.json", "metrics.jsonl", "result.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), delays


def _kill_after(exp: Path, delay: float, folder: Path, *words: str) -> None:
    """Start, and kill -9 that long after the checkpoint has moved on."""
    before = _changed(folder / "checkpoint.pth")
    process = subprocess.Popen(
        command(*words),
        cwd=ROOT,
        env=environment(exp),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while _changed(folder / "checkpoint.pth") == before and process.poll() is None:
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
