"""Telling about a config: its flags (`--help-cfg`) and where a value comes from (`--explain`)."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from heyhi.config import fields, prototxt, views
from heyhi.config.composer import Composition, Layer, OverrideLayer, compose
from heyhi.config.includes import FileLayer
from heyhi.config.overrides import join_key, split_key
from heyhi.config.scalars import scalar_of
from heyhi.config.schema import Doc, load_docs
from heyhi.errors import ConfigError, did_you_mean
from heyhi.project import Project
from heyhi.texts import some_of

__all__ = ["flags", "layers"]

_Path = tuple[str, ...]
_MOST_SHOWN = 12  # of a list's elements, on one line


# ---- Flags --------------------------------------------------------------------------------------


def flags(project: Project, message: Message, pattern: str) -> list[str]:
    """Each flag of a config whose path or comment matches: type, default, present value, comment.

    Raises ConfigError if `pattern` is no regular expression, or matches no flag.
    """
    try:
        wanted = re.compile(pattern, re.IGNORECASE)
    except re.error as problem:
        raise ConfigError(f"--help-cfg {pattern!r}", f"bad regular expression: {problem}") from None
    docs = load_docs(project)
    known = [(".".join(path), path, field) for path, field in _walk(fields.type_of(message), (), ())]
    lines: list[str] = []
    for name, path, field in known:
        comment = docs.get(field.full_name, Doc("", "")).comment
        if wanted.search(name) or wanted.search(comment):
            now = None if "<" in name else _text(message, path)
            shown = "" if now is None else f" = {now}"
            lines.append(f"{name}: {_type_name(field)}{_default(field)}{shown}")
            lines += [f"    {line}" for line in comment.splitlines()]
    if not lines:
        hint = did_you_mean(pattern, [name for name, _, _ in known])
        raise ConfigError(f"--help-cfg {pattern!r}", f"no such flag{hint}")
    return lines


def _walk(
    descriptor: Descriptor, path: _Path, inside: tuple[Descriptor, ...]
) -> Iterator[tuple[_Path, FieldDescriptor]]:
    """All fields with their paths; what is inside a type of its own kind is not gone into again."""
    inside = (*inside, descriptor)
    for name, kind, field in fields.fields_of(descriptor).values():
        if kind == "list" and name == "includes":
            continue
        yield (*path, name), field
        value = fields.map_value(field) if kind == "map" else field
        element = {"list": ("<i>",), "map": ("<key>",)}.get(kind, ())
        if value.message_type is not None and value.message_type not in inside:
            yield from _walk(value.message_type, (*path, name, *element), inside)


def _type_name(field: FieldDescriptor) -> str:
    if fields.is_map(field):
        key, value = fields.map_key(field), fields.map_value(field)
        return f"map of {_one_type(key)} to {_one_type(value)}"
    prefix = "list of " if field.is_repeated else ""
    oneof = field.containing_oneof
    choice = f", of oneof {oneof.name}" if oneof is not None else ""
    return f"{prefix}{_one_type(field)}{choice}"


def _one_type(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return str(field.message_type.name)
    if field.enum_type is not None:
        return " | ".join(value.name for value in field.enum_type.values)
    return scalar_of(field).name


def _default(field: FieldDescriptor) -> str:
    if field.is_required:
        return " [required]"
    return f" [default: {_default_text(field)}]" if _has_default(field) else ""


def _has_default(field: FieldDescriptor) -> bool:
    """True if it reads as an explicit default where it is unset; a member of a oneof does not."""
    return field.message_type is None and field.has_default_value and field.containing_oneof is None


def _default_text(field: FieldDescriptor) -> str:
    return _one_line(scalar_of(field).write(field.default_value))


# ---- A value as text ----------------------------------------------------------------------------


def _text(message: Message, path: _Path, done: _Path = (), *, or_default: bool = False) -> str | None:
    """The value at a path, on one line; None if it is unset. Raises ValueError if no field has this path."""
    name, kind, field = fields.find(message, path[0], done)
    done, rest = (*done, name), path[1:]
    value = getattr(message, name)
    if kind == "scalar":
        return _scalar_text(message, field, done, rest, or_default)
    if kind == "message":
        is_set = message.HasField(name)
        if rest:
            is_there = is_set or field.containing_oneof is None
            return _text(value, rest, done, or_default=or_default and is_there)
        return _joined(views.flat_lines(value)) or "SELECT" if is_set else None
    if not rest:
        return _elements_text(message, name)
    return _element_text(field, value, rest, done, or_default)


def _element_text(
    field: FieldDescriptor, values: Any, path: _Path, done: _Path, or_default: bool
) -> str | None:
    """The value at a path that begins with the index or key of an element."""
    of, element = _element(field, values, path[0], done)
    done, rest = (*done, path[0]), path[1:]
    is_there = element is not None
    if of.message_type is None:
        _refuse(rest, of, done)
        return _one_line(scalar_of(of).write(element)) if is_there else None
    if rest:
        inner = element if is_there else GetMessageClass(of.message_type)()
        return _text(inner, rest, done, or_default=or_default and is_there)
    return _joined(views.flat_lines(element)) or "SELECT" if is_there else None


def _scalar_text(
    message: Message, field: FieldDescriptor, done: _Path, rest: _Path, or_default: bool
) -> str | None:
    _refuse(rest, field, done)
    is_set = message.HasField(field.name) if field.has_presence else True
    if is_set or (or_default and _has_default(field)):
        return _one_line(scalar_of(field).write(getattr(message, field.name)))
    return None


def _refuse(rest: _Path, field: FieldDescriptor, done: _Path) -> None:
    if rest:
        raise ValueError(f"{join_key(done)} is a {_one_type(field)}; {fields.lacks('it', rest[0])}")


def _element(field: FieldDescriptor, values: Any, part: str, done: _Path) -> tuple[FieldDescriptor, Any]:
    """The type of one element of a list or map, and the element, or None if it is missing."""
    if not fields.is_map(field):
        if not part.isdecimal():
            raise ValueError(f"{join_key(done)} is a list: its elements are {join_key(done)}.0 and so on")
        return field, values[int(part)] if int(part) < len(values) else None
    key = scalar_of(fields.map_key(field)).read(part)
    return fields.map_value(field), values.get(key)


def _elements_text(message: Message, name: str) -> str | None:
    """A whole list or map: its flat lines, without its own name."""
    only = type(message)()
    getattr(only, name).MergeFrom(getattr(message, name))
    return _joined([line.removeprefix(f"{name}.") for line in views.flat_lines(only)]) or None


def _joined(lines: Sequence[str]) -> str:
    return some_of([_one_line(line) for line in lines], _MOST_SHOWN)


def _one_line(text: str) -> str:
    return text if text and text.isprintable() else repr(text)


# ---- Layers -------------------------------------------------------------------------------------


def layers(
    project: Project, composition: Composition, base: Path, overrides: Sequence[str], key: str
) -> list[str]:
    """The origin of a field's value: a line for each layer that touched it, then the value.

    Raises ConfigError if there is no such field.
    """
    try:
        path = split_key(key)
        now = _text(composition.config, path, or_default=True)
    except ValueError as problem:
        raise ConfigError(f"--explain {key!r}", str(problem)) from None
    done: list[Layer] = []
    compose(base, overrides, project, type(composition.meta), trace=done.append)
    lines = _default_line(project, fields.type_of(composition.config), path)
    lines += _Replay(project, type(composition.meta), (composition.task, *path)).lines(done)
    return [*lines, f"{key} = {'unset' if now is None else now}"]


def _default_line(project: Project, descriptor: Descriptor, path: _Path) -> list[str]:
    *_, (last, element) = fields.steps(descriptor, path)
    field = last.descriptor
    if element is not None or not _has_default(field):
        return []
    return [_line("default", _default_text(field), load_docs(project)[field.full_name].where)]


def _line(kind: str, value: str | None, where: str) -> str:
    return f"{kind:<8}  {'unset' if value is None else value}  ({where})"


class _Replay:
    """Does the layers of a composition again, one by one, and tells which of them touch one field."""

    def __init__(self, project: Project, meta_class: type[Message], path: _Path) -> None:
        self._root = project.origin
        self._meta = meta_class()
        self._path = path  # from the MetaCfg on
        self._waiting: list[FileLayer] = []  # for the file with the element that they are merged below

    def lines(self, layers: Sequence[Layer]) -> list[str]:
        """A line for each layer that touches the field."""
        lines: list[str] = []
        for layer in layers:
            if isinstance(layer, OverrideLayer):
                lines += self._override(layer)
            elif layer.in_element:
                self._waiting.append(layer)
            else:
                lines += self._file(layer)
        return lines

    def _override(self, layer: OverrideLayer) -> list[str]:
        before = self._now()
        task, *below = layer.path
        fields.set_text(getattr(self._meta, task), tuple(below), layer.override.text)
        shorter = min(len(layer.path), len(self._path))
        if layer.path[:shorter] != self._path[:shorter] and before == self._now():
            return []
        return [_line("override", self._now(), layer.override.typed)]

    def _file(self, layer: FileLayer) -> list[str]:
        """Merge a file, with what waits for elements in it."""
        own = _without_includes(layer.message)
        before = self._now()
        target, _ = fields.mounted(self._meta, layer.path)
        own_path = self._own_path(layer.path)
        lines = self._merge_waiting(own, layer.path, own_path)
        sets = own_path is not None and _is_set(layer.message, own_path)
        target.SetInParent()
        target.MergeFrom(own)
        if sets or (before != self._now() and not lines):
            kind = "include" if layer.path else "file"
            lines.append(_line(kind, self._now(), self._place(layer, own_path or ())))
        return lines

    def _merge_waiting(self, own: Message, at: _Path, own_path: _Path | None) -> list[str]:
        """Put below each element what it includes: a later include above an earlier one."""
        lines: list[str] = []
        for layer in reversed(self._waiting):
            below = layer.path[len(at) :]
            inner, _ = fields.mounted(own, below)
            merged = _without_includes(layer.message)
            merged.MergeFrom(inner)
            inner.CopyFrom(merged)
            if own_path is None or own_path[: len(below)] != below:
                continue
            rest = own_path[len(below) :]
            if _is_set(layer.message, rest):
                value = _text(layer.message, rest) if rest else "SELECT"
                lines.insert(0, _line("include", value, self._place(layer, rest)))
        self._waiting.clear()
        return lines

    def _now(self) -> str | None:
        return _text(self._meta, self._path)

    def _own_path(self, at: _Path) -> _Path | None:
        """The field's path in a file merged at `at`, as the file counts its elements; None: not in it."""
        path = self._path
        if path[: len(at)] != at:
            return () if at[: len(path)] == path else None
        message, own = fields.mounted(self._meta, at)[0], path[len(at) :]
        for position, name in enumerate(own):
            kind = fields.fields_of(fields.type_of(message))[name].kind
            if kind == "list" and position + 1 < len(own):
                index = int(own[position + 1]) - len(getattr(message, name))
                return None if index < 0 else (*own[: position + 1], str(index), *own[position + 2 :])
            if kind != "message":
                break
            message = getattr(message, name)
        return own

    def _place(self, layer: FileLayer, path: _Path) -> str:
        """file:line:column of the value, or of the nearest message around it."""
        places = prototxt.places(layer.file, fields.type_of(layer.message), self._root)
        keys = [(split_key(name), place) for name, place in places.items()]
        for length in range(len(path), -1, -1):
            # Of a whole file, list or map, the place of the first that is in it.
            for key, place in keys:
                if key[:length] == path[:length]:
                    return f"{layer.where}:{place.line}:{place.column}"
        return layer.where


def _is_set(message: Message, path: _Path) -> bool:
    return not path or _text(message, path) is not None


def _without_includes(message: Message) -> Message:
    copy = fields.copy_of(message)
    _clear_includes(copy)
    return copy


def _clear_includes(message: Message) -> None:
    for field, value in message.ListFields():
        if field.name == "includes" and field.is_repeated:
            message.ClearField(field.name)
        elif fields.is_map(field):
            if fields.map_value(field).message_type is not None:
                for one in value.values():
                    _clear_includes(one)
        elif field.message_type is not None:
            for one in value if field.is_repeated else [value]:
                _clear_includes(one)
