"""The result of a run: what the task returned -> result.json, read back as plain Python.

    numbers, texts, lists, dicts          as Python's json writes them, NaN and infinities too
    arrays and scalars of numpy, torch    lists and numbers
    dataclasses, sets                     dicts, lists      } and the whole result, as it was,
    anything else                         its repr          } in result.pkl beside

Nothing that a value does (a repr that raises, a list that holds itself) can lose the rest of the result.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from heyhi import files
from heyhi.runs import elsewhere
from heyhi.runs.elsewhere import Place
from heyhi.runs.folder import Run, provenance_text
from heyhi.texts import from_json

__all__ = ["Content", "content_of", "keep_elsewhere", "move_in", "read", "scalars", "write", "write_content"]

_ARRAYS = ("numpy", "torch")  # packages whose arrays are lists in JSON; none is imported for it
_DEPTH = 100  # levels below which a value is its repr: Python's json itself fails at some hundreds
_BITS = 14_000  # of an integer; Python neither writes nor reads the decimal digits of larger ones


class Content(NamedTuple):
    """The files' content for a value: its JSON and, if that does not hold all of it, its pickle."""

    json: bytes
    pickle: bytes | None

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self.json) + len(self.pickle or b"")


def content_of(value: Any) -> Content:
    """The content of the result's files for a task's return value."""
    text, is_whole = _to_json(value)
    return Content(text.encode("utf-8", "surrogateescape"), None if is_whole else _pickle(value))


def write(run: Run, value: Any) -> None:
    """Write the result of a run; result.json is last, and makes it DONE. Raises OSError."""
    write_content(run, content_of(value))


def write_content(run: Run, content: Content) -> None:
    """Write the result of a run as `write` does, from what was made of it before. Raises OSError."""
    if content.pickle is None:
        run.result_pickle.unlink(missing_ok=True)  # of an earlier start
    else:
        files.write_whole(run.result_pickle, content.pickle, sync=True)
    # Last and whole: a reader that sees this file may trust every other one.
    files.write_whole(run.result, content.json, sync=True)
    files.sync_folder(run.folder)


def read(run: Run) -> Any:
    """The result as JSON holds it. Raises OSError if there is none, ValueError if it was damaged."""
    return from_json(files.read(run.result))


def scalars(value: Any, prefix: str = "") -> dict[str, Any]:
    """The numbers, texts and truth values of a result, nested ones by their dotted name.

    A result that is one itself is named `result`.
    """
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found.update(scalars(inner, f"{prefix}.{key}" if prefix else str(key)))
        return found
    return {prefix or "result": value} if isinstance(value, (bool, int, float, str)) else {}


def keep_elsewhere(
    run: Run, content: Content, job: str, provenance: Mapping[str, Any], in_job: bool = False
) -> Place:
    """Save a result that its folder cannot take in the first place that can. Raises OSError.

    `provenance` is what heyhi.json has, or had before the task removed it.
    """
    parts = {run.result.name: content.json}
    if content.pickle is not None:
        parts[run.result_pickle.name] = content.pickle
    about = {"job": job, "run": run.id, "folder": str(run.folder), "provenance": provenance}
    return elsewhere.keep(run.id.replace("/", "_"), parts, about, in_job)


def move_in(run: Run, place: Place) -> None:
    """Move a result that was kept elsewhere into its folder; this process holds the claim. Raises OSError.

    If the task has emptied the folder, what says whose it is comes first.
    """
    if not files.is_file(run.provenance):
        provenance = elsewhere.read_mark(place).get("provenance") or {}
        files.write_whole(run.provenance, provenance_text(provenance))
    if not files.is_file(run.jobid):
        files.write_whole(run.jobid, place.job)
    targets = {path.name: path for path in (run.result_pickle, run.result)}
    elsewhere.move_in(place, run.lock, targets)


# ---- JSON ---------------------------------------------------------------------------------------


def _to_json(value: Any) -> tuple[str, bool]:
    """The text, and whether it holds all of the value."""
    lost: list[Any] = []
    plain = _plain(value, lost, ())
    return json.dumps(plain, indent=1) + "\n", not lost


def _plain(value: Any, lost: list[Any], above: tuple[int, ...]) -> Any:
    """The value as JSON can hold it; what it cannot is noted in `lost`.

    `above` has the ids of all that the value lies in.
    """
    try:
        if value is None or isinstance(value, (bool, int, float, str)):
            return _without_subclass(value)
        return _plain_of_many(value, lost, _below(value, above))
    except Exception:  # an object's own methods may raise anything
        lost.append(value)
        return _text(value)


def _below(value: Any, above: tuple[int, ...]) -> tuple[int, ...]:
    if id(value) in above or len(above) == _DEPTH:
        raise ValueError("it holds itself, or lies too deep")
    return (*above, id(value))


def _plain_of_many(value: Any, lost: list[Any], above: tuple[int, ...]) -> Any:
    if isinstance(value, Mapping):
        return {_key(key, lost): _plain(inner, lost, above) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, lost, above) for inner in value]
    if isinstance(value, PurePath):
        return str(value)
    if _is_array(value):
        return _plain(value.tolist(), lost, above)
    from dataclasses import fields, is_dataclass  # takes longer to import than all else here

    lost.append(value)
    if isinstance(value, (set, frozenset)):
        return [_plain(inner, lost, above) for inner in sorted(value, key=repr)]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), lost, above) for field in fields(value)}
    return _text(value)


def _without_subclass(value: Any) -> Any:
    """A scalar of Python's own type: json writes an IntEnum or a numpy float64 in ways of its own."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    number = int.__int__(value)
    if number.bit_length() > _BITS:
        raise ValueError("too many digits")
    return number


def _key(key: Any, lost: list[Any]) -> str:
    """A key's text, as json makes it of numbers, truth values and None."""
    if isinstance(key, str):
        return str.__str__(key)
    lost.append(key)
    plain = _plain(key, [], ())
    return plain if isinstance(plain, str) else json.dumps(plain)


def _is_array(value: Any) -> bool:
    return hasattr(value, "tolist") and any(
        base.__module__.partition(".")[0] in _ARRAYS for base in type(value).__mro__
    )


def _text(value: Any) -> str:
    try:
        return str(repr(value))
    except Exception as problem:
        return f"<{type(value).__name__} without a text: {type(problem).__name__}>"


# ---- Pickle -------------------------------------------------------------------------------------


def _pickle(value: Any) -> bytes:
    """The value pickled; what of it cannot be (a lock, a generator) is its text there too."""
    try:
        return _dumps(value)
    except Exception as problem:
        print(f"only the text is kept of what cannot be pickled in the result: {problem}", file=sys.stderr)
        return _dumps(_picklable(value, ()))


def _dumps(value: Any) -> bytes:
    import cloudpickle  # takes functions and classes of run.py itself, so that others can read them

    data: bytes = cloudpickle.dumps(value)
    return data


def _picklable(value: Any, above: tuple[int, ...]) -> Any:
    """The value, with texts in place of what cannot be pickled."""
    try:
        _dumps(value)
    except Exception:
        try:
            return _picklable_of_many(value, _below(value, above))
        except Exception:  # as in _plain
            return _text(value)
    return value


def _picklable_of_many(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, Mapping):
        return {_picklable(key, above): _picklable(inner, above) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_picklable(inner, above) for inner in value]
    return _text(value)
