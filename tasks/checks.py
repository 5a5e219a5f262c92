"""What makes a config one that a task can run: each failure is one ValueError that names the field.

Each check returns the value, so that what was checked is what is used.
"""

import math
from pathlib import Path
from typing import TypeVar

Number = TypeVar("Number", int, float)


def at_least(field: str, value: Number | None, least: Number) -> Number:
    """Returns the value; raises ValueError if it is unset, or below `least`."""
    if value is None or not least <= value < math.inf:
        raise ValueError(f"{field} must be at least {least}, not {_show(value)}: {_how_to_set(field)}")
    return value


def above_zero(field: str, value: float | None) -> float:
    """Returns the value; raises ValueError if it is unset, zero or negative."""
    if value is None or not 0 < value < math.inf:
        raise ValueError(f"{field} must be above 0, not {_show(value)}: {_how_to_set(field)}")
    return value


def within(field: str, value: float | None, low: float, high: float) -> float:
    """Returns the value; raises ValueError if it is unset, or outside [low, high]."""
    if value is None or not low <= value <= high:
        raise ValueError(
            f"{field} must be between {low} and {high}, not {_show(value)}: {_how_to_set(field)}"
        )
    return value


def existing_file(field: str, value: str | None) -> Path:
    """Returns the file that the field names; a relative name means the run folder.

    Raises ValueError if the field is unset or there is no such file.
    """
    if not value:
        raise ValueError(f"{field} must name a file, not {_show(value)}: {_how_to_set(field)}")
    if not Path(value).is_file():
        raise ValueError(f"{field}: no file {value!r} ({Path(value).absolute()})")
    return Path(value)


def output_file(field: str, value: str | None) -> Path:
    """Returns the file that the field names; raises ValueError if it is unset or empty."""
    if not value:
        raise ValueError(f"{field} must name a file, not {_show(value)}: {_how_to_set(field)}")
    return Path(value)


def _show(value: object) -> str:
    return "unset" if value is None else repr(value)


def _how_to_set(field: str) -> str:
    return f"set it in the config, or by {field}=..."
