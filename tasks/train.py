"""The task train: learn the orders of a data set of games.

    for each epoch: a pass over the examples ─▶ checkpoint ─▶ metrics.jsonl
    at the end: the model

The checkpoint holds everything that the next epoch starts from, so a training that was killed goes on from it and
ends bit for bit where it would have.
"""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import autograd
import autograd.numpy as anp
import numpy as np

from tasks import checks, optimizer
from tasks.dataset import Batch, Examples, batches, load_examples
from tasks.features import Array
from tasks.files import write_text, write_whole
from tasks.model import (
    Architecture,
    Model,
    Weights,
    initial_weights,
    read_architecture,
    save_model,
    score_orders,
    take_rows,
)

if TYPE_CHECKING:
    from conf import conf_cfgs

LOG = logging.getLogger(__name__)

#: A line an epoch; written anew, whole, after each.
METRICS = Path("metrics.jsonl")

#: Positions whose gradient is taken at once. A batch is made of several: the sums are the same, the memory is not
#: (the attention of 1000 positions takes 2 GB).
CHUNK = 64


@dataclass(frozen=True)
class Progress:
    """A training between two epochs. Its random numbers follow from the seed and the epoch."""

    weights: Weights
    adam: optimizer.AdamState
    #: One dict for each epoch done.
    metrics: tuple[dict[str, float | None], ...] = ()


def train(cfg: conf_cfgs.TrainTask) -> dict[str, Any]:
    """Trains, writes the model to `cfg.out`, and returns the last epoch's metrics, and the sizes of it all.

    Continues from `cfg.checkpoint` if there is one. Raises ValueError if the config is not fit for use.
    """
    arch = _check(cfg)
    examples, held_out = load_examples(cfg.dataset_params)
    LOG.info("%d positions to train on, %d to validate", len(examples), len(held_out))
    progress = _start(cfg, arch)
    _write_metrics(progress)
    while len(progress.metrics) < cfg.num_epochs:
        progress = _epoch(cfg, arch, progress, examples, held_out)
        # The checkpoint first: the metrics follow from it, however often they are written.
        if cfg.checkpoint:
            save_progress(progress, Path(cfg.checkpoint))
        _write_metrics(progress)
    save_model(Model(arch, progress.weights), Path(cfg.out))
    return {
        **progress.metrics[-1],
        "num_positions": len(examples),
        "num_weights": sum(weight.size for weight in progress.weights.values()),
    }


def _check(cfg: conf_cfgs.TrainTask) -> Architecture:
    checks.at_least("batch_size", cfg.batch_size, 1)
    checks.above_zero("lr", cfg.lr)
    checks.at_least("num_epochs", cfg.num_epochs, 1)
    checks.within("lr_decay", cfg.lr_decay, 0, 1)
    checks.within("clip_grad_norm", cfg.clip_grad_norm, 0, float("inf"))
    checks.output_file("out", cfg.out)
    return read_architecture(cfg)


def _start(cfg: conf_cfgs.TrainTask, arch: Architecture) -> Progress:
    weights = initial_weights(arch, cfg.seed)
    if not cfg.checkpoint or not Path(cfg.checkpoint).exists():
        return Progress(weights, optimizer.initial_state(weights))
    progress = load_progress(Path(cfg.checkpoint))
    if _shapes(progress.weights) != _shapes(weights):
        raise ValueError(f"checkpoint: {cfg.checkpoint} is of another architecture than the config asks for")
    LOG.info("continuing from %s after epoch %d", cfg.checkpoint, len(progress.metrics))
    return progress


def _shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    return {name: weight.shape for name, weight in weights.items()}


