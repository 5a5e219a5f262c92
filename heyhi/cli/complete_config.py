"""Complete overrides of a config, with a second, fast reader of configs: a key cannot wait for protobuf.

    grow { lr: 0.10 tags: ["a"] soil { } }     {"grow": {"lr": "0.1", "tags": ["a"], "soil": {}}}

opt|                 optimizer.                  only by the schema: nothing is composed but the file
optimizer.|          optimizer.lr=, optimizer.adam., optimizer.adam=
tags.|               tags.0=, tags.-1=           as many as the file has
season=|             SPRING, AUTUMN, NULL
Isoil=|              soil/deep                   by the type of what is there

The reader makes plain data of a file by the schemas' outline: a scalar is its text as an override's value.
It checks types, but not the ranges of numbers. `prototxt` and `includes` decide when something is composed;
tests compare the two readers.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files
from heyhi.cli.shells import Candidate, paths, steps
from heyhi.config import (
    INCLUDES,
    NULL,
    SELECT,
    SUFFIX,
    Field,
    Outline,
    Search,
    escape_word,
    find_base,
    join_key,
    split_key,
    unescape_word,
)
from heyhi.project import ROOT_DIR, Project

__all__ = ["Sketch", "Sketcher", "Suggestions", "read_sketch", "sets_a_task", "text_of"]

#: What a message holds, by the names of its fields: texts, and of messages, lists and maps what is in them.
Sketch = dict[str, Any]

_TOKEN = re.compile(
    r"""(?: \s | \#.* )*
    ( "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' | -?[\w.][\w.+-]* | . | \Z )""",
    re.VERBOSE,
)
_QUOTES = ("'", '"')
_ENDS = {"{": "}", "<": ">"}


def text_of(path: str | Path) -> str:
    """The text of a file; of what cannot be read, one that fits no type."""
    try:
        with open(files.open_regular(path), "rb", buffering=0) as file:  # hundreds may be read at a key press
            return file.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return "?"


# ---- One file -----------------------------------------------------------------------------------


def read_sketch(text: str, outline: Outline, type_name: str, root: Path) -> Sketch:
    """Parse a config's text, `{{ROOT_DIR}}` replaced by `root`. Raises ValueError or KeyError on an error."""
    return _Reader(text, outline, root).message(type_name, "")


class _Reader:
    """Goes through the tokens of a text, one of which it knows beforehand. The last one is empty."""

    def __init__(self, text: str, outline: Outline, root: Path) -> None:
        self._tokens = _TOKEN.finditer(text)
        self._outline = outline
        self._root = root
        self._ahead = ""
        self._next()

    def message(self, type_name: str, end: str) -> Sketch:
        """The fields up to the token `end`."""
        fields = self._outline.types[type_name]
        found: Sketch = {}
        while self._ahead != end:
            field = fields[self._next()]
            self._skip(":")
            self._add(field, found)
            self._skip(",", ";")
        self._next()
        return found

    def _add(self, field: Field, found: Sketch) -> None:
        if field.kind == "map":
            of = self._outline.types[field.type]
            for entry in self._elements(field):
                key = unescape_word(entry.get("key", of["key"].zero))
                found.setdefault(field.name, {})[key] = entry.get("value", of["value"].zero)
        elif field.kind == "list":
            found.setdefault(field.name, []).extend(self._elements(field))
        elif field.name in found:
            raise ValueError(f"{field.name} is set twice")
        else:
            found[field.name] = self._value(field)

    def _elements(self, field: Field) -> Iterator[Any]:
        if self._ahead != "[":
            yield self._value(field)
            return
        self._next()
        while self._ahead != "]":
            yield self._value(field)
            if self._ahead != "]":
                self._expect(",")
        self._next()

    def _value(self, field: Field) -> Any:
        token = self._next()
        if field.is_message:
            return self.message(field.type, _ENDS[token])
        while token[:1] in _QUOTES and self._ahead[:1] in _QUOTES:
            token = f"{token[:-1]}{self._next()[1:-1]}{token[-1]}"  # 'a' "b" is one text
        text = _SCALARS[field.type](token) if field.type in _SCALARS else _enum(token, field)
        return ROOT_DIR.sub(lambda _: str(self._root), text)

    def _next(self) -> str:
        token, match = self._ahead, next(self._tokens, None)
        self._ahead = match[1] if match else ""
        return token

    def _skip(self, *tokens: str) -> None:
        if self._ahead in tokens:
            self._next()

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise ValueError(f"expected {token}")


# ---- Scalars: a token -> its text as an override's value ----------------------------------------


def _int(token: str) -> str:
    return str(int(token, 8 if re.match(r"-?0[0-7]", token) else 0))


def _float(token: str) -> str:
    return repr(float(re.sub(r"(?<=[\d.])[fF]$", "", token)))


def _quoted(token: str) -> str:
    if token[:1] not in _QUOTES or len(token) < 2:
        raise ValueError(f"no text: {token}")
    return token[1:-1]


def _string(token: str) -> str:
    text = _quoted(token)
    if "\\" in text:  # first \u00e9, as is escaped in Python; then bytes of UTF-8, escaped as in C
        text = text.encode("raw_unicode_escape").decode("raw_unicode_escape")
        text = text.encode().decode("unicode_escape").encode("latin-1").decode()
    return escape_word(text)


def _bytes(token: str) -> str:
    return escape_word(_quoted(token))


def _enum(token: str, field: Field) -> str:
    text = escape_word(token)
    if text not in field.values and not token.lstrip("-").isdecimal():
        raise ValueError(f"no {field.type}: {token}")
    return text


_BOOLS = dict.fromkeys(["true", "True", "t", "1"], "true") | dict.fromkeys(
    ["false", "False", "f", "0"], "false"
)
_INTS = [f"{sign}int{bits}" for sign in ("", "u", "s") for bits in (32, 64)]
_SCALARS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys([*_INTS, "fixed32", "fixed64", "sfixed32", "sfixed64"], _int),
    "float": _float,
    "double": _float,
    "bool": _BOOLS.__getitem__,
    "string": _string,
    "bytes": _bytes,
}


