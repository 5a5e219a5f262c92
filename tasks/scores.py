"""Who won: the square score, and means with their standard errors."""

import math
from collections.abc import Mapping, Sequence

#: Centres that end the game: its owner takes all.
SOLO_CENTERS = 18


def square_scores(centers: Mapping[str, int]) -> dict[str, float]:
    """Returns each power's score: the square of its centres over the sum of all squares.

    A power with 18 centres has won and takes 1. The scores sum to 1; equal play is worth 1/7. This is the
    sum-of-squares scoring of Diplomacy tournaments and of Gray et al., "Human-Level Performance in No-Press
    Diplomacy via Equilibrium Search" (2021).
    """
    squares = {power: count**2 for power, count in centers.items()}
    solo = {power: float(count >= SOLO_CENTERS) for power, count in centers.items()}
    weights = solo if any(solo.values()) else squares
    total = sum(weights.values())
    return {power: weight / total for power, weight in weights.items()}


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Returns the mean and its standard error; None for the error of a single value.

    The error is the root of the unbiased variance over the number of values.
    """
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, None
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))
