"""Parse a `.prototxt` file strictly into a message, once per process, with the place of each value.

read(path, cls, root)      the message; never change it, it is shared by all who read the file
places(path, ..)           dotted path -> where in the file it is set (line, column, text)
"""

import math
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from google.protobuf import text_encoding, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from heyhi import files
from heyhi.config.fields import DEEPEST, fields_of, inner_type, is_map, map_key, map_value, no_field, type_of
from heyhi.config.overrides import join_key
from heyhi.config.scalars import INT_TYPES, scalar_of
from heyhi.errors import ConfigError
from heyhi.project import ROOT_DIR, display
from heyhi.texts import NOT_UTF8, as_utf8, line_of

__all__ = ["Place", "parse", "parse_old", "places", "read", "types_that_fit", "write_text"]

_POSITION = re.compile(r"(\d+):(\d+) : (?:'(?:[^\n]*)': )?(.*)", re.DOTALL)
# What protobuf's messages of its parser say, where ours say more.
_NO_FIELD = re.compile(r'Message type "[^"]+" has no field named "([^"]+)"')
_TWICE = re.compile(r'Message type "[^"]+" should not have multiple "')
_TWO_MEMBERS = re.compile(
    r'Field "[^"]+" is specified along with field "([^"]+)", another member of oneof "([^"]+)"'
)
_BAD_VALUE = re.compile(r"""Couldn't parse |Value out of range|Expected ("true"|"{"|string)|Enum type """)
_BAD_TEXT = "Couldn't parse string: "
# Numbers that Python reads and that are none here: 1_000, digits of other scripts.
_ODD_NUMBER = re.compile(r"\b\d[\d.]*_|(?![0-9])\d")
_INT = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|[0-9]+)")
_TOKEN = re.compile(r"""(["'])(?:\\.|(?!\1).)*\1?|-?\s*[\w.+-]+|.""")

# A file that changed less than this ago may change again within one tick of the file system's clock.
_SETTLED_NS = 100_000_000


class _Parsed(NamedTuple):
    """A file as read; without a signature, only its bytes show whether the file has changed."""

    signature: tuple[int, int, int] | None
    data: bytes
    message: Message


_parsed: dict[tuple[str, type[Message], Path], _Parsed] = {}


class Place(NamedTuple):
    """The place where a file sets a field: line and column from 1, and the value's text as written."""

    line: int
    column: int
    text: str


def read(path: Path, cls: type[Message], root: Path) -> Message:
    """The message in a file, `{{ROOT_DIR}}` replaced by `root`. Shared: never change it.

    A file that did not change since is not parsed again. Raises ConfigError with file:line:column.
    """
    key = (str(path), cls, root)
    known = _parsed.get(key)
    try:
        signature = _signature(path)
        if known is not None and signature is not None and known.signature == signature:
            return known.message
        data = files.read(path)
    except (OSError, ValueError) as problem:  # ValueError: a name that no file can have
        raise ConfigError(display(path), f"cannot be read: {getattr(problem, 'strerror', problem)}") from None
    if known is not None and known.data == data:
        message = known.message
    else:
        message = parse(_text(data, path, root), cls, display(path))
    _parsed[key] = _Parsed(signature, data, message)
    return message


def _signature(path: Path) -> tuple[int, int, int] | None:
    stat = os.stat(path)
    is_settled = time.time_ns() - stat.st_mtime_ns > _SETTLED_NS
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if is_settled else None


def _text(data: bytes, path: Path, root: Path) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{display(path)}:{line_of(problem)}", NOT_UTF8) from None
    try:
        # It stands inside quotes.
        return ROOT_DIR.sub(lambda _: text_encoding.CEscape(str(root).encode(), as_utf8=True), text)
    except UnicodeEncodeError:
        told = f"{{{{ROOT_DIR}}}} is {as_utf8(str(root))}, which is not UTF-8: no config can hold it"
        raise ConfigError(display(path), told) from None


