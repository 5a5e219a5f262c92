import re
from pathlib import Path

import pytest

from tests.conftest import NO_FIELD, Done, Garden

# What --help-cfg says of a field, whatever its kind; the present values are those of PRESENT.
PRESENT = """\
grow {
  seed: 3
  name: "two\\nlines"
  tags: ["a", "b c"]
  labels { key: "k" value: "v" }
  plants { name: "oak" }
  beds { key: "a" }
  soil { depth: 2 }
  watering { can {} }
}
"""
FLAGS = {
    "^seed$": "seed: int32 [default: 7] = 3",
    "^lr$": "lr: float\n    The speed of growth.",
    "SPEED of": "lr: float\n    The speed of growth.",
    "^dry$": "dry: bool [default: true]",
    "^name$": "name: string = 'two\\nlines'",
    "^blob$": "blob: bytes",
    "^colour$": "colour: NONE | RED | GREEN | ODD [default: RED]",
    "^colours": "colours: list of NONE | RED | GREEN | ODD",
    "^tags": "tags: list of string = 0=a, 1='b c'",
    "^labels": "labels: map of string to string = k=v",
    "^lights": "lights: map of bool to NONE | RED | GREEN | ODD",
    "^soil": "soil: Soil = depth=2.0\nsoil.depth: float [default: 0.5] = 2.0\nsoil.kind: string",
    "^plants(.<i>.name)?$": "plants: list of Plant = 0.name=oak\nplants.<i>.name: string",
    "^beds(.<key>.height)?$": "beds: map of string to Plant = a=SELECT\nbeds.<key>.height: int32",
    "^watering.(can|drip)": (
        "watering.drip: Drip, of oneof how\nwatering.drip.litres: int32 [default: 3]\n"
        "watering.can: Can, of oneof how = SELECT"
    ),
    "^tree": "tree: Tree\ntree.size: int32 [default: 1]\ntree.left: Tree\ntree.branches: list of Tree",
}


@pytest.fixture
def project(demo_project: Garden) -> Garden:
    """Writes files by their names, and composes conf/base.prototxt."""
    return demo_project


def write(project: Garden, **files: str) -> None:
    for name, text in files.items():
        folder = "conf" if name == "base" else "conf/common"
        path = project.root / folder / f"{name.replace('__', '/')}.prototxt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def ask(project: Garden, *words: str) -> Done:
    return project("-c", "conf/base.prototxt", *words)


# ---- --help-cfg ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("pattern", "told"), FLAGS.items())
def test_help_cfg_tells_type_default_value_and_comment(project: Garden, pattern: str, told: str) -> None:
    write(project, base=PRESENT)
    assert ask(project, "--help-cfg", pattern) == Done(0, told + "\n", "")


def test_help_cfg_without_a_pattern_tells_every_flag(project: Garden) -> None:
    write(project, base="grow {}")
    told = ask(project, "--help-cfg").out
    flat = ask(project, "--print-flat-all").out
    for line in flat.splitlines():
        if "includes" in line:
            continue  # they are no flags: nothing is included any more
        assert f"\n{line.partition('=')[0]}: " in f"\n{told}"
    for member in ("watering.drip.litres", "launcher.slurm.num_gpus", "watering.rain"):
        assert f"\n{member}: " in told  # flat lines have none of a oneof that is not chosen
    assert "includes:" not in told


def test_help_cfg_says_what_is_required(project: Garden) -> None:
    write(project, base='pick { what: "a" }')
    assert ask(project, "--help-cfg", "^what").out == "what: string [required] = a\n"


@pytest.mark.parametrize(
    ("pattern", "problem"),
    {
        "(": "--help-cfg '(': bad regular expression: missing ), unterminated subpattern at position 0",
        "sed": "--help-cfg 'seed_': no such flag; did you mean 'seed'?",
        "qqqq": "--help-cfg 'qqqq': no such flag",
    }.items(),
)
def test_help_cfg_with_a_bad_pattern_is_an_error(project: Garden, pattern: str, problem: str) -> None:
    write(project, base="grow {}")
    pattern = re.sub("^sed$", "seed_", pattern)
    assert ask(project, "--help-cfg", pattern) == Done(2, "", f"error: {problem}\n")


# ---- --explain ----------------------------------------------------------------------------------

