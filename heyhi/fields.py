"""One field of a message, by its dotted path: find it, set it from text, clear, select.

    optimizer.lr            a field of a message of a message
    agents.0.name           of the first element; an index equal to the length, or -1, appends
    env.PATH                the value of a map's key

Values are read strictly, by one table of types, and written back in one canonical spelling, so that
two spellings of one value (`.1`, `0.10`) are one text.
"""

import math
import re
import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple, cast

from google.protobuf import text_encoding
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from heyhi.errors import did_you_mean
from heyhi.overrides import NULL, SELECT, escape_word, join_key, unescape_word

__all__ = [
    "Field",
    "enum_of",
    "fields_of",
    "file_name",
    "find",
    "inner_type",
    "is_map",
    "map_key",
    "map_value",
    "mounted",
    "paths_below",
    "scalar_of",
    "set_text",
    "shortest_float",
    "type_of",
]

Path = tuple[str, ...]


class Scalar(NamedTuple):
    """How values of one type are read from text (ValueError says what is right) and written."""

    name: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


class Field(NamedTuple):
    """What a path needs to know of a field; `kind` is scalar, message, list or map."""

    name: str
    kind: str
    descriptor: FieldDescriptor


# ---- Scalars ------------------------------------------------------------------------------------

_INT = re.compile(r"\s*[+-]?[0-9]+\s*\Z")
_FLOAT = re.compile(
    r"\s*[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)\s*\Z", re.I
)
_BOOLS = {"true": True, "1": True, "false": False, "0": False}


def shortest_float(value: float) -> float:
    """The double with the fewest digits that is `value` in 32 bits: 0.1, not 0.10000000149011612."""
    if math.isinf(value) or math.isnan(value):
        return value
    exact = struct.pack("<f", value)
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", short) == exact:
                return short
        except OverflowError:  # rounded up beyond the largest float
            continue
    return float(f"{value:.9g}")


def _int_type(name: str, bits: int, signed: bool) -> Scalar:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)

    def read(text: str) -> int:
        if not _INT.match(text):
            raise ValueError(f"expected a whole number ({name}), not {text!r}")
        if not low <= (value := _long_int(text)) <= high:
            raise ValueError(f"{_short(text)} is out of range: {name} goes from {low} to {high}")
        return value

    return Scalar(name, read, str)


def _long_int(text: str) -> int:
    # Python refuses to read more than 4,300 digits; far fewer are out of every range.
    return int(text) if len(text) < 1000 else 1 << 1000


def _float_type(name: str, code: str, shortest: Callable[[float], float]) -> Scalar:
    def read(text: str) -> float:
        if not _FLOAT.match(text):
            raise ValueError(f"expected a number ({name}), not {_short(text)!r}")
        value = float(text)
        try:
            stored = float(struct.unpack(code, struct.pack(code, value))[0])
        except OverflowError:
            stored = math.inf
        if math.isinf(stored) and "inf" not in text.lower():
            raise ValueError(f"{_short(text)} is too large for a {name}")
        if stored == 0 and re.search("[1-9]", re.split("[eE]", text)[0]):
            raise ValueError(f"{_short(text)} is too small for a {name}: it would become 0")
        return stored

    return Scalar(name, read, lambda value: repr(shortest(value)))


def _read_bool(text: str) -> bool:
    value = _BOOLS.get(text.strip().lower())
    if value is None:
        raise ValueError(f"expected true or false, not {_short(text)!r}")
    return value


def _read_string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"expected valid unicode text, not {_short(text)!r}") from None
    return unescape_word(text)


def _read_bytes(text: str) -> bytes:
    try:
        return bytes(text_encoding.CUnescape(unescape_word(text)))
    except ValueError as problem:
        raise ValueError(f"expected bytes, escaped as in C, not {_short(text)!r}: {problem}") from None