def parse(text: str, cls: type[Message], name: str) -> Message:
    """The message in a text; `name` stands for the file in errors (ConfigError)."""
    message = cls()
    try:
        text_format.Parse(text, message)
        look_again = _needs_a_second_look(message, DEEPEST) or _ODD_NUMBER.search(text)
    except text_format.ParseError as problem:
        raise _parse_error(str(problem), text, type_of(message), name) from None
    except RecursionError:
        raise ConfigError(name, f"nested too deeply: more than {DEEPEST} levels") from None
    if look_again:
        _check_values(text, type_of(message), name)
    return message


def parse_old(text: str, cls: type[Message], name: str) -> tuple[Message, dict[str, str]]:
    """The message in a text that was written with another schema, and what cls has no fields for: the
    texts of values by their dotted paths. Raises ConfigError if something else is wrong."""
    message = cls()
    try:
        text_format.Parse(text, message, allow_unknown_field=True)
    except text_format.ParseError as problem:
        raise _parse_error(str(problem), text, type_of(message), name) from None
    except RecursionError:
        raise ConfigError(name, f"nested too deeply: more than {DEEPEST} levels") from None
    unknown: _Unknown = {}
    _Scanner(text, lambda *_: None, unknown=unknown).message(type_of(message), (), "")
    return message, {join_key(path): value for path, value in unknown.items()}


def types_that_fit(path: Path, types: Iterable[type[Message]], root: Path) -> list[type[Message]]:
    """The types of these that the text of a file can be read as."""
    fitting = []
    for cls in types:
        try:
            read(path, cls, root)
        except ConfigError:
            continue
        fitting.append(cls)
    return fitting


# ---- What is wrong with a text ------------------------------------------------------------------


def _parse_error(problem: str, text: str, descriptor: Descriptor, name: str) -> ConfigError:
    """The message of protobuf's parser, with the field's full path and a suggestion."""
    match = _POSITION.match(problem)
    if not match:
        return ConfigError(name, _one_line(problem))
    line, column = int(match[1]), int(match[2])
    scanner = _Scanner(text, lambda *_: None, stop=(line, column))
    try:
        scanner.message(descriptor, (), "")
    except (KeyError, _Stopped, text_format.ParseError):
        pass  # here is what is wrong
    token = _token_at(text, line, column)
    return ConfigError(f"{name}:{line}:{column}", _explained(_one_line(match[3]), scanner, token))


def _token_at(text: str, line: int, column: int) -> str:
    lines = text.split("\n")
    match = _TOKEN.match(lines[line - 1], column - 1) if line <= len(lines) else None
    return _one_line(match[0]) if match else ""


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text.strip())


def _explained(what: str, scanner: "_Scanner", token: str) -> str:
    path = scanner.path
    key = join_key(path)
    if match := _NO_FIELD.match(what):
        return no_field(scanner.owner, match[1], path[:-1])
    if _TWICE.match(what):
        return f"{key} is set twice in this file"
    if match := _TWO_MEMBERS.match(what):
        other, oneof = match.groups()
        return (
            f"{key}: chooses {path[-1]!r} of oneof {oneof!r}, but {other!r} is set already; "
            "only one of them can be set"
        )
    if what.startswith(_BAD_TEXT):
        return f"{key}: not valid UTF-8 text: {what.removeprefix(_BAD_TEXT)}"
    if scanner.field is not None and _BAD_VALUE.match(what):
        return f"{key}: {_bad_value(scanner.field, token)}"
    return what


def _bad_value(field: FieldDescriptor, token: str) -> str:
    if field.message_type is not None:
        return f"expected a message ({field.message_type.name}) in {{ }}, not {token}"
    scalar = scalar_of(field)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return f"expected {scalar.name} in quotes, not {token}"
    try:
        scalar.read(token)
    except ValueError as problem:
        return str(problem)
    return f"expected {scalar.name}, not {token}"


