"""A position as numbers, as one power sees it, and an order as the places it is about.

encode_position  (provinces, FEATURES)    what is where; distances to what is not ours yet
encode_orders    (orders, 4)              kind, source, other, target: rows of KINDS and PROVINCES
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from tasks.board import (
    CENTERS,
    HOMES,
    KINDS,
    LOCATIONS,
    PROVINCES,
    TERRAIN,
    Position,
    distances,
    neighbours,
    parse,
)

Array = np.ndarray[Any, np.dtype[Any]]

#: Columns of a position. "ours": of the power that is to order; "theirs": of any other.
FEATURES = (
    "our_army", "our_fleet", "their_army", "their_fleet", "our_dislodged",
    "our_center", "their_center", "free_center", "our_home",
    "water", "coast", "army_nearness", "fleet_nearness", "our_reach", "their_reach",
    "spring", "fall", "movement", "retreats", "adjustments",
)  # fmt: skip

_COLUMN = {name: column for column, name in enumerate(FEATURES)}
_PROVINCE = {name: row for row, name in enumerate(PROVINCES)}
_KIND = {name: row for row, name in enumerate(KINDS)}
_PHASES = {"S": "spring", "F": "fall", "M": "movement", "R": "retreats", "A": "adjustments"}


def encode_position(position: Position, power: str) -> Array:
    """Returns the position as `power` sees it: (provinces, FEATURES), float32, every value in [0, 1]."""
    board = _terrain().copy()
    _mark(board, "our_home", HOMES[power])
    _mark(board, "our_dislodged", [unit[2:5] for unit in position.game.powers[power].retreats])
    for owner, centers in position.centers.items():
        _mark(board, "our_center" if owner == power else "their_center", centers)
    owned = board[:, _COLUMN["our_center"]] + board[:, _COLUMN["their_center"]]
    board[:, _COLUMN["free_center"]] = _is_center() * (1 - owned)
    for owner, units in position.units.items():
        _mark_units(board, "our" if owner == power else "their", units)
    _mark_nearness(board, position.goals(power))
    for letter in (position.phase[0], position.phase[-1]):
        if letter in _PHASES:
            board[:, _COLUMN[_PHASES[letter]]] = 1
    return board


def _mark(board: Array, feature: str, provinces: Sequence[str]) -> None:
    board[[_PROVINCE[province] for province in provinces], _COLUMN[feature]] = 1


def _mark_units(board: Array, whose: str, units: Sequence[str]) -> None:
    """Marks where units stand, and counts in each province, in quarters up to 1, how many can move there."""
    reach = board[:, _COLUMN[f"{whose}_reach"]]
    for unit in units:
        kind = "army" if unit[0] == "A" else "fleet"
        board[_PROVINCE[unit[2:5]], _COLUMN[f"{whose}_{kind}"]] = 1
        reach[_reach(unit)] += 0.25
    np.minimum(reach, 1, out=reach)


@cache
def _reach(unit: str) -> list[int]:
    return sorted({_PROVINCE[place[:3]] for place in neighbours(unit[0], unit[2:])})


def _mark_nearness(board: Array, goals: Array) -> None:
    """Half for each step to the nearest centre that is not ours: 1, 1/2, 1/4, ...; next to 0 for no way."""
    if goals.any():
        board[:, _COLUMN["army_nearness"]] = 0.5 ** _province_distances("A")[:, goals].min(1)
        board[:, _COLUMN["fleet_nearness"]] = 0.5 ** _province_distances("F")[:, goals].min(1)


@cache
def _province_distances(unit_type: str) -> Array:
    """(provinces, centres), from the nearest coast of each province; float32."""
    rows = [[row for row, loc in enumerate(LOCATIONS) if loc[:3] == province] for province in PROVINCES]
    return np.array([distances(unit_type)[row].min(0) for row in rows], np.float32)


@cache
def _terrain() -> Array:
    board = np.zeros((len(PROVINCES), len(FEATURES)), np.float32)
    _mark(board, "water", [province for province in PROVINCES if TERRAIN[province] == "WATER"])
    _mark(
        board,
        "coast",
        [province for province in PROVINCES if TERRAIN[province] in ("COAST", "PORT")],
    )
    return board


@cache
def _is_center() -> Array:
    return np.array([province in CENTERS for province in PROVINCES], np.float32)


@cache
def adjacency() -> Array:
    """Returns who averages whom: (provinces, provinces), float32. Each also itself; rows sum to 1."""
    links = np.eye(len(PROVINCES), dtype=np.float32)
    for loc in LOCATIONS:
        for unit_type in "AF":
            for place in neighbours(unit_type, loc):
                links[_PROVINCE[loc[:3]], _PROVINCE[place[:3]]] = 1
    shares: Array = links / links.sum(1, keepdims=True)
    return shares


def encode_orders(texts: Sequence[str]) -> Array:
    """Returns the orders as (orders, 4), int16: kind, and the rows of source, other and target."""
    return np.array([_encode_order(text) for text in texts], np.int16).reshape(-1, 4)


@cache
def _encode_order(text: str) -> tuple[int, int, int, int]:
    order = parse(text)
    return (
        _KIND[order.kind],
        _PROVINCE[order.source],
        _PROVINCE[order.other],
        _PROVINCE[order.target],
    )
