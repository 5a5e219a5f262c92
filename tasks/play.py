"""One game: seven agents, a seed, a record of every order."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks import checks
from tasks.agent import Agent
from tasks.board import POWERS, Orders, Position, carry_out, new_game

if TYPE_CHECKING:
    from conf import conf_cfgs


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
    rngs = {power: random.Random(f"{seed} {power}") for power in POWERS}  # noqa: S311
    game = new_game()
    phases = []
    while not (position := Position(game)).is_over and position.year <= max_year:
        orders = {power: agents[power].orders(position, power, rngs[power]) for power in POWERS}
        phases.append((position.phase, orders))
        carry_out(game, orders)
    return GameRecord(seed, tuple(phases), position.center_counts)


def read_seeds(cfg: conf_cfgs.PlayGamesTask | conf_cfgs.CompareAgentsTask) -> range:
    """Returns the seeds of the games that the config asks for; raises ValueError if it asks for none."""
    num_games = checks.at_least("num_games", cfg.num_games, 1)
    return range(cfg.seed, cfg.seed + num_games)
