"""What a type checker sees of a config is what there is: real mypy on task code, real objects beside it."""

import ast
import builtins
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from google.protobuf.descriptor import FieldDescriptor

from heyhi.config.schema import generate
from heyhi.project import Project
from tests.conftest import DATA

# A second schema, of the other syntax, whose types the first one uses.
PARTS = """\
syntax = "proto3";
package parts;

// A part, "so called".
message Part {
  message Screw { int32 size = 1; }
  enum Kind { PLAIN = 0; FINE = 1; }
  int32 number = 1;
  optional int32 maybe = 2;
  Kind kind = 3;
  string name = 4;
  Screw screw = 5;
  repeated Kind kinds = 6;
  oneof shape {
    Screw round = 7;
    Kind square = 8;
  }
}
enum Side { LEFT = 0; RIGHT = 1; }
"""
SCHEMA = """\
syntax = "proto2";
package garden;
import "conf/parts.proto";

message MetaCfg { oneof task { Grow grow = 1; Pick pick = 2; } }
message Pick {}
enum Colour { NONE = 0; RED = 1; GREEN = 2; ODD = -3; }
message Grow {
  optional int32 seed = 1 [default = 7];
  optional float lr = 2;
  optional bool wet = 3;
  optional string name = 4;
  optional bytes blob = 5;
  optional Colour colour = 6 [default = RED];
  repeated string tags = 7;
  repeated Colour colours = 8;
  repeated Plant plants = 9;
  map<string, string> labels = 10;
  map<int32, float> prices = 11;
  map<string, Plant> beds = 12;
  map<bool, Colour> lights = 13;
  optional Soil soil = 14;
  optional Watering watering = 15;
  optional Launcher launcher = 16;
  optional parts.Part part = 50;
  repeated parts.Part parts = 51;
  map<string, parts.Part> more_parts = 52;
  map<uint64, parts.Side> sides = 53;
  optional parts.Side side = 54;
  optional parts.Part.Screw screw = 55;
  // Ends with a quote: "so"
  // and has a \\ in it, and three of them: \"\"\".
  optional int32 from = 56;
  optional int32 property = 57;
  optional bool list = 58;
  required int32 must = 59;
  oneof which {
    // One way.
    bool one = 60;
    Colour other = 61;
    double third = 62 [default = 3];
  }
}
message Plant {
  optional string name = 1;
  optional int32 height = 2;
  optional Soil soil = 3;
}
message Soil {
  optional float depth = 1 [default = 0.5];
  optional string kind = 2;
}
message Drip { optional int32 litres = 1 [default = 3]; }
message Can {}
message Watering { oneof how { Drip drip = 1; Can can = 2; int32 rain = 3; } }
message Launcher {
  message Local {}
  message Slurm { optional int32 num_gpus = 1; }
  oneof launcher { Local local = 1; Slurm slurm = 2; }
}
"""


