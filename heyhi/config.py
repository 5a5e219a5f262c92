"""Frozen configs: what a task gets. And what any config can be turned into: dict, flat lines, diff.

    message (editable, protobuf)  --to_frozen-->  Frozen (typed, read-only, slotted)
            ^-------------------- to_editable --------------------'

A `Frozen` is a copy in slots, not a view: reading a field costs what an attribute costs. Scalars read
as Python values (enums as their names, floats of 32 bits in their shortest form: 0.1), repeated fields
as tuples, maps as read-only maps, unset messages as empty ones; what is unset and has no default is None.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, ClassVar, cast

from google.protobuf import text_format
from google.protobuf.descriptor import (
    Descriptor,
    FieldDescriptor,
    FileDescriptor,
    OneofDescriptor,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from heyhi.errors import did_you_mean
from heyhi.fields import (
    enum_of,
    fields_of,
    inner_type,
    is_map,
    map_value,
    scalar_of,
    shortest_float,
    type_of,
)
from heyhi.overrides import SELECT, join_key

__all__ = [
    "Frozen",
    "add_methods",
    "diff",
    "editable",
    "fingerprint",
    "flat_lines",
    "flatten",
    "freeze",
    "frozen_class",
    "to_dict",
    "with_defaults",
]

# The field that says what a job needs; it changes no result, so no fingerprint and no drift.
LAUNCHER = "launcher"


# ---- Values -------------------------------------------------------------------------------------


def _python_value(field: FieldDescriptor, value: Any) -> Any:
    """A scalar as a task sees it."""
    if field.type == FieldDescriptor.TYPE_ENUM:
        known = enum_of(field).values_by_number.get(value)
        return value if known is None else known.name
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return shortest_float(value)
    return value


def _real_oneofs(descriptor: Descriptor) -> list[OneofDescriptor]:
    """All but those that `optional` of proto3 makes."""
    return [o for o in descriptor.oneofs if not _is_synthetic(o)]


def _is_synthetic(oneof: OneofDescriptor) -> bool:
    return len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}"


def _in_oneof(field: FieldDescriptor) -> bool:
    return field.containing_oneof is not None and not _is_synthetic(field.containing_oneof)


# ---- Frozen configs -----------------------------------------------------------------------------


class Frozen:
    """A read-only config. Equality, hash and pickle are by value."""

    __slots__ = ("_message",)

    heyhi_patched: ClassVar[bool] = True
    _editable_class: ClassVar[type[Message]]
    _message: Message

    def __init__(self, **fields: Any) -> None:
        """A config of these fields: frozen or editable messages, dicts, enum names; None is unset."""
        message = self._editable_class()
        for name, value in fields.items():
            if name not in fields_of(type_of(message)):
                raise ValueError(_unknown(type_of(message), name))
            if value is not None:
                _assign(message, name, value)
        _fill(self, message)

    def is_frozen(self) -> bool:
        """True; False for an editable message."""
        return True

    def to_frozen(self) -> "Frozen":
        """Itself."""
        return self

    def to_editable(self) -> Any:
        """A protobuf message with the same content, to change."""
        return _copy(self._message)

    def to_dict(self, *, with_defaults: bool = False, with_all: bool = False) -> dict[str, Any]:
        """See `heyhi.config.to_dict`."""
        return to_dict(self._message, with_defaults=with_defaults, with_all=with_all)

    def to_str_with_defaults(self) -> str:
        """The config as text, with the explicit defaults of the schema filled in."""
        return _text_with_defaults(self._message)

    def WhichOneof(self, name: str) -> str | None:  # noqa: N802  (protobuf's name)
        """The set member of a oneof, or None. Deprecated: read `which_<name>`."""
        import warnings

        warnings.warn(f"read .which_{name}", DeprecationWarning, stacklevel=2)
        return cast("str | None", getattr(self, f"which_{name}"))

    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError(f"Attempt to set {name}={value} on read-only config")

    def __delattr__(self, name: str) -> None:
        raise RuntimeError(f"Attempt to delete {name} of read-only config")

    def __getattr__(self, name: str) -> Any:
        # Only called for names that do not exist.
        raise AttributeError(_unknown(type_of(self._editable_class), name))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frozen) or type(self) is not type(other):
            return NotImplemented
        return _bytes(self._message) == _bytes(other._message)

    def __hash__(self) -> int:
        return hash(_bytes(self._message))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _thaw, (self._editable_class, _bytes(self._message))

    def __copy__(self) -> "Frozen":
        return self

    def __deepcopy__(self, memo: object) -> "Frozen":
        return self

    def __str__(self) -> str:
        return text_format.MessageToString(self._message, as_utf8=True)

    __repr__ = __str__

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *fields_of(self._editable_class.DESCRIPTOR)]


def _unknown(descriptor: Descriptor, name: str) -> str:
    known = list(fields_of(descriptor))
    hint = did_you_mean(name, known) or f"; its fields: {', '.join(known) or 'none'}"
    return f"{descriptor.name} has no field {name!r}{hint}"


def _bytes(message: Message) -> bytes:
    return message.SerializePartialToString(deterministic=True)


def _thaw(editable_class: type[Message], data: bytes) -> Frozen:
    message = editable_class()
    message.MergeFromString(data)
    return freeze(message)


def _copy(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _assign(message: Message, name: str, value: Any) -> None:
    """Set a field from a Python value; lists and maps whole."""
    field = fields_of(type_of(message))[name]
    if field.kind == "scalar":
        setattr(message, name, _stored(field.descriptor, value))
    elif field.kind == "message":
        inner = getattr(message, name)
        inner.SetInParent()
        inner.MergeFrom(_as_message(value, type(inner)))
    elif field.kind == "list":
        getattr(message, name).extend(_element(field.descriptor, one) for one in value)
    else:
        entries = getattr(message, name)
        of_values = map_value(field.descriptor)
        for key, one in value.items():
            if of_values.message_type is None:
                entries[key] = _stored(of_values, one)
            else:
                entries[key].MergeFrom(_as_message(one, type(entries[key])))


def _element(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is None:
        return _stored(field, value)
    return _as_message(value, GetMessageClass(field.message_type))


def _stored(field: FieldDescriptor, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_ENUM and isinstance(value, str):
        return scalar_of(field).read(value)
    return value


def _as_message(value: Any, cls: type[Message]) -> Message:
    if isinstance(value, Frozen):
        return value._message
    if isinstance(value, dict):
        message = cls()
        for name, inner in value.items():
            if name not in fields_of(type_of(message)):
                raise ValueError(_unknown(type_of(message), name))
            if inner is not None:
                _assign(message, name, inner)
        return message
    return cast(Message, value)


@cache
def _class_of(descriptor: Descriptor) -> type[Frozen]:
    """The frozen class of a message type; messages inside it are attributes of the class."""
    names = [field.name for field in descriptor.fields]
    for oneof in _real_oneofs(descriptor):
        names += [oneof.name, f"which_{oneof.name}"]
    editable_class = GetMessageClass(descriptor)
    module = editable_class.__module__.replace("_pb2", "_cfgs")
    body = {"__slots__": tuple(names), "__module__": module, "_editable_class": editable_class}
    cls = type(descriptor.name, (Frozen,), body)
    cls.__qualname__ = editable_class.__qualname__
    for nested in descriptor.nested_types:
        if not nested.GetOptions().map_entry and nested.name not in names:
            setattr(cls, nested.name, _class_of(nested))
    return cls


def frozen_class(editable_class: type[Message]) -> type[Frozen]:
    """The frozen counterpart of a message class, always the same one."""
    return _class_of(editable_class.DESCRIPTOR)


def freeze(message: Message) -> Frozen:
    """A frozen copy of a message."""
    config = object.__new__(_class_of(type_of(message)))
    _fill(config, _copy(message))
    return config


def _empty(descriptor: Descriptor) -> Frozen:
    """The one frozen message for all that are unset; a type inside itself refers to it again."""
    config = _empties[descriptor] = object.__new__(_class_of(descriptor))
    _fill(config, GetMessageClass(descriptor)())
    return config


_empties: dict[Descriptor, Frozen] = {}


def _fill(config: Frozen, message: Message) -> None:
    """Put what the message says into the slots; the message is kept and must not change any more."""
    set_slot = object.__setattr__
    set_slot(config, "_message", message)
    for name, kind, field in fields_of(type_of(message)).values():
        set_slot(config, name, _FROZEN_VALUES[kind](message, name, field))
    for oneof in _real_oneofs(type_of(message)):
        chosen = message.WhichOneof(oneof.name)
        set_slot(config, f"which_{oneof.name}", chosen)
        set_slot(config, oneof.name, None if chosen is None else getattr(config, chosen))


def _frozen_part(message: Message) -> Frozen:
    """Freeze a part of a message that is already a private copy."""
    config = object.__new__(_class_of(type_of(message)))
    _fill(config, message)
    return config


def _frozen_scalar(message: Message, name: str, field: FieldDescriptor) -> Any:
    is_unset = field.has_presence and not message.HasField(name)
    if is_unset and (_in_oneof(field) or not field.has_default_value):
        return False if field.type == FieldDescriptor.TYPE_BOOL else None
    return _python_value(field, getattr(message, name))


def _frozen_message(message: Message, name: str, field: FieldDescriptor) -> Frozen | None:
    if message.HasField(name):
        return _frozen_part(getattr(message, name))
    if _in_oneof(field):
        return None
    return _empties.get(inner_type(field)) or _empty(inner_type(field))


def _frozen_list(message: Message, name: str, field: FieldDescriptor) -> tuple[Any, ...]:
    values = getattr(message, name)
    if field.message_type is not None:
        return tuple(_frozen_part(value) for value in values)
    return tuple(_python_value(field, value) for value in values)


class _ReadOnlyMap(dict[Any, Any]):
    """A map that cannot be changed, and that can be pickled (a MappingProxyType cannot)."""

    def _refuse(self, *_: object, **__: object) -> Any:
        raise RuntimeError("Attempt to change a map of a read-only config")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return _ReadOnlyMap, (dict(self),)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def _frozen_map(message: Message, name: str, field: FieldDescriptor) -> "_ReadOnlyMap":
    of_values = map_value(field)
    entries = getattr(message, name)
    if of_values.message_type is not None:
        return _ReadOnlyMap({key: _frozen_part(entries[key]) for key in sorted(entries)})
    return _ReadOnlyMap({key: _python_value(of_values, entries[key]) for key in sorted(entries)})


_FROZEN_VALUES: dict[str, Callable[[Message, str, FieldDescriptor], Any]] = {
    "scalar": _frozen_scalar,
    "message": _frozen_message,
    "list": _frozen_list,
    "map": _frozen_map,
}


# ---- Methods of editable messages ---------------------------------------------------------------


def add_methods(file: FileDescriptor) -> None:
    """Give the editable messages of a schema the methods of the frozen ones."""
    for descriptor in file.message_types_by_name.values():
        _add_methods(descriptor)


def _add_methods(descriptor: Descriptor) -> None:
    cls: Any = GetMessageClass(descriptor)
    cls.heyhi_patched = True
    cls.is_frozen = lambda _: False
    cls.to_frozen = freeze
    cls.to_editable = lambda self: self
    cls.to_dict = to_dict
    cls.to_str_with_defaults = _text_with_defaults
    for nested in descriptor.nested_types:
        if not nested.GetOptions().map_entry:
            _add_methods(nested)


def editable(config: Frozen | Message) -> Message:
    """The message behind a config, frozen or not. Not a copy: do not change it."""
    return config._message if isinstance(config, Frozen) else config


# ---- A config as a dict -------------------------------------------------------------------------


def to_dict(
    config: Frozen | Message, *, with_defaults: bool = False, with_all: bool = False
) -> dict[str, Any]:
    """The set fields by name, messages as dicts; empty messages and lists are left out, but for a
    chosen member of a oneof.

    with_defaults adds the explicit defaults of the schema, also inside unset messages; with_all adds
    every field (None, False, [] or {} where there is nothing), and of a oneof the chosen member only.
    """
    return _dict(editable(config), with_defaults or with_all, with_all, ())


def _dict(
    message: Message, with_defaults: bool, with_all: bool, inside: tuple[Descriptor, ...]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    inside = (*inside, type_of(message))
    for name, kind, field in fields_of(type_of(message)).values():
        if kind == "message":
            is_set = message.HasField(name)
            # An unset message of a type that it is in would go on for ever.
            if not is_set and (_in_oneof(field) or field.message_type in inside):
                continue
            if is_set or with_defaults:
                value = _dict(getattr(message, name), with_defaults, with_all, inside)
                if value or with_all or (is_set and _in_oneof(field)):
                    found[name] = value
        elif kind == "scalar":
            _add_scalar(found, message, field, with_defaults, with_all)
        else:
            values = _plain(message, name, kind, field, with_defaults, with_all, inside)
            if values or with_all:
                found[name] = values
    return found


def _add_scalar(
    found: dict[str, Any],
    message: Message,
    field: FieldDescriptor,
    with_defaults: bool,
    with_all: bool,
) -> None:
    is_set = message.HasField(field.name) if field.has_presence else True
    if is_set or (with_defaults and field.has_default_value and not _in_oneof(field)):
        found[field.name] = _python_value(field, getattr(message, field.name))
    elif with_all and not _in_oneof(field):
        found[field.name] = _frozen_scalar(message, field.name, field)


def _plain(
    message: Message,
    name: str,
    kind: str,
    field: FieldDescriptor,
    with_defaults: bool,
    with_all: bool,
    inside: tuple[Descriptor, ...],
) -> Any:
    """A list or a map as plain Python."""

    def one(of: FieldDescriptor, value: Any) -> Any:
        if of.message_type is not None:
            return _dict(value, with_defaults, with_all, inside)
        return _python_value(of, value)

    values = getattr(message, name)
    if kind == "list":
        return [one(field, value) for value in values]
    of_values = map_value(field)
    return {key: one(of_values, values[key]) for key in sorted(values)}


def with_defaults(config: Frozen | Message) -> Message:
    """A copy, editable, with the explicit defaults of the schema set, also inside unset messages."""
    message = _copy(editable(config))
    _set_defaults(message)
    return message


def _text_with_defaults(config: Frozen | Message) -> str:
    return text_format.MessageToString(with_defaults(config), as_utf8=True)


def _set_defaults(message: Message, inside: tuple[Descriptor, ...] = ()) -> None:
    inside = (*inside, type_of(message))
    for name, kind, field in fields_of(type_of(message)).values():
        if kind == "scalar":
            if field.has_default_value and not _in_oneof(field) and not message.HasField(name):
                setattr(message, name, field.default_value)
        elif kind == "message":
            is_set = message.HasField(name)
            if is_set or not (_in_oneof(field) or field.message_type in inside):
                _set_defaults(getattr(message, name), inside)
        elif field.message_type is not None and kind == "list":
            for value in getattr(message, name):
                _set_defaults(value, inside)
        elif kind == "map" and map_value(field).message_type:
            for value in getattr(message, name).values():
                _set_defaults(value, inside)


# ---- A config as flat lines ---------------------------------------------------------------------


def flatten(config: Frozen | Message, *, with_all: bool = True) -> dict[str, Any]:
    """Dotted path -> value; lists and maps by element. with_all: also what is unset (None, False, [])."""
    return dict(_flat(editable(config), (), with_all, ()))


def _flat(
    message: Message, path: tuple[str, ...], with_all: bool, inside: tuple[Descriptor, ...]
) -> Iterator[tuple[str, Any]]:
    found: dict[str, Any] = {}
    inside = (*inside, type_of(message))
    for name, kind, field in fields_of(type_of(message)).values():
        below = (*path, name)
        if kind == "scalar":
            found.clear()
            _add_scalar(found, message, field, with_all, with_all)
            yield from ((join_key(below), value) for value in found.values())
        elif kind == "message":
            yield from _flat_message(message, field, below, with_all, inside)
        else:
            yield from _flat_values(message, field, below, with_all, inside)


def _flat_message(
    message: Message,
    field: FieldDescriptor,
    path: tuple[str, ...],
    with_all: bool,
    inside: tuple[Descriptor, ...],
) -> Iterator[tuple[str, Any]]:
    if message.HasField(field.name):
        yield from _flat_set(getattr(message, field.name), path, with_all, inside)
    elif with_all and not _in_oneof(field) and field.message_type not in inside:
        yield from _flat(getattr(message, field.name), path, with_all, inside)


def _flat_set(
    message: Message, path: tuple[str, ...], with_all: bool, inside: tuple[Descriptor, ...]
) -> Iterator[tuple[str, Any]]:
    """A set message; where nothing in it says so, a SELECT does."""
    lines = list(_flat(message, path, with_all, inside))
    if not message.ListFields():
        yield join_key(path), _Select(SELECT)
    yield from lines


class _Select(str):
    """The word SELECT, to be told from a text that reads SELECT."""

    __slots__ = ()


def _flat_values(
    message: Message,
    field: FieldDescriptor,
    path: tuple[str, ...],
    with_all: bool,
    inside: tuple[Descriptor, ...],
) -> Iterator[tuple[str, Any]]:
    values = getattr(message, field.name)
    if is_map(field):
        of = map_value(field)
        pairs = [
            (str(key).lower() if key in (True, False) else str(key), values[key]) for key in sorted(values)
        ]
    else:
        of = field
        pairs = [(str(index), value) for index, value in enumerate(values)]
        if with_all and not pairs:
            yield join_key(path), []
    for part, value in pairs:
        if of.message_type is not None:
            yield from _flat_set(value, (*path, part), with_all, inside)
        else:
            yield join_key((*path, part)), _python_value(of, value)


def flat_lines(config: Frozen | Message, *, with_all: bool = False) -> list[str]:
    """Overrides that compose this config on an empty task, quoted for a shell, sorted by path."""
    import shlex

    flat = flatten(config, with_all=with_all)
    return [
        f"{shlex.quote(path)}={shlex.quote(_flat_text(flat[path]))}" for path in sorted(flat, key=_sort_key)
    ]


def _sort_key(path: str) -> list[tuple[int, str]]:
    """By parts; numbers by their value, so that elements come in order."""
    parts = path.split(".")
    return [(len(part) if part.isdigit() else 0, part) for part in parts]


def _flat_text(value: Any) -> str:
    from heyhi.overrides import escape_word

    if isinstance(value, bytes):
        from google.protobuf import text_encoding

        return escape_word(text_encoding.CEscape(value, as_utf8=False))
    if value is None or value == []:
        return "NULL"
    if isinstance(value, str) and not isinstance(value, _Select):
        return escape_word(value)
    return str(value)


# ---- Two configs --------------------------------------------------------------------------------


def fingerprint(task: str, config: Frozen | Message) -> str:
    """16 hex digits that two runs share if they compute the same: all but the launcher, with
    defaults filled in, so that a default spelled out makes no difference."""
    import hashlib
    import json

    content = {k: v for k, v in to_dict(config, with_defaults=True).items() if k != LAUNCHER}
    text = json.dumps([task, content], sort_keys=True, default=_flat_text)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def diff(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """How two configs (as nested dicts) differ, a line a field: `lr 0.1 -> 0.2`; no launchers."""
    before, after = dict(_leaves(old, ())), dict(_leaves(new, ()))
    changed = [key for key in sorted({**before, **after}) if before.get(key) != after.get(key)]
    return [f"{key} {before.get(key, 'unset')} -> {after.get(key, 'unset')}" for key in changed]


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
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