# ---- With its includes --------------------------------------------------------------------------


class Sketcher:
    """Reads files with what they include. A wrong include is left out: it may be the one being written."""

    def __init__(self, project: Project, outline: Outline) -> None:
        self._root = project.origin
        self._outline = outline
        self._search = Search(project)

    def load(self, file: Path) -> tuple[Field, Sketch]:
        """The task that a base config sets, and its config. Raises ValueError, LookupError if wrong."""
        meta = self._read(file, self._outline.root, ())
        task = self._task(meta)
        return task, meta[task.name]

    def _task(self, meta: Sketch) -> Field:
        [name] = [name for name in meta if name in self._outline.tasks]
        return self._outline.tasks[name]

    def _read(self, file: Path, type_name: str, chain: tuple[Path, ...]) -> Sketch:
        if file in chain:
            raise ValueError(f"{file} includes itself")
        own = read_sketch(text_of(file), self._outline, type_name, self._root)
        return self._with_includes(own, type_name, (*chain, file))

    def _with_includes(self, own: Sketch, type_name: str, chain: tuple[Path, ...]) -> Sketch:
        """A message of a file, on top of what it includes; so is each message in it."""
        fields = self._outline.types[type_name]
        found: Sketch = {}
        if self._outline.has_includes(type_name):
            root, root_type = found, type_name
            if type_name == self._outline.root:  # whose includes are mounted in the task
                task = self._task(own)
                root, root_type = found.setdefault(task.name, {}), task.type
            for include in own.pop(INCLUDES, []):
                self._include(include, root, root_type, chain)
        inner = {name: self._inner(value, fields[name], chain) for name, value in own.items()}
        self._merge(found, inner, type_name)
        return found

    def _inner(self, value: Any, field: Field, chain: tuple[Path, ...]) -> Any:
        element = self._outline.element(field)
        if not element.is_message:
            return value
        if field.kind == "list":
            return [self._with_includes(one, element.type, chain) for one in value]
        if field.kind == "map":
            return {key: self._with_includes(one, element.type, chain) for key, one in value.items()}
        return self._with_includes(value, element.type, chain)

    def _include(self, include: Sketch, root: Sketch, root_type: str, chain: tuple[Path, ...]) -> None:
        try:
            mount = split_key(include["mount"]) if include.get("mount") else ()
            target, type_name = self._mounted(root, root_type, mount)
            file = self._search.find(include["path"], chain[-1], mount)
            self._merge(target, self._read(file, type_name, chain), type_name)
        except (ValueError, LookupError):
            pass

    def _mounted(self, target: Any, type_name: str, mount: tuple[str, ...]) -> tuple[Sketch, str]:
        """The message at a path, made if missing, and its type."""
        parts = iter(mount)
        for name in parts:
            field = self._outline.types[type_name][name]
            type_name = self._outline.element(field).type
            if field.kind == "list":
                elements = target.setdefault(name, [])
                index = next(parts, "")
                if index in ("-1", str(len(elements))):
                    elements.append({})
                target = elements[int(index)]
            elif field.kind == "map":
                target = target.setdefault(name, {}).setdefault(next(parts, ""), {})
            else:
                target = target.setdefault(name, {})
        return target, type_name

    def _merge(self, into: Sketch, more: Sketch, type_name: str) -> None:
        """Merge as protobuf does: lists grow, a oneof keeps its last member, other values are replaced."""
        fields = self._outline.types[type_name]
        for name, value in more.items():
            field = fields[name]
            if field.oneof:
                for other in [one for one in into if fields[one].oneof == field.oneof and one != name]:
                    del into[other]
            if field.kind == "message":
                self._merge(into.setdefault(name, {}), value, field.type)
            elif field.kind == "list":
                into.setdefault(name, []).extend(value)
            elif field.kind == "map":
                into.setdefault(name, {}).update(value)
            else:
                into[name] = value


