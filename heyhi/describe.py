"""Telling about a config: its flags (`--help-cfg`) and where a value comes from (`--explain`)."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from heyhi import config, fields, prototxt
from heyhi.compose import Composition, Layer, compose
from heyhi.errors import ConfigError
from heyhi.overrides import join_key, split_key
from heyhi.project import Project
from heyhi.protos import load_comments

__all__ = ["flags", "layers"]

_Path = tuple[str, ...]


# ---- Flags --------------------------------------------------------------------------------------


def flags(project: Project, message: Message, pattern: str) -> list[str]:
    """Each flag of a config whose path or comment matches: type, default, present value, comment.

    Raises ConfigError if `pattern` is no regular expression, or matches no flag.
    """
    try:
        wanted = re.compile(pattern, re.IGNORECASE)
    except re.error as problem:
        raise ConfigError(f"--help-cfg {pattern!r}", f"bad regular expression: {problem}") from None
    comments = load_comments(project)
    lines: list[str] = []
    for path, field in _walk(fields.type_of(message), ()):
        comment = comments.get(field.full_name, "")
        if not (wanted.search(join_key(path)) or wanted.search(comment)):
            continue
        now = _present(message, path)
        lines.append(f"{join_key(path)}: {_type_name(field)}{_default(field)}{now}")
        lines += [f"    {line}" for line in comment.splitlines()]
    if not lines:
        known = [join_key(path) for path, _ in _walk(fields.type_of(message), ())]
        from heyhi.errors import did_you_mean

        raise ConfigError(f"--help-cfg {pattern!r}", f"no such flag{did_you_mean(pattern, known)}")
    return lines


def _walk(
    descriptor: Descriptor, path: _Path, inside: tuple[Descriptor, ...] = ()
) -> Iterator[tuple[_Path, FieldDescriptor]]:
    for field in fields.fields_of(descriptor).values():
        if field.name == "includes" and field.kind == "list":
            continue
        yield (*path, field.name), field.descriptor
        if field.kind == "message" and fields.inner_type(field.descriptor) not in inside:
            yield from _walk(fields.inner_type(field.descriptor), (*path, field.name), (*inside, descriptor))


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
    return fields.scalar_of(field).name


def _default(field: FieldDescriptor) -> str:
    if field.message_type is not None or field.is_repeated or not field.has_default_value:
        return ""
    return f" [default: {fields.scalar_of(field).write(field.default_value)}]"


def _present(message: Message, path: _Path) -> str:
    shown = _value_text(message, path)
    return "" if shown is None else f" = {shown}"


def _value_text(message: Message, path: _Path) -> str | None:
    """The present value as text; None if it is unset. Raises ValueError if there is no such field."""
    owner, rest = message, path
    while True:
        field = fields.find(owner, rest[0], path[: len(path) - len(rest)])
        rest = rest[1:]
        if field.kind == "scalar":
            if rest:
                raise ValueError(f"{join_key(path)}: {field.name} is no message")
            is_set = owner.HasField(field.name) if field.descriptor.has_presence else True
            value = getattr(owner, field.name)
            return fields.scalar_of(field.descriptor).write(value) if is_set else None
        if field.kind == "message" and rest:
            owner = getattr(owner, field.name)
            continue
        return _whole_text(owner, field.name, path, len(rest))


def _whole_text(owner: Message, name: str, path: _Path, depth: int) -> str | None:
    """A message, list or map, or what is inside one of the latter, on one line."""
    top = join_key(path[: len(path) - depth])
    key = join_key(path)
    flat = config.flatten(owner, with_all=False)
    prefix = join_key((name, *path[len(path) - depth :]))
    found = {k: v for k, v in flat.items() if k == prefix or k.startswith(prefix + ".")}
    if not found:
        return None
    if list(found) == [prefix]:
        return str(found[prefix])
    assert key.startswith(top)
    return ", ".join(f"{k[len(prefix) + 1 :]}={v}" for k, v in found.items())


# ---- Layers -------------------------------------------------------------------------------------


def layers(
    project: Project, composition: Composition, base: Path, overrides: Sequence[str], key: str
) -> list[str]:
    """Where the value of a field comes from: a line for each layer that touched it, then the value.

    Raises ConfigError if there is no such field.
    """
    try:
        path = split_key(key)
        now = _value_text(composition.config, path)
    except ValueError as problem:
        raise ConfigError(f"--explain {key!r}", str(problem)) from None
    task, meta_class = composition.task, type(composition.meta)
    steps: list[Layer] = []
    compose(base, overrides, project, meta_class, trace=steps.append)
    lines = _default_line(composition.config, path)
    replay = type(composition.config)()
    for step in steps:
        lines += _replay(replay, step, path, task, project)
    return [*lines, f"{key} = {'unset' if now is None else now}"]


def _default_line(message: Message, path: _Path) -> list[str]:
    field = _descriptor_at(fields.type_of(message), path)
    if field is None or not _default(field):
        return []
    return [
        f"default          {fields.scalar_of(field).write(field.default_value)}  ({fields.file_name(field)})"
    ]


def _descriptor_at(descriptor: Descriptor, path: _Path) -> FieldDescriptor | None:
    field: Any = None
    at: Descriptor | None = descriptor
    for name in path:
        known = fields.fields_of(at) if at is not None else {}
        if name not in known:
            return None
        field = known[name].descriptor
        at = field.message_type
    return None if field is None else field


def _replay(replay: Message, step: Layer, path: _Path, task: str, project: Project) -> list[str]:
    """Do one step of the composition again; a line if it sets, or changes, the field."""
    before = _value_text(replay, path)
    if step.override is not None:
        fields.set_text(replay, split_key(step.override.key), step.override.text)
        after = _value_text(replay, path)
        touched = path[: len(step.path)] == step.path or step.path[: len(path)] == path
        if not touched and before == after:
            return []
        return [f"override         {_shown(after)}  ({step.override.typed})"]
    assert step.message is not None
    own, at = _below_task(step, task)
    if own is None:
        return []
    target = fields.mounted(replay, at)
    target.SetInParent()
    rest = type(own)()
    rest.CopyFrom(own)
    if "includes" in rest.DESCRIPTOR.fields_by_name:
        rest.ClearField("includes")
    target.MergeFrom(rest)
    after = _value_text(replay, path)
    sets = path[: len(at)] == at and _sets(own, path[len(at) :])
    if before == after and not sets:
        return []
    kind = "file" if step.message is not own else "include"
    return [f"{kind:<16} {_shown(after)}  ({_position(step, path, at, task, project)})"]


def _shown(value: str | None) -> str:
    return "unset" if value is None else value


def _below_task(step: Layer, task: str) -> tuple[Message | None, _Path]:
    """The part of a step's message that lies in the task, and where it is merged."""
    message: Any = step.message
    if not step.mount and "task" in message.DESCRIPTOR.oneofs_by_name:
        return (getattr(message, task), ()) if message.HasField(task) else (None, ())
    return message, step.mount


def _sets(message: Message, path: _Path) -> bool:
    if not path:
        return True
    try:
        return _value_text(message, path) is not None
    except ValueError:
        return False


def _position(step: Layer, path: _Path, at: _Path, task: str, project: Project) -> str:
    """file:line:column of the value, or of the nearest message around it."""
    assert step.message is not None
    assert step.file is not None
    places = prototxt.places(step.file, fields.type_of(step.message), project.root)
    is_meta = step.message.DESCRIPTOR.name == "MetaCfg"
    key = ((task,) if is_meta else ()) + path[len(at) :]
    while key:
        place = places.get(join_key(key))
        if place is not None:
            return f"{step.where}:{place.line}:{place.column}"
        key = key[:-1]
    return step.where
