"""Fit a polynomial to points of a curve, by gradient descent, in plain Python.

Its files, in the run folder: metrics.jsonl, and state.json, from which a fit that was killed goes on
(`--mode start_continue`), and another one may start.
"""

import json
import logging
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conf import conf_cfgs

SAVE_EVERY = 100  # steps
STATE = Path("state.json")

CURVES: dict[str, Callable[[float], float]] = {
    "SINE": lambda x: math.sin(3 * x),
    "STEP": lambda x: math.copysign(1, x),
}


def fit(cfg: "conf_cfgs.FitTask") -> dict[str, Any]:
    """Fit it; returns the mean squared error on the points, and the coefficients, the constant one first."""
    points = make_points(cfg.points, random.Random(cfg.seed))
    step, coefficients = load_state(cfg)
    loss = mean_squared_error(coefficients, points)
    while step < cfg.num_steps:
        slopes = gradient(coefficients, points)
        coefficients = [c - cfg.lr * slope for c, slope in zip(coefficients, slopes, strict=True)]
        step += 1
        if step % SAVE_EVERY == 0 or step == cfg.num_steps:
            loss = mean_squared_error(coefficients, points)
            logging.info("step %d, loss %.4g", step, loss)
            save_state(step, coefficients, loss)
    return {"loss": loss, "coefficients": coefficients}


def make_points(cfg: "conf_cfgs.Points", rng: random.Random) -> list[tuple[float, float]]:
    """Points (x, y) of the curve, with noise on y."""
    curve = CURVES[cfg.curve]
    xs = [2 * (i + 0.5) / cfg.num - 1 for i in range(cfg.num)]
    return [(x, curve(x) + rng.gauss(0, cfg.noise)) for x in xs]


def value_at(coefficients: list[float], x: float) -> float:
    """The polynomial at x."""
    return sum(c * x**power for power, c in enumerate(coefficients))


def mean_squared_error(coefficients: list[float], points: list[tuple[float, float]]) -> float:
    """The mean of the squared distances in y."""
    return sum((value_at(coefficients, x) - y) ** 2 for x, y in points) / len(points)


def gradient(coefficients: list[float], points: list[tuple[float, float]]) -> list[float]:
    """The derivative of the mean squared error by each coefficient."""
    errors = [(x, value_at(coefficients, x) - y) for x, y in points]
    return [
        sum(2 * error * x**power for x, error in errors) / len(points) for power in range(len(coefficients))
    ]


def load_state(cfg: "conf_cfgs.FitTask") -> tuple[int, list[float]]:
    """The step and the coefficients to begin with: of an earlier start, of another run, or zeros."""
    if STATE.exists():
        state = json.loads(STATE.read_text())
        return state["step"], state["coefficients"]
    if cfg.start_from:
        coefficients = json.loads(Path(cfg.start_from).read_text())["coefficients"]
        if len(coefficients) != cfg.degree + 1:
            raise ValueError(f"{cfg.start_from} is of degree {len(coefficients) - 1}, not {cfg.degree}")
        return 0, coefficients
    return 0, [0.0] * (cfg.degree + 1)


def save_state(step: int, coefficients: list[float], loss: float) -> None:
    """Add a line to metrics.jsonl, and replace state.json, whole."""
    with open("metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": step, "loss": loss}) + "\n")
    partial = STATE.with_suffix(".partial")
    partial.write_text(json.dumps({"step": step, "coefficients": coefficients}))
    os.replace(partial, STATE)