@pytest.fixture(scope="session")
def typed(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with these schemas, and that of all other tests."""
    root = tmp_path_factory.mktemp("typed")
    (root / "conf").mkdir()
    (root / "conf" / "conf.proto").write_text(SCHEMA)
    (root / "conf" / "parts.proto").write_text(PARTS)
    shutil.copy(DATA / "demo.proto", root / "conf")
    generate(Project(root))
    return root


# ---- Task code ----------------------------------------------------------------------------------

GOOD = """\
from collections.abc import Mapping
from typing import Any, Literal, assert_never, assert_type

import conf.conf_cfgs
from conf import conf_cfgs, conf_pb2, parts_cfgs, parts_pb2

Colour = Literal["NONE", "RED", "GREEN", "ODD"]

def reads(cfg: conf_cfgs.Grow) -> None:
    assert_type(cfg.seed, int)                      # has a default
    assert_type(cfg.lr, float | None)               # has none
    assert_type(cfg.wet, bool)                      # False if unset
    assert_type(cfg.name, str | None)
    assert_type(cfg.blob, bytes | None)
    assert_type(cfg.colour, Colour)
    assert_type(cfg.side, Literal["LEFT", "RIGHT"] | None)
    assert_type(cfg.soil.depth, float)              # an unset message is an empty one
    assert_type(cfg.tags, tuple[str, ...])
    assert_type(cfg.colours, tuple[Colour, ...])
    assert_type(cfg.plants[0].soil.kind, str | None)
    assert_type(cfg.labels, Mapping[str, str])
    assert_type(cfg.prices, Mapping[int, float])
    assert_type(cfg.beds["a"].height, int | None)
    assert_type(cfg.lights[True], Colour)
    assert_type(cfg.part.number, int)
    assert_type(cfg.part.maybe, int | None)
    assert_type(cfg.more_parts, Mapping[str, parts_cfgs.Part])
    assert_type(cfg.screw, parts_cfgs.Part.Screw)
    assert_type(cfg.property, int | None)
    assert_type(cfg.must, int)                      # is required

def chooses(cfg: conf_cfgs.Grow) -> int:
    watering = cfg.watering
    assert_type(watering.which_how, Literal["drip", "can", "rain"] | None)
    assert_type(watering.drip, conf_cfgs.Drip | None)
    match watering.how:
        case conf_cfgs.Drip():
            return watering.how.litres
        case conf_cfgs.Can() | None:
            return 0
        case int(rain):
            return rain
        case never:
            assert_never(never)

def chooses_a_launcher(cfg: conf_cfgs.Grow) -> int | None:
    launcher = cfg.launcher.launcher
    if isinstance(launcher, conf_cfgs.Launcher.Slurm):
        return launcher.num_gpus
    assert_type(launcher, conf_cfgs.Launcher.Local | None)
    if cfg.launcher.which_launcher == "slurm":
        assert cfg.launcher.slurm is not None
        return cfg.launcher.slurm.num_gpus
    return 1 if cfg.colour == "RED" else None

def turns(cfg: conf_cfgs.Grow, meta: conf_cfgs.MetaCfg) -> None:
    assert_type(cfg.to_dict(with_defaults=True), dict[str, Any])
    assert_type(cfg.to_dict(with_all=True), dict[str, Any])
    assert_type(cfg.to_str_with_defaults(), str)
    assert_type(cfg.is_frozen(), bool)
    editable = cfg.to_editable()
    assert_type(editable, conf_pb2.Grow)
    editable.seed = 3
    editable.soil.depth = 0.5
    editable.plants.add(name="oak")
    editable.labels["a"] = "b"
    assert_type(editable.to_frozen(), conf_cfgs.Grow)
    assert_type(editable.to_editable(), conf_pb2.Grow)
    assert_type(editable.watering.to_frozen(), conf_cfgs.Watering)
    assert_type(editable.launcher.slurm.to_frozen(), conf_cfgs.Launcher.Slurm)
    assert_type(cfg.part.to_editable(), parts_pb2.Part)
    assert_type(cfg.to_frozen(), conf_cfgs.Grow)
    assert_type(meta.which_task, Literal["grow", "pick"] | None)
    assert_type(meta.task, conf_cfgs.Grow | conf_cfgs.Pick | None)
    assert_type(conf.conf_cfgs.Soil().kind, str | None)

MADE = [
    conf_cfgs.Grow(seed=1, lr=1, name=None, colour="GREEN", tags=["a"], colours=("RED", "ODD")),
    conf_cfgs.Grow(soil=conf_cfgs.Soil(depth=1), plants=[conf_cfgs.Plant(name="oak"), {"height": 3}]),
    conf_cfgs.Grow(soil={"depth": 1}, labels={"a": "b"}, beds={"a": {"height": 1}}, lights={True: "RED"}),
    conf_cfgs.Grow(soil=conf_pb2.Soil(depth=1), watering=conf_cfgs.Watering(rain=3), part=parts_pb2.Part()),
    conf_cfgs.Grow(launcher={"slurm": {"num_gpus": 8}}, screw=parts_pb2.Part.Screw(size=1), other="RED"),
    conf_cfgs.Grow(parts=[parts_cfgs.Part(kind="FINE", screw=parts_cfgs.Part.Screw(size=2))], must=3),
    conf_cfgs.Proto_Grow(seed=1).to_frozen(),
]
LAUNCHER = conf_cfgs.Launcher(slurm=conf_cfgs.Launcher.Slurm(num_gpus=8))
NUMBER: int = conf_cfgs.GREEN + parts_cfgs.RIGHT
"""

# Each line with the errors that it gives.
BAD = """\
from conf import conf_cfgs, conf_pb2

def task(cfg: conf_cfgs.Grow, editable: conf_pb2.Grow) -> int:
    cfg.sed  # E: "Grow" has no attribute "sed"; maybe "seed"?  [attr-defined]
    cfg.soil.dept  # E: "Soil" has no attribute "dept"; maybe "depth"?  [attr-defined]
    cfg.launcher.slurm.gpus  # E: Item "Slurm" of "Slurm | None" has no attribute "gpus"  [union-attr]  # E: Item "None" of "Slurm | None" has no attribute "gpus"  [union-attr]
    cfg.seed = 3  # E: Property "seed" defined in "Grow" is read-only  [misc]
    cfg.soil = conf_cfgs.Soil()  # E: Property "soil" defined in "Grow" is read-only  [misc]
    cfg.new = 3  # E: "Grow" has no attribute "new"  [attr-defined]
    cfg.tags.append("a")  # E: "tuple[str, ...]" has no attribute "append"  [attr-defined]
    cfg.labels["a"] = "b"  # E: Unsupported target for indexed assignment ("Mapping[str, str]")  [index]
    if cfg.colour == "BLUE":  # E: Non-overlapping equality check (left operand type: "Literal['NONE', 'RED', 'GREEN', 'ODD']", right operand type: "Literal['BLUE']")  [comparison-overlap]
        pass
    if cfg.watering.which_how == "drop":  # E: Non-overlapping equality check (left operand type: "Literal['drip', 'can', 'rain'] | None", right operand type: "Literal['drop']")  [comparison-overlap]
        pass
    conf_cfgs.Grow(sed=1)  # E: Unexpected keyword argument "sed" for "Grow"; did you mean "seed"?  [call-arg]
    conf_cfgs.Grow(seed="1")  # E: Argument "seed" to "Grow" has incompatible type "str"; expected "int | None"  [arg-type]
    conf_cfgs.Grow(colour="BLUE")  # E: Argument "colour" to "Grow" has incompatible type "Literal['BLUE']"; expected "Literal['NONE', 'RED', 'GREEN', 'ODD'] | None"  [arg-type]
    conf_cfgs.Grow(soil=conf_cfgs.Plant())  # E: Argument "soil" to "Grow" has incompatible type "Plant"; expected "conf.conf_cfgs.Soil | conf.conf_pb2.Soil | dict[str, Any] | None"  [arg-type]
    conf_cfgs.Grow(1)  # E: Too many positional arguments for "Grow"  [call-arg]
    cfg.HasField("lr")  # E: "Grow" has no attribute "HasField"  [attr-defined]
    editable.sed = 3  # E: "Grow" has no attribute "sed"; maybe "seed"?  [attr-defined]
    editable.seed = "3"  # E: Incompatible types in assignment (expression has type "str", variable has type "int")  [assignment]
    conf_cfgs.Groww  # E: Module has no attribute "Groww"; maybe "Grow"?  [attr-defined]
    return cfg.lr  # E: Incompatible return value type (got "float | None", expected "int")  [return-value]
"""  # noqa: E501


def test_a_type_checker_accepts_right_task_code_and_refuses_wrong(
    typed: Path, pytestconfig: pytest.Config
) -> None:
    (typed / "good.py").write_text(GOOD)
    (typed / "bad.py").write_text(BAD)
    assert pytestconfig.cache is not None
    cache = pytestconfig.cache.mkdir(
        "mypy-stubs"
    )  # of what is always the same: the standard library, protobuf
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", f"--cache-dir={cache}"]
    command += ["--hide-error-context"]
    command += ["--namespace-packages", "--explicit-package-bases", "good.py", "bad.py", "conf"]
    done = subprocess.run(command, cwd=typed, capture_output=True, text=True, check=False)
    expected = [
        f"bad.py:{number}: error: {text.strip()}"
        for number, line in enumerate(BAD.splitlines(), 1)
        for text in line.split("# E: ")[1:]
    ]
    said = [line for line in done.stdout.splitlines() if ": note: " not in line]
    assert (said, done.stderr) == (expected, "")


def test_right_task_code_runs(typed: Path) -> None:
    (typed / "good.py").write_text(GOOD)
    code = """\
import heyhi, good
grow = good.conf_cfgs.Grow(beds={"a": {}}, plants=[{}], lights={True: "RED"}, watering={"rain": 3}, must=1)
good.reads(grow)
good.turns(grow, good.conf_cfgs.MetaCfg())
print(good.chooses(grow), good.chooses_a_launcher(good.conf_cfgs.Grow(launcher=good.LAUNCHER)), good.NUMBER)
"""
    assert _python(typed, code) == "3 8 3\n"


def _python(root: Path, code: str) -> str:
    command = [sys.executable, "-c", code]
    here = str(DATA.parent.parent)
    env = {**os.environ, "PYTHONPATH": here}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=True).stdout


# ---- The stubs beside real objects --------------------------------------------------------------


def test_the_stubs_say_what_is_true_of_real_objects(typed: Path) -> None:
    code = "from tests.config.test_stubs import compare_stubs; compare_stubs(['conf', 'parts', 'demo'])"
    said = json.loads(_python(typed, code))
    assert said["wrong"] == []
    assert said["checked"] > 100


def compare_stubs(stems: Sequence[str]) -> None:
    """Print, as JSON, how many names of the stubs were looked at, and what is wrong. In a project's cwd."""
    import heyhi  # noqa: F401  (finds conf)

    wrong: list[str] = []
    checked = 0
    for stem in stems:
        module = importlib.import_module(f"conf.{stem}_cfgs")
        stub = ast.parse(Path(f"conf/{stem}_cfgs.pyi").read_text())
        for name, node in _stub_classes(stub.body, ""):
            checked += _compare_class(module, name, node, wrong)
        wrong += _compare_names(module, stub)
    print(json.dumps({"checked": checked, "wrong": wrong}))


def _stub_classes(body: Sequence[ast.stmt], prefix: str) -> list[tuple[str, ast.ClassDef]]:
    found = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            found.append((prefix + node.name, node))
            found += _stub_classes(node.body, f"{prefix}{node.name}.")
    return found


def _compare_names(module: types.ModuleType, stub: ast.Module) -> list[str]:
    """What a module has and its stub has not, or the other way round."""
    told = {node.name for node in stub.body if isinstance(node, ast.ClassDef)}
    told |= {name.id for node in stub.body for name in _targets(node)}
    real = {name for name in vars(module) if not name.startswith("_")} | {"_DOCS"}
    return [f"{module.__name__}.{name}" for name in sorted(told ^ real)]


def _targets(node: ast.stmt) -> list[ast.Name]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target for target in targets if isinstance(target, ast.Name)]


