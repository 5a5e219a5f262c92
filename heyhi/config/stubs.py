"""The text of the generated modules, made from protoc's output and the described schemas.

The type checker's view of a frozen config (`X_cfgs.pyi`): read-only properties, `Literal` types for
enums and for `which_<oneof>`, the comments of the `.proto` as docstrings.
"""

import keyword
import re
from collections.abc import Iterator, Sequence

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    OneofDescriptorProto,
)

from heyhi.config.outline import OUTLINE, write_outline
from heyhi.errors import ConfigError

__all__ = ["RESERVED", "check_schemas", "complete"]

# What every message has besides its fields.
RESERVED = frozenset(
    [
        "heyhi_patched",
        "is_frozen",
        "to_dict",
        "to_editable",
        "to_frozen",
        "to_str_with_defaults",
        "WhichOneof",
        "_message",
    ]
)

_Path = tuple[int, ...]
_PYTHON_TYPES = {
    **dict.fromkeys(["INT32", "INT64", "UINT32", "UINT64", "SINT32", "SINT64"], "_int"),
    **dict.fromkeys(["FIXED32", "FIXED64", "SFIXED32", "SFIXED64"], "_int"),
    **dict.fromkeys(["FLOAT", "DOUBLE"], "_float"),
    "BOOL": "_bool",
    "STRING": "_str",
    "BYTES": "_bytes",
}
_EDITABLE_METHODS = """\
    heyhi_patched: _ClassVar[bool]
    def is_frozen(self) -> bool: ...
    def to_frozen(self) -> {frozen}: ...
    def to_editable(self) -> {name}: ...
    def to_dict(self, *, with_defaults: bool = ..., with_all: bool = ...) -> dict[str, _Any]: ...
    def to_str_with_defaults(self) -> str: ...
"""
_TYPE = FieldDescriptorProto


def complete(made: dict[str, str], described: bytes) -> dict[str, str]:
    """All generated files by name: protoc's own with our methods added, the frozen ones, the outline."""
    everything = FileDescriptorSet.FromString(described).file
    schemas = [file for file in everything if f"{_stem(file)}_pb2.py" in made]
    files = {}
    for schema in schemas:
        stem = _stem(schema)
        _check(schema, schemas)
        files[f"{stem}_pb2.py"] = _pb2(made[f"{stem}_pb2.py"])
        files[f"{stem}_pb2.pyi"] = _pb2_pyi(made[f"{stem}_pb2.pyi"], schema)
        files[f"{stem}_cfgs.py"] = _cfgs(schema, stem)
        files[f"{stem}_cfgs.pyi"] = _Stub(schema, schemas).text()
    files[OUTLINE] = write_outline(everything)
    return files


def check_schemas(described: bytes) -> ConfigError | None:
    """The problem with schemas of conf/ that protoc accepts; None if there is none."""
    schemas = [file for file in FileDescriptorSet.FromString(described).file if file.name.startswith("conf/")]
    try:
        for schema in schemas:
            _check(schema, schemas)
    except ConfigError as problem:
        return problem
    return None


def _check(schema: FileDescriptorProto, schemas: Sequence[FileDescriptorProto]) -> None:
    _check_imports(schema, {file.name for file in schemas})
    _check_names(schema)
    if _stem(schema) == "conf":
        _check_root(schema)


def _stem(schema: FileDescriptorProto) -> str:
    return schema.name.removeprefix("conf/").removesuffix(".proto")


# ---- What cannot be -----------------------------------------------------------------------------


def _check_imports(schema: FileDescriptorProto, known: set[str]) -> None:
    for i, name in enumerate(schema.dependency):
        if name not in known and not name.startswith("google/protobuf/"):
            raise ConfigError(
                f"{schema.name}:{_place(schema, (3, i))}",
                f"imports {name}: a schema imports those in conf/ itself (and google/protobuf) only",
            )


def _check_root(schema: FileDescriptorProto) -> None:
    """MetaCfg is there, and has tasks."""
    found = [(i, message) for i, message in enumerate(schema.message_type) if message.name == "MetaCfg"]
    if not found:
        raise ConfigError(schema.name, "no message MetaCfg: a base config is one")
    index, message = found[0]
    for i, oneof in enumerate(message.oneof_decl):
        if oneof.name == "task":
            for number, field in enumerate(message.field):
                if field.HasField("oneof_index") and field.oneof_index == i and not _is_message(field):
                    place = _place(schema, (4, index, 2, number))
                    raise ConfigError(f"{schema.name}:{place}", f"a task is a message, not {field.name!r}")
            return
    place = _place(schema, (4, index))
    raise ConfigError(f"{schema.name}:{place}", "MetaCfg has no oneof 'task': its members are the tasks")


