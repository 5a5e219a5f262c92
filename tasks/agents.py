"""Which agent a config asks for; and the one that plays a trained model."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks import checks
from tasks.agent import Agent, RandomAgent, pick
from tasks.board import Position
from tasks.features import encode_orders, encode_position
from tasks.greedy import GreedyAgent
from tasks.model import Model, load_model
from tasks.searchbot import SearchBotAgent

if TYPE_CHECKING:
    from conf import agents_cfgs


def make_agent(cfg: agents_cfgs.Agent, name: str) -> Agent:
    """Returns the agent that the config chooses; `name` is the field that holds the config.

    Raises ValueError, which says the name, if it chooses none or asks for the impossible.
    """
    if cfg.which_agent is None:
        raise ValueError(
            f"{name}: no agent chosen; one of {', '.join(_FACTORIES)}, as in I{name}=agents/greedy"
        )
    return _FACTORIES[cfg.which_agent](cfg.agent, f"{name}.{cfg.which_agent}")


@dataclass(frozen=True)
class ModelAgent:
    """Samples orders from a trained policy, the unit that is surest of its order first."""

    model: Model
    #: 0: always the likeliest order.
    temperature: float

    def orders(self, position: Position, power: str, rng: random.Random) -> list[str]:
        """Returns the power's orders."""
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


def _make_random(_cfg: agents_cfgs.RandomAgent, _name: str) -> Agent:
    return RandomAgent()


def _make_greedy(cfg: agents_cfgs.GreedyAgent, name: str) -> Agent:
    return GreedyAgent(checks.within(f"{name}.epsilon", cfg.epsilon, 0, 1))


def _make_model(cfg: agents_cfgs.BaseStrategyModelAgent, name: str) -> Agent:
    path = checks.existing_file(f"{name}.model_path", cfg.model_path)
    temperature = checks.at_least(f"{name}.temperature", cfg.temperature, 0)
    return ModelAgent(load_model(path), temperature)


def _make_searchbot(cfg: agents_cfgs.SearchBotAgent, name: str) -> Agent:
    return SearchBotAgent(
        make_agent(cfg.blueprint, f"{name}.blueprint"),
        checks.at_least(f"{name}.num_candidates", cfg.num_candidates, 1),
        checks.at_least(f"{name}.num_rollouts", cfg.num_rollouts, 1),
        checks.at_least(f"{name}.rollout_depth", cfg.rollout_depth, 1),
    )


#: Member of `oneof agent` -> what makes it, given its config and the field's full name.
_FACTORIES: dict[str, Callable[..., Agent]] = {
    "random": _make_random,
    "greedy": _make_greedy,
    "base_strategy_model": _make_model,
    "searchbot": _make_searchbot,
}
