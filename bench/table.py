"""A row a measurement: ours, what it is measured beside, their ratio, and the goal."""

import resource
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    """What was measured, in milliseconds if `unit` says nothing else.

    `goal` is the largest ratio (or figure, without `beside`) that will do.
    """

    what: str
    ours: float
    beside: str = ""
    theirs: float | None = None
    goal: float | None = None
    unit: str = "ms"

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
            taken.append(measure(call).wall)
    return [statistics.median(taken) for taken in times]


class Cost(NamedTuple):
    """What a call took, in milliseconds; `cpu` is that of the processes that it started and waited for."""

    wall: float
    cpu: float


def measure(call: Callable[[], object]) -> Cost:
    """What a call takes, once."""
    cpu, wall = _cpu_of_children(), time.perf_counter()
    call()
    return Cost(1000 * (time.perf_counter() - wall), 1000 * (_cpu_of_children() - cpu))


def _cpu_of_children() -> float:
    known = resource.getrusage(resource.RUSAGE_CHILDREN)
    return known.ru_utime + known.ru_stime


def render(rows: list[Row]) -> str:
    """The table as text."""
    lines = [f"{'':<52} {'':>11} {'':<6} {'beside':<44} {'':>11}  {'ratio':>6}  goal"]
    for row in rows:
        ours, theirs = f"{row.ours:,.3f}", "" if row.theirs is None else f"{row.theirs:,.3f}"
        ratio = "" if row.theirs is None else f"{row.ratio:.2f}"
        goal = "" if row.goal is None else f"<= {row.goal:g}" + ("" if row.theirs else f" {row.unit}")
        left = f"{row.what:<52} {ours:>11} {row.unit:<6} {row.beside:<44}"
        lines.append(f"{left} {theirs:>11}  {ratio:>6}  {goal}".rstrip())
    return "\n".join(lines)
