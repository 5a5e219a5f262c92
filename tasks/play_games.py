"""The task play_games: an agent plays itself, and its games become a data set."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tasks import checks
from tasks.agents import make_agent
from tasks.board import FIRST_YEAR, POWERS
from tasks.dataset import write_games
from tasks.play import play_game, read_seeds
from tasks.scores import SOLO_CENTERS

if TYPE_CHECKING:
    from conf import conf_cfgs

LOG = logging.getLogger(__name__)


def play_games(cfg: conf_cfgs.PlayGamesTask) -> dict[str, Any]:
    """Plays the games, writes them to `cfg.out`, and returns how many games and phases, and how they ended.

    Raises ValueError if the config is not fit for use.
    """
    seeds = read_seeds(cfg)
    max_year = checks.at_least("max_year", cfg.max_year, FIRST_YEAR)
    out = checks.output_file("out", cfg.out)
    agents = dict.fromkeys(POWERS, make_agent(cfg.agent, "agent"))
    records = []
    for seed in seeds:
        records.append(play_game(agents, seed, max_year))
        LOG.info("game %d of %d: %s", len(records), len(seeds), records[-1].centers)
    write_games(out, records)
    return {
        "num_games": len(records),
        "num_phases": sum(len(record.phases) for record in records),
        "num_solos": sum(max(record.centers.values()) >= SOLO_CENTERS for record in records),
        "mean_centers": {power: sum(r.centers[power] for r in records) / len(records) for power in POWERS},
    }
