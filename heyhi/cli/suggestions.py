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
from pathlib import Path
from typing import Any, NamedTuple

from heyhi.cli.sketch import Sketcher, read_sketch, text_of
from heyhi.cli.words import Candidate, paths, steps
from heyhi.config import (
    INCLUDES,
    NULL,
    SELECT,
    SUFFIX,
    Field,
    Outline,
    Search,
    find_base,
    join_key,
    split_key,
)
from heyhi.project import Project

__all__ = ["Suggestions", "sets_a_task"]

_NOT_IN_KEY = re.compile(r'((?:[^"=]|"(?:[^"\\]|\\.)*")*)=')


def sets_a_task(outline: Outline) -> Callable[[str], bool]:
    """Whether a file's text sets a task. It may be wrong otherwise: it is the one being written."""
    pattern = re.compile(rf"\b(?:{'|'.join(outline.tasks)})\s*[:{{]")
    return lambda path: bool(pattern.search(text_of(path)))


class _Place(NamedTuple):
    """What a path leads to: its field (of an element too), and what is there now."""

    kind: str
    field: Field
    value: Any
    in_list: bool = False


class Suggestions:
    """What overrides of one config may be. Raises HeyhiError, ValueError or LookupError if it is wrong."""

    def __init__(self, cfg: str, project: Project, outline: Outline, cwd: Path) -> None:
        self._project = project
        self._outline = outline
        self._cwd = cwd
        self._base = find_base(os.path.expanduser(cfg), project, cwd)
        task, config = Sketcher(project, outline).load(self._base)
        self._config = _Place("message", task, config)

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
        for part in self._parts(place, name):
            there = self._below(place, part)
            if mounts and not self._holds_messages(there):
                continue
            key = f"{prefix}{head}{dot}{join_key((part,))}"
            for end in self._ends(there, is_typed=part == name, mounts=mounts):
                yield Candidate(f"{key}{end}", self._outline.element(there.field).type_name, ends=False)

    # ---- Values ---------------------------------------------------------------------------------

    def _values(self, key: str, typed: str) -> Iterator[Candidate]:
        path = split_key(key)
        if path[0][0] == "I" and path[0] not in self._fields(self._config):
            mount = path[1:] if path[0] == "I" else (path[0][1:], *path[1:])
            return self._includes(mount, typed)
        return self._field_values(self._follow(path), typed)

    def _field_values(self, place: _Place, typed: str) -> Iterator[Candidate]:
        if place.kind == "scalar":
            yield from _scalar_values(place)
            if "/" in typed and place.field.type == "string":
                yield from paths(typed, self._cwd)
        if place.kind == "message":
            yield Candidate(SELECT, "choose it as it is")
        if not place.in_list:
            yield Candidate(NULL, "clear it")

    def _includes(self, mount: tuple[str, ...], typed: str) -> Iterator[Candidate]:
        place = self._follow(mount)
        if place.kind != "message":
            return
        names: dict[str, str] = {}  # of two that find the same file, the one that is found first
        for name, path in Search(self._project).known(self._base, mount).items():
            if name.startswith(typed):
                names.setdefault(path, name)
        fits = self._fits(place.field)
        yield from steps(((name, path) for path, name in names.items()), typed, fits)
        if "/" not in typed:
            return
        for found in paths(typed, self._project.root, SUFFIX):
            path = os.path.join(self._project.root, os.path.expanduser(found.text))
            if not found.ends or fits(path):
                yield found._replace(text=found.text.removesuffix(SUFFIX))

    def _fits(self, field: Field) -> Callable[[str], bool]:
        """Whether a file can be read as what a field holds."""
        root = self._project.origin

        def fits(path: str) -> bool:
            try:
                read_sketch(text_of(path), self._outline, field.type, root)
                return True
            except (ValueError, LookupError, RecursionError):
                return False

        return fits

    # ---- One step down --------------------------------------------------------------------------

    def _follow(self, path: tuple[str, ...]) -> _Place:
        place = self._config
        for part in path:
            place = self._below(place, part)
        return place

    def _fields(self, place: _Place) -> dict[str, Field]:
        return self._outline.types[place.field.type]

    def _holds_messages(self, place: _Place) -> bool:
        return self._outline.element(place.field).is_message

    def _parts(self, place: _Place, typed: str) -> list[str]:
        """How a path may go on from a place."""
        if place.kind == "message":
            has_includes = self._outline.has_includes(place.field.type)
            return [name for name in self._fields(place) if name != INCLUDES or not has_includes]
        if place.kind == "list":
            return [*map(str, range(len(place.value))), "-1"]
        if place.kind == "map":
            known = sorted(place.value, key=_numbers_first)
            return [*known, typed] if typed and '"' not in typed and typed not in known else known
        return []

    def _below(self, place: _Place, part: str) -> _Place:
        """What a part of a path leads to. Raises KeyError if there is no such field."""
        if place.kind == "message":
            field = self._fields(place)[part]
            absent: Any = field.default if field.kind == "scalar" else {}
            return _Place(field.kind, field, place.value.get(part, absent))
        if place.kind == "scalar":
            raise KeyError(part)
        field = self._outline.element(place.field)
        kind = "message" if field.is_message else "scalar"
        now = _elements(place).get(part, {} if field.is_message else None)
        return _Place(kind, field, now, in_list=place.kind == "list")

    def _ends(self, place: _Place, *, is_typed: bool, mounts: bool) -> list[str]:
        """How a key goes on: a dot, if there is more below; `=`, where it is likely or asked for."""
        if place.kind == "scalar":
            return ["="]
        if place.kind in ("list", "map"):
            return [".", "="] if is_typed and not mounts else ["."]
        has_more = any(self._parts(place, ""))
        is_likely = mounts or not has_more or is_typed or bool(place.field.oneof)
        return ["."] * (has_more and (is_typed or not mounts)) + ["="] * is_likely


def _elements(place: _Place) -> dict[str, Any]:
    """Those of a list or a map by the parts of a path."""
    if place.kind == "map":
        return dict(place.value)
    return {str(index): element for index, element in enumerate(place.value)}


def _numbers_first(key: str) -> tuple[bool, int, str]:
    """Keys in the order of their type: numbers by their size."""
    is_number = key.removeprefix("-").isdecimal()
    return (not is_number, int(key) if is_number else 0, key)


def _scalar_values(place: _Place) -> Iterator[Candidate]:
    now = place.value
    if not place.field.values:
        if now:
            yield Candidate(now, "as it is", ends=False)  # to be changed
        return
    yield from (Candidate(name, "as it is" if name == now else "") for name in place.field.values)