BASE = """\
includes { path: "deep" mount: "soil" }
includes { path: "h3" mount: "helper" }
grow {
  lr: 0.1
  tags: "a"
  tags: ["b", "c"]
  labels { key: "x" value: "1" }
  plants { name: "oak" }
  beds { key: "a" value { name: "bed" } }
  watering { drip { litres: 2 } }
}
"""
CHUNKS = {
    "soil__deep": 'depth: 2\nkind: "loam"\n',
    "clay": 'kind: "clay"\n',
    "more": 'tags: "d"\nplants { height: 3 }\nbeds { key: "a" value { height: 3 } }\n',
    "h1": 'includes { path: "h2" }\nname: "h1"\n',
    "h2": 'name: "h2"\nsoil { depth: 9 }\n',
    "h3": 'includes { path: "h1" }\nsoil { kind: "own" }\nnext {\n  includes { path: "h2" }\n}\n',
}
COMMON = "conf/common"
# The overrides, the key, and what is said of it; SCHEMA:x is the place of field x in the schema.
LAYERS = {
    "default": ("", "seed", ["default   7  (SCHEMA:seed)", "seed = 7"]),
    "default of an unset message": ("", "tree.size", ["default   1  (SCHEMA:size)", "tree.size = 1"]),
    "nothing": ("", "name", ["name = unset"]),
    "file": ("", "lr", ["file      0.1  (conf/base.prototxt:4:7)", "lr = 0.1"]),
    "override": (
        "--lr=.5",
        "lr",
        ["file      0.1  (conf/base.prototxt:4:7)", "override  0.5  (--lr=.5)", "lr = 0.5"],
    ),
    "include": (
        "",
        "soil.depth",
        [
            "default   0.5  (SCHEMA:depth)",
            f"include   2.0  ({COMMON}/soil/deep.prototxt:1:8)",
            "soil.depth = 2.0",
        ],
    ),
    "include by an override": (
        "Isoil=clay",
        "soil.kind",
        [
            f"include   loam  ({COMMON}/soil/deep.prototxt:2:7)",
            f"include   clay  ({COMMON}/clay.prototxt:1:7)",
            "soil.kind = clay",
        ],
    ),
    "include of an include": (
        "",
        "helper.name",
        [
            f"include   h2  ({COMMON}/h2.prototxt:1:7)",
            f"include   h1  ({COMMON}/h1.prototxt:2:7)",
            "helper.name = h1",
        ],
    ),
    "include of a message in a file": (
        "",
        "helper.next.name",
        [f"include   h2  ({COMMON}/h2.prototxt:1:7)", "helper.next.name = h2"],
    ),
    "cleared": (
        "soil.kind=NULL",
        "soil.kind",
        [
            f"include   loam  ({COMMON}/soil/deep.prototxt:2:7)",
            "override  unset  (soil.kind=NULL)",
            "soil.kind = unset",
        ],
    ),
    "cleared from above": (
        "soil=NULL",
        "soil.depth",
        [
            "default   0.5  (SCHEMA:depth)",
            f"include   2.0  ({COMMON}/soil/deep.prototxt:1:8)",
            "override  unset  (soil=NULL)",
            "soil.depth = 0.5",
        ],
    ),
    "another member of the oneof": (
        "watering.rain=3",
        "watering.drip.litres",
        [
            "default   3  (SCHEMA:litres)",
            "file      2  (conf/base.prototxt:10:29)",
            "override  unset  (watering.rain=3)",
            "watering.drip.litres = unset",
        ],
    ),
    "member of a oneof": (
        "watering.rain=3",
        "watering.rain",
        ["override  3  (watering.rain=3)", "watering.rain = 3"],
    ),
    "element": ("", "tags.1", ["file      b  (conf/base.prototxt:6:10)", "tags.1 = b"]),
    "element that was appended": ("tags.-1=z", "tags.3", ["override  z  (tags.-1=z)", "tags.3 = z"]),
    "element of a second file": (
        "I=more",
        "tags.3",
        [f"include   d  ({COMMON}/more.prototxt:1:7)", "tags.3 = d"],
    ),
    "element that is not there": ("", "tags.9", ["tags.9 = unset"]),
    "field of an element": (
        "",
        "plants.0.name",
        ["file      oak  (conf/base.prototxt:8:18)", "plants.0.name = oak"],
    ),
    "field of an element of a second file": (
        "I=more",
        "plants.1.height",
        [f"include   3  ({COMMON}/more.prototxt:2:18)", "plants.1.height = 3"],
    ),
    "list": (
        "tags.0=z",
        "tags",
        [
            "file      0=a, 1=b, 2=c  (conf/base.prototxt:5:9)",
            "override  0=z, 1=b, 2=c  (tags.0=z)",
            "tags = 0=z, 1=b, 2=c",
        ],
    ),
    "key of a map": (
        "labels.x=2",
        "labels.x",
        ["file      1  (conf/base.prototxt:7:28)", "override  2  (labels.x=2)", "labels.x = 2"],
    ),
    "field of a map's message, which a second file replaces": (
        "I=more",
        "beds.a.name",
        [
            "file      bed  (conf/base.prototxt:9:33)",
            f"include   unset  ({COMMON}/more.prototxt:3:23)",
            "beds.a.name = unset",
        ],
    ),
    "message": (
        "",
        "soil",
        [f"include   depth=2.0, kind=loam  ({COMMON}/soil/deep.prototxt:1:8)", "soil = depth=2.0, kind=loam"],
    ),
}  # fmt: skip


def _with_places(line: str, project: Garden) -> str:
    """SCHEMA:x -> conf/conf.proto:line:column of the (first) field x."""
    match = re.search(r"SCHEMA:(\w+)", line)
    if not match:
        return line
    text = (project.root / "conf" / "conf.proto").read_text()
    at = re.search(rf"^ *(optional \w+ )?{match[1]} = ", text, re.MULTILINE)
    at = at or re.search(rf"^ *optional \w+ {match[1]} = ", text, re.MULTILINE)
    assert at is not None
    number = text.count("\n", 0, at.start()) + 1
    return line.replace(match[0], f"conf/conf.proto:{number}:3")


