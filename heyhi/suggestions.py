"""What an override of a config may become: keys step by step, values, and what fits a mount.

opt|                 optimizer.                  only by the schema: nothing is composed but the file
optimizer.|          optimizer.lr=, optimizer.adam., optimizer.adam=
tags.|               tags.0=, tags.-1=           as many as the file has
season=|             SPRING, AUTUMN, NULL
Isoil=|              soil/deep                   by the type of what is there
"""

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from heyhi import prototxt
from heyhi.errors import ConfigError
from heyhi.fields import Path as Key
from heyhi.fields import fields_of, in_oneof, inner_type, key_text, map_value, type_of
from heyhi.includes import INCLUDES, SUFFIX, Loader, find_base, has_includes, known_includes, task_name
from heyhi.overrides import NULL, SELECT, join_key, split_key
from heyhi.project import Project
from heyhi.scalars import scalar_of
from heyhi.words import Candidate, paths, steps

__all__ = ["Suggestions", "sets_a_task"]

_FIRST_WORD = re.compile(r"(?:\s|#.*)*(\w+)")
_NOT_IN_KEY = re.compile(r'((?:[^"=]|"(?:[^"\\]|\\.)*")*)=')


def sets_a_task(meta_class: type[Message]) -> Callable[[str], bool]:
    """Whether a file's text sets a task. It may be wrong otherwise: it is the one being written."""
    tasks = [field.name for field in type_of(meta_class).oneofs_by_name["task"].fields]
    pattern = re.compile(rf"\b(?:{'|'.join(tasks)})\s*[:{{]")
    return lambda path: bool(pattern.search(_text(path)))


class _Place(NamedTuple):
    """What a path leads to; `value` is what is there now, of a scalar its text. The config has no field."""

    kind: str
    value: Any
    field: FieldDescriptor | None = None
    in_list: bool = False

    @property
    def type_name(self) -> str:
        """As a note beside a candidate."""
        of = _of(self)
        return str(of.message_type.name) if of.message_type else scalar_of(of).name


class Suggestions:
    """What overrides of one config may be. Raises HeyhiError if it has no task, or is wrong."""

    def __init__(self, cfg: str, project: Project, meta_class: type[Message], cwd: Path) -> None:
        self._project = project
        self._cwd = cwd
        self._base = find_base(os.path.expanduser(cfg), project, cwd)
        meta = Loader(project, meta_class).load(self._base, meta_class)
        self._config: Message = getattr(meta, task_name(meta, self._base))

    def overrides(self, typed: str) -> Iterator[Candidate]:
        """What the override typed so far may become, `--key=` too."""
        dashes = "--" if typed.startswith("--") else ""
        word = typed.removeprefix(dashes)
        match = _NOT_IN_KEY.match(word)
        found = self._values(match[1], word[match.end() :]) if match else self._all_keys(word)
        for text, note, ends in found:
            whole = f"{match[0]}{text}" if match else text
            yield Candidate(f"{dashes}{whole}", note, ends)

    def keys(self, typed: str) -> Iterator[Candidate]:
        """The same without values and includes: the paths of fields."""
        for text, note, _ in self._keys("", typed, mounts=False):
            yield Candidate(text.removesuffix("="), note, ends=text.endswith("="))

    # ---- Keys -----------------------------------------------------------------------------------

    def _all_keys(self, word: str) -> Iterator[Candidate]:
        yield from self._keys("", word, mounts=False)
        if not word.startswith("I"):
            return
        yield Candidate("I=", "include into the task", ends=False)
        prefix = "I." if word.startswith("I.") else "I"
        yield from self._keys(prefix, word.removeprefix(prefix), mounts=True)

    def _keys(self, prefix: str, word: str, *, mounts: bool) -> Iterator[Candidate]:
        """The keys that begin with a word, but for a prefix; of mounts, only what holds messages."""
        head, dot, name = word.rpartition(".")
        try:
            place = self._follow(split_key(head) if dot else ())
        except (KeyError, ValueError):  # no such path
            return
        for part in _parts(place, name):
            there = _below(place, part)
            if mounts and _of(there).message_type is None:
                continue
            key = f"{prefix}{head}{dot}{join_key((part,))}"
            for end in _ends(there, is_typed=part == name, mounts=mounts):
                yield Candidate(f"{key}{end}", there.type_name, ends=False)

    def _follow(self, path: Key) -> _Place:
        place = _Place("message", self._config)
        for part in path:
            place = _below(place, part)
        return place

    # ---- Values ---------------------------------------------------------------------------------

    def _values(self, key: str, typed: str) -> Iterator[Candidate]:
        path = split_key(key)
        if path[0][0] == "I" and path[0] not in fields_of(type_of(self._config)):
            mount = path[1:] if path[0] == "I" else (path[0][1:], *path[1:])
            return self._includes(mount, typed)
        return self._field_values(self._follow(path), typed)

    def _field_values(self, place: _Place, typed: str) -> Iterator[Candidate]:
        if place.kind == "scalar":
            yield from _scalar_values(place)
            if "/" in typed and place.field and place.field.type == FieldDescriptor.TYPE_STRING:
                yield from paths(typed, self._cwd)
        if place.kind == "message":
            yield Candidate(SELECT, "choose it as it is")
        if not place.in_list:
            yield Candidate(NULL, "clear it")

    def _includes(self, mount: Key, typed: str) -> Iterator[Candidate]:
        place = self._follow(mount)
        if place.kind != "message":
            return
        fits = partial(_fits, cls=type(place.value))
        names: dict[str, str] = {}  # of two that find the same file, the one that is found first
        for name, path in known_includes(self._project, self._base, mount).items():
            if name.startswith(typed):
                names.setdefault(path, name)
        yield from steps(((name, path) for path, name in names.items()), typed, fits)
        if "/" not in typed:
            return
        for found in paths(typed, self._project.root, SUFFIX):
            if not found.ends or fits(os.path.join(self._project.root, os.path.expanduser(found.text))):
                yield found._replace(text=found.text.removesuffix(SUFFIX))


