"""Turn a message into a dict, flat lines, a message with defaults, a fingerprint or a diff.

    lr: 0.1                       to_dict        {"lr": 0.1, "soil": {"kind": "loam"}}
    soil { kind: "loam" }         flatten        {"lr": 0.1, "soil.kind": "loam"}
                                  flat_lines     ["lr=0.1", "soil.kind=loam"], overrides for a shell
                                  with_defaults  a message, the same with soil { depth: 0.5 }
                                  fingerprint    16 hex digits, of all but the launcher
                                  unset          ["soil.acid"], what has neither value nor default
                                  diff           ["lr 0.1 -> 0.2"], of two dicts

Scalars are Python values, as in a frozen config. Unset messages show their defaults too, except unset
members of a oneof, and a type inside itself.
"""

from collections.abc import Container, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from heyhi.config.fields import (
    Path,
    copy_of,
    fields_of,
    in_oneof,
    inner_type,
    is_map,
    key_text,
    map_value,
    scalar_value,
    type_of,
)
from heyhi.config.overrides import NULL, SELECT, escape_word, join_key
from heyhi.config.scalars import python_value, write_bytes
from heyhi.texts import quoted

__all__ = [
    "LAUNCHER",
    "added_fields",
    "diff",
    "fingerprint",
    "flat_lines",
    "flatten",
    "paths",
    "to_dict",
    "unset",
    "with_defaults",
]

# The field that says what a job needs; it changes no result, so no fingerprint and no drift.
LAUNCHER = "launcher"

_Types = frozenset[Descriptor]


# ---- A dict -------------------------------------------------------------------------------------


def to_dict(message: Message, *, with_defaults: bool = False, with_all: bool = False) -> dict[str, Any]:
    """The set fields by name, messages as dicts; empty messages and lists are left out, but for a
    chosen member of a oneof.

    with_defaults adds the explicit defaults of the schema, also inside unset messages; with_all adds
    every field (None, False, [] or {} where there is nothing), and of a oneof the chosen member only.
    """
    return _Reading(with_defaults or with_all, with_all).message(message, frozenset())


class _Reading:
    """Reads messages as plain Python: what is set, and with it what has a default, or all."""

    def __init__(self, with_defaults: bool, with_all: bool) -> None:
        self._with_defaults = with_defaults
        self._with_all = with_all

    def message(self, message: Message, inside: _Types) -> dict[str, Any]:
        """A message as a dict; `inside` are the types that it lies in."""
        found: dict[str, Any] = {}
        inside |= {type_of(message)}
        for name, kind, field in fields_of(type_of(message)).values():
            if kind == "message":
                is_set = message.HasField(name)
                if not is_set and not (self._with_defaults and _is_read_unset(field, inside)):
                    continue
                value = self.message(getattr(message, name), inside)
                if value or self._with_all or (is_set and in_oneof(field)):
                    found[name] = value
            elif kind == "scalar":
                if self.tells(message, field):
                    found[name] = scalar_value(message, name, field)
            elif (values := getattr(message, name)) or self._with_all:
                found[name] = self._elements(values, kind, field, inside)
        return found

    def tells(self, message: Message, field: FieldDescriptor) -> bool:
        """True if a scalar is set, or listed although unset."""
        if not field.has_presence or message.HasField(field.name):
            return True
        is_wanted = self._with_all or (self._with_defaults and field.has_default_value)
        return is_wanted and not in_oneof(field)

    def _elements(self, values: Any, kind: str, field: FieldDescriptor, inside: _Types) -> Any:
        of = map_value(field) if kind == "map" else field

        def one(value: Any) -> Any:
            is_scalar = of.message_type is None
            return python_value(of, value) if is_scalar else self.message(value, inside)

        if kind == "list":
            return [one(value) for value in values]
        return {key: one(values[key]) for key in sorted(values)}


def _is_read_unset(field: FieldDescriptor, inside: _Types) -> bool:
    """True if an unset message should be descended into: not a oneof member, not its own type."""
    return not in_oneof(field) and field.message_type not in inside


# ---- Flat ------------------------------------------------------------------------------------------


