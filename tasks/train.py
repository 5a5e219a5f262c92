"""The task train: learn the orders of a data set of games.

    for each epoch: a pass over the examples ─▶ checkpoint ─▶ metrics.jsonl
    at the end: the model

A training that was killed goes on from its checkpoint, and ends bit for bit where it would have.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import checks, optimizer
from tasks.dataset import Examples, load_examples
from tasks.files import write_text
from tasks.loss import evaluate, loss_and_gradient
from tasks.model import Architecture, Model, initial_weights, read_architecture, save_model
from tasks.progress import Metrics, Progress, load_progress, save_progress

if TYPE_CHECKING:
    from conf import conf_cfgs

LOG = logging.getLogger(__name__)

#: In the run folder: a line an epoch.
METRICS = Path("metrics.jsonl")


@dataclass(frozen=True)
class Schedule:
    """How the weights are moved."""

    num_epochs: int
    batch_size: int
    lr: float
    #: The learning rate is multiplied by this after each epoch.
    lr_decay: float
    #: The gradient is scaled down to this norm; infinite: never.
    clip_grad_norm: float
    seed: int


def train(cfg: conf_cfgs.TrainTask) -> dict[str, Any]:
    """Trains, writes the model to `cfg.out`, and returns the last epoch's metrics, and the sizes of it all.

    Continues from `cfg.checkpoint` if there is one. Raises ValueError if the config is not fit for use.
    """
    schedule, arch, out = _read_schedule(cfg), read_architecture(cfg), checks.output_file("out", cfg.out)
    checkpoint = Path(cfg.checkpoint) if cfg.checkpoint else None
    progress = _start(arch, cfg.seed, checkpoint)
    examples, held_out = load_examples(cfg.dataset_params)
    LOG.info("%d positions to train on, %d to validate", len(examples), len(held_out))
    _write_metrics(progress)
    while len(progress.metrics) < schedule.num_epochs:
        progress = run_epoch(progress, schedule, examples, held_out)
        # The checkpoint first: the metrics follow from it, however often they are written.
        if checkpoint:
            save_progress(progress, checkpoint)
        _write_metrics(progress)
    save_model(Model(arch, progress.weights), out)
    num_weights = sum(weight.size for weight in progress.weights.values())
    return {**progress.metrics[-1], "num_positions": len(examples), "num_weights": num_weights}


def _read_schedule(cfg: conf_cfgs.TrainTask) -> Schedule:
    return Schedule(
        checks.at_least("num_epochs", cfg.num_epochs, 1),
        checks.at_least("batch_size", cfg.batch_size, 1),
        checks.above_zero("lr", cfg.lr),
        1.0 if cfg.lr_decay is None else checks.within("lr_decay", cfg.lr_decay, 0, 1),
        checks.at_least("clip_grad_norm", cfg.clip_grad_norm, 0.0) if cfg.clip_grad_norm else np.inf,
        checks.at_least("seed", cfg.seed, 0),
    )


def _start(arch: Architecture, seed: int, checkpoint: Path | None) -> Progress:
    if not checkpoint or not checkpoint.exists():
        weights = initial_weights(arch, seed)
        return Progress(arch, weights, optimizer.initial_state(weights))
    progress = load_progress(checkpoint)
    if progress.arch != arch:
        raise ValueError(f"checkpoint: {checkpoint} is of {progress.arch}, not of {arch}")
    LOG.info("continuing from %s after epoch %d", checkpoint, len(progress.metrics))
    return progress


def run_epoch(progress: Progress, schedule: Schedule, examples: Examples, held_out: Examples) -> Progress:
    """Returns the progress after one more pass over the examples, in an order of its own.

    Its metrics: epoch (1 for the first), lr, train_loss and grad_norm (means over the steps, the norm that
    before clipping), and those of `evaluate`.
    """
    epoch = len(progress.metrics)
    lr = schedule.lr * schedule.lr_decay**epoch
    order = np.random.default_rng([schedule.seed, epoch]).permutation(len(examples))
    weights, adam = progress.weights, progress.adam
    losses, norms = [], []
    for start in range(0, len(order), schedule.batch_size):
        positions = order[start : start + schedule.batch_size]
        loss, gradient = loss_and_gradient(progress.arch, weights, examples, positions)
        losses.append(loss)
        norms.append(optimizer.norm(gradient))
        weights, adam = optimizer.step(weights, optimizer.clip(gradient, schedule.clip_grad_norm), adam, lr)
    metrics: Metrics = {"epoch": epoch + 1, "lr": lr, "train_loss": _mean(losses), "grad_norm": _mean(norms)}
    metrics |= evaluate(progress.arch, weights, held_out)
    LOG.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if value is not None))
    return Progress(progress.arch, weights, adam, (*progress.metrics, metrics))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _write_metrics(progress: Progress) -> None:
    """Writes all of the file anew: no line is torn, or there twice, after a kill."""
    write_text(METRICS, "".join(json.dumps(line) + "\n" for line in progress.metrics))