def _check_names(schema: FileDescriptorProto) -> None:
    for _, message, path in _messages(schema):
        if keyword.iskeyword(message.name):
            raise ConfigError(
                f"{schema.name}:{_place(schema, path)}",
                f"no message can be called {message.name!r}: it is a word of Python",
            )
        names = [(f.name, (*path, 2, i)) for i, f in enumerate(message.field)]
        oneofs = [(o.name, (*path, 8, i)) for i, o in _real_oneofs(message)]
        taken = set(RESERVED) | {f"which_{name}" for name, _ in oneofs}
        for name, place in names + oneofs:
            if name in taken or name.startswith("__"):
                raise ConfigError(
                    f"{schema.name}:{_place(schema, place)}",
                    f"{message.name} cannot have a field {name!r}: the name is taken by HeyHi",
                )
            taken.add(name)


def _place(schema: FileDescriptorProto, path: _Path) -> str:
    """line:column of what has this path in the source info."""
    spans = (location.span for location in schema.source_code_info.location if tuple(location.path) == path)
    span = next(spans, (0, 0))
    return f"{span[0] + 1}:{span[1] + 1}"


def _is_message(field: FieldDescriptorProto) -> bool:
    return field.type in (_TYPE.TYPE_MESSAGE, _TYPE.TYPE_GROUP)


def _real_oneofs(message: DescriptorProto) -> list[tuple[int, OneofDescriptorProto]]:
    """All but those that `optional` of proto3 makes."""
    synthetic = {f.oneof_index for f in message.field if f.proto3_optional}
    return [(i, o) for i, o in enumerate(message.oneof_decl) if i not in synthetic]


def _messages(schema: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto, _Path]]:
    """Every message but map entries: its name with dots, itself, its path in the source info."""
    waiting: list[tuple[str, DescriptorProto, _Path]] = []
    waiting += [(m.name, m, (4, i)) for i, m in enumerate(schema.message_type)]
    while waiting:
        name, message, path = waiting.pop(0)
        if message.options.map_entry:
            continue
        yield name, message, path
        nested = [(f"{name}.{m.name}", m, (*path, 3, i)) for i, m in enumerate(message.nested_type)]
        waiting = [*nested, *waiting]


# ---- Editable messages --------------------------------------------------------------------------


def _pb2(text: str) -> str:
    return text + "\nfrom heyhi.config.frozen import add_methods as _add_methods\n_add_methods(DESCRIPTOR)\n"


def _pb2_pyi(text: str, schema: FileDescriptorProto) -> str:
    """protoc's stub, each message with the added methods."""
    known = set(_type_names(schema))
    lines: list[str] = []
    scope: list[tuple[int, str]] = []
    for line in text.splitlines(keepends=True):
        match = re.match(r"( *)class (\w+)\(_message\.Message\):\n", line)
        lines.append(line)
        if not match:
            continue
        depth = len(match[1])
        scope = [*(entry for entry in scope if entry[0] < depth), (depth, match[2])]
        name = ".".join(part for _, part in scope)
        if name not in known:
            continue  # the entry of a map
        methods = _EDITABLE_METHODS.format(frozen=f"_cfgs.{name}", name=name)
        lines += [match[1] + added for added in methods.splitlines(keepends=True)]
    header = f"from conf import {_stem(schema)}_cfgs as _cfgs\nfrom typing import Any as _Any\n"
    # protoc leaves out types that strict checkers ask for.
    text = re.sub(r"\b_Mapping(?=[\],])", "_Mapping[str, _Any]", "".join(lines))
    text = text.replace(", **kwargs)", ", **kwargs: _Any)")
    if "ClassVar as _ClassVar" not in text:
        header += "from typing import ClassVar as _ClassVar\n"
    return header + text


# ---- Frozen configs -----------------------------------------------------------------------------


def _cfgs(schema: FileDescriptorProto, stem: str) -> str:
    lines = [
        '"""Frozen configs; what their fields are is in the .pyi beside this file."""',
        "",
        f"from conf import {stem}_pb2 as _pb2",
        "from heyhi.config.frozen import frozen_class as _frozen",
        "",
    ]
    for enum in schema.enum_type:
        lines += [f"{name} = _pb2.{name}" for name in _enum_names(enum)]
    for message in schema.message_type:
        lines.append(f"{message.name} = _frozen(_pb2.{message.name})")
        lines.append(f"Proto_{message.name} = _pb2.{message.name}")
    lines += ["", "_DOCS = {"]
    lines += [f"    {name!r}: {doc!r}," for name, doc in _docs(schema).items()]
    lines += ["}", ""]
    return "\n".join(lines)


