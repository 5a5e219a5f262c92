"""What makes a config one that a task can run: each failure is one ValueError that names the field."""

from pathlib import Path


def at_least(field: str, value: float | None, least: float) -> None:
    """Raises ValueError if the field is unset or below `least`."""
    if value is None or not value >= least:
        raise ValueError(
            f"{field} must be at least {least}, not {_show(value)}: set it in the config, or by {field}=VALUE"
        )


def above_zero(field: str, value: float | None) -> None:
    """Raises ValueError if the field is unset, zero or negative."""
    if value is None or not value > 0:
        raise ValueError(
            f"{field} must be above 0, not {_show(value)}: set it in the config, or by {field}=VALUE"
        )


def within(field: str, value: float | None, low: float, high: float) -> None:
    """Raises ValueError if the field is set and outside [low, high]."""
    if value is not None and not low <= value <= high:
        raise ValueError(f"{field} must be between {low} and {high}, not {value}")


def existing_file(field: str, value: str | None) -> Path:
    """Returns the file that the field names; a relative name means the run folder.

    Raises ValueError if the field is unset or there is no such file.
    """
    if not value:
        raise ValueError(f"{field} must name a file, not {_show(value)}")
    if not Path(value).is_file():
        raise ValueError(f"{field}: no file {value!r} ({Path(value).absolute()})")
    return Path(value)


def output_file(field: str, value: str | None) -> Path:
    """Returns the file that the field names; raises ValueError if it is unset or empty."""
    if not value:
        raise ValueError(f"{field} must name a file, not {_show(value)}")
    return Path(value)


def _show(value: object) -> str:
    return "unset" if value is None else repr(value)
