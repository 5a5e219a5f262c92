"""How well a policy tells what was ordered: the loss, its gradient, and the figures on held-out examples."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np

from tasks.dataset import Batch, Examples, batches
from tasks.features import Array
from tasks.model import Architecture, Tensor, Weights, score_orders, take_rows
from tasks.progress import Metrics

#: Positions whose gradient is taken at once. A batch is made of several: the sums are the same, the memory is
#: not (the attention of 1000 positions takes 2 GB).
CHUNK = 64


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


def _chunk_loss(weights: Weights, arch: Architecture, chunk: Batch, total: np.float32) -> Tensor:
    log_probs = _log_probabilities(weights, arch, chunk)
    ordered = take_rows(log_probs.reshape(-1), _flat_chosen(chunk))
    return -anp.sum(ordered * chunk.weights) / total


_loss_and_gradient = autograd.value_and_grad(_chunk_loss)


def _log_probabilities(weights: Weights, arch: Architecture, batch: Batch) -> Tensor:
    """Log probability of each option: the shape of `batch.table`; where there is no option, about -1e9."""
    scores = score_orders(arch, weights, batch.boards, batch.options, batch.rows)
    # The table says -1 where a decision has no more options: there it takes the last score, which is none.
    padded = anp.concatenate([scores, np.array([-1e9], np.float32)])
    table = take_rows(padded, batch.table.ravel() % len(padded)).reshape(batch.table.shape)
    best = anp.max(table, axis=1, keepdims=True)
    return table - best - anp.log(anp.sum(anp.exp(table - best), axis=1, keepdims=True))


def _flat_chosen(batch: Batch) -> Array:
    flat: Array = np.arange(len(batch.chosen)) * batch.table.shape[1] + batch.chosen
    return flat


def evaluate(arch: Architecture, weights: Weights, examples: Examples) -> Metrics:
    """Returns val_loss and val_accuracy; None for both if there are no examples.

    val_loss is in nats per order, weighted as in training; val_accuracy is the share of orders, all alike, of
    which the likeliest was the one given.
    """
    if not len(examples):
        return {"val_loss": None, "val_accuracy": None}
    loss = weight = 0.0
    hits = 0
    for batch in batches(examples, np.arange(len(examples)), CHUNK):
        log_probs = _log_probabilities(weights, arch, batch)
        loss -= float((log_probs.ravel()[_flat_chosen(batch)] * batch.weights).sum())
        weight += float(batch.weights.sum())
        hits += int((log_probs.argmax(1) == batch.chosen).sum())
    return {"val_loss": loss / weight, "val_accuracy": hits / len(examples.chosen)}
