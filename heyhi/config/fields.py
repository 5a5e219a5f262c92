"""Find, set from text, clear or select one field of a message by its dotted path.

    optimizer.lr            a field of a message of a message
    agents.0.name           of the first element; an index equal to the length, or -1, appends
    env.PATH                the value of a map's key

Functions return what they set in a canonical spelling: an append by its index, a key and a value as
`scalars` writes them.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from heyhi.config.overrides import NULL, SELECT, join_key
from heyhi.config.scalars import Scalar, python_value, scalar_of, unicode_text
from heyhi.errors import did_you_mean
from heyhi.texts import cut

__all__ = [
    "DEEPEST",
    "Field",
    "Path",
    "copy_of",
    "fields_of",
    "find",
    "in_oneof",
    "inner_type",
    "is_map",
    "key_text",
    "lacks",
    "map_key",
    "map_value",
    "mounted",
    "no_field",
    "oneofs_of",
    "scalar_value",
    "set_text",
    "settled",
    "steps",
    "type_of",
]

Path = tuple[str, ...]

# Protobuf reads back no message that is nested deeper than 100; the task and the MetaCfg take some.
DEEPEST = 90

_INDEX = re.compile(r"(?:-1|[0-9]{1,9})\Z")


class Field(NamedTuple):
    """The properties of a field that a path needs; `kind` is scalar, message, list or map."""

    name: str
    kind: str
    descriptor: FieldDescriptor


# ---- The fields of a type -------------------------------------------------------------------------


def type_of(message: Message | type[Message]) -> Descriptor:
    """The type of a message."""
    return cast(Descriptor, message.DESCRIPTOR)


def copy_of(message: Message) -> Message:
    """A message of the same type and content, to change."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def inner_type(field: FieldDescriptor) -> Descriptor:
    """The type of what is in a field of messages, or of a map's entries."""
    assert field.message_type is not None, f"{field.full_name} is a scalar"
    return field.message_type


def is_map(field: FieldDescriptor) -> bool:
    """True if a repeated field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def map_key(field: FieldDescriptor) -> FieldDescriptor:
    """The type of a map's keys."""
    return inner_type(field).fields_by_name["key"]


def map_value(field: FieldDescriptor) -> FieldDescriptor:
    """The type of a map's values."""
    return inner_type(field).fields_by_name["value"]


@cache
def fields_of(descriptor: Descriptor) -> dict[str, Field]:
    """The fields of a message type by name, in the order of the schema."""
    return {field.name: Field(field.name, _kind(field), field) for field in descriptor.fields}


def _kind(field: FieldDescriptor) -> str:
    if field.is_repeated:
        return "map" if is_map(field) else "list"
    return "scalar" if field.message_type is None else "message"


def oneofs_of(descriptor: Descriptor) -> list[OneofDescriptor]:
    """The oneofs of a message type, but for those that `optional` of proto3 makes."""
    return [oneof for oneof in descriptor.oneofs if not _is_synthetic(oneof)]


def in_oneof(field: FieldDescriptor) -> bool:
    """True if a field is a member of a oneof."""
    return field.containing_oneof is not None and not _is_synthetic(field.containing_oneof)


def _is_synthetic(oneof: OneofDescriptor) -> bool:
    return len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}"


def scalar_value(message: Message, name: str, field: FieldDescriptor) -> Any:
    """The value of a scalar field: None (for a bool, False) if it is unset without a default."""
    is_unset = field.has_presence and not message.HasField(name)
    if is_unset and (in_oneof(field) or not field.has_default_value):
        return False if field.type == FieldDescriptor.TYPE_BOOL else None
    return python_value(field, getattr(message, name))


# ---- A path -------------------------------------------------------------------------------------


