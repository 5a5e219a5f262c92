"""Config files as plain data, by the schemas' outline: for tab completion, which cannot wait for protobuf.

    grow { lr: 0.10 tags: ["a"] soil { } }     {"grow": {"lr": "0.1", "tags": ["a"], "soil": {}}}

A scalar is its text as an override's value. A file is read strictly, as far as that goes: values are of their
types, but for the ranges of numbers. What counts is told by `prototxt` and `includes` when something is
composed.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from heyhi import files
from heyhi.config import INCLUDES, Field, Outline, Search, escape_word, split_key, unescape_word
from heyhi.project import ROOT_DIR, Project

__all__ = ["Sketch", "Sketcher", "read_sketch", "text_of"]

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
    """What a text says, `{{ROOT_DIR}}` replaced by `root`. Raises ValueError or KeyError if that is wrong."""
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
        """What is said up to the token `end`."""
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
        """What is at a path, made if it is not there, and its type."""
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
        """As protobuf merges: lists grow, of a oneof the last member stays, all else is replaced."""
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
