"""Learning curves: what tasks write to metrics.jsonl, thinned to what a picture can show.

{"epoch": 1, "loss": 2.5}          {"loss": Curve("epoch", [1, 2], [2.5, 1.25])}
{"epoch": 2, "loss": 1.25}
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heyhi.files import open_regular
from heyhi.runs import scalars
from heyhi.texts import from_json

__all__ = ["Curve", "read_curves"]

# What may count the steps of a run, if it rises.
_STEPS = ("epoch", "step", "global_step", "iteration")
_WHOLE = 4_000_000  # bytes; of a longer file some lines are read
_MOST_LINES = 1000  # of a longer one
_LONGEST_LINE = 100_000  # bytes, in a longer one; what is longer is no line of metrics
_MOST_POINTS = 200
_MOST_CURVES = 40
_LONGEST_NAME = 200


class Curve(NamedTuple):
    """Values of one metric (None: not finite) over `x`, which is called `over`: a step, or the line."""

    over: str
    x: list[float]
    y: list[float | None]


def read_curves(path: Path) -> dict[str, Curve]:
    """The curves of a file of JSON objects, a line each, by metric. What is no such line is left out.

    At most 200 points a curve and 40 curves; of a file that is long some lines, evenly spread.
    """
    rows = _rows(path)
    names = dict.fromkeys(name for _, row in rows for name in row if len(name) <= _LONGEST_NAME)
    curves = {name: _curve(name, rows) for name in names if name not in _STEPS}
    return dict([(name, one) for name, one in curves.items() if len(one.x) > 1][:_MOST_CURVES])


_Rows = Sequence[tuple[int, dict[str, float]]]  # with the number of the line


def _curve(name: str, rows: _Rows) -> Curve:
    having = [(number, row) for number, row in rows if name in row]
    # The step that tells most of these lines apart; the number of the line if there is none.
    steps = {"line": [float(number) for number, _ in having]}
    known = {step: [row.get(step, math.nan) for _, row in having] for step in _STEPS}
    steps.update({step: x for step, x in known.items() if all(map(math.isfinite, x)) and len(set(x)) > 1})
    over = max(steps, key=lambda step: (step != "line", len(set(steps[step]))))
    chosen = _spread(len(having), _MOST_POINTS)
    y = [having[index][1][name] for index in chosen]
    return Curve(
        over,
        [_short(steps[over][index]) for index in chosen],
        [_short(value) if math.isfinite(value) else None for value in y],
    )


def _spread(count: int, most: int) -> list[int]:
    """Evenly spread indices, the first and the last one among them."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def _short(value: float) -> float:
    return int(value) if value == int(value) else float(f"{value:.6g}")


def _rows(path: Path) -> _Rows:
    try:
        with open(open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= _WHOLE:
                lines = list(enumerate(file.read().split(b"\n"), 1))
            else:
                lines = _some_lines(file, size)
    except OSError:
        return []
    return [(number, row) for number, line in lines if (row := _numbers(line))]


def _some_lines(file: Any, size: int) -> list[tuple[int, bytes]]:
    """Lines at evenly spread places, with the number that each would have if all were equally long."""
    found: dict[int, bytes] = {}
    for index in _spread(size, _MOST_LINES):
        file.seek(max(0, index - 1))
        file.readline(_LONGEST_LINE)  # the rest of the one before
        found[file.tell()] = file.readline(_LONGEST_LINE)
    mean = sum(map(len, found.values())) / len(found) or 1
    return [(round(place / mean) + 1, line) for place, line in found.items()]


def _numbers(line: bytes) -> dict[str, float]:
    """The numbers of a line by their dotted names."""
    try:
        value = from_json(line) if line.strip() else None
        if not isinstance(value, dict):
            return {}
        known = scalars(value)
        return {name: float(one) for name, one in known.items() if not isinstance(one, (bool, str))}
    except (ValueError, OverflowError):
        return {}