# ---- One step down ------------------------------------------------------------------------------


def _of(place: _Place) -> FieldDescriptor:
    """What the elements of a place are, or it itself."""
    assert place.field is not None
    return map_value(place.field) if place.kind == "map" else place.field


def _parts(place: _Place, typed: str) -> list[str]:
    """How a path may go on from a place."""
    if place.kind == "message":
        descriptor = type_of(place.value)
        return [name for name in fields_of(descriptor) if name != INCLUDES or not has_includes(descriptor)]
    if place.kind == "list":
        return [*map(str, range(len(place.value))), "-1"]
    if place.kind == "map" and place.field is not None:
        known = [key_text(place.field, key) for key in sorted(place.value)]
        return [*known, typed] if typed and '"' not in typed and typed not in known else known
    return []


def _below(place: _Place, part: str) -> _Place:
    """What a part of a path leads to. Raises KeyError if there is no such field."""
    if place.kind == "message":
        name, kind, field = fields_of(type_of(place.value))[part]
        if kind == "scalar":
            return _Place(kind, _text_now(place.value, field), field)
        return _Place(kind, getattr(place.value, name), field)
    if place.kind == "scalar":
        raise KeyError(part)
    of, element, in_list = _of(place), _element(place, part), place.kind == "list"
    if of.message_type is None:
        return _Place("scalar", None if element is None else scalar_of(of).write(element), of, in_list)
    return _Place("message", GetMessageClass(inner_type(of))() if element is None else element, of, in_list)


def _element(place: _Place, part: str) -> Any:
    if place.kind == "map":
        assert place.field is not None
        return {key_text(place.field, key): place.value[key] for key in place.value}.get(part)
    index = int(part) if part.isdecimal() else -1
    return place.value[index] if 0 <= index < len(place.value) else None


def _text_now(message: Message, field: FieldDescriptor) -> str | None:
    """A scalar as it is, or would be by its default."""
    is_set = not field.has_presence or message.HasField(field.name)
    if not is_set and (in_oneof(field) or not field.has_default_value):
        return None
    return scalar_of(field).write(getattr(message, field.name))


def _ends(place: _Place, *, is_typed: bool, mounts: bool) -> list[str]:
    """How a key goes on: a dot, if there is more below; `=`, where it is likely or asked for."""
    if place.kind == "scalar":
        return ["="]
    if place.kind in ("list", "map"):
        return [".", "="] if is_typed and not mounts else ["."]
    has_more = any(_parts(place, ""))
    assert place.field is not None
    is_likely = mounts or not has_more or is_typed or in_oneof(place.field)
    return ["."] * (has_more and (is_typed or not mounts)) + ["="] * is_likely


def _scalar_values(place: _Place) -> Iterator[Candidate]:
    field, now = place.field, place.value
    assert field is not None
    if field.enum_type is not None:
        known = [scalar_of(field).write(value.number) for value in field.enum_type.values]
    elif field.type == FieldDescriptor.TYPE_BOOL:
        known = ["true", "false"]
    else:
        if now:
            yield Candidate(now, "as it is", ends=False)  # to be changed
        return
    yield from (Candidate(name, "as it is" if name == now else "") for name in known)


def _fits(path: str, cls: type[Message]) -> bool:
    """Whether a file can be read as a type."""
    text = _text(path)
    # To say what is wrong with a text takes long, and most that do not fit begin with another's field.
    first = _FIRST_WORD.match(text)
    if first and first[1] not in fields_of(type_of(cls)):
        return False
    try:
        prototxt.parse(text, cls, path)
        return True
    except ConfigError:
        return False


def _text(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:  # hundreds may be read at a key press
            return file.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return "?"  # fits nothing