def flatten(message: Message, *, with_all: bool = True) -> dict[str, Any]:
    """Dotted path -> value; lists and maps by element. with_all: also what is unset (None, False, [])."""
    return dict(_Flattening(with_all).message(message, (), frozenset()))


_Flat = Iterator[tuple[str, Any]]


class _Flattening:
    """Goes through messages, and yields dotted paths with values; `inside` are the types around."""

    def __init__(self, with_all: bool) -> None:
        self._with_all = with_all
        self._reading = _Reading(with_all, with_all)

    def message(self, message: Message, path: Path, inside: _Types) -> _Flat:
        """All that is in the message at a path."""
        inside |= {type_of(message)}
        for name, kind, field in fields_of(type_of(message)).values():
            below = (*path, name)
            if kind == "scalar":
                if self._reading.tells(message, field):
                    yield join_key(below), scalar_value(message, name, field)
            elif kind == "message":
                inner = getattr(message, name)
                if message.HasField(name):
                    yield from self._set_message(inner, below, inside)
                elif self._with_all and _is_read_unset(field, inside):
                    yield from self.message(inner, below, inside)
            else:
                yield from self._elements(getattr(message, name), field, below, inside)

    def _set_message(self, message: Message, path: Path, inside: _Types) -> _Flat:
        """A set message; where nothing in it says so, a SELECT does."""
        if not message.ListFields():
            yield join_key(path), _Select(SELECT)
        yield from self.message(message, path, inside)

    def _elements(self, values: Any, field: FieldDescriptor, path: Path, inside: _Types) -> _Flat:
        if is_map(field):
            of = map_value(field)
            pairs = [(key_text(field, key), values[key]) for key in sorted(values)]
        else:
            of = field
            pairs = [(str(index), value) for index, value in enumerate(values)]
            if self._with_all and not pairs:
                yield join_key(path), []
        for part, value in pairs:
            if of.message_type is not None:
                yield from self._set_message(value, (*path, part), inside)
            else:
                yield join_key((*path, part)), python_value(of, value)


def unset(message: Message) -> list[str]:
    """The paths of scalars that have neither a value nor a default; none of the launcher's."""
    told = {*paths(to_dict(message, with_defaults=True))}
    rest = [path for path, value in flatten(message).items() if value in (None, False) and path not in told]
    return [path for path in rest if not path.startswith(f"{LAUNCHER}.")]


class _Select(str):
    """The word SELECT, as distinct from a text that reads SELECT."""

    __slots__ = ()


def flat_lines(message: Message, *, with_all: bool = False) -> list[str]:
    """Overrides that compose this config on an empty task, quoted for a shell, sorted by path."""
    flat = flatten(message, with_all=with_all)
    paths = sorted(flat, key=_sort_key)
    return [f"{quoted(path)}={quoted(_flat_text(flat[path]))}" for path in paths]


def _sort_key(path: str) -> list[tuple[int, str]]:
    """A sort key by parts, with numbers by value, so that elements come in order."""
    parts = path.split(".")
    return [(len(part) if part.isdigit() else 0, part) for part in parts]


def _flat_text(value: Any) -> str:
    if isinstance(value, bytes):
        return write_bytes(value)
    if value is None or value == []:
        return NULL
    if isinstance(value, str) and not isinstance(value, _Select):
        return escape_word(value)
    return str(value)


# ---- With its defaults --------------------------------------------------------------------------


def with_defaults(message: Message) -> Message:
    """A copy, editable, with the explicit defaults of the schema set, also inside unset messages."""
    return _filled(message, frozenset(), marks_all=False)


def fingerprint(task: str, message: Message) -> str:
    """16 hex digits that two runs share if they compute the same: all but the launcher, with
    defaults filled in, so that a default spelled out makes no difference."""
    import hashlib

    whole = _filled(message, frozenset(), marks_all=True)
    if LAUNCHER in fields_of(type_of(whole)):
        whole.ClearField(LAUNCHER)
    data = whole.SerializePartialToString(deterministic=True)
    return hashlib.sha256(task.encode() + b"\0" + data).hexdigest()[:16]


