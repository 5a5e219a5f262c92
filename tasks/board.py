"""The board: its provinces and distances, and what each power may order at a position of a game.

A VIE - TRI     Order(kind="move",    source="VIE", other="VIE", target="TRI")
A VIE S F TRI   Order(kind="support", source="VIE", other="TRI", target="TRI")
"""

import logging
import warnings
from collections import deque
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

with warnings.catch_warnings():
    # On import the engine leaves a file open ...
    warnings.simplefilter("ignore", ResourceWarning)
    from diplomacy import Game, Map

# ... and sets a coloured handler of its own, at DEBUG.
logging.getLogger("diplomacy").setLevel(logging.WARNING)

_MAP = Map()
POWERS: tuple[str, ...] = tuple(sorted(_MAP.powers))
CENTERS: tuple[str, ...] = tuple(sorted(_MAP.scs))
#: Places of units, coasts apart ("STP", "STP/NC", ...), Switzerland left out.
LOCATIONS: tuple[str, ...] = tuple(sorted(loc.upper() for loc in _MAP.locs if loc != "SWI"))
PROVINCES: tuple[str, ...] = tuple(loc for loc in LOCATIONS if "/" not in loc)
TERRAIN: dict[str, str] = {p: _MAP.area_type(p) for p in PROVINCES}
HOMES: dict[str, tuple[str, ...]] = {power: tuple(_MAP.homes[power]) for power in POWERS}

FIRST_YEAR: int = _MAP.first_year

#: As far away as unreachable.
FAR = 99

KINDS = (
    "hold",
    "move",
    "via",
    "support",
    "support_move",
    "convoy",
    "retreat",
    "disband",
    "army",
    "fleet",
)


#: power -> its orders in one phase.
Orders = dict[str, list[str]]


class Order(NamedTuple):
    """An order, parsed: provinces without coasts."""

    kind: str
    source: str
    #: The unit that is supported or convoyed; else `source`.
    other: str
    #: Where the unit, or the one it helps, is to end.
    target: str


@cache
def parse(text: str) -> Order:
    """Returns the order that the engine writes as `text`."""
    words = text.split()
    source, verb = words[1][:3], words[2]
    if verb in "HDB":
        kind = {"H": "hold", "D": "disband", "B": "army" if words[0] == "A" else "fleet"}[verb]
        return Order(kind, source, source, source)
    if verb in "-R":
        kind = "retreat" if verb == "R" else "via" if words[-1] == "VIA" else "move"
        return Order(kind, source, source, words[3][:3])
    other = words[4][:3]
    if len(words) == 5:
        return Order("support", source, other, other)
    return Order("convoy" if verb == "C" else "support_move", source, other, words[6][:3])


@cache
def destination(text: str) -> str:
    """Returns the location, with its coast, at which the unit of an order ends if all goes well."""
    words = text.split()
    return words[3] if words[2] in "-R" else words[1]


@cache
def neighbours(unit_type: str, location: str) -> tuple[str, ...]:
    """Returns where a unit ("A" or "F") can move from a location, convoys apart."""
    around = sorted(_MAP.dest_with_coasts[location])
    return tuple(place for place in around if _MAP.abuts(unit_type, location, "-", place))


@cache
def distances(unit_type: str) -> "np.ndarray[Any, np.dtype[np.int16]]":
    """Returns the moves from each location to each centre: (locations, centres); FAR if there is no way."""
    table = np.full((len(LOCATIONS), len(CENTERS)), FAR, np.int16)
    for row, start in enumerate(LOCATIONS):
        for place, steps in _steps_from(unit_type, start).items():
            if place[:3] in CENTERS:
                column = CENTERS.index(place[:3])
                table[row, column] = min(table[row, column], steps)
    return table


def _steps_from(unit_type: str, start: str) -> dict[str, int]:
    if not _MAP.is_valid_unit(f"{unit_type} {start}"):
        return {}
    steps, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        for place in neighbours(unit_type, here):
            if place not in steps:
                steps[place] = steps[here] + 1
                queue.append(place)
    return steps


LOCATION_INDEX = {loc: index for index, loc in enumerate(LOCATIONS)}


def new_game() -> Game:
    """Returns a game before its first phase, S1901M."""
    return Game()


def carry_out(game: Game, orders: Orders) -> None:
    """Gives the orders to the engine and goes on to the next phase."""
    for power, texts in orders.items():
        game.set_orders(power, texts, expand=False)
    game.process()


class Position:
    """A game at one phase, and what may be ordered there. Of no use once the game has gone on."""

    def __init__(self, game: Game) -> None:
        self.game = game
        #: Such as "S1901M": season, year, and M(ovement), R(etreats) or A(djustments).
        self.phase: str = game.get_current_phase()

    @property
    def is_over(self) -> bool:
        """Whether somebody has won, or a hundred years have passed."""
        return bool(self.game.is_game_done)

    @property
    def year(self) -> int:
        """The year, of a game that is not over."""
        return int(self.phase[1:5])

    @property
    def kind(self) -> str:
        """M, R or A."""
        return self.phase[-1]

    @cached_property
    def centers(self) -> dict[str, list[str]]:
        """Each power's supply centres."""
        return {power: self.game.powers[power].centers for power in POWERS}

    @cached_property
    def units(self) -> dict[str, list[str]]:
        """Each power's units, such as "F STP/NC"; dislodged ones apart."""
        return {power: self.game.powers[power].units for power in POWERS}

    @cached_property
    def center_counts(self) -> dict[str, int]:
        """How many supply centres each power has."""
        return {power: len(centers) for power, centers in self.centers.items()}

    def goals(self, power: str) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """Returns which centres are not the power's own: (centres,)."""
        return np.array([center not in self.centers[power] for center in CENTERS])

    def choices(self, power: str) -> list[list[str]]:
        """Returns, for each order that the power is to give, the possible ones, sorted.

        Builds and disbands are chosen from one list as often as there are any to order; two chosen
        orders may not have one place. Waiving a build is not among them.
        """
        if self.is_over:
            return []
        if self.kind == "A":
            return self._adjustments(power)
        dislodged = self.game.powers[power].retreats
        units = sorted(dislodged if self.kind == "R" else self.units[power])
        return [sorted(self._possible[unit[2:]]) for unit in units]

    def _adjustments(self, power: str) -> list[list[str]]:
        count = len(self.centers[power]) - len(self.units[power])
        places = self.game.get_orderable_locations(power)
        coasts = [loc for loc in LOCATIONS if loc[:3] in places]
        # The engine's list comes from a set: its order differs from process to process.
        pool = sorted({order for loc in coasts for order in self._possible[loc]} - {"WAIVE"})
        return [pool] * min(abs(count), len(places))

    @cached_property
    def _possible(self) -> dict[str, list[str]]:
        possible: dict[str, list[str]] = self.game.get_all_possible_orders()
        return possible