def _compare_class(module: types.ModuleType, name: str, node: ast.ClassDef, wrong: list[str]) -> int:
    cls: Any = module
    for part in name.split("."):
        cls = getattr(cls, part)
    functions = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
    told = {name for name, one in functions.items() if one.decorator_list}
    if told != set(cls.__slots__) - {"from"}:
        wrong.append(f"{name}: properties {sorted(told)}, but slots {sorted(cls.__slots__)}")
    arguments = {argument.arg for argument in functions["__init__"].args.kwonlyargs}
    if arguments != {field.name for field in cls._editable_class.DESCRIPTOR.fields} - {"from"}:
        wrong.append(f"{name}.__init__: {sorted(arguments)}")
    if _docstring(node) != _comment(module, cls):
        wrong.append(f"{name}: docstring {_docstring(node)!r}")
    for method in ("to_frozen", "to_editable"):
        if type(getattr(cls(), method)()) is not _type_told(functions[method], module):
            wrong.append(f"{name}.{method}")
    filled = [_filled(cls._editable_class, turn).to_frozen() for turn in range(3)]
    for field in told:
        wrong += [f"{name}.{field}: {what}" for what in _wrong_of(functions[field], module, cls, filled)]
    return len(told)


def _wrong_of(
    function: ast.FunctionDef, module: types.ModuleType, cls: Any, filled: Sequence[Any]
) -> Iterator[str]:
    """What is not true of a property: its docstring, its type, or that it can be None."""
    field = function.name
    if _docstring(function) != _comment(module, cls, f".{field}"):
        yield f"docstring {_docstring(function)!r}"
    told = _type_told(function, module)
    empty, *values = (getattr(one, field) for one in (cls(), *filled))
    descriptor = cls._editable_class.DESCRIPTOR.fields_by_name.get(field)
    if descriptor is None or not descriptor.is_required:  # a message without it is none that a task gets
        values.append(empty)
        if type(None) in typing.get_args(told) and empty is not None:
            yield f"{told}, but is never None"
    yield from (f"{told}, but reads as {value!r}" for value in values if not _fits(value, told))