def _filled(message: Message, inside: _Types, *, marks_all: bool) -> Message:
    """A copy with all defaults; with `marks_all` no message in it is unset that could be read."""
    filled = copy_of(_all_defaults(type_of(message), inside, marks_all))
    filled.MergeFrom(message)
    _fill_parts(filled, inside | {type_of(message)}, marks_all)
    return filled


def _fill_parts(message: Message, inside: _Types, marks_all: bool) -> None:
    """Fill what the defaults of the whole do not reach: members of oneofs, elements of lists and maps."""
    for name, kind, of, is_reached in _parts_of(type_of(message)):
        if kind == "message":
            if not message.HasField(name):
                continue
            part = getattr(message, name)
            if is_reached and of not in inside:
                _fill_parts(part, inside | {of}, marks_all)
                continue
            parts = [part]
        else:
            values = getattr(message, name)
            parts = values.values() if kind == "map" else values
        for part in parts:
            part.CopyFrom(_filled(part, inside, marks_all=marks_all))


class _Part(NamedTuple):
    """A field that holds messages, of the type `of`; the defaults of the whole reach into it, or not."""

    name: str
    kind: str
    of: Descriptor
    is_reached: bool


@cache
def _parts_of(descriptor: Descriptor) -> list[_Part]:
    """The fields in which there may be something to fill."""
    found = []
    for name, kind, field in fields_of(descriptor).values():
        of = (map_value(field) if kind == "map" else field).message_type
        if of is None:
            continue
        is_reached = kind == "message" and not in_oneof(field)
        if not is_reached or any(inner.message_type is not None for inner in of.fields):
            found.append(_Part(name, kind, of, is_reached))
    return found


@cache
def _all_defaults(descriptor: Descriptor, inside: _Types, marks_all: bool) -> Message:
    """A message of defaults. It is shared: do not change it."""
    message = GetMessageClass(descriptor)()
    inside |= {descriptor}
    for name, kind, field in fields_of(descriptor).values():
        if kind == "scalar" and field.has_default_value and not in_oneof(field):
            setattr(message, name, field.default_value)
        elif kind == "message" and _is_read_unset(field, inside):
            defaults = _all_defaults(inner_type(field), inside, marks_all)
            if marks_all or defaults.ListFields():
                getattr(message, name).MergeFrom(defaults)
    return message


# ---- Two of them --------------------------------------------------------------------------------


def diff(old: dict[str, Any], new: dict[str, Any], *, added: Container[str] = ()) -> list[str]:
    """The differences of two configs (nested dicts), a line per field: `lr 0.1 -> 0.2`; no launchers.

    Fields that were `added` to the schema are no difference.
    """
    before, after = dict(_leaves(old, ())), dict(_leaves(new, ()))
    keys = [key for key in sorted({**before, **after}) if before.get(key) != after.get(key)]
    return [
        f"{key} {before.get(key, 'unset')} -> {after.get(key, 'unset')}" for key in keys if key not in added
    ]


def paths(config: dict[str, Any]) -> list[str]:
    """The paths of all that a config (as a nested dict) has; none of the launcher's."""
    return [path for path, _ in _leaves(config, ())]


def added_fields(known: Iterable[str], message: Message) -> set[str]:
    """The fields that a schema has got since `known` were the paths of all that it had.

    They have their defaults: composing the old command line adds them unasked. A field in a message that was
    missing before does not count, nor does one that is set.
    """
    known = {*known}
    had = {above for path in known for above in _above(path)} | {""}
    is_set = {part for path in flatten(message, with_all=False) for part in (*_above(path), path)} | {""}
    return {
        path
        for path in flatten(message)
        if path not in known and path not in is_set
        # The innermost message around it that is not merely read as unset.
        if next(above for above in reversed(_above(path)) if above in is_set) in had
    }


def _above(path: str) -> list[str]:
    """The paths that contain a path, outermost first. (It may cut a quoted key: no field has such a name.)"""
    return ["", *(path[:at] for at, character in enumerate(path) if character == ".")]


def _leaves(value: Any, path: Path) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if path or key != LAUNCHER:
                yield from _leaves(inner, (*path, str(key)))
        if path and not value:
            yield join_key(path), "{}"
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, str(index)))
    else:
        yield join_key(path), repr(value) if isinstance(value, str) else str(value)
