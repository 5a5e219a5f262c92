"""The tasks of this project. `python run.py -c CFG` calls the one that CFG is for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import heyhi

if TYPE_CHECKING:
    from conf import conf_cfgs


def play_games(cfg: "conf_cfgs.PlayGamesTask") -> dict[str, Any]:
    from tasks.play_games import play_games

    return play_games(cfg)


def train(cfg: "conf_cfgs.TrainTask") -> dict[str, Any]:
    from tasks.train import train

    if cfg.checkpoint:
        heyhi.maybe_init_requeue_handler()  # it goes on from there
    return train(cfg)


def compare_agents(cfg: "conf_cfgs.CompareAgentsTask") -> dict[str, Any]:
    from tasks.compare_agents import compare_agents

    return compare_agents(cfg)


TASKS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "play_games": play_games,
    "train": train,
    "compare_agents": compare_agents,
}


def main(cfg: Any, task: str, log_level: str) -> dict[str, Any]:
    heyhi.setup_logging(console_level=log_level)
    if not heyhi.is_master():
        return {}  # these tasks compute in one process: the other ranks of a Slurm job have nothing to do
    if task not in TASKS:
        raise NotImplementedError(f"run.py has no task {task!r}; its TASKS are: {', '.join(TASKS)}")
    return TASKS[task](cfg)


if __name__ == "__main__":
    heyhi.parse_args_and_maybe_launch(main)
