import gzip
import json
import re
from pathlib import Path

import pytest

from tasks.agent import Agent, RandomAgent
from tasks.board import POWERS, Position, carry_out, new_game
from tasks.dataset import read_games
from tasks.greedy import GreedyAgent
from tasks.play import GameRecord, play_game
from tasks.scores import mean_and_error, square_scores
from tests.tasks.small_tasks import COMPARE, GAMES, ROOT, SMALL, TRAIN, call, run_folder, run_py

#: compare_agents on two short games, greedy against random.
SHORT = ("Iagent_one=agents/greedy", "Iagent_six=agents/random", "num_games=2", "max_year=1902")


def games_of(folder: Path, *overrides: str) -> list[GameRecord]:
    call(folder, GAMES, "num_games=2", "max_year=1902", *overrides)
    return read_games(folder / "games.jsonl.gz")


# ---- Games ----------------------------------------------------------------------------------------


@pytest.mark.processes
def test_the_same_seed_gives_the_same_in_every_process(tmp_path: Path) -> None:
    made = []
    for hash_seed in ("1", "2"):
        exp = tmp_path / hash_seed
        commands = {
            "games.jsonl.gz": ("-c", GAMES, "num_games=3", "max_year=1903"),
            "output.json": ("-c", COMPARE, "max_year=1902"),  # A searchbot against six models.
            "model.json": ("-c", TRAIN, *SMALL),
        }
        for name, words in commands.items():
            done = run_py(exp, *words, PYTHONHASHSEED=hash_seed)
            assert done.status == 0, done.err
            made.append((run_folder(exp, *words) / name).read_bytes())
    assert made[:3] == made[3:]


def test_the_committed_games_are_what_play_games_makes(tmp_path: Path) -> None:
    call(tmp_path, GAMES, "num_games=3")
    assert read_games(tmp_path / "games.jsonl.gz") == read_games(ROOT / "tasks/data/games.jsonl.gz")[:3]


def test_orders_are_possible_and_one_for_each_unit(tmp_path: Path) -> None:
    for record in games_of(tmp_path, "max_year=1905"):
        game = new_game()
        for phase, orders in record.phases:
            position = Position(game)
            assert position.phase == phase
            for power, texts in orders.items():
                choices = position.choices(power)
                assert len(texts) == len(choices)
                assert all(any(text in options for options in choices) for text in texts)
            carry_out(game, orders)
        assert Position(game).center_counts == record.centers


def test_game_i_has_seed_plus_i(tmp_path: Path) -> None:
    first, second = games_of(tmp_path / "from 5", "seed=5")
    assert games_of(tmp_path / "from 6", "seed=6", "num_games=1") == [second]
    assert [first.seed, second.seed] == [5, 6]
    assert first.phases != second.phases


@pytest.mark.parametrize("max_year", [1901, 1903])
def test_a_game_ends_after_max_year(max_year: int, tmp_path: Path) -> None:
    for record in games_of(tmp_path, f"max_year={max_year}"):
        years = [int(phase[1:5]) for phase, _ in record.phases]
        assert years[-1] == max_year == max(years)


