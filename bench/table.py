"""A row a measurement: ours, what it is measured beside, their ratio, and the goal."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    """Times in milliseconds; `goal` is the largest ratio (or time, without `beside`) that will do."""

    what: str
    ours: float
    beside: str = ""
    theirs: float | None = None
    goal: float | None = None

    @property
    def ratio(self) -> float:
        return self.ours if self.theirs is None else self.ours / self.theirs

    @property
    def is_missed(self) -> bool:
        return self.goal is not None and self.ratio > self.goal


def medians(rounds: int, *calls: Callable[[], object]) -> list[float]:
    """The median of each call in milliseconds; taken in turns, so that noise meets all alike."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(rounds):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]


def render(rows: list[Row]) -> str:
    """The table as text."""
    lines = [f"{'':<44} {'ms':>9}  {'beside':<40} {'ms':>9}  {'ratio':>6}  goal"]
    for row in rows:
        theirs = "" if row.theirs is None else f"{row.theirs:.3f}"
        ratio = "" if row.theirs is None else f"{row.ratio:.2f}"
        goal = "" if row.goal is None else f"<= {row.goal:g}" + ("" if row.theirs else " ms")
        lines.append(f"{row.what:<44} {row.ours:>9.3f}  {row.beside:<40} {theirs:>9}  {ratio:>6}  {goal}")
    return "\n".join(lines)