def _write_bytes(value: bytes) -> str:
    return escape_word(text_encoding.CEscape(value, as_utf8=False))


def _enum_type(enum: EnumDescriptor) -> Scalar:
    names = {value.name: value.number for value in enum.values}
    numbers = {str(value.number): value.number for value in enum.values}

    def read(text: str) -> int:
        value = names.get(text, numbers.get(text))
        if value is None:
            hint = did_you_mean(text, list(names))
            raise ValueError(f"expected one of {', '.join(names)}, not {_short(text)!r}{hint}")
        return value

    return Scalar(enum.name, read, lambda value: enum.values_by_number[value].name)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


_SCALARS = {
    FieldDescriptor.TYPE_INT32: _int_type("int32", 32, True),
    FieldDescriptor.TYPE_SINT32: _int_type("sint32", 32, True),
    FieldDescriptor.TYPE_SFIXED32: _int_type("sfixed32", 32, True),
    FieldDescriptor.TYPE_INT64: _int_type("int64", 64, True),
    FieldDescriptor.TYPE_SINT64: _int_type("sint64", 64, True),
    FieldDescriptor.TYPE_SFIXED64: _int_type("sfixed64", 64, True),
    FieldDescriptor.TYPE_UINT32: _int_type("uint32", 32, False),
    FieldDescriptor.TYPE_FIXED32: _int_type("fixed32", 32, False),
    FieldDescriptor.TYPE_UINT64: _int_type("uint64", 64, False),
    FieldDescriptor.TYPE_FIXED64: _int_type("fixed64", 64, False),
    FieldDescriptor.TYPE_FLOAT: _float_type("float", "<f", shortest_float),
    FieldDescriptor.TYPE_DOUBLE: _float_type("double", "<d", float),
    FieldDescriptor.TYPE_BOOL: Scalar("bool", _read_bool, lambda value: str(value).lower()),
    FieldDescriptor.TYPE_STRING: Scalar("string", _read_string, escape_word),
    FieldDescriptor.TYPE_BYTES: Scalar("bytes", _read_bytes, _write_bytes),
}


def enum_of(field: FieldDescriptor) -> EnumDescriptor:
    """The enum of a field of that type."""
    assert field.enum_type is not None, f"{field.full_name} is no enum"
    return field.enum_type


@cache
def scalar_of(field: FieldDescriptor) -> Scalar:
    """The type of a scalar field, or of one element of a list of scalars."""
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _enum_type(enum_of(field))
    return _SCALARS[field.type]


# ---- Fields of a message ------------------------------------------------------------------------


def type_of(message: Message | type[Message]) -> Descriptor:
    """The type of a message."""
    return cast(Descriptor, message.DESCRIPTOR)


def file_name(field: FieldDescriptor) -> str:
    """The schema that a field is in."""
    return str(cast(Any, field).file.name)  # the type stubs do not know it


def inner_type(field: FieldDescriptor) -> Descriptor:
    """The type of what is in a field of messages, or of a map's entries."""
    assert field.message_type is not None, f"{field.full_name} is a scalar"
    return field.message_type