def _docstring(node: ast.ClassDef | ast.FunctionDef) -> str | None:
    return (ast.get_docstring(node) or "").strip() or None


def _comment(module: Any, cls: Any, rest: str = "") -> str | None:
    return module._DOCS.get(cls._editable_class.DESCRIPTOR.full_name + rest, ("", ""))[1] or None


def _type_told(function: ast.FunctionDef, module: types.ModuleType) -> Any:
    assert function.returns is not None
    annotation = ast.unparse(function.returns)
    names: dict[str, Any] = {f"_{name}": getattr(builtins, name) for name in dir(builtins)}
    names |= {"_Mapping": Mapping, "_Any": Any, "_Literal": Literal}
    for other in re.findall(r"_(\w+_(?:cfgs|pb2))\.", annotation):
        names[f"_{other}"] = importlib.import_module(f"conf.{other}")
    return eval(annotation, {**vars(module), **names})


def _fits(value: Any, told: Any) -> bool:
    origin, arguments = typing.get_origin(told), typing.get_args(told)
    if origin is Literal:
        return value in arguments
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, arguments[0]) for one in value)
    if origin is Mapping:
        pairs = value.items() if isinstance(value, Mapping) else [(None, None)]
        return all(_fits(key, arguments[0]) and _fits(one, arguments[1]) for key, one in pairs)
    return type(value) is told