def _enum_names(enum: EnumDescriptorProto) -> list[str]:
    """The enum and its values, but for a value `None`, which Python cannot name."""
    return [name for name in (enum.name, *(v.name for v in enum.value)) if not keyword.iskeyword(name)]


def _docs(schema: FileDescriptorProto) -> dict[str, tuple[str, str]]:
    """Full name -> line:column and comment, of messages, fields and oneofs."""
    comments = _comments(schema)
    prefix = f"{schema.package}." if schema.package else ""
    paths: dict[str, _Path] = {}
    for name, message, path in _messages(schema):
        paths[prefix + name] = path
        paths |= {f"{prefix}{name}.{f.name}": (*path, 2, i) for i, f in enumerate(message.field)}
        paths |= {f"{prefix}{name}.{o.name}": (*path, 8, i) for i, o in _real_oneofs(message)}
    return {name: (_place(schema, path), comments.get(path, "")) for name, path in paths.items()}


def _comments(schema: FileDescriptorProto) -> dict[_Path, str]:
    """Leading comments, and trailing ones after them; without their margin."""
    texts = {}
    for place in schema.source_code_info.location:
        parts = [place.leading_comments, place.trailing_comments]
        lines = [line.strip() for part in parts if part.strip() for line in part.strip().split("\n")]
        if lines:
            texts[tuple(place.path)] = "\n".join(lines)
    return texts


