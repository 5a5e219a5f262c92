"""The greedy agent, and how far units are from the centres they want."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.agent import Choose, pick, without_clashes
from tasks.board import CENTERS, FAR, LOCATION_INDEX, Position, destination, distances, parse
from tasks.features import Array


@dataclass(frozen=True)
class GreedyAgent:
    """Moves to the nearest supply centre that is not its own, supports where it can."""

    #: Probability, for each order, that it is a random one in place of the best.
    epsilon: float

    def orders(self, position: Position, power: str, rng: random.Random) -> list[str]:
        """Returns the power's orders."""
        near = nearness(position, power)
        choices = position.choices(power)

        def nearest(options: Sequence[str]) -> str:
            return min(options, key=lambda text: (near.cost(text), rng.random()))

        if position.kind != "M":
            return self._with_errors(pick(choices, nearest), choices, rng)
        # Who stands nearest goes first, and claims its centre.
        choices.sort(key=lambda options: min(near.cost(text) for text in options))
        best = _with_supports(pick(choices, near.claiming(nearest)), choices, near)
        return self._with_errors(best, choices, rng)

    def _with_errors(
        self, best: Sequence[str], choices: Sequence[Sequence[str]], rng: random.Random
    ) -> list[str]:
        """`best`, but each order becomes with probability epsilon any that clashes with no other."""
        orders = list(best)
        for index, options in enumerate(choices):
            if rng.random() < self.epsilon:
                orders[index] = rng.choice(without_clashes(options, orders[:index] + orders[index + 1 :]))
        return orders


@dataclass
class Nearness:
    """How far units are from the centres that a power does not own and no unit of its own goes to yet."""

    #: Unit type -> moves from each location to each goal: (locations, goals).
    steps: dict[str, Array]
    goals: list[str]
    phase: str
    claimed: set[str] = field(default_factory=set)

    def cost(self, text: str) -> int:
        """Moves left to the nearest goal after the order; lower is better."""
        order = parse(text)
        if order.kind in ("support", "support_move", "convoy", "via"):
            return FAR  # Supports are thought of once all moves are known.
        if order.kind == "disband":
            return FAR - self._left(text) if self.phase[-1] == "A" else FAR
        left = self._left(text)
        return left - 1 if order.kind == "hold" and left == 0 else left  # Stay until the centre is taken.

    def claiming(self, choose: Choose) -> Choose:
        """`choose`, but a goal that is reached is no other unit's goal any more."""

        def choose_and_claim(options: Sequence[str]) -> str:
            text = choose(options)
            if parse(text).target in self.goals and parse(text).kind in ("hold", "move"):
                self.claimed.add(parse(text).target)
            return text

        return choose_and_claim

    def _left(self, text: str) -> int:
        free = [column for column, goal in enumerate(self.goals) if goal not in self.claimed]
        if not free:
            return FAR
        return int(self.steps[text[0]][LOCATION_INDEX[destination(text)]][free].min())


def nearness(position: Position, power: str) -> Nearness:
    """Returns how far the power is from what it does not own."""
    goals = position.goals(power)
    steps = {unit_type: distances(unit_type)[:, goals] for unit_type in "AF"}
    return Nearness(
        steps,
        [center for center, is_goal in zip(CENTERS, goals, strict=True) if is_goal],
        position.phase,
    )


def _with_supports(chosen: list[str], choices: Sequence[Sequence[str]], near: Nearness) -> list[str]:
    """`chosen`, but a unit that reaches no goal supports one that does, if it can."""
    attacks = {
        _attack(text) for text in chosen if parse(text).kind == "move" and parse(text).target in near.goals
    }
    supported = []
    for text, options in zip(chosen, choices, strict=True):
        supports = [
            option
            for option in options
            if parse(option).kind == "support_move" and _attack(option) in attacks
        ]
        busy = parse(text).target in near.goals or parse(text).kind not in ("hold", "move")
        supported.append(supports[0] if supports and not busy else text)
    return supported


def _attack(text: str) -> tuple[str, str]:
    return parse(text).other, parse(text).target
