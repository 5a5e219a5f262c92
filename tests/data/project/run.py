"""The tasks of the garden. Each execution leaves a line in executions.txt beside the run folders."""

import os
import sys
import time
from pathlib import Path

import heyhi


def grow(cfg):
    _count("start")
    print("growing", cfg.note)
    Path("mine.txt").write_text("a file of the task\n")
    if cfg.seconds:
        time.sleep(cfg.seconds)
    if cfg.fail == "raise":
        raise ValueError("too dry")
    if cfg.fail == "exit":
        sys.exit(0)
    _count("end")
    return {"lr": cfg.lr, "note": cfg.note, "depth": cfg.soil.depth, "season": cfg.season}


def pick(cfg):
    return {"picked": cfg.what}


def _count(word):
    """One short line, appended at once: how often a task ran can be counted from outside."""
    path = os.environ.get("GARDEN_COUNT")
    if path:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{word} {os.getpid()}\n".encode())
        os.close(descriptor)


def main(cfg, task, log_level):
    heyhi.setup_logging(console_level=log_level)
    return {"grow": grow, "pick": pick}[task](cfg)


if __name__ == "__main__":
    heyhi.parse_args_and_maybe_launch(main)
