from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from heyhi.config.fields import fields_of, in_oneof, map_value
from heyhi.config.outline import OUTLINE, Field, Outline, read_outline
from heyhi.config.scalars import scalar_of
from heyhi.config.schema import generate
from heyhi.project import Project


@pytest.fixture
def outline(outline_text: str) -> Outline:
    return read_outline(outline_text)


def test_it_says_what_the_descriptors_say(outline: Outline, demo: Any) -> None:
    seen: set[str] = set()
    waiting: list[Descriptor] = [demo.MetaCfg.DESCRIPTOR]
    while waiting:
        descriptor = waiting.pop()
        seen.add(f".{descriptor.full_name}")
        described = [_described(field.descriptor, field.kind) for field in fields_of(descriptor).values()]
        assert list(outline.types[f".{descriptor.full_name}"].values()) == described
        inner = [field.message_type for field in descriptor.fields if field.message_type is not None]
        waiting += [one for one in inner if f".{one.full_name}" not in seen]
    assert (outline.root, set(outline.tasks)) == (".demo.MetaCfg", {"grow", "pick", "odd"})
    assert len(seen) > 15


def _described(field: FieldDescriptor, kind: str) -> Field:
    oneof = field.containing_oneof.name if field.containing_oneof is not None and in_oneof(field) else ""
    if field.message_type is not None:
        return Field(field.name, kind, f".{field.message_type.full_name}", None, oneof, [])
    scalar = scalar_of(field)
    has_default = kind == "scalar" and field.has_default_value and not oneof
    default = scalar.write(field.default_value) if has_default else None
    values = [scalar.write(value.number) for value in field.enum_type.values] if field.enum_type else []
    values = ["true", "false"] if scalar.name == "bool" else values
    return Field(field.name, kind, scalar.name, default, oneof, values)


def test_elements_and_includes(outline: Outline, demo: Any) -> None:
    grow = outline.types[".demo.Grow"]
    assert outline.element(grow["plants"]) is grow["plants"]
    for name in ("labels", "beds", "lights"):
        value = map_value(demo.Grow.DESCRIPTOR.fields_by_name[name])
        assert outline.element(grow[name]).is_message == (value.message_type is not None)
    assert {name for name in outline.types if outline.has_includes(name)} == {".demo.MetaCfg", ".demo.Helper"}


PROTO3 = """
syntax = "proto3";
import "conf/parts.proto";
import "google/protobuf/duration.proto";
message MetaCfg { oneof task { Grow grow = 1; } }
enum Sort { ROSE = 0; NULL = 3; }
message Grow {
  float lr = 1; string name = 2; bool wet = 3; Sort sort = 4; optional int32 seed = 5;
  parts.Part part = 6; google.protobuf.Duration time = 7; oneof how { int32 rain = 8; }
  map<string, int32> beds = 9; repeated string includes = 10;
}"""
PARTS = """
syntax = "proto2"; package parts;
message Part {
  enum Inner { A = 0; } optional Inner inner = 1;
  optional double small = 2 [default = 1e-9]; optional float huge = 3 [default = inf];
  optional string word = 4 [default = "NULL"]; optional bytes raw = 5 [default = "\\377"];
  optional double one = 6 [default = 1]; repeated Part includes = 7;
}"""
WANTED = {
    "lr": ("scalar", "float", "0.0", "", []),
    "name": ("scalar", "string", "", "", []),
    "wet": ("scalar", "bool", "false", "", ["true", "false"]),
    "sort": ("scalar", "Sort", "ROSE", "", ["ROSE", "\\NULL"]),
    "seed": ("scalar", "int32", None, "", []),
    "part": ("message", ".parts.Part", None, "", []),
    "time": ("message", ".google.protobuf.Duration", None, "", []),
    "rain": ("scalar", "int32", None, "how", []),
    "beds": ("map", ".Grow.BedsEntry", None, "", []),
    "includes": ("list", "string", None, "", []),
    ".parts.Part.inner": ("scalar", "Inner", None, "", ["A"]),
    ".parts.Part.small": ("scalar", "double", "1e-09", "", []),
    ".parts.Part.one": ("scalar", "double", "1.0", "", []),
    ".parts.Part.huge": ("scalar", "float", "inf", "", []),
    ".parts.Part.word": ("scalar", "string", "\\NULL", "", []),
    ".parts.Part.raw": ("scalar", "bytes", "\\377", "", []),
    ".google.protobuf.Duration.nanos": ("scalar", "int32", "0", "", []),
}


@pytest.mark.processes
def test_other_files_proto3_and_protobufs_own_types(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "conf.proto").write_text(PROTO3)
    (tmp_path / "conf" / "parts.proto").write_text(PARTS)
    generate(Project(tmp_path))
    outline = read_outline((tmp_path / "conf" / OUTLINE).read_text())
    assert outline.root == ".MetaCfg"
    assert not any(map(outline.has_includes, [".Grow", ".parts.Part"]))  # of texts, of other messages
    for path, wanted in WANTED.items():
        type_name, _, name = path.rpartition(".")
        assert outline.types[type_name or ".Grow"][name][1:] == wanted


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"types": {}}', '{"root": "x", "types": {"a": [[1]]}}']
)
def test_what_is_damaged_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"no outline|Expecting"):
        read_outline(text)
