"""The schemas as plain data, for tab completion, which cannot wait for protobuf at each key press.

conf/.heyhi_protos.json      written beside the generated modules, of the same schemas

    {"root": ".demo.MetaCfg", "types": {".demo.Soil": [["depth", "scalar", "float", "0.5", "", []]], ...}}
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from heyhi.config.overrides import escape_word
from heyhi.config.search import INCLUDES

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import (
        DescriptorProto,
        EnumDescriptorProto,
        FieldDescriptorProto,
        FileDescriptorProto,
    )

__all__ = ["OUTLINE", "Field", "Outline", "read_outline", "write_outline"]

#: The file's name, in conf/.
OUTLINE = ".heyhi_protos.json"


class Field(NamedTuple):
    """A field of a message type; `kind` is scalar, message, list or map.

    `type` is the name of a scalar type or of an enum, or a message's full name behind a dot; a map's is that
    of its entries, which have the fields `key` and `value`. `values` are all that it can be, of an enum or
    a bool. They and `default` (None: it is nothing, if unset) are written as in an override.
    """

    name: str
    kind: str
    type: str
    default: str | None
    oneof: str
    values: list[str]

    @property
    def is_message(self) -> bool:
        """True if the field, or an element of it, is a message; for a map, see its `value`."""
        return self.type.startswith(".")

    @property
    def zero(self) -> Any:
        """The value that the type alone implies, as text; an empty dict for a message."""
        if self.is_message:
            return {}
        if self.type == "bool":
            return "false"
        if self.values:
            return self.values[0]
        return {"string": "", "bytes": "", "float": "0.0", "double": "0.0"}.get(self.type, "0")

    @property
    def type_name(self) -> str:
        """The type as a note beside a candidate."""
        return self.type.rpartition(".")[2]


class Outline(NamedTuple):
    """All message types by their full names behind a dot, and the name of MetaCfg."""

    root: str
    types: dict[str, dict[str, Field]]

    @property
    def tasks(self) -> dict[str, Field]:
        """The members of MetaCfg's oneof `task`."""
        return {name: field for name, field in self.types[self.root].items() if field.oneof == "task"}

    def has_includes(self, type_name: str) -> bool:
        """True if a message of a type takes includes of its own."""
        field = self.types[type_name].get(INCLUDES)
        if field is None or field.kind != "list" or not field.is_message:
            return False
        return {"path", "mount"} <= self.types[field.type].keys()

    def element(self, field: Field) -> Field:
        """The field of the elements of a list or a map."""
        return self.types[field.type]["value"] if field.kind == "map" else field


def read_outline(text: str | bytes) -> Outline:
    """Read the text that `write_outline` wrote. Raises ValueError if it is damaged."""
    import json  # here, as in what follows: run.py, which needs the file's name alone, does without it

    known = json.loads(text)
    try:
        types = {name: {row[0]: Field(*row) for row in rows} for name, rows in known["types"].items()}
        return Outline(known["root"], types)
    except (TypeError, AttributeError, LookupError):
        raise ValueError("no outline of schemas") from None


# ---- Made of descriptors ------------------------------------------------------------------------


def write_outline(schemas: Iterable["FileDescriptorProto"]) -> str:
    """The text of the file, of all schemas with what they import; one of them is conf.proto."""
    import json

    schemas = list(schemas)
    enums = {name: enum for schema in schemas for name, enum in _enums(schema)}
    types = {
        name: [_field(field, message, schema, enums) for field in message.field]
        for schema in schemas
        for name, message in _messages(schema)
    }
    root = next(f"{_prefix(schema)}.MetaCfg" for schema in schemas if schema.name == "conf/conf.proto")
    return json.dumps({"root": root, "types": types}, separators=(",", ":"))


def _prefix(schema: "FileDescriptorProto") -> str:
    return f".{schema.package}" if schema.package else ""


def _messages(schema: "FileDescriptorProto") -> Iterator[tuple[str, "DescriptorProto"]]:
    """All, with the entries of maps, by their full names."""
    waiting = [(f"{_prefix(schema)}.{message.name}", message) for message in schema.message_type]
    while waiting:
        name, message = waiting.pop()
        yield name, message
        waiting += [(f"{name}.{nested.name}", nested) for nested in message.nested_type]


def _enums(schema: "FileDescriptorProto") -> Iterator[tuple[str, "EnumDescriptorProto"]]:
    for enum in schema.enum_type:
        yield f"{_prefix(schema)}.{enum.name}", enum
    for name, message in _messages(schema):
        for enum in message.enum_type:
            yield f"{name}.{enum.name}", enum


def _field(
    field: "FieldDescriptorProto",
    message: "DescriptorProto",
    schema: "FileDescriptorProto",
    enums: dict[str, "EnumDescriptorProto"],
) -> Field:
    is_message = field.type in (field.TYPE_MESSAGE, field.TYPE_GROUP)
    kind = "message" if is_message else "scalar"
    if field.label == field.LABEL_REPEATED:
        entries = {nested.name for nested in message.nested_type if nested.options.map_entry}
        kind = "map" if is_message and field.type_name.rpartition(".")[2] in entries else "list"
    values = (
        [escape_word(value.name) for value in enums[field.type_name].value]
        if field.type_name in enums
        else []
    )
    type_name = field.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.type_name:
        type_name = field.type_name if is_message else field.type_name.rpartition(".")[2]
    if field.type == field.TYPE_BOOL:
        values = ["true", "false"]
    is_member = field.HasField("oneof_index") and not field.proto3_optional
    oneof = message.oneof_decl[field.oneof_index].name if is_member else ""
    made = Field(field.name, kind, type_name, None, oneof, values)
    if oneof or kind != "scalar":
        return made
    if field.HasField("default_value"):
        is_float = field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE)
        text = repr(float(field.default_value)) if is_float else escape_word(field.default_value)
        return made._replace(default=text)
    # In proto3 an unset scalar is the zero of its type, if it is not optional.
    is_never_unset = schema.syntax == "proto3" and not field.proto3_optional
    return made._replace(default=made.zero) if is_never_unset else made
