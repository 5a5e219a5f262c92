"""Adam, and the gradient's norm. The state is a value: `step` returns the next one.

Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015): algorithm 1 in the order of computation
that section 2 gives at its end, with the paper's constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.model import Weights


@dataclass(frozen=True)
class AdamState:
    """The running means of the gradient and of its square, and how many steps they have seen."""

    mean: Weights
    square: Weights
    steps: int


def initial_state(weights: Weights) -> AdamState:
    """Returns the state before the first step."""
    zeros = {name: np.zeros_like(value) for name, value in weights.items()}
    return AdamState(zeros, zeros, 0)


def step(weights: Weights, gradient: Weights, state: AdamState, lr: float) -> tuple[Weights, AdamState]:
    """Returns the weights one step of size `lr` down the gradient, and the next state."""
    steps = state.steps + 1
    mean = {name: _blend(state.mean[name], g, 0.9) for name, g in gradient.items()}
    square = {name: _blend(state.square[name], g * g, 0.999) for name, g in gradient.items()}
    # Both means start at zero; this makes up for it.
    size = np.float32(lr * np.sqrt(1 - 0.999**steps) / (1 - 0.9**steps))
    moved = {
        name: w - size * mean[name] / (np.sqrt(square[name]) + np.float32(1e-8))
        for name, w in weights.items()
    }
    return moved, AdamState(mean, square, steps)


def _blend(old: np.ndarray, new: np.ndarray, keep: float) -> np.ndarray:
    return np.float32(keep) * old + np.float32(1 - keep) * new


def norm(gradient: Weights) -> float:
    """Returns the Euclidean length of the whole gradient as one vector."""
    return float(np.sqrt(sum(float(np.sum(g.astype(np.float64) ** 2)) for g in gradient.values())))


def clip(gradient: Weights, limit: float) -> Weights:
    """Returns the gradient scaled down to norm `limit`; as it is, if it is not longer."""
    length = norm(gradient)
    if length <= limit:
        return gradient
    return {name: g * np.float32(limit / length) for name, g in gradient.items()}
