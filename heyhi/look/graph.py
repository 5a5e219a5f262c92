"""Draw which run needs which: boxes in columns, with each run to the right of its dependencies.

runs, needs ─▶ Box: one run, or of many all of one config ─▶ places ─▶ Graph
"""

import graphlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from heyhi.look.labels import config_of
from heyhi.look.records import Record

__all__ = ["HEIGHT", "WIDTH", "Box", "Graph", "make_graph"]

WIDTH, HEIGHT = 320, 34  # of a box
_GAP_X, _GAP_Y = 80, 8
_MOST_RUNS = 60  # that have boxes of their own
_MOST_BOXES = 80

Needs = Mapping[Path, Sequence[Path]]  # folder of a run -> those that it waits for


class Box(NamedTuple):
    """A run, or several of one config, with how many are what; `x` and `y` are its upper left corner."""

    runs: tuple[Record, ...]
    counts: Mapping[str, int]
    x: float
    y: float


class Graph(NamedTuple):
    """Boxes, and lines between them. `left_out` boxes have no place in it."""

    boxes: tuple[Box, ...]
    edges: tuple[tuple[Box, Box], ...]
    width: float
    height: float
    left_out: int


def make_graph(records: Sequence[Record], needs: Needs) -> Graph | None:
    """The picture of some runs; None if none needs another, or if they need each other in a circle."""
    of_folder = {record.folder: record for record in records}
    above = {
        record.folder: [str(need) for need in needs.get(Path(record.folder), ()) if str(need) in of_folder]
        for record in records
    }
    if not any(above.values()):
        return None
    try:
        columns = list(_columns(above))
    except graphlib.CycleError:
        return None
    several = len(records) > _MOST_RUNS
    keys: dict[str, tuple[int, str]] = {}
    for number, column in enumerate(columns):
        for folder in column:
            keys[folder] = (number, config_of(of_folder[folder]) if several else folder)
    return _placed(records, above, keys)


def _columns(above: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Folders that need none, then those that need only these, and so on."""
    sorter = graphlib.TopologicalSorter(above)
    sorter.prepare()
    while sorter.is_active():
        ready = sorter.get_ready()
        yield ready
        sorter.done(*ready)


_Key = tuple[int, str]  # column, folder or config


def _placed(records: Sequence[Record], above: Mapping[str, Sequence[str]], keys: Mapping[str, _Key]) -> Graph:
    members: dict[_Key, list[Record]] = {}
    for record in records:
        members.setdefault(keys[record.folder], []).append(record)
    shown = sorted(members, key=lambda key: -len(members[key]))[:_MOST_BOXES]
    pairs = {(keys[need], keys[folder]) for folder in above for need in above[folder]}
    pairs = {(one, other) for one, other in pairs if one in shown and other in shown}
    columns: dict[int, list[_Key]] = {}
    for key in members:
        if key in shown:
            columns.setdefault(key[0], []).append(key)
    longest = max(map(len, columns.values()))
    boxes: dict[_Key, Box] = {}
    for number in sorted(columns):
        start = (longest - len(columns[number])) / 2  # in the middle of the longest one
        for row, key in enumerate(sorted(columns[number], key=lambda key: _middle(key, pairs, boxes))):
            x, y = number * (WIDTH + _GAP_X), (start + row) * (HEIGHT + _GAP_Y)
            boxes[key] = Box(tuple(members[key]), Counter(one.status for one in members[key]), x, y)
    return Graph(
        tuple(boxes.values()),
        tuple((boxes[one], boxes[other]) for one, other in sorted(pairs)),
        width=max(columns) * (WIDTH + _GAP_X) + WIDTH,
        height=longest * (HEIGHT + _GAP_Y) - _GAP_Y,
        left_out=len(members) - len(boxes),
    )


def _middle(key: _Key, pairs: set[tuple[_Key, _Key]], boxes: Mapping[_Key, Box]) -> float:
    """The mean y of its dependencies; sorting by it avoids crossings."""
    heights = [boxes[one].y for one, other in pairs if other == key and one in boxes]
    return sum(heights) / len(heights) if heights else 0.0
