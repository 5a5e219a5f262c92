r"""Scalar types, one table: text <-> typed value. Read strictly, written in one canonical spelling.

    int32, uint64, ...   ` 007 `, `+7`       ->  7         whole, and in the range of its type
    float, double        `.1`, `1e-1`        ->  0.1       the fewest digits that tell it
    bool                 `1`, `True`         ->  true
    an enum              `2`, `GREEN`        ->  GREEN     by name or number
    string               `\NULL`             ->  \NULL     the words of the language are escaped
    bytes                `\xff`              ->  \377      escapes as in C

So two spellings of one value are one text, and one run id.
"""

import math
import re
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from google.protobuf import text_encoding
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from heyhi.config.overrides import escape_word, unescape_word
from heyhi.errors import did_you_mean
from heyhi.texts import cut

__all__ = [
    "INT_TYPES",
    "Scalar",
    "python_value",
    "scalar_of",
    "shortest_float",
    "unicode_text",
    "write_bytes",
]

_INT = re.compile(r"\s*[+-]?[0-9]+\s*\Z")
_FLOAT = re.compile(
    r"\s*[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)\s*\Z", re.I
)
_SMALLEST_NORMAL = 2.0**-126
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.?))", re.DOTALL)
_NAMED_ESCAPES = {
    bytes([name]): value for name, value in zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?", strict=True)
}
_BOOLS = {"true": True, "1": True, "false": False, "0": False}


class Scalar(NamedTuple):
    """Reads values of one type from text (ValueError says what is right) and writes them."""

    name: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


# ---- Numbers ------------------------------------------------------------------------------------


def _int_type(name: str, *, signed: bool = True) -> Scalar:
    bits = 64 if name.endswith("64") else 32
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)

    def read(text: str) -> int:
        if not _INT.match(text):
            raise ValueError(f"expected a whole number ({name}), not {cut(text)!r}")
        if not low <= (value := _long_int(text)) <= high:
            raise ValueError(f"{cut(text.strip())} is out of range: {name} goes from {low} to {high}")
        return value

    return Scalar(name, read, str)


def _long_int(text: str) -> int:
    # Python refuses to read more than 4,300 digits; far fewer are out of every range.
    return int(text) if len(text) < 1000 else 1 << 1000


def _float_type(name: str, code: str, shortest: Callable[[float], float]) -> Scalar:
    def read(text: str) -> float:
        if not _FLOAT.match(text):
            raise ValueError(f"expected a number ({name}), not {cut(text)!r}")
        value = float(text)
        if math.isnan(value):
            return math.nan  # one of the many: what means the same is stored the same
        try:
            stored = float(struct.unpack(code, struct.pack(code, value))[0])
        except OverflowError:
            stored = math.inf
        if math.isinf(stored) and "inf" not in text.lower():
            raise ValueError(f"{cut(text.strip())} is too large for a {name}")
        if stored == 0 and re.search("[1-9]", re.split("[eE]", text)[0]):
            raise ValueError(f"{cut(text.strip())} is too small for a {name}: it would become 0")
        return stored

    return Scalar(name, read, lambda value: repr(shortest(value)))


def shortest_float(value: float) -> float:
    """The double with the fewest digits that is `value` in 32 bits: 0.1, not 0.10000000149011612."""
    if math.isinf(value) or math.isnan(value):
        return value
    exact = struct.pack("<f", value)
    # Six digits always come back from a normal float: fewer cannot tell more.
    for digits in range(6 if abs(value) >= _SMALLEST_NORMAL else 1, 9):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", short) == exact:
                return short
        except OverflowError:  # rounded up beyond the largest float
            continue
    return float(f"{value:.9g}")


# ---- Words and texts ----------------------------------------------------------------------------


def _read_bool(text: str) -> bool:
    value = _BOOLS.get(text.strip().lower())
    if value is None:
        raise ValueError(f"expected true or false, not {cut(text)!r}")
    return value


def unicode_text(text: str) -> str:
    """The text itself; raises ValueError if it is none: a command line can hold any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"expected valid unicode text, not {cut(text)!r}") from None
    return text


def _read_string(text: str) -> str:
    return unescape_word(unicode_text(text))


def _read_bytes(text: str) -> bytes:
    return _ESCAPE.sub(_escaped_byte, _read_string(text).encode())


def _escaped_byte(match: re.Match[bytes]) -> bytes:
    hexadecimal, octal, name = match.groups()
    value = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else _NAMED_ESCAPES.get(name)
    if value is None or value > 255:
        shown = match[0].decode(errors="replace")
        raise ValueError(f"expected bytes, escaped as in C: {shown!r} is no escape")
    return bytes([value])


def write_bytes(value: bytes) -> str:
    """Bytes as an override's value, escaped as in C."""
    return escape_word(text_encoding.CEscape(value, as_utf8=False))


def _enum_type(enum: EnumDescriptor) -> Scalar:
    names = {value.name: value.number for value in enum.values}
    numbers = {str(value.number): value.number for value in enum.values}

    def read(text: str) -> int:
        name = unescape_word(text)
        value = names.get(name, numbers.get(name))
        if value is None:
            hint = did_you_mean(text, list(names))
            raise ValueError(f"expected one of {', '.join(names)}, not {cut(text)!r}{hint}")
        return value

    return Scalar(enum.name, read, lambda value: escape_word(enum.values_by_number[value].name))


# ---- The table ----------------------------------------------------------------------------------

INT_TYPES = {
    FieldDescriptor.TYPE_INT32: _int_type("int32"),
    FieldDescriptor.TYPE_SINT32: _int_type("sint32"),
    FieldDescriptor.TYPE_SFIXED32: _int_type("sfixed32"),
    FieldDescriptor.TYPE_INT64: _int_type("int64"),
    FieldDescriptor.TYPE_SINT64: _int_type("sint64"),
    FieldDescriptor.TYPE_SFIXED64: _int_type("sfixed64"),
    FieldDescriptor.TYPE_UINT32: _int_type("uint32", signed=False),
    FieldDescriptor.TYPE_FIXED32: _int_type("fixed32", signed=False),
    FieldDescriptor.TYPE_UINT64: _int_type("uint64", signed=False),
    FieldDescriptor.TYPE_FIXED64: _int_type("fixed64", signed=False),
}
_SCALARS = {
    **INT_TYPES,
    FieldDescriptor.TYPE_FLOAT: _float_type("float", "<f", shortest_float),
    FieldDescriptor.TYPE_DOUBLE: _float_type("double", "<d", float),
    FieldDescriptor.TYPE_BOOL: Scalar("bool", _read_bool, lambda value: str(value).lower()),
    FieldDescriptor.TYPE_STRING: Scalar("string", _read_string, escape_word),
    FieldDescriptor.TYPE_BYTES: Scalar("bytes", _read_bytes, write_bytes),
}


@cache
def scalar_of(field: FieldDescriptor) -> Scalar:
    """The type of a scalar field, or of one element of a list of scalars."""
    return _SCALARS[field.type] if field.enum_type is None else _enum_type(field.enum_type)


def python_value(field: FieldDescriptor, value: Any) -> Any:
    """A stored scalar as a task sees it: an enum as its name, a float of 32 bits in its shortest form."""
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return shortest_float(value) if field.type == FieldDescriptor.TYPE_FLOAT else value
