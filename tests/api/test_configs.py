import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NO_FIELD, Garden

FILES = {
    "base": """
        includes { path: "loam" mount: "soil" }
        grow { name: "carrot" tags: "a" labels { key: "k" value: "v" } }
    """,
    "pick": 'pick { what: "fruit" }',
    "pick_what": "pick {}",
    "common/loam": 'kind: "loam"',
    "common/plant": "height: 3",
    "common/twins": 'name: "x"',
    "common/wrong": "hight: 3",
}


@pytest.fixture
def project(demo_project: Garden) -> Garden:
    for name, text in FILES.items():
        path = demo_project.root / "conf" / f"{name}.prototxt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (demo_project.root / "far").mkdir()
    (demo_project.root / "far" / "sand.prototxt").write_text('kind: "sand"')
    return demo_project


def evaluate(project: Garden, *expressions: str) -> list[Any]:
    """The values of Python expressions in a process of the project; what was raised as `Type: text`."""
    code = """\
import json, sys
import heyhi, heyhi.conf as c
from conf import conf_cfgs, conf_pb2
def value(text):
    try:
        return eval(text, globals())
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
print(json.dumps([value(text) for text in json.loads(sys.argv[1])], default=str))
"""
    done = project.python("-c", code, json.dumps(expressions))
    assert done.err == ""
    values: list[Any] = json.loads(done.out)
    return values


