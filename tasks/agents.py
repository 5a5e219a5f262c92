"""Agents: who orders what.

An agent keeps no memory of a game: what it orders follows from the position and the random numbers it is
given. `searchbot` is made of another agent, its blueprint.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from diplomacy import Game  # type: ignore[import-untyped]

from tasks import checks
from tasks.board import (
    CENTERS,
    FAR,
    LOCATION_INDEX,
    POWERS,
    Orders,
    Position,
    carry_out,
    destination,
    distances,
    parse,
)
from tasks.features import encode_orders, encode_position
from tasks.model import Model, load_model

if TYPE_CHECKING:
    from conf import conf_cfgs

Choose = Callable[[Sequence[str]], str]


class Agent(Protocol):
    """Whoever can order."""

    def orders(self, position: Position, power: str, rng: random.Random) -> list[str]:
        """Returns the power's orders: one of each of `position.choices(power)`."""


def make_agent(cfg: conf_cfgs.Agent, name: str) -> Agent:
    """Returns the agent that the config chooses.

    Raises ValueError, with `name` (the field that holds the config), if it chooses none or asks for the impossible.
    """
    if cfg.which_agent is None:
        raise ValueError(
            f"{name}: no agent chosen; one of {', '.join(_FACTORIES)}, as in I{name}=agents/greedy"
        )
    return _FACTORIES[cfg.which_agent](cfg.agent, f"{name}.{cfg.which_agent}")


def pick(choices: Sequence[Sequence[str]], choose: Choose) -> list[str]:
    """Returns one order of each list: `choose` picks it from those that do not clash with the ones before.

    Two orders clash if both take their units to one province.
    """
    chosen: list[str] = []
    taken: set[str] = set()
    for options in choices:
        chosen.append(choose([text for text in options if _aim(text) not in taken] or options))
        taken.add(_aim(chosen[-1]))
    return chosen


def _aim(text: str) -> str:
    """The province that a unit goes to, is built or disbanded at; else one name for each unit."""
    order = parse(text)
    return order.source + " stays" if order.kind in _STAYING else order.target


_STAYING = ("hold", "support", "support_move", "convoy")


class RandomAgent:
    """Any possible order, uniformly, but no two units into one province."""

    def orders(self, position: Position, power: str, rng: random.Random) -> list[str]:
        return pick(position.choices(power), rng.choice)


@dataclass(frozen=True)
class GreedyAgent:
    """Moves to the nearest supply centre that is not its own, supports where it can."""

    #: Probability of a random order in place of the best one.
    epsilon: float

    def orders(self, position: Position, power: str, rng: random.Random) -> list[str]:
        near = _nearness(position, power)

        def choose(options: Sequence[str]) -> str:
            if rng.random() < self.epsilon:
                return rng.choice(options)
            return min(options, key=lambda text: (near.cost(text), rng.random()))

        choices = position.choices(power)
        if position.kind != "M":
            return pick(choices, choose)
        # Who stands nearest goes first, and claims its centre.
        choices.sort(key=lambda options: min(near.cost(text) for text in options))
        return _with_supports(pick(choices, near.claiming(choose)), choices, near)


@dataclass
class _Nearness:
    """How far units are from the centres that a power does not own and no unit of its own goes to yet."""

    #: Unit type -> moves from each location to each goal: (locations, goals).
    steps: dict[str, np.ndarray]
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


def _nearness(position: Position, power: str) -> _Nearness:
    goals = position.goals(power)
    steps = {unit_type: distances(unit_type)[:, goals] for unit_type in "AF"}
    return _Nearness(
        steps,
        [center for center, is_goal in zip(CENTERS, goals, strict=True) if is_goal],
        position.phase,
    )


def _with_supports(chosen: list[str], choices: Sequence[Sequence[str]], near: _Nearness) -> list[str]:
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


@dataclass(frozen=True)
class ModelAgent:
    """Samples orders from a trained policy, the unit that is surest of its order first."""

    model: Model
    #: 0: always the likeliest order.
    temperature: float

    def orders(self, position: Position, power: str, rng: random.Random) -> list[str]:
        choices = position.choices(power)
        if not choices:
            return []
        texts = sorted({text for options in choices for text in options})
        scores = self.model.scores(encode_position(position, power), encode_orders(texts))
        logits = dict(zip(texts, scores.tolist(), strict=True))
        choices.sort(key=lambda options: -_top_probability([logits[text] for text in options]))
        return pick(choices, lambda options: self._sample(options, logits, rng))

    def _sample(self, options: Sequence[str], logits: dict[str, float], rng: random.Random) -> str:
        values = [logits[text] for text in options]
        best = max(values)
        if self.temperature == 0:
            return options[values.index(best)]
        weights = [np.exp((value - best) / self.temperature) for value in values]
        return rng.choices(options, weights)[0]


