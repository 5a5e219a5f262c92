"""What an agent is: whoever can order.

An agent keeps no memory of a game: what it orders follows from the position and the random numbers that it is
given.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Protocol

from tasks.board import Position, parse

#: Takes one of several orders.
Choose = Callable[[Sequence[str]], str]


class Agent(Protocol):
    """Whoever can order."""

    def orders(self, position: Position, power: str, rng: random.Random) -> list[str]:
        """Returns the power's orders: one of each of `position.choices(power)`."""


def pick(choices: Sequence[Sequence[str]], choose: Choose) -> list[str]:
    """Returns one order of each list: `choose` picks it from those that do not clash with the ones before."""
    chosen: list[str] = []
    for options in choices:
        chosen.append(choose(without_clashes(options, chosen)))
    return chosen


def without_clashes(options: Sequence[str], others: Iterable[str]) -> Sequence[str]:
    """Returns the options that clash with none of the other orders; all of them if every one does.

    Two orders clash if both take their units to one province.
    """
    taken = {_aim(text) for text in others}
    return [text for text in options if _aim(text) not in taken] or options


@cache
def _aim(text: str) -> str:
    """The province that a unit goes to, is built or disbanded at; else one name for each unit."""
    order = parse(text)
    return order.source + " stays" if order.kind in _STAYING else order.target


_STAYING = ("hold", "support", "support_move", "convoy")


class RandomAgent:
    """Any possible order, uniformly, but no two units into one province."""

    def orders(self, position: Position, power: str, rng: random.Random) -> list[str]:
        """Returns the power's orders."""
        return pick(position.choices(power), rng.choice)