def _needs_a_second_look(message: Message, depth: int) -> bool:
    """True if storing may have changed a value (0, inf), or if a map key occurs twice."""
    if not depth:
        raise RecursionError
    found = False
    for field, value in message.ListFields():
        if is_map(field):
            found = True
            if map_value(field).message_type is None:
                continue
            value = value.values()
        # Not any(..): every part is looked at, for its depth.
        for one in value if field.is_repeated else [value]:
            found |= _suspicious(field, one, depth)
    return found


def _suspicious(field: FieldDescriptor, value: Any, depth: int) -> bool:
    if isinstance(value, Message):
        return _needs_a_second_look(value, depth - 1)
    return _is_float(field) and value in (0, math.inf, -math.inf)


def _is_float(field: FieldDescriptor) -> bool:
    return field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


def _check_values(text: str, descriptor: Descriptor, name: str) -> None:
    seen: dict[str, Place] = {}

    def visit(path: tuple[str, ...], place: Place, field: FieldDescriptor) -> None:
        key = join_key(path)
        problem = _bad_number(field, place.text)
        if problem is None and key in seen:
            problem = f"the key is given twice; the first time in line {seen[key].line}"
        if problem is not None:
            raise ConfigError(f"{name}:{place.line}:{place.column}", f"{key}: {problem}")
        seen[key] = place

    _Scanner(text, visit).message(descriptor, (), "")


def _bad_number(field: FieldDescriptor, text: str) -> str | None:
    """The problem with a number that protobuf's parser accepted."""
    if _is_float(field):
        if not re.match(r"-?[\d.]", text):
            return None  # inf, nan
        text = text.rstrip("fF")
    elif field.type not in INT_TYPES or _INT.fullmatch(text):
        return None
    try:
        scalar_of(field).read(text)
    except ValueError as problem:
        return str(problem)
    return None


# ---- Where a text sets its fields ---------------------------------------------------------------


def places(path: Path, descriptor: Descriptor, root: Path) -> dict[str, Place]:
    """The places where a (correct) file sets its fields: dotted path -> place; list elements by index."""
    found: dict[str, Place] = {}

    def visit(key: tuple[str, ...], place: Place, _: FieldDescriptor) -> None:
        found[join_key(key)] = place

    _Scanner(_text(files.read(path), path, root), visit).message(descriptor, (), "")
    return found


_Unknown = dict[tuple[str, ...], str]
_Visit = Callable[[tuple[str, ...], Place, FieldDescriptor], None]


_OPENING, _CLOSING, _QUOTES = ("{", "<", "["), ("}", ">", "]"), ("'", '"')


class _Stopped(Exception):  # noqa: N818  (no error)
    """The scanner has reached the place to stop at."""