BASE = "c.load_root_config('conf/base')"
# What Python gets, by the expression that asks for it.
VALUES: dict[str, Any] = {
    # load
    f"{BASE}.grow.name": "carrot",
    f"{BASE}.which_task": "grow",
    f"{BASE}.is_frozen()": True,
    "c.load_config('conf/base').grow.soil.kind": "loam",
    "c.load_config('conf/base', ['lr=.5', 'tags.-1=b']).grow.tags": ["a", "b"],
    "type(c.load_config('conf/base', msg_class=conf_cfgs.MetaCfg)) is conf_cfgs.MetaCfg": True,
    "type(c.load_config('conf/base', msg_class=conf_pb2.MetaCfg)) is conf_cfgs.MetaCfg": True,
    "type(c.load_proto_message('conf/base')) is conf_pb2.MetaCfg": True,
    "type(c.load_proto_message('conf/base', msg_class=conf_cfgs.MetaCfg)) is conf_pb2.MetaCfg": True,
    "c.load_root_proto_message('conf/base', ['seed=1'])[0]": "grow",
    "c.load_root_proto_message('conf/base', ['seed=1'])[1].grow.seed": 1,
    "type(c.load_config('conf/common/plant')) is conf_cfgs.Plant": True,
    "c.load_config('conf/common/plant', ['soil.depth=2']).soil.depth": 2.0,
    "c.load_config('conf/common/twins', msg_class=conf_cfgs.Plant).name": "x",
    "c.load_config('conf/base', ['Isoil=sand'], extra_include_dirs=['far']).grow.soil.kind": "sand",
    "c.load_root_config('conf/base', ['Isoil=sand'], extra_include_dirs=['far']).grow.soil.kind": "sand",
    # two loads share nothing
    "[c.load_proto_message('conf/base').grow.MergeFrom(conf_pb2.Grow(seed=1)), "
    "c.load_proto_message('conf/base').grow.seed][1]": 7,
    # ask
    f"c.conf_get({BASE}, 'grow.soil.kind')": "loam",
    f"c.conf_get({BASE}.to_editable(), 'grow.soil.kind')": "loam",
    f"c.conf_is_set({BASE}, 'grow.soil.kind')": True,
    f"c.conf_is_set({BASE}, 'grow.seed')": False,
    f"c.conf_is_set({BASE}.to_editable(), 'grow.tree.left.size')": False,
    f"c.flatten_cfg({BASE}.grow, with_all=False)": {
        "name": "carrot", "tags.0": "a", "labels.k": "v", "soil.kind": "loam",
    },
    f"[c.flatten_cfg({BASE}.grow)[key] for key in ('seed', 'lr', 'wet', 'numbers', 'tree.size')]": [
        7, None, False, [], 1,
    ],
    f"c.conf_to_dict({BASE})": {
        "grow": {"name": "carrot", "tags": ["a"], "labels": {"k": "v"}, "soil": {"kind": "loam"}},
    },
    "c.conf_to_dict(conf_cfgs.Grow(big=5, blob=b'ab', colour='RED'))": {
        "big": "5", "blob": "YWI=", "colour": "RED",
    },
    "c.conf_to_dict(conf_cfgs.Soil(), include_defaults=True)": {"depth": 0.5},
    # change
    "c.conf_with_overrides(conf_cfgs.Grow(), ['tags.-1=a', 'tags.-1=b', 'seed=1']).to_dict()": {
        "tags": ["a", "b"], "seed": 1,
    },
    f"c.conf_with_overrides({BASE}, ['grow.seed=1']).grow.seed": 1,
    "[cfg := conf_cfgs.Grow(), c.conf_with_overrides(cfg, ['seed=1']), cfg.seed][2]": 7,
    "[m := conf_pb2.Grow(), c.conf_set(m, 'soil.depth', 2), m.soil.depth][2]": 2.0,
    "[m := conf_pb2.Grow(), c.conf_set(m, 'wet', True), m.wet][2]": True,
    "[m := conf_pb2.Grow(), c.conf_set(m, 'colour', 'GREEN'), m.colour][2]": 2,
    "[m := conf_pb2.Grow(), c.conf_set(m, 'Iterations', 3), m.Iterations][2]": 3,
    "[m := conf_pb2.Grow(), c.conf_set(m, 'blob', bytes(range(256))), m.blob == bytes(range(256))][2]": True,
    "[m := conf_pb2.Grow(), c.conf_set(m, 'blob', b'NULL'), str(m.blob)][2]": "b'NULL'",
    "[m := conf_pb2.Grow(seed=1), c.conf_set(m, 'seed', None), m.seed][2]": 7,
    "c.overrides_to_dict(['a=1', '--b.c=x=y', 'a=2'])": {"a": "2", "b.c": "x=y"},
    # the project's own
    "c.ROOT_CFG_CLASS is conf_cfgs.MetaCfg": True,
    "c.PROJ_ROOT == c.CONF_ROOT.parent == heyhi.PROJ_ROOT": True,
    "c.CONF_ROOT.name": "conf",
}  # fmt: skip
ERRORS = {
    "c.load_config('conf/base', ['sed=1'])": (
        f"ConfigError: override 'sed=1': Grow {NO_FIELD} 'sed'; did you mean 'seed'?"
    ),
    "c.load_config('conf/pick_what')": (
        "ConfigError: conf/pick_what.prototxt: required field is not set: what; set it in the config or "
        "with what=..."
    ),
    "c.conf_is_set(conf_cfgs.Grow(), 'soil')": (
        "ConfigError: soil: is a message: only of a scalar it can be said that it is set"
    ),
    "c.conf_is_set(conf_cfgs.Grow(), 'tags')": (
        "ConfigError: tags: is a list: only of a scalar it can be said that it is set"
    ),
    "c.conf_is_set(conf_cfgs.Grow(), 'soil.dept')": (
        f"ConfigError: soil.dept: soil (Soil) {NO_FIELD} 'dept'; did you mean 'soil.depth'?"
    ),
    "c.conf_is_set(conf_cfgs.Grow(), 'lr.x')": "ConfigError: lr.x: lr is no message",
    "c.conf_is_set(conf_cfgs.Grow(), 'soil..depth')": (
        "ConfigError: soil..depth: bad key 'soil..depth': a name is missing"
    ),
    "c.conf_get(conf_cfgs.Grow(), 'sed')": f"AttributeError: Grow {NO_FIELD} 'sed'; did you mean 'seed'?",
    "c.conf_set(conf_pb2.Grow(), 'seed', 'x')": (
        "ConfigError: seed: seed: expected a whole number (int32), not 'x'"
    ),
    "c.conf_set(conf_cfgs.Grow(), 'seed', 1)": "RuntimeError: Attempt to set seed=1 on read-only config",
    "c.conf_with_overrides(conf_cfgs.Grow(), ['seed'])": "ConfigError: override 'seed': expected key=value",
}


def test_what_python_asks_of_configs(project: Garden) -> None:
    assert dict(zip(VALUES, evaluate(project, *VALUES), strict=True)) == VALUES


def test_what_is_wrong_is_said_to_python_as_on_the_command_line(project: Garden) -> None:
    assert dict(zip(ERRORS, evaluate(project, *ERRORS), strict=True)) == ERRORS


