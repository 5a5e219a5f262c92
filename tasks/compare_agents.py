"""The task compare_agents: 1-versus-6 games between two agents."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from tasks import checks
from tasks.agents import make_agent
from tasks.board import FIRST_YEAR, POWERS
from tasks.files import write_text
from tasks.play import play_game, read_seeds
from tasks.scores import mean_and_error, square_scores

if TYPE_CHECKING:
    from conf import conf_cfgs

LOG = logging.getLogger(__name__)


def compare_agents(cfg: conf_cfgs.CompareAgentsTask) -> dict[str, Any]:
    """Plays the games, writes them to `cfg.out` if it is set, and returns how agent_one did.

    In the result, `square_score` is agent_one's mean (1/7: as good as the others), `square_score_error` its
    standard error, None for a single game, and `square_scores` its scores game by game; `centers` is its
    mean number of centres.
    Raises ValueError if the config is not fit for use.
    """
    seeds = read_seeds(cfg)
    max_year = checks.at_least("max_year", cfg.max_year, FIRST_YEAR)
    agent_one = make_agent(cfg.agent_one, "agent_one")
    agent_six = make_agent(cfg.agent_six, "agent_six")
    games = []
    for seed in seeds:
        # Without a power_one the powers take turns.
        power_one = cfg.power_one or POWERS[seed % len(POWERS)]
        record = play_game(dict.fromkeys(POWERS, agent_six) | {power_one: agent_one}, seed, max_year)
        scores = square_scores(record.centers)
        games.append(
            {
                "seed": seed,
                "power_one": power_one,
                "centers": record.centers,
                "square_scores": scores,
            }
        )
        LOG.info("seed %d: %s scores %.3f, %s", seed, power_one, scores[power_one], record.centers)
    if cfg.out:
        write_text(checks.output_file("out", cfg.out), json.dumps(games, indent=1) + "\n")
    return _summary(games)


def _summary(games: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [game["square_scores"][game["power_one"]] for game in games]
    centers = [game["centers"][game["power_one"]] for game in games]
    mean, error = mean_and_error(scores)
    return {
        "square_score": mean,
        "square_score_error": error,
        "centers": sum(centers) / len(games),
        "num_games": len(games),
        "square_scores": scores,
    }
