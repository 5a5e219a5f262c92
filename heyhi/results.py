"""The result of a run: what the task returned -> result.json, read back as plain Python.

NaN and infinities are written as Python's json does, numpy scalars and arrays as numbers and lists.
What JSON cannot hold stays whole in result.pkl beside it; in the JSON its repr stands in its place.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from heyhi import runs
from heyhi.runs import Run

__all__ = ["keep_elsewhere", "read", "scalars", "write"]


def write(run: Run, value: Any) -> None:
    """Write the result of a run; result.json is last, and makes it DONE. Raises OSError."""
    text, is_whole = _to_json(value)
    if not is_whole and (data := _pickle(value)) is not None:
        runs.write_whole(run.result_pickle, data)
    # Last and whole: a reader that sees this file may trust every other one.
    runs.write_whole(run.result, text)


def read(run: Run) -> Any:
    """The result as JSON holds it. Raises OSError if there is none, ValueError if it was damaged."""
    return json.loads(run.result.read_text(encoding="utf-8"))


def scalars(value: Any, prefix: str = "") -> dict[str, Any]:
    """The numbers, texts and truth values of a result, nested ones by their dotted name."""
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found.update(scalars(inner, f"{prefix}.{key}" if prefix else str(key)))
        return found
    return {prefix: value} if isinstance(value, (bool, int, float, str)) and prefix else {}


def keep_elsewhere(run: Run, value: Any, problem: OSError) -> OSError:
    """Save a result that its folder cannot take in the folder for temporary files, and say so."""
    what = f"{run.result}: the result cannot be written: {problem.strerror}"
    try:
        name = run.id.replace("/", "_")[-100:]
        descriptor, path = tempfile.mkstemp(prefix=f"heyhi-{name}-", suffix=".json")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(_to_json(value)[0])
    except OSError:
        return OSError(f"{what}; nor anywhere else. It is: {_to_json(value)[0]}")
    return OSError(f"{what}. It is kept in {path}: make room, and move it to {run.result}")


def _to_json(value: Any) -> tuple[str, bool]:
    """The text, and whether it holds all of the value."""
    lost: list[Any] = []
    plain = _plain(value, lost)
    return json.dumps(plain, indent=1) + "\n", not lost


def _plain(value: Any, lost: list[Any]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return _base(value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            lost.append(value)
        return {str(key): _plain(inner, lost) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, lost) for inner in value]
    if isinstance(value, Path):
        return str(value)
    # numpy's scalars and arrays, and what is like them; numpy itself is not imported for it.
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return _plain(value.tolist(), lost)
    lost.append(value)
    return repr(value)


def _base(value: Any) -> Any:
    """Without a subclass: json writes an IntEnum or a numpy float64 in ways of its own."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) else float(value)


def _pickle(value: Any) -> bytes | None:
    """The value pickled; None, with a word, if it cannot be: then its repr is all that stays."""
    import pickle

    try:
        return pickle.dumps(value)
    except Exception:  # noqa: S110  (an object's own methods may raise anything)
        pass
    import cloudpickle  # takes functions and classes of the main program too

    try:
        data: bytes = cloudpickle.dumps(value)
    except Exception as problem:
        print(
            f"the result holds what cannot be pickled, only its text is kept: {problem}",
            file=sys.stderr,
        )
        return None
    return data
