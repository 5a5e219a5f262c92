"""One `.prototxt` file: its text becomes a message, strictly, once a process; values know their place.

read(path, cls, root)      the message; never change it, it is shared by all who read the file
places(path, ..)           dotted path -> where in the file it is set (line, column, text)
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from heyhi.errors import ConfigError, did_you_mean
from heyhi.fields import fields_of, inner_type, is_map, scalar_of, type_of
from heyhi.overrides import join_key

__all__ = ["Place", "display", "parse", "places", "read", "write_text"]

_ROOT_DIR = re.compile(r"\{\{\s*ROOT_DIR\s*\}\}")
_POSITION = re.compile(r"(\d+):(\d+) : (?:'(?:[^\n]*)': )?(.*)", re.DOTALL)
_NO_FIELD = re.compile(r'Message type "([^"]+)" has no field named "([^"]+)"')
_NO_VALUE = re.compile(r'Enum type "([^"]+)" has no value (?:named|with number) (\S+?)\.?\Z')

_Signature = tuple[int, int, int]
_parsed: dict[tuple[str, str], tuple[_Signature, Message]] = {}


class Place(NamedTuple):
    """Where a file sets a field: line and column from 1, and the value's text as written."""

    line: int
    column: int
    text: str


def display(path: str | Path) -> str:
    """A path as a person near it would write it: relative to the cwd where it is below it."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return str(path)
    return str(path) if relative.startswith("..") else relative


def read(path: Path, cls: type[Message], root: Path) -> Message:
    """The message in a file, `{{ROOT_DIR}}` replaced by `root`. Shared: never change it.

    A file that did not change since is not parsed again. Raises ConfigError with file:line:column.
    """
    key = (str(path), cls.DESCRIPTOR.full_name)
    try:
        stat = os.stat(path)
        signature = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = _parsed.get(key)
        if known is not None and known[0] == signature:
            return known[1]
        text = _text(path, root)
    except OSError as problem:
        raise ConfigError(display(path), f"cannot be read: {problem.strerror}") from None
    message = parse(text, cls, display(path))
    _parsed[key] = (signature, message)
    return message


def _text(path: Path, root: Path) -> str:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise ConfigError(f"{display(path)}:{line}", "not UTF-8 text; save it as UTF-8") from None
    return _ROOT_DIR.sub(lambda _: str(root), text)


def parse(text: str, cls: type[Message], name: str) -> Message:
    """The message in a text; `name` stands for the file in errors (ConfigError)."""
    message = cls()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as problem:
        raise _parse_error(str(problem), message, name) from None
    except RecursionError:
        raise ConfigError(name, "nested too deeply") from None
    if _needs_a_second_look(message):
        _check_values(text, type_of(message), name)
    return message


def _parse_error(problem: str, message: Message, name: str) -> ConfigError:
    match = _POSITION.match(problem)
    if not match:
        return ConfigError(name, problem)
    line, column, what = match.groups()
    return ConfigError(f"{name}:{line}:{column}", _with_hint(what.strip(), message))


def _with_hint(what: str, message: Message) -> str:
    pool = message.DESCRIPTOR.file.pool
    if match := _NO_FIELD.match(what):
        descriptor = pool.FindMessageTypeByName(match[1])
        hint = did_you_mean(match[2], list(fields_of(descriptor)))
        hint = hint or f"; its fields: {', '.join(fields_of(descriptor)) or 'none'}"
        return f"{descriptor.name} has no field {match[2]!r}{hint}"
    if match := _NO_VALUE.match(what):
        names = list(pool.FindEnumTypeByName(match[1]).values_by_name)
        return f"expected one of {', '.join(names)}, not {match[2]}{did_you_mean(match[2], names)}"
    return what


def _needs_a_second_look(message: Message) -> bool:
    """Whether a value may have been changed by being stored (0, inf), or a map key given twice."""
    for field, value in message.ListFields():
        if field.is_repeated:
            if is_map(field) or _any_suspicious(field, value):
                return True
        elif _suspicious(field, value):
            return True
    return False


def _any_suspicious(field: FieldDescriptor, values: Any) -> bool:
    return any(_suspicious(field, value) for value in values)


def _suspicious(field: FieldDescriptor, value: Any) -> bool:
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return bool(value in (0, float("inf"), float("-inf")))
    return field.message_type is not None and _needs_a_second_look(value)


def _check_values(text: str, descriptor: Descriptor, name: str) -> None:
    seen: dict[str, Place] = {}

    def visit(path: tuple[str, ...], place: Place, field: FieldDescriptor) -> None:
        problem = _lossy_float(field, place.text)
        key = join_key(path)
        if key in seen and problem is None:
            problem = f"the key is given twice; the first time in line {seen[key].line}"
        if problem:
            raise ConfigError(f"{name}:{place.line}:{place.column}", f"{key}: {problem}")
        seen[key] = place

    _Scanner(text, visit).message(descriptor, (), "")


def _lossy_float(field: FieldDescriptor, text: str) -> str | None:
    is_float = field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
    if not is_float or not re.match(r"-?[0-9.]", text):
        return None
    try:
        scalar_of(field).read(text.rstrip("fF") if not text.lower().startswith("0x") else text)
    except ValueError as problem:
        return str(problem)
    return None


def places(path: Path, descriptor: Descriptor, root: Path) -> dict[str, Place]:
    """Where a (correct) file sets its fields: dotted path -> place; list elements by their index."""
    found: dict[str, Place] = {}
    text = _text(path, root)

    def visit(key: tuple[str, ...], place: Place, _: FieldDescriptor) -> None:
        found[join_key(key)] = place

    _Scanner(text, visit).message(descriptor, (), "")
    return found


_Visit = Callable[[tuple[str, ...], Place, FieldDescriptor], None]


class _Scanner:
    """Goes through a text that is known to parse, and reports each value with its place."""

    def __init__(self, text: str, visit: _Visit) -> None:
        self._tokens = text_format.Tokenizer(text.splitlines())
        self._visit = visit

    def message(self, descriptor: Descriptor, path: tuple[str, ...], end: str) -> None:
        counts: dict[str, int] = {}
        while self._token() != end and not self._tokens.AtEnd():
            name = self._next()
            field = fields_of(descriptor)[name].descriptor
            self._skip(":")
            self._field(field, (*path, name), counts)
            self._skip(",", ";")

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
        end = {"{": "}", "<": ">"}[self._next()]
        self.message(inner_type(field), (), end)
        self._next()
        self._visit = visit
        key = next((found.text for part, found, _ in inside if part == ("key",)), "")
        self._visit((*path, key), place, field)
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


def write_text(message: Message) -> str:
    """The message as text, as files hold it: UTF-8, floats in their shortest form, sorted maps."""
    text: str = text_format.MessageToString(message, as_utf8=True)
    return text
