"""The original's module of this name: names handed on from where they live."""

from typing import Any

from heyhi.api import experiments, get_default_exp_dir, get_exp_dir, maybe_launch
from heyhi.cli import parse_args_and_maybe_launch

__all__ = [
    "PROJECT_NAME",
    "get_default_exp_dir",
    "get_exp_dir",
    "maybe_launch",
    "parse_args_and_maybe_launch",
]

PROJECT_NAME: str


def __getattr__(name: str) -> Any:
    if name == "PROJECT_NAME":
        return experiments.PROJECT_NAME
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