def _epoch(
    cfg: conf_cfgs.TrainTask,
    arch: Architecture,
    progress: Progress,
    examples: Examples,
    held_out: Examples,
) -> Progress:
    """One pass over the examples in an order of its own; the metrics of it added."""
    epoch = len(progress.metrics)
    lr = cfg.lr * (1 if cfg.lr_decay is None else cfg.lr_decay) ** epoch
    order = np.random.default_rng([cfg.seed, epoch]).permutation(len(examples))
    weights, adam = progress.weights, progress.adam
    losses, norms = [], []
    for start in range(0, len(order), cfg.batch_size):
        loss, gradient = loss_and_gradient(arch, weights, examples, order[start : start + cfg.batch_size])
        losses.append(loss)
        norms.append(optimizer.norm(gradient))
        if cfg.clip_grad_norm:
            gradient = optimizer.clip(gradient, cfg.clip_grad_norm)
        weights, adam = optimizer.step(weights, gradient, adam, lr)
    metrics: dict[str, float | None] = {
        "epoch": epoch + 1,
        "lr": lr,
        "train_loss": _mean(losses),
        "grad_norm": _mean(norms),
    }
    metrics |= evaluate(arch, weights, held_out)
    LOG.info(
        "%s",
        ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if value is not None),
    )
    return Progress(weights, adam, (*progress.metrics, metrics))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def loss_and_gradient(
    arch: Architecture, weights: Weights, examples: Examples, positions: Array
) -> tuple[float, Weights]:
    """Returns the loss of these positions, and its gradient.

    The loss is the negative log probability of what was ordered, in nats per order: the weighted mean.
    """
    chunks = list(batches(examples, positions, CHUNK))
    total = np.float32(sum(float(chunk.weights.sum()) for chunk in chunks))
    loss, gradient = 0.0, {name: np.zeros_like(weight) for name, weight in weights.items()}
    for chunk in chunks:
        chunk_loss, chunk_gradient = _loss_and_gradient(weights, arch, chunk, total)
        loss += float(chunk_loss)
        gradient = {name: gradient[name] + chunk_gradient[name] for name in gradient}
    return loss, gradient


def _chunk_loss(weights: Weights, arch: Architecture, chunk: Batch, total: np.float32) -> Array:
    log_probs = _log_probabilities(weights, arch, chunk)
    ordered = take_rows(log_probs.reshape(-1), _flat_chosen(chunk))
    return -anp.sum(ordered * chunk.weights) / total


_loss_and_gradient = autograd.value_and_grad(_chunk_loss)


def _log_probabilities(weights: Weights, arch: Architecture, batch: Batch) -> Array:
    """Log probability of each option: the shape of `batch.table`; where there is no option, about -1e9."""
    scores = score_orders(arch, weights, batch.boards, batch.options, batch.rows)
    # The table says -1 where a decision has no more options: there it takes the last score, which is none.
    padded = anp.concatenate([scores, np.array([-1e9], np.float32)])
    table = take_rows(padded, batch.table.ravel() % len(padded)).reshape(batch.table.shape)
    best = anp.max(table, axis=1, keepdims=True)
    return table - best - anp.log(anp.sum(anp.exp(table - best), axis=1, keepdims=True))


def _flat_chosen(batch: Batch) -> Array:
    return np.arange(len(batch.chosen)) * batch.table.shape[1] + batch.chosen


def evaluate(arch: Architecture, weights: Weights, examples: Examples) -> dict[str, float | None]:
    """Returns val_loss (nats per order, weighted as in training) and val_accuracy (unweighted share of orders of
    which the likeliest was the one given); None for both if there are no examples."""
    if not len(examples):
        return {"val_loss": None, "val_accuracy": None}
    loss = weight = hits = decisions = 0.0
    for batch in batches(examples, range(len(examples)), CHUNK):
        log_probs = _log_probabilities(weights, arch, batch)
        loss -= float((log_probs.ravel()[_flat_chosen(batch)] * batch.weights).sum())
        weight += float(batch.weights.sum())
        hits += int((log_probs.argmax(1) == batch.chosen).sum())
        decisions += len(batch.chosen)
    return {"val_loss": loss / weight, "val_accuracy": hits / decisions}


def save_progress(progress: Progress, path: Path) -> None:
    """Writes a checkpoint, whole."""
    arrays = {f"{group}/{name}": array for group, name, array in _arrays(progress)}
    facts = json.dumps({"steps": progress.adam.steps, "metrics": progress.metrics})
    write_whole(path, lambda stream: np.savez(stream, facts=np.array(facts), **arrays))


def _arrays(progress: Progress) -> Iterator[tuple[str, str, Array]]:
    groups = {
        "weights": progress.weights,
        "mean": progress.adam.mean,
        "square": progress.adam.square,
    }
    for group, members in groups.items():
        yield from ((group, name, array) for name, array in members.items())


def load_progress(path: Path) -> Progress:
    """Returns what `save_progress` wrote; raises ValueError if the file is no checkpoint."""
    try:
        with np.load(path) as content:
            facts = json.loads(str(content["facts"]))
            groups: dict[str, Weights] = {"weights": {}, "mean": {}, "square": {}}
            for key in content.files:
                group, _, name = key.partition("/")
                if name:
                    groups[group][name] = content[key]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"checkpoint: {path} is not one that train wrote ({error!r})") from None
    adam = optimizer.AdamState(groups["mean"], groups["square"], facts["steps"])
    return Progress(groups["weights"], adam, tuple(facts["metrics"]))


def _write_metrics(progress: Progress) -> None:
    write_text(METRICS, "".join(json.dumps(line) + "\n" for line in progress.metrics))
