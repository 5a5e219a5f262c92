"""One game: seven agents, a seed, a record of every order."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from diplomacy import Game  # type: ignore[import-untyped]

from tasks.agents import Agent
from tasks.board import POWERS, Orders, Position, carry_out


@dataclass(frozen=True)
class GameRecord:
    """A finished game: its orders say all, the rest follows from them."""

    seed: int
    #: (phase such as "S1901M", orders) in the order played.
    phases: tuple[tuple[str, Orders], ...]
    #: power -> its number of supply centres at the end.
    centers: dict[str, int]


def play_game(agents: Mapping[str, Agent], seed: int, max_year: int) -> GameRecord:
    """Returns the game that the agents (by power) play up to the end of `max_year`, or a win.

    The same agents and seed give the same game. Each power has its own random numbers: a change of
    one agent does not change the luck of the others.
    """
    rngs = {power: random.Random(f"{seed} {power}") for power in POWERS}
    game = Game()
    phases = []
    while not (position := Position(game)).is_over and position.year <= max_year:
        orders = {power: agents[power].orders(position, power, rngs[power]) for power in POWERS}
        phases.append((position.phase, orders))
        carry_out(game, orders)
    return GameRecord(seed, tuple(phases), position.center_counts)