def test_the_games_and_their_sums_are_told(tmp_path: Path) -> None:
    result = call(tmp_path, GAMES, "num_games=2", "max_year=1902", "out=two.gz")
    games = read_games(tmp_path / "two.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["two.gz"]
    assert result["num_games"] == 2
    assert result["num_phases"] == sum(len(record.phases) for record in games)
    assert result["mean_centers"]["ITALY"] == sum(record.centers["ITALY"] for record in games) / 2


def test_the_agent_plays_all_powers(tmp_path: Path) -> None:
    greedy = games_of(tmp_path / "greedy")
    uniform = games_of(tmp_path / "random", "Iagent=agents/random")
    for power in POWERS:
        assert greedy[0].phases[0][1][power] != uniform[0].phases[0][1][power]


def test_another_agent_does_not_change_the_luck_of_the_others() -> None:
    agents = dict.fromkeys(POWERS, RandomAgent())
    before = play_game(agents, 3, 1901).phases[0][1]
    after = play_game({**agents, "ITALY": GreedyAgent(0)}, 3, 1901).phases[0][1]
    assert {power for power in POWERS if before[power] != after[power]} == {"ITALY"}


# ---- compare_agents -------------------------------------------------------------------------------


def test_powers_take_turns_without_a_power_one(tmp_path: Path) -> None:
    call(tmp_path, COMPARE, *SHORT, "power_one=NULL", "seed=6", "num_games=3")
    games = json.loads((tmp_path / "output.json").read_text())
    assert [(game["seed"], game["power_one"]) for game in games] == [
        (6, "TURKEY"),
        (7, "AUSTRIA"),
        (8, "ENGLAND"),
    ]


def test_agent_one_plays_power_one_and_agent_six_the_rest(tmp_path: Path) -> None:
    call(tmp_path, COMPARE, *SHORT, "power_one=ITALY", "num_games=1", "seed=4")
    (game,) = json.loads((tmp_path / "output.json").read_text())
    agents: dict[str, Agent] = {**dict.fromkeys(POWERS, RandomAgent()), "ITALY": GreedyAgent(0.1)}
    assert game["centers"] == play_game(agents, 4, 1902).centers


def test_the_result_is_the_mean_of_the_games_in_out(tmp_path: Path) -> None:
    result = call(tmp_path, COMPARE, *SHORT, "out=scores.json")
    games = json.loads((tmp_path / "scores.json").read_text())
    scores = [game["square_scores"]["AUSTRIA"] for game in games]
    mean, error = mean_and_error(scores)
    assert result == {
        "square_score": mean,
        "square_score_error": error,
        "centers": sum(game["centers"]["AUSTRIA"] for game in games) / 2,
        "num_games": 2,
        "square_scores": scores,
    }
    assert scores == [square_scores(game["centers"])["AUSTRIA"] for game in games]


def test_without_out_no_file_is_written(tmp_path: Path) -> None:
    call(tmp_path, COMPARE, *SHORT, "out=NULL")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "override", "message"),
    [
        (GAMES, "num_games=0", "num_games must be at least 1, not 0"),
        (GAMES, "max_year=1900", "max_year must be at least 1901, not 1900"),
        (GAMES, "out=", "out must name a file, not ''"),
        (
            GAMES,
            "agent=NULL",
            "agent: no agent chosen; one of random, greedy, base_strategy_model, searchbot",
        ),
        (COMPARE, "num_games=-1", "num_games must be at least 1, not -1"),
        (COMPARE, "max_year=0", "max_year must be at least 1901, not 0"),
        (COMPARE, "agent_six=NULL", "agent_six: no agent chosen"),
    ],
)
def test_games_that_cannot_be_played_are_refused(
    path: str, override: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call(tmp_path, path, override)
    assert not list(tmp_path.iterdir())


# ---- Scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("centers", "scores"),
    [
        ({"X": 3, "Y": 1}, {"X": 0.9, "Y": 0.1}),
        ({"X": 5, "Y": 5, "Z": 0}, {"X": 0.5, "Y": 0.5, "Z": 0}),
        ({"X": 17, "Y": 17}, {"X": 0.5, "Y": 0.5}),
        ({"X": 18, "Y": 16}, {"X": 1, "Y": 0}),
    ],
)
def test_squares_share_a_game_and_a_solo_takes_all(centers: dict[str, int], scores: dict[str, float]) -> None:
    assert square_scores(centers) == scores


def test_the_standard_error_is_that_of_the_mean() -> None:
    mean, error = mean_and_error([1, 2, 3, 6])
    assert mean == 3
    assert error == pytest.approx((14 / 3 / 4) ** 0.5)
    assert mean_and_error([0.5]) == (0.5, None)


def test_the_same_games_give_the_same_bytes(tmp_path: Path) -> None:
    games_of(tmp_path / "one")
    games_of(tmp_path / "two")
    one, two = ((tmp_path / name / "games.jsonl.gz").read_bytes() for name in ("one", "two"))
    assert one == two
    assert len(gzip.decompress(one).splitlines()) == 2