def steps(descriptor: Descriptor, path: Path) -> Iterator[tuple[Field, str | None]]:
    """The fields that a (right) path goes through, each with the index or the key that follows it."""
    at: Descriptor | None = descriptor
    rest = iter(path)
    for name in rest:
        assert at is not None, "a scalar is the end of a path"
        field = fields_of(at)[name]
        yield field, next(rest, None) if field.kind in ("list", "map") else None
        at = _type_below(field)


def _type_below(field: Field) -> Descriptor | None:
    """The type of what a path goes on in; None if it ends here."""
    if field.kind == "map":
        return map_value(field.descriptor).message_type
    return field.descriptor.message_type


def settled(descriptor: Descriptor, path: Path) -> Path | None:
    """The one spelling of a path, known from the schema alone: map keys as they are stored. None if it
    goes through a list: which element is meant depends on what is there.

    What is wrong with a path stays as it is, for `set_text` to tell.
    """
    done: Path = ()
    at: Descriptor | None = descriptor
    while path and at is not None and path[0] in fields_of(at):
        field = fields_of(at)[path[0]]
        done, path, at = (*done, path[0]), path[1:], _type_below(field)
        if path and field.kind == "list":
            return None
        if path and field.kind == "map":
            try:
                done = (*done, _map_key(field.descriptor, path[0], done)[1])
            except ValueError:
                break
            path = path[1:]
    return (*done, *path)


def find(message: Message, name: str, done: Path) -> Field:
    """The field of that name; `done` is the path so far. Raises ValueError with names like it."""
    fields = fields_of(type_of(message))
    if name in fields:
        return fields[name]
    for oneof in type_of(message).oneofs:
        if oneof.name == name:
            members = ", ".join(member.name for member in oneof.fields)
            raise ValueError(f"{join_key((*done, name))} is a oneof; name its member: {members}")
    raise ValueError(no_field(type_of(message), name, done))


def no_field(descriptor: Descriptor, name: str, done: Path = ()) -> str:
    """The error for a name that is no field of the message at the path `done`, with a suggestion:
    a field of that name further down, else similar names here, else one of all its fields."""
    owner = f"{join_key(done)} ({descriptor.name})" if done else descriptor.name
    problem = lacks(owner, name)
    below = [path for path in _paths_below(descriptor) if path.split(".")[-1] == name]
    if below:
        full = [join_key((*done, *path.split("."))) for path in below[:3]]
        return f"{problem}; did you mean {', '.join(map(repr, full))}?"
    known = list(fields_of(descriptor))
    hint = did_you_mean(name, known)
    if hint and done:
        hint = hint.replace(" '", f" '{join_key(done)}.")
    return problem + (hint or f"; its fields: {', '.join(known) or 'none'}")


def lacks(owner: str, name: str) -> str:
    """The clause that a message has no field of a name, in all errors."""
    return f"{owner} has no field {cut(name)!r}"


def _paths_below(descriptor: Descriptor, seen: tuple[str, ...] = ()) -> Iterator[str]:
    """Every dotted path from this type down; a type inside itself is entered once."""
    for field in fields_of(descriptor).values():
        yield field.name
        if field.kind != "message":
            continue
        inner = inner_type(field.descriptor)
        if inner.full_name not in seen:
            for path in _paths_below(inner, (*seen, descriptor.full_name)):
                yield f"{field.name}.{path}"


# ---- Setting a field from text ------------------------------------------------------------------


def set_text(message: Message, path: Path, text: str) -> tuple[Path, str]:
    """Do `path=text` to the message. Returns the canonical path (appends with their index) and text.

    Raises ValueError with the field's full path, what is wrong and what would be right.
    """
    if len(path) > DEEPEST:
        raise ValueError(f"{cut(join_key(path))} is nested too deeply: more than {DEEPEST} levels")
    return _set(message, path, (), text)


def _set(message: Message, path: Path, done: Path, text: str) -> tuple[Path, str]:
    field = find(message, path[0], done)
    return _SETTERS[field.kind](message, field, path[1:], (*done, field.name), text)