def test_a_chunk_of_no_type_or_of_several_is_refused(project: Garden) -> None:
    wrong, twins = evaluate(
        project, "c.load_config('conf/common/wrong')", "c.load_config('conf/common/twins')"
    )
    assert wrong.startswith(f"ConfigError: conf/common/wrong.prototxt:1:1: MetaCfg {NO_FIELD} 'hight'")
    assert twins.startswith("ConfigError: conf/common/twins.prototxt: fits several types (Grow, Plant, ")
    assert twins.endswith("): give msg_class")


def test_a_saved_config_is_loaded_as_it_was(project: Garden) -> None:
    cfg = (
        "conf_cfgs.Grow(name='ü\\n', lr=0.1, tags=['a', ''], beds={'k': {'height': 1}}, "
        "blob=b'\\xff', watering={'can': {}})"
    )
    same, editable, listed = evaluate(
        project,
        f"[cfg := {cfg}, c.save_config(cfg, 'x.prototxt'), "
        "c.load_config('x.prototxt', msg_class=conf_cfgs.Grow) == cfg][2]",
        f"[cfg := {cfg}, c.save_config(cfg.to_editable(), 'y.prototxt'), "
        "open('x.prototxt').read() == open('y.prototxt').read()][2]",
        "__import__('os').listdir()",
    )
    assert (same, editable) == (True, True)
    assert {name for name in listed if "prototxt" in name} == {"x.prototxt", "y.prototxt"}


def test_paths_may_be_path_objects_from_any_folder(project: Garden) -> None:
    code = (
        "import pathlib, sys, heyhi; print(heyhi.load_config(pathlib.Path(sys.argv[1])).grow.name,"
        "heyhi.load_config('conf/base').grow.name)"
    )
    done = project.python(
        "-c", code, str(project.root / "conf" / "base.prototxt"),
        cwd=Path("/"), env={"HEYHI_PROJECT": str(project.root)},
    )  # fmt: skip
    assert (done.out, done.err) == ("carrot carrot\n", "")


# ---- Frozen configs of older schemas ------------------------------------------------------------

OLD = 'name: "carrot" sped: 3 soil { kind: "loam" acid { ph: 5 } } sped: 4'
LEFT_OUT = "left out, as the schema has them no more: {0}sped (3 4), {0}soil.acid ({{ ph : 5 }})"


def old_run(project: Garden) -> Path:
    """The folder of a run that was frozen when the schema had more fields."""
    folder = project.root / "run"
    folder.mkdir()
    (folder / "config.prototxt").write_text(OLD)
    (folder / "config_meta.prototxt").write_text(f"grow {{ {OLD} }}")
    (folder / "heyhi.json").write_text('{"task": "grow"}')
    return folder


@pytest.mark.parametrize(
    ("name", "path", "start"), [("config", "", ""), ("config_meta", ".grow", "grow.")], ids=["task", "meta"]
)
def test_a_frozen_config_loads_without_what_the_schema_has_no_more_and_says_so(
    project: Garden, name: str, path: str, start: str
) -> None:
    old_run(project)
    code = f"""\
import warnings, heyhi
with warnings.catch_warnings(record=True) as told:
    cfg = heyhi.load_config("run/{name}.prototxt"){path}
print(cfg.name, cfg.soil.kind, told[0].filename, told[0].lineno, told[0].message)
"""
    done = project.python("-c", code)
    assert done.out == f"carrot loam <string> 3 run/{name}.prototxt: {LEFT_OUT.format(start)}\n", done.err


def test_only_a_frozen_config_of_a_run_may_have_unknown_fields(project: Garden) -> None:
    folder = old_run(project)
    (project.root / "conf/config_meta.prototxt").write_text(f"grow {{ {OLD} }}")
    (folder / "other.prototxt").write_text(f"grow {{ {OLD} }}")
    meta = "c.load_config('run/config_meta.prototxt'"
    strict = ["c.load_config('conf/config_meta.prototxt')", "c.load_config('run/other.prototxt')"]
    for told in evaluate(project, *strict, f"{meta}, ['seed=1'])"):
        assert f"{NO_FIELD} 'sped'" in told
    (folder / "config_meta.prototxt").write_text('grow { lr: "fast" }')
    (told,) = evaluate(project, f"{meta})")
    assert told.startswith("ConfigError: run/config_meta.prototxt:1:12: grow.lr: expected a number")