# ---- What an override may become ----------------------------------------------------------------


_NOT_IN_KEY = re.compile(r'((?:[^"=]|"(?:[^"\\]|\\.)*")*)=')


def sets_a_task(outline: Outline) -> Callable[[str], bool]:
    """True if a file's text sets a task. The text may have errors, because the user is editing the file."""
    pattern = re.compile(rf"\b(?:{'|'.join(outline.tasks)})\s*[:{{]")
    return lambda path: bool(pattern.search(text_of(path)))


class _Place(NamedTuple):
    """The target of a path: its field (also of an element), and its present value."""

    kind: str
    field: Field
    value: Any
    in_list: bool = False


class Suggestions:
    """Completes overrides of one config. Raises HeyhiError, ValueError or LookupError if it has an error."""

    def __init__(self, cfg: str, project: Project, outline: Outline, cwd: Path) -> None:
        self._project = project
        self._outline = outline
        self._cwd = cwd
        self._base = find_base(os.path.expanduser(cfg), project, cwd)
        task, config = Sketcher(project, outline).load(self._base)
        self._config = _Place("message", task, config)

    def overrides(self, typed: str) -> Iterator[Candidate]:
        """The candidates for an override typed so far, also for `--key=`."""
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
        """True if a file can be read as the type of a field."""
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
        """The candidates that continue a path from a place."""
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
        """The target of one part of a path. Raises KeyError if no field has this name."""
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
        """The ends of a key: a dot, if there are fields below; `=`, where it is likely or asked for."""
        if place.kind == "scalar":
            return ["="]
        if place.kind in ("list", "map"):
            return [".", "="] if is_typed and not mounts else ["."]
        has_more = any(self._parts(place, ""))
        is_likely = mounts or not has_more or is_typed or bool(place.field.oneof)
        return ["."] * (has_more and (is_typed or not mounts)) + ["="] * is_likely


def _elements(place: _Place) -> dict[str, Any]:
    """The elements of a list or a map by the parts of a path."""
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
