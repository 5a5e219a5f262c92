"""The tasks of this project. `python run.py -c CFG` calls the one that CFG is for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import heyhi

if TYPE_CHECKING:
    from conf import conf_cfgs


def fit(cfg: "conf_cfgs.FitTask") -> dict[str, Any]:
    from tasks.fit import fit  # imported only when it runs

    return fit(cfg)


TASKS: dict[str, Callable[[Any], dict[str, Any]]] = {"fit": fit}


def main(cfg: Any, task: str, log_level: str) -> dict[str, Any]:
    """Run a task in its run folder; its return value becomes result.json."""
    heyhi.setup_logging(console_level=log_level)
    if task not in TASKS:
        raise NotImplementedError(f"run.py has no task {task!r}; its TASKS are: {', '.join(TASKS)}")
    return TASKS[task](cfg)


if __name__ == "__main__":
    heyhi.parse_args_and_maybe_launch(main)