class _Scanner:
    """Goes through a text that is known to parse, up to `stop`, and reports each value with its place.

    `owner`, `path` and `field` tell where it is: the last name that was read (no field: a wrong one). Fields
    that are not in the schema go to `unknown`, if that is given, with the texts of their values.
    """

    def __init__(
        self,
        text: str,
        visit: _Visit,
        stop: tuple[float, float] = (math.inf, 0),
        unknown: _Unknown | None = None,
    ) -> None:
        self._tokens = text_format.Tokenizer(text.split("\n"))
        self._visit = visit
        self._stop = stop
        self._unknown = unknown
        self.owner: Descriptor
        self.path: tuple[str, ...] = ()
        self.field: FieldDescriptor | None = None

    def message(self, descriptor: Descriptor, path: tuple[str, ...], end: str) -> None:
        """Go through what is in a message at a path, up to the token `end`."""
        counts: dict[str, int] = {}
        while self._token() != end and not self._tokens.AtEnd():
            self._place()
            name = self._next()
            self.owner, self.path, self.field = descriptor, (*path, name), None
            if self._unknown is not None and name not in fields_of(descriptor):
                self._skip(":")
                known = self._unknown.get(self.path, "")
                self._unknown[self.path] = f"{known} {self._any_value()}".strip()
                self._skip(",", ";")
                continue
            self.field = field = fields_of(descriptor)[name].descriptor
            self._skip(":")
            self._field(field, (*path, name), counts)
            self._skip(",", ";")

    def _any_value(self) -> str:
        """Go over a value of an unknown field; its text, a space between its words."""
        words: list[str] = []
        depth = 0
        while not words or depth or (words[-1][0] in _QUOTES and self._token()[:1] in _QUOTES):
            words.append(self._next())
            depth += (words[-1] in _OPENING) - (words[-1] in _CLOSING)
        return " ".join(words)

    def _field(self, field: FieldDescriptor, path: tuple[str, ...], counts: dict[str, int]) -> None:
        in_list = field.is_repeated and self._token() == "["
        self._skip(*"[" if in_list else "")
        while True:
            if in_list and self._token() == "]":
                break
            self._value(field, self._element_path(field, path, counts))
            if not in_list or self._token() == "]":
                break
            self._skip(",")
        if in_list:
            self._next()

    def _element_path(
        self, field: FieldDescriptor, path: tuple[str, ...], counts: dict[str, int]
    ) -> tuple[str, ...]:
        if not field.is_repeated or is_map(field):
            return path
        index = counts[field.name] = counts.get(field.name, -1) + 1
        return (*path, str(index))

    def _value(self, field: FieldDescriptor, path: tuple[str, ...]) -> None:
        self.path, self.field = path, field
        place = self._place()
        if field.message_type is None:
            self._visit(path, place._replace(text=self._scalar(field)), field)
        elif is_map(field):
            self._map_entry(field, path, place)
        else:
            self._visit(path, place, field)
            end = {"{": "}", "<": ">"}[self._next()]
            self.message(inner_type(field), path, end)
            self._next()

    def _map_entry(self, field: FieldDescriptor, path: tuple[str, ...], place: Place) -> None:
        """The key may come after the value: what is inside is reported once it is known."""
        inside: list[tuple[tuple[str, ...], Place, FieldDescriptor]] = []
        visit, self._visit = self._visit, lambda *found: inside.append(found)
        unknown, self._unknown = self._unknown, None if self._unknown is None else {}
        end = {"{": "}", "<": ">"}[self._next()]
        try:
            self.message(inner_type(field), (), end)
        finally:
            text = next((found.text for part, found, _ in inside if part == ("key",)), None)
            key = _key_text(map_key(field), text)
            self.path = (*path, key, *self.path[1:])
        self._next()
        self._visit = visit
        if unknown is not None and self._unknown is not None:
            unknown |= {(*path, key, *part[1:]): value for part, value in self._unknown.items()}
        self._unknown = unknown
        whole = (found[1:] for found in inside if found[0] == ("value",))
        self._visit((*path, key), *next(whole, (place, field)))
        for part, found, inner in inside:
            if part[0] == "value" and part != ("value",):
                self._visit((*path, key, *part[1:]), found, inner)

    def _scalar(self, field: FieldDescriptor) -> str:
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            data: bytes = self._tokens.ConsumeByteString()
            return data.decode("utf-8", "replace")
        sign = self._next() if self._token() == "-" else ""
        return sign + self._next()

    def _place(self) -> Place:
        # The tokenizer's one public way to tell where it stands (its type stub is wrong).
        here: Any = cast(Any, self._tokens).ParseError("")
        if (here.GetLine(), here.GetColumn()) > self._stop:
            raise _Stopped
        return Place(here.GetLine(), here.GetColumn(), self._token())

    def _token(self) -> str:
        return str(self._tokens.token)

    def _next(self) -> str:
        token = self._token()
        self._tokens.NextToken()
        return token

    def _skip(self, *tokens: str) -> None:
        if self._token() in tokens:
            self._next()


def _key_text(field: FieldDescriptor, text: str | None) -> str:
    """The key of a map as it is in paths; what a file does not say is the type's zero."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return text or ""
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "true" if text in ("true", "True", "t", "1") else "false"
    return str(int(text or "0", 0))


def write_text(message: Message) -> str:
    """The message as text, as files hold it: UTF-8, floats in their shortest form, sorted maps."""
    text: str = text_format.MessageToString(message, as_utf8=True)
    return text