@pytest.mark.parametrize(("overrides", "key", "told"), LAYERS.values(), ids=LAYERS)
def test_explain_tells_each_layer_with_its_place(
    project: Garden, overrides: str, key: str, told: list[str]
) -> None:
    write(project, base=BASE, **CHUNKS)
    done = ask(project, *overrides.split(), "--explain", key)
    assert (done.out.splitlines(), done.err) == ([_with_places(line, project) for line in told], "")


WRONG_KEYS = {
    "sed": f"Grow {NO_FIELD} 'sed'; did you mean 'seed'?",
    "soil.dept": f"soil (Soil) {NO_FIELD} 'dept'; did you mean 'soil.depth'?",
    "watering.how": "watering.how is a oneof; name its member: ",
    "lr.x": f"lr is a float; it {NO_FIELD} 'x'",
    "tags.x": "tags is a list: its elements are tags.0 and so on",
    "tags.0.x": f"tags.0 is a string; it {NO_FIELD} 'x'",
    "plants.9.nam": f"plants.9 (Plant) {NO_FIELD} 'nam'; did you mean 'plants.9.name'?",
    "prices.x": "expected a whole number (int32), not 'x'",
    "a..b": "bad key 'a..b': a name is missing",
}


@pytest.mark.parametrize(("key", "problem"), WRONG_KEYS.items())
def test_explain_of_no_field_is_an_error(project: Garden, key: str, problem: str) -> None:
    write(project, base=BASE, **CHUNKS)
    done = ask(project, "--explain", key)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"error: --explain {key!r}: {problem}")
    assert len(done.err.splitlines()) == 1


def test_explain_names_places_from_where_one_is(project: Garden) -> None:
    write(project, base=BASE, **CHUNKS)
    done = project("-c", "base", "--explain", "lr", cwd=project.root / "conf")
    assert done.out.splitlines()[0] == "file      0.1  (base.prototxt:4:7)"
    done = project("-c", "conf/base", "--explain", "seed", cwd=Path("/usr"))
    assert f"({project.root}/conf/conf.proto:" in done.out


def test_explain_goes_into_the_includes_of_a_message_in_the_base_file(project: Garden) -> None:
    base = 'grow {\n  helper {\n    includes { path: "h1" }\n    soil { kind: "own" }\n  }\n}\n'
    write(project, base=base, **CHUNKS)
    told = [ask(project, "--explain", key).out.splitlines() for key in ("helper.name", "helper.soil")]
    assert told == [
        [
            f"include   h2  ({COMMON}/h2.prototxt:1:7)",
            f"include   h1  ({COMMON}/h1.prototxt:2:7)",
            "helper.name = h1",
        ],
        [
            f"include   depth=9.0  ({COMMON}/h2.prototxt:2:6)",
            "file      depth=9.0, kind=own  (conf/base.prototxt:4:10)",
            "helper.soil = depth=9.0, kind=own",
        ],
    ]


IN_ELEMENTS = """\
includes { path: "more" }
grow {
  helpers { name: "a" }
  helpers {
    includes { path: "h1" }
    soil { kind: "own" }
  }
  named_helpers {
    key: "k"
    value { includes { path: "h1" } soil { kind: "own" } }
  }
}
"""


@pytest.mark.parametrize(
    ("key", "told"),
    {
        "helpers.2.name": ["include   h2  (h2:1:7)", "include   h1  (h1:2:7)", "helpers.2.name = h1"],
        "helpers.2.soil.depth": [
            "default   0.5  (SCHEMA:depth)",
            "include   9.0  (h2:2:15)",
            "helpers.2.soil.depth = 9.0",
        ],
        "helpers.2.soil.kind": ["file      own  (base:6:18)", "helpers.2.soil.kind = own"],
        "helpers.1.name": ["file      a  (base:3:19)", "helpers.1.name = a"],
        "helpers.0.name": ["include   first  (more:1:17)", "helpers.0.name = first"],
        "named_helpers.k.name": [
            "include   h2  (h2:1:7)",
            "include   h1  (h1:2:7)",
            "named_helpers.k.name = h1",
        ],
        "named_helpers.k.soil.kind": ["file      own  (base:10:50)", "named_helpers.k.soil.kind = own"],
    }.items(),
)
def test_explain_goes_into_the_includes_of_elements(project: Garden, key: str, told: list[str]) -> None:
    write(project, base=IN_ELEMENTS, **{**CHUNKS, "more": 'helpers { name: "first" }\n'})
    told = [re.sub(r"\((h\d|more):", rf"({COMMON}/\1.prototxt:", line) for line in told]
    told = [_with_places(line.replace("(base:", "(conf/base.prototxt:"), project) for line in told]
    assert ask(project, "--explain", key).out.splitlines() == told
