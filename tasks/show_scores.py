"""Who beats whom: `python -m tasks.show_scores [FOLDER]` shows what runs of compare_agents say.

FOLDER holds their run folders, at any depth; without it, those of workflows/demo.sh are shown. A run that is
not done is left out.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heyhi.project import find_project
from tasks.scores import mean_and_error

#: What says which game it was: its seed, power_one and max_year.
Game = tuple[int, str | None, int]
HEADER = ("player", "against six", "square score", "standard error", "games")


def main() -> None:
    """Prints the table."""
    default = find_project().experiment_root / "p/c01_ag_cmp/cmp_model"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    rows = score_rows(folder)
    if not rows:
        sys.exit(f"{folder}: no run of compare_agents that is done")
    print(*aligned([HEADER, *rows]), "equal play: 1/7 = 0.143", sep="\n")


def score_rows(folder: Path) -> list[tuple[str, ...]]:
    """Returns a row for each pair of agents, as HEADER says, the best first."""
    pairs: dict[tuple[str, str], dict[Game, float]] = defaultdict(dict)
    for pair, game, score in _read_games(folder):
        pairs[pair][game] = score  # Two runs may share games: each counts once.
    rows = [(pair, *mean_and_error(list(games.values())), len(games)) for pair, games in pairs.items()]
    rows.sort(key=lambda row: -row[1])
    return [
        (*pair, f"{mean:.3f}", "-" if error is None else f"{error:.3f}", str(games))
        for pair, mean, error, games in rows
    ]


def _read_games(folder: Path) -> Iterator[tuple[tuple[str, str], Game, float]]:
    """All games below the folder: who played whom, which game it was, and agent_one's square score."""
    for path in sorted(folder.rglob("heyhi.json")):
        run, result = json.loads(path.read_text()), path.with_name("result.json")
        if run["task"] != "compare_agents" or not result.exists():
            continue
        config = run["config"]
        pair = agent_name(config["agent_one"]), agent_name(config["agent_six"])
        for index, score in enumerate(json.loads(result.read_text())["square_scores"]):
            yield pair, (config["seed"] + index, config.get("power_one"), config["max_year"]), score


def agent_name(agent: dict[str, Any]) -> str:
    """Returns what tells an agent from others: `greedy epsilon=0.1`. A model is told by its learning rate."""
    kind = next(member for member in agent if member != "includes")
    return " ".join([kind.removeprefix("base_strategy_"), *(_setting(*item) for item in agent[kind].items())])


def _setting(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{name}=({agent_name(value)})"
    training = Path(str(value)).with_name("heyhi.json")
    if name == "model_path" and training.exists():
        return f"lr={json.loads(training.read_text())['config']['lr']}"
    return f"{name}={value}"


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Returns a line for each row: words to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


if __name__ == "__main__":
    main()
