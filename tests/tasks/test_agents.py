import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tasks.agent import Agent, RandomAgent, pick
from tasks.agents import ModelAgent, make_agent
from tasks.board import POWERS, Position, carry_out, new_game
from tasks.greedy import GreedyAgent
from tasks.model import load_model
from tasks.play import play_game
from tasks.scores import mean_and_error, square_scores
from tasks.searchbot import SearchBotAgent
from tests.tasks.small_tasks import COMPARE, ROOT, call, config

MODEL = load_model(ROOT / "tasks/data/model.json")

MAKERS: dict[str, Callable[[], Agent]] = {
    "random": RandomAgent,
    "greedy": lambda: GreedyAgent(0.5),
    "model": lambda: ModelAgent(MODEL, 0.5),
    "searchbot": lambda: SearchBotAgent(GreedyAgent(0.5), 2, 1, 1),
}


def opening() -> Position:
    return Position(new_game())


def score_against_six(one: Agent, six: Agent, num_games: int, max_year: int) -> float:
    """The mean square score; the powers take turns."""
    scores = []
    for seed in range(num_games):
        power = POWERS[seed % 7]
        record = play_game({**dict.fromkeys(POWERS, six), power: one}, seed, max_year)
        scores.append(square_scores(record.centers)[power])
    return mean_and_error(scores)[0]


# ---- All agents -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_an_agent_gives_one_possible_order_a_unit(name: str) -> None:
    agent, game, rng = MAKERS[name](), new_game(), random.Random(0)
    kinds: set[str] = set()
    while kinds != {"M", "R", "A"}:
        position = Position(game)
        kinds.add(position.kind)
        orders = {power: agent.orders(position, power, rng) for power in POWERS}
        for power, texts in orders.items():
            left = list(texts)
            for options in position.choices(power):
                left.remove(next(text for text in left if text in options))
            assert not left
        carry_out(game, orders)


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_random_numbers_give_the_same_orders(name: str) -> None:
    first, second = (MAKERS[name]().orders(opening(), "RUSSIA", random.Random(7)) for _ in range(2))
    assert first == second


def test_orders_that_are_picked_do_not_clash() -> None:
    both = ["A BUD - SER", "A BUD H"], ["A TRI - SER", "A TRI H"]
    assert pick(both, lambda options: options[0]) == ["A BUD - SER", "A TRI H"]


def test_the_chosen_member_is_made_with_its_fields() -> None:
    cfg = config(
        COMPARE, "agent_one.searchbot.num_candidates=3", "agent_six.base_strategy_model.temperature=0"
    )
    search = make_agent(cfg.agent_one, "agent_one")
    assert search == SearchBotAgent(GreedyAgent(0.1), 3, 2, 1)
    model = make_agent(cfg.agent_six, "agent_six")
    assert isinstance(model, ModelAgent)
    assert model.temperature == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "agent_one=NULL",
            "agent_one: no agent chosen; one of random, greedy, base_strategy_model, searchbot",
        ),
        ("agent_one.searchbot.blueprint=NULL", "agent_one.searchbot.blueprint: no agent chosen"),
        ("agent_one.searchbot.num_candidates=0", "agent_one.searchbot.num_candidates must be at least 1"),
        ("agent_one.searchbot.num_rollouts=0", "agent_one.searchbot.num_rollouts must be at least 1"),
        ("agent_one.searchbot.rollout_depth=0", "agent_one.searchbot.rollout_depth must be at least 1"),
        (
            "agent_one.searchbot.blueprint.greedy.epsilon=2",
            "blueprint.greedy.epsilon must be between 0 and 1",
        ),
        ("agent_six.base_strategy_model.temperature=-1", "temperature must be at least 0, not -1.0"),
        ("agent_six.base_strategy_model.model_path=NULL", "model_path must name a file, not unset"),
        ("agent_six.base_strategy_model.model_path=no.json", "model_path: no file 'no.json'"),
    ],
)
def test_an_agent_that_cannot_play_is_refused(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call(tmp_path, COMPARE, override)


# ---- greedy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_epsilon_is_the_probability_of_a_random_order(epsilon: float) -> None:
    position, agent = opening(), GreedyAgent(epsilon)
    (options,) = (options for options in position.choices("TURKEY") if options[0].startswith("A CON"))
    # The one centre that the army reaches, so this is the best: what a random choice gives now and then.
    best = sum("A CON - BUL" in agent.orders(position, "TURKEY", random.Random(s)) for s in range(400)) / 400
    expected = 1 - epsilon + epsilon / len(options)
    error = (expected * (1 - expected) / 400) ** 0.5
    # Orders that clash with another unit's are no choice: that shifts the share a little.
    assert best == pytest.approx(expected, abs=4 * error + 0.05 * epsilon)


def test_greedy_beats_six_random_players() -> None:
    assert score_against_six(GreedyAgent(0.1), RandomAgent(), 7, 1906) > 0.4


# ---- base_strategy_model --------------------------------------------------------------------------


def test_a_higher_temperature_plays_more_kinds_of_orders() -> None:
    position = opening()
    played = [
        len({tuple(ModelAgent(MODEL, t).orders(position, "FRANCE", random.Random(s))) for s in range(50)})
        for t in (0, 0.2, 1, 5)
    ]
    assert played[0] == 1
    assert played == sorted(set(played))


def test_the_committed_model_beats_six_random_players() -> None:
    assert score_against_six(ModelAgent(MODEL, 0.5), RandomAgent(), 14, 1910) > 0.5


# ---- searchbot ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noting:
    """Plays as another agent does, and notes what it is asked."""

    agent: Agent
    asked: list[tuple[str, str]] = field(default_factory=list)

    def orders(self, position: Position, power: str, rng: random.Random) -> list[str]:
        self.asked.append((position.phase, power))
        return self.agent.orders(position, power, rng)


@pytest.mark.parametrize(("candidates", "rollouts"), [(8, 1), (3, 2), (5, 4)])
def test_candidates_and_replies_are_sampled_from_the_blueprint(candidates: int, rollouts: int) -> None:
    blueprint = Noting(RandomAgent())
    SearchBotAgent(blueprint, candidates, rollouts, 1).orders(opening(), "ITALY", random.Random(0))
    asked = Counter(power for phase, power in blueprint.asked if phase == "S1901M")
    assert asked == {power: candidates if power == "ITALY" else rollouts for power in POWERS}


@pytest.mark.parametrize(
    ("depth", "phases"),
    [
        (1, {"S1901M"}),
        (2, {"S1901M", "F1901M"}),
        (3, {"S1901M", "F1901M", "W1901A", "S1902M"}),
    ],
)
def test_rollout_depth_is_in_movement_phases(depth: int, phases: set[str]) -> None:
    blueprint = Noting(GreedyAgent(0.1))
    SearchBotAgent(blueprint, 4, 2, depth).orders(opening(), "ITALY", random.Random(0))
    assert {phase for phase, _ in blueprint.asked if phase[-1] != "R"} == phases


def test_one_candidate_is_the_blueprint() -> None:
    bot = SearchBotAgent(GreedyAgent(0.1), 1, 2, 1)
    orders = GreedyAgent(0.1).orders(opening(), "RUSSIA", random.Random(3))
    assert bot.orders(opening(), "RUSSIA", random.Random(3)) == orders


def test_search_improves_on_its_blueprint() -> None:
    bot = SearchBotAgent(RandomAgent(), 8, 1, 1)
    assert score_against_six(bot, RandomAgent(), 7, 1904) > 2 / 7