def _set_scalar(message: Message, field: Field, rest: Path, done: Path, text: str) -> tuple[Path, str]:
    scalar = _scalar_at_end(field.descriptor, rest, done)
    if text == NULL:
        message.ClearField(field.name)
        return done, NULL
    value = _read(scalar, text, done)
    setattr(message, field.name, value)
    return done, scalar.write(value)


def _scalar_at_end(field: FieldDescriptor, rest: Path, done: Path, hint: str = "") -> Scalar:
    """The type of a scalar, which is the end of a path: nothing may be left of it."""
    scalar = scalar_of(field)
    if rest:
        hint = hint or lacks("it", rest[0])
        raise ValueError(f"{join_key(done)} is of type {scalar.name}; {hint}")
    return scalar


def _read(scalar: Scalar, text: str, done: Path) -> Any:
    try:
        return scalar.read(text)
    except ValueError as problem:
        raise ValueError(f"{join_key(done)}: {problem}") from None


def _set_message(message: Message, field: Field, rest: Path, done: Path, text: str) -> tuple[Path, str]:
    inner = getattr(message, field.name)
    if rest:
        if text == NULL and not message.HasField(field.name):
            inner = type(inner)()  # NULL creates nothing; a bad path is an error all the same
        return _set(inner, rest, done, text)
    if text == NULL:
        # upb clears the chosen member of a oneof when asked to clear another one.
        if message.HasField(field.name):
            message.ClearField(field.name)
    elif text == SELECT:
        inner.SetInParent()
    else:
        raise _not_a_scalar(field.descriptor, done, text)
    return done, text


def _not_a_scalar(field: FieldDescriptor, done: Path, text: str) -> ValueError:
    key = join_key(done)
    inner = next(iter(fields_of(field.message_type)), None)
    below = f"set its fields ({key}.{inner}=...), " if inner else ""
    return ValueError(
        f"{key} is a message ({inner_type(field).name}), it cannot be {cut(text)!r}: "
        f"{below}choose it with {key}=SELECT, or clear it with {key}=NULL"
    )


def _set_list(message: Message, field: Field, rest: Path, done: Path, text: str) -> tuple[Path, str]:
    if not rest:
        key = join_key(done)
        return _clear(message, field, done, text, f"set {key}.0=..., append with {key}.-1=..., or {key}=NULL")
    elements = getattr(message, field.name)
    index = _index(rest[0], len(elements), done)
    done = (*done, str(index))
    if field.descriptor.message_type is not None:
        return _set_element(elements, index, rest[1:], done, text, field)
    scalar = _scalar_at_end(field.descriptor, rest[1:], done)
    _refuse_null(text, done)
    value = _read(scalar, text, done)
    if index == len(elements):
        elements.append(value)
    else:
        elements[index] = value
    return done, scalar.write(value)


def _clear(message: Message, field: Field, done: Path, text: str, hint: str) -> tuple[Path, str]:
    """All that can be done to a list or a map as a whole."""
    if text != NULL:
        raise ValueError(f"{join_key(done)} is a {field.kind}: {hint}")
    message.ClearField(field.name)
    return done, NULL


def _set_element(
    elements: Any, index: int, rest: Path, done: Path, text: str, field: Field
) -> tuple[Path, str]:
    if not rest and text != SELECT:
        _refuse_null(text, done)
        raise _not_a_scalar(field.descriptor, done, text)
    is_new = index == len(elements)
    element = GetMessageClass(inner_type(field.descriptor))() if is_new else elements[index]
    changed = _set(element, rest, done, text) if rest else (done, text)
    if is_new and text != NULL:  # NULL creates nothing; a bad path is an error all the same
        elements.append(element)
    return changed


def _refuse_null(text: str, done: Path) -> None:
    if text == NULL:
        raise ValueError(
            f"{join_key(done)}: an element cannot be NULL; {join_key(done[:-1])}=NULL clears the list"
        )