def is_map(field: FieldDescriptor) -> bool:
    """Whether a repeated field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def map_key(field: FieldDescriptor) -> FieldDescriptor:
    """What the keys of a map are."""
    return inner_type(field).fields_by_name["key"]


def map_value(field: FieldDescriptor) -> FieldDescriptor:
    """What the values of a map are."""
    return inner_type(field).fields_by_name["value"]


@cache
def fields_of(descriptor: Descriptor) -> dict[str, Field]:
    """The fields of a message type by name, in the order of the schema."""
    return {field.name: Field(field.name, _kind(field), field) for field in descriptor.fields}


def _kind(field: FieldDescriptor) -> str:
    if field.is_repeated:
        return "map" if is_map(field) else "list"
    return "scalar" if field.message_type is None else "message"


def paths_below(descriptor: Descriptor, seen: tuple[str, ...] = ()) -> Iterator[str]:
    """Every dotted path from this type down; a type inside itself is entered once."""
    for field in fields_of(descriptor).values():
        yield field.name
        if field.kind != "message":
            continue
        inner = inner_type(field.descriptor)
        if inner.full_name not in seen:
            for path in paths_below(inner, (*seen, descriptor.full_name)):
                yield f"{field.name}.{path}"


# ---- Setting a field from text ------------------------------------------------------------------


def set_text(message: Message, path: Path, text: str) -> tuple[Path, str]:
    """Do `path=text` to the message. Returns the canonical path (appends with their index) and text.

    Raises ValueError with the field's full path, what is wrong and what would be right.
    """
    return _set(message, path, (), text)


def _set(message: Message, path: Path, done: Path, text: str) -> tuple[Path, str]:
    field = find(message, path[0], done)
    return _SETTERS[field.kind](message, field, path[1:], (*done, field.name), text)


def find(message: Message, name: str, done: Path) -> Field:
    """The field of that name; `done` is the path so far. Raises ValueError with names like it."""
    fields = fields_of(type_of(message))
    if name in fields:
        return fields[name]
    full = join_key((*done, name))
    if name in message.DESCRIPTOR.oneofs_by_name:
        members = [member.name for member in message.DESCRIPTOR.oneofs_by_name[name].fields]
        raise ValueError(f"{full} is a oneof; name its member: {', '.join(members)}")
    raise ValueError(f"{message.DESCRIPTOR.name} has no field {name!r}" + _near(type_of(message), name, done))


def _near(descriptor: Descriptor, name: str, done: Path) -> str:
    """A hint: fields further down of just that name, else names like it here, else all names."""
    below = [path for path in paths_below(descriptor) if path.split(".")[-1] == name]
    if below:
        full = [join_key((*done, *path.split("."))) for path in below[:3]]
        return f"; did you mean {', '.join(map(repr, full))}?"
    known = list(fields_of(descriptor))
    return did_you_mean(name, known) or f"; its fields: {', '.join(known) or 'none'}"


def _set_scalar(message: Message, field: Field, rest: Path, done: Path, text: str) -> tuple[Path, str]:
    scalar = scalar_of(field.descriptor)
    if rest:
        raise ValueError(f"{join_key(done)} is a {scalar.name}; it has no field {rest[0]!r}")
    if text == NULL:
        message.ClearField(field.name)
        return done, NULL
    value = _read(scalar, text, done)
    setattr(message, field.name, value)
    return done, scalar.write(value)


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
        f"{key} is a message ({inner_type(field).name}), it cannot be {_short(text)!r}: "
        f"{below}choose it with {key}=SELECT, or clear it with {key}=NULL"
    )


def _set_list(message: Message, field: Field, rest: Path, done: Path, text: str) -> tuple[Path, str]:
    if not rest:
        if text == NULL:
            message.ClearField(field.name)
            return done, NULL
        key = join_key(done)
        raise ValueError(f"{key} is a list: set {key}.0=..., append with {key}.-1=..., or {key}=NULL")
    elements = getattr(message, field.name)
    index = _index(rest[0], len(elements), done)
    done = (*done, str(index))
    if field.descriptor.message_type is not None:
        return _set_element(elements, index, rest[1:], done, text, field)
    scalar = scalar_of(field.descriptor)
    if rest[1:]:
        raise ValueError(f"{join_key(done)} is a {scalar.name}; it has no field {rest[1]!r}")
    _refuse_null(text, done)
    value = _read(scalar, text, done)
    if index == len(elements):
        elements.append(value)
    else:
        elements[index] = value
    return done, scalar.write(value)


def _set_element(
    elements: Any, index: int, rest: Path, done: Path, text: str, field: Field
) -> tuple[Path, str]:
    if not rest and text != SELECT:
        _refuse_null(text, done)
        raise _not_a_scalar(field.descriptor, done, text)
    element = elements.add() if index == len(elements) else elements[index]
    return _set(element, rest, done, text) if rest else (done, text)


def _refuse_null(text: str, done: Path) -> None:
    if text == NULL:
        raise ValueError(
            f"{join_key(done)}: an element cannot be NULL; {join_key(done[:-1])}=NULL clears the list"
        )


def _index(text: str, length: int, done: Path) -> int:
    if re.fullmatch(r"-1|[0-9]{1,9}", text):
        index = length if text == "-1" else int(text)
        if index <= length:
            return index
    valid = f"0 to {length - 1}" if length else "no"
    raise ValueError(
        f"{join_key(done)} has {length} elements: bad index {_short(text)!r}; "
        f"valid are {valid} to change, {length} or -1 to append"
    )


def _set_map(message: Message, field: Field, rest: Path, done: Path, text: str) -> tuple[Path, str]:
    if not rest:
        if text == NULL:
            message.ClearField(field.name)
            return done, NULL
        raise ValueError(f"{join_key(done)} is a map: set {join_key(done)}.<key>=..., or clear it with NULL")
    key, key_text = _map_key(field.descriptor, rest[0], done)
    of_values = map_value(field.descriptor)
    done = (*done, key_text)
    entries = getattr(message, field.name)
    if of_values.message_type is not None:
        return _set_map_message(entries, key, of_values, rest[1:], done, text)
    scalar = scalar_of(of_values)
    if rest[1:]:
        raise ValueError(f"{join_key(done)} is a {scalar.name}; a key with a dot needs quotes")
    if text == NULL:
        if key in entries:
            del entries[key]
        return done, NULL
    value = _read(scalar, text, done)
    entries[key] = value
    return done, scalar.write(value)


def _set_map_message(
    entries: Any, key: Any, value: FieldDescriptor, rest: Path, done: Path, text: str
) -> tuple[Path, str]:
    if text == NULL and (not rest or key not in entries):
        if rest:
            _set(entries.GetEntryClass()().value, rest, done, text)  # only to check the path
        elif key in entries:
            del entries[key]
        return done + rest, NULL
    if rest:
        return _set(entries[key], rest, done, text)
    if text != SELECT:
        raise _not_a_scalar(value, done, text)
    entries.get_or_create(key)
    return done, text


def _map_key(field: FieldDescriptor, text: str, done: Path) -> tuple[Any, str]:
    key = map_key(field)
    if key.type == FieldDescriptor.TYPE_STRING:
        return text, text
    scalar = scalar_of(key)
    value = _read(scalar, text, done)
    return value, scalar.write(value)


_SETTERS = {
    "scalar": _set_scalar,
    "message": _set_message,
    "list": _set_list,
    "map": _set_map,
}


# ---- Where an include merges --------------------------------------------------------------------


def mounted(message: Message, path: Path) -> Message:
    """The message at `path`, to merge something into; it is marked as set only when merged into.

    Raises ValueError if there is no such field, or if it is not a message.
    """
    done: Path = ()
    while path:
        field = find(message, path[0], done)
        done, path = (*done, path[0]), path[1:]
        if field.descriptor.message_type is None:
            raise ValueError(f"{join_key(done)} is no message: nothing can be included there")
        inner = getattr(message, field.name)
        if field.kind == "message":
            message = inner
            continue
        if not path:
            raise ValueError(f"{join_key(done)} is a {field.kind}: include into one of its elements")
        if field.kind == "list":
            index = _index(path[0], len(inner), done)
            message = inner.add() if index == len(inner) else inner[index]
        else:
            if map_value(field.descriptor).message_type is None:
                raise ValueError(f"{join_key(done)} is a map of scalars: nothing can be included there")
            message = inner[_map_key(field.descriptor, path[0], done)[0]]
        done, path = (*done, path[0]), path[1:]
    return message