def _filled(cls: Any, turn: int, depth: int = 0) -> Any:
    """A message with every field set; of each oneof the `turn`-th member."""
    message = cls()
    for field in cls.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if oneof is not None and oneof.fields[turn % len(oneof.fields)] is not field:
            continue
        _fill(message, field, turn, depth)
    return message


def _fill(message: Any, field: FieldDescriptor, turn: int, depth: int) -> None:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, of = (field.message_type.fields_by_name[part] for part in ("key", "value"))
        if of.message_type is None:
            value[_scalar(key)] = _scalar(of)
        else:
            inner = value[_scalar(key)]
            inner.CopyFrom(_filled(type(inner), turn, depth + 1))
    elif field.message_type is not None and depth < 3:
        inner = value.add() if field.is_repeated else value
        inner.SetInParent()
        inner.CopyFrom(_filled(type(inner), turn, depth + 1))
    elif field.message_type is None and field.is_repeated:
        value.append(_scalar(field))
    elif field.message_type is None:
        setattr(message, field.name, _scalar(field))


def _scalar(field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"a"
    by_type = {
        FieldDescriptor.CPPTYPE_STRING: "a",
        FieldDescriptor.CPPTYPE_BOOL: True,
        FieldDescriptor.CPPTYPE_FLOAT: 0.5,
        FieldDescriptor.CPPTYPE_DOUBLE: 0.5,
    }
    return by_type.get(field.cpp_type, 1)