def _top_probability(values: Sequence[float]) -> float:
    return 1.0 / float(np.exp(np.array(values) - max(values)).sum())


@dataclass(frozen=True)
class SearchBotAgent:
    """Samples joint orders of its own, tries each against sampled replies of the others, plays the best."""

    blueprint: Agent
    num_candidates: int
    num_rollouts: int
    #: Movement phases played, the one to decide included.
    rollout_depth: int

    def orders(self, position: Position, power: str, rng: random.Random) -> list[str]:
        own = [self.blueprint.orders(position, power, rng) for _ in range(self.num_candidates)]
        candidates = [list(orders) for orders in dict.fromkeys(map(tuple, own))]
        if position.kind != "M" or len(candidates) == 1:
            return candidates[0]
        replies = [self._replies(position, power, rng) for _ in range(self.num_rollouts)]
        values = [self._value(position, power, orders, replies, rng) for orders in candidates]
        return candidates[values.index(max(values))]

    def _replies(self, position: Position, power: str, rng: random.Random) -> Orders:
        return {other: self.blueprint.orders(position, other, rng) for other in POWERS if other != power}

    def _value(
        self,
        position: Position,
        power: str,
        orders: list[str],
        replies: Sequence[Orders],
        rng: random.Random,
    ) -> float:
        """The mean prospects over all replies: the candidates meet the same ones."""
        ends = (self._roll_out(position, {**reply, power: orders}, rng) for reply in replies)
        return sum(_prospects(end, power) for end in ends) / len(replies)

    def _roll_out(self, position: Position, orders: Orders, rng: random.Random) -> Position:
        """The position after `orders`, and after the blueprint's of all powers for the rest of the depth."""
        game = Game()
        # A copy of the game takes 340 ms, this 1 ms.
        game.set_state(position.game.get_state())
        carry_out(game, orders)
        phases_left = self.rollout_depth - 1
        while not (now := Position(game)).is_over and (phases_left > 0 or now.kind == "R"):
            phases_left -= now.kind == "M"
            carry_out(game, {each: self.blueprint.orders(now, each, rng) for each in POWERS})
        return now


#: What a step nearer to a centre is worth, in centres.
import os

NEARNESS_WEIGHT = float(os.environ.get("NW", "0.01"))


def _prospects(position: Position, power: str) -> float:
    """Centres that the power would own if each unit took the one it stands on, and how near it is to more."""
    owners = {center: owner for owner in POWERS for center in position.centers[owner]}
    for owner in POWERS:
        owners.update({unit[2:5]: owner for unit in position.units[owner] if unit[2:5] in CENTERS})
    near = _nearness(position, power)
    steps = sum(min(near.cost(unit + " H"), 10) for unit in position.units[power])
    return sum(owner == power for owner in owners.values()) - NEARNESS_WEIGHT * steps


def _make_random(cfg: conf_cfgs.RandomAgent, name: str) -> Agent:
    return RandomAgent()


def _make_greedy(cfg: conf_cfgs.GreedyAgent, name: str) -> Agent:
    checks.within(f"{name}.epsilon", cfg.epsilon, 0, 1)
    return GreedyAgent(cfg.epsilon)


def _make_model(cfg: conf_cfgs.BaseStrategyModelAgent, name: str) -> Agent:
    path = checks.existing_file(f"{name}.model_path", cfg.model_path)
    checks.at_least(f"{name}.temperature", cfg.temperature, 0)
    return ModelAgent(load_model(path), cfg.temperature)


def _make_searchbot(cfg: conf_cfgs.SearchBotAgent, name: str) -> Agent:
    for field_name in ("num_candidates", "num_rollouts", "rollout_depth"):
        checks.at_least(f"{name}.{field_name}", getattr(cfg, field_name), 1)
    blueprint = make_agent(cfg.blueprint, f"{name}.blueprint")
    return SearchBotAgent(blueprint, cfg.num_candidates, cfg.num_rollouts, cfg.rollout_depth)


#: Member of `oneof agent` -> what makes it, given its config and the field's full name.
_FACTORIES: dict[str, Callable[..., Agent]] = {
    "random": _make_random,
    "greedy": _make_greedy,
    "base_strategy_model": _make_model,
    "searchbot": _make_searchbot,
}