class _Stub:
    """The text of one `X_cfgs.pyi`."""

    def __init__(self, schema: FileDescriptorProto, all_schemas: list[FileDescriptorProto]) -> None:
        self._schema = schema
        self._comments = _comments(schema)
        self._home = {
            f".{s.package}.{name}".replace("..", "."): (_stem(s), name)
            for s in all_schemas
            for name in _type_names(s)
        }
        self._enums = {full: enum for s in all_schemas for full, enum in _enums_by_full_name(s)}
        self._imports: set[str] = set()

    def text(self) -> str:
        body: list[str] = []
        for enum in self._schema.enum_type:
            body += self._enum(enum)
        for i, message in enumerate(self._schema.message_type):
            body += self._message(message, message.name, (4, i))
            body += ["", f"Proto_{message.name} = _pb2.{message.name}"]
        return "\n".join([*self._header(), *body, "", "_DOCS: dict[_str, tuple[_str, _str]]", ""])

    def _header(self) -> list[str]:
        lines = [
            "from builtins import bool as _bool, bytes as _bytes, float as _float",
            "from builtins import int as _int, property as _property, str as _str",
            "from collections.abc import Mapping as _Mapping, Sequence as _Sequence",
            "from typing import Any as _Any, Literal as _Literal",
            "",
            "from heyhi.config.frozen import Frozen as _Frozen",
            f"from conf import {_stem(self._schema)}_pb2 as _pb2",
        ]
        for name in sorted(self._imports):
            lines.append(f"from conf import {name}_cfgs as _{name}_cfgs, {name}_pb2 as _{name}_pb2")
        return lines

    def _enum(self, enum: EnumDescriptorProto) -> list[str]:
        name, *values = _enum_names(enum)
        return ["", f"{name} = _pb2.{name}"] + [f"{value}: _pb2.{name}" for value in values]

    def _message(self, message: DescriptorProto, name: str, path: _Path) -> list[str]:
        """The lines of one class, with the messages inside it."""
        lines = ["", f"class {message.name}(_Frozen):", *self._doc(path)]
        for i, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                nested_lines = self._message(nested, f"{name}.{nested.name}", (*path, 3, i))
                lines += [f"    {line}" if line else "" for line in nested_lines]
        lines += self._init(message)
        lines.append(f"    def to_frozen(self) -> {name}: ...")
        lines.append(f"    def to_editable(self) -> _pb2.{name}: ...")
        for i, field in _speakable(message):
            lines += self._property(field.name, self._read_type(field, message), (*path, 2, i))
        for i, oneof in _real_oneofs(message):
            lines += self._oneof(message, i, oneof.name, (*path, 8, i))
        return lines

    def _doc(self, path: _Path) -> list[str]:
        text = self._comments.get(path)
        if text is None:
            return []
        text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        if text.endswith('"'):
            text += " "
        return [f'    """{text}"""'.replace("\n", "\n    ")]

    def _property(self, name: str, python_type: str, path: _Path) -> list[str]:
        doc = self._doc(path)
        if not doc:
            return ["    @_property", f"    def {name}(self) -> {python_type}: ..."]
        text = [f"    {line}" for line in "\n".join(doc).split("\n")]
        return ["    @_property", f"    def {name}(self) -> {python_type}:", *text]

    def _oneof(self, message: DescriptorProto, index: int, name: str, path: _Path) -> list[str]:
        members = [f for f in message.field if f.HasField("oneof_index") and f.oneof_index == index]
        names = ", ".join(repr(member.name) for member in members)
        types = " | ".join(dict.fromkeys(self._one_type(member) for member in members))
        return [
            *self._property(f"which_{name}", f"_Literal[{names}] | None", ()),
            *self._property(name, f"{types} | None", path),
        ]

    def _init(self, message: DescriptorProto) -> list[str]:
        if not _speakable(message):
            return ["    def __init__(self) -> None: ..."]
        lines = ["    def __init__(", "        self,", "        *,"]
        lines += [f"        {f.name}: {self._write_type(f, message)} = ...," for _, f in _speakable(message)]
        return [*lines, "    ) -> None: ..."]

    def _read_type(self, field: FieldDescriptorProto, message: DescriptorProto) -> str:
        if entry := _map_entry(field, message):
            key, value = (self._one_type(f) for f in entry.field)
            return f"_Mapping[{key}, {value}]"
        one = self._one_type(field)
        if field.label == _TYPE.LABEL_REPEATED:
            return f"tuple[{one}, ...]"
        return one if self._is_never_none(field) else f"{one} | None"

    def _is_never_none(self, field: FieldDescriptorProto) -> bool:
        """True if even an unset field reads as a value."""
        if field.type == _TYPE.TYPE_BOOL or field.label == _TYPE.LABEL_REQUIRED:
            return True
        if field.HasField("oneof_index") and not field.proto3_optional:
            return False
        if self._schema.syntax == "proto3" and not field.proto3_optional:
            return True
        return _is_message(field) or field.HasField("default_value")

    def _write_type(self, field: FieldDescriptorProto, message: DescriptorProto) -> str:
        if entry := _map_entry(field, message):
            key, value = (self._argument_type(f) for f in entry.field)
            return f"_Mapping[{key}, {value}] | None"
        one = self._argument_type(field)
        if field.label == _TYPE.LABEL_REPEATED:
            return f"_Sequence[{one}] | None"
        return f"{one} | None"

    def _argument_type(self, field: FieldDescriptorProto) -> str:
        """A message is given frozen, editable, or as a dict of its fields."""
        one = self._one_type(field)
        if field.type_name not in self._home or not _is_message(field):
            return one
        stem, name = self._home[field.type_name]
        module = "_pb2" if stem == _stem(self._schema) else f"_{stem}_pb2"
        return f"{one} | {module}.{name} | dict[_str, _Any]"

    def _one_type(self, field: FieldDescriptorProto) -> str:
        """The type of a value, or of one element."""
        if field.type == _TYPE.TYPE_ENUM:
            values = ", ".join(repr(value.name) for value in self._enums[field.type_name].value)
            return f"_Literal[{values}]"
        if not _is_message(field):
            return _PYTHON_TYPES[_TYPE.Type.Name(field.type).removeprefix("TYPE_")]
        if field.type_name not in self._home:
            return "_Any"  # a message of protobuf itself
        stem, name = self._home[field.type_name]
        if stem == _stem(self._schema):
            return name
        self._imports.add(stem)
        return f"_{stem}_cfgs.{name}"


def _speakable(message: DescriptorProto) -> list[tuple[int, FieldDescriptorProto]]:
    """The fields that Python can name with a dot: a field `from` needs getattr."""
    return [(i, f) for i, f in enumerate(message.field) if not keyword.iskeyword(f.name)]


def _type_names(schema: FileDescriptorProto) -> list[str]:
    return [name for name, _, _ in _messages(schema)]


def _enums_by_full_name(schema: FileDescriptorProto) -> Iterator[tuple[str, EnumDescriptorProto]]:
    prefix = f".{schema.package}." if schema.package else "."
    for enum in schema.enum_type:
        yield prefix + enum.name, enum
    for name, message, _ in _messages(schema):
        for enum in message.enum_type:
            yield f"{prefix}{name}.{enum.name}", enum


def _map_entry(field: FieldDescriptorProto, message: DescriptorProto) -> DescriptorProto | None:
    """The entry type if the field is a map."""
    if field.label != _TYPE.LABEL_REPEATED:
        return None
    name = field.type_name.rsplit(".", 1)[-1]
    nested = (n for n in message.nested_type if n.name == name and n.options.map_entry)
    return next(nested, None)