def _index(text: str, length: int, done: Path) -> int:
    if _INDEX.match(text):
        index = length if text == "-1" else int(text)
        if index <= length:
            return index
    valid = f"0 to {length - 1} to change, " if length else ""
    raise ValueError(
        f"{join_key(done)} has {length} element{'' if length == 1 else 's'}: bad index {cut(text)!r}; "
        f"valid are {valid}{length} or -1 to append"
    )


def _set_map(message: Message, field: Field, rest: Path, done: Path, text: str) -> tuple[Path, str]:
    if not rest:
        return _clear(message, field, done, text, f"set {join_key(done)}.<key>=..., or clear it with NULL")
    key, part = _map_key(field.descriptor, rest[0], done)
    done, rest = (*done, part), rest[1:]
    entries = getattr(message, field.name)
    if not rest and text == NULL:
        if key in entries:
            del entries[key]
        return done, NULL
    of_values = map_value(field.descriptor)
    if of_values.message_type is not None:
        return _set_entry(entries, key, of_values, rest, done, text)
    scalar = _scalar_at_end(of_values, rest, done, "a key with a dot needs quotes")
    value = entries[key] = _read(scalar, text, done)
    return done, scalar.write(value)


def _set_entry(
    entries: Any, key: Any, value: FieldDescriptor, rest: Path, done: Path, text: str
) -> tuple[Path, str]:
    if not rest and text != SELECT:
        raise _not_a_scalar(value, done, text)
    is_new = key not in entries
    entry = GetMessageClass(inner_type(value))() if is_new else entries[key]
    changed = _set(entry, rest, done, text) if rest else (done, text)
    if is_new and text != NULL:
        entries[key].CopyFrom(entry)
    return changed


def _map_key(field: FieldDescriptor, text: str, done: Path) -> tuple[Any, str]:
    scalar = _key_type(field)
    if scalar is None:
        return unicode_text(text), text
    try:
        value = scalar.read(text)
    except ValueError as problem:
        raise ValueError(f"a key of {join_key(done)}: {problem}") from None
    return value, scalar.write(value)


def key_text(field: FieldDescriptor, key: Any) -> str:
    """A key of a map as a part of a path."""
    scalar = _key_type(field)
    return str(key) if scalar is None else scalar.write(key)


@cache
def _key_type(field: FieldDescriptor) -> Scalar | None:
    """The reader of a map's keys; None if they are texts, which need none."""
    key = map_key(field)
    return None if key.type == FieldDescriptor.TYPE_STRING else scalar_of(key)


_SETTERS = {
    "scalar": _set_scalar,
    "message": _set_message,
    "list": _set_list,
    "map": _set_map,
}


# ---- Where an include merges --------------------------------------------------------------------


def mounted(message: Message, path: Path) -> tuple[Message, Path]:
    """The message at `path`, to merge something into, and its canonical path; it is marked as set only
    when merged into.

    Raises ValueError if there is no such field, or if it is not a message.
    """
    done: Path = ()
    while path:
        field = find(message, path[0], done)
        done, path = (*done, field.name), path[1:]
        if field.descriptor.message_type is None:
            raise ValueError(f"{join_key(done)} is no message: nothing can be included there")
        inner = getattr(message, field.name)
        if field.kind == "message":
            message = inner
            continue
        if not path:
            raise ValueError(f"{join_key(done)} is a {field.kind}: include into one of its elements")
        message, part = _mounted_element(inner, field, path[0], done)
        done, path = (*done, part), path[1:]
    return message, done


def _mounted_element(elements: Any, field: Field, part: str, done: Path) -> tuple[Message, str]:
    """An element of a list or map of messages, made if it is not there, and its canonical name."""
    if field.kind == "list":
        index = _index(part, len(elements), done)
        return (elements.add() if index == len(elements) else elements[index]), str(index)
    if map_value(field.descriptor).message_type is None:
        raise ValueError(f"{join_key(done)} is a map of scalars: nothing can be included there")
    key, part = _map_key(field.descriptor, part, done)
    return elements[key], part
