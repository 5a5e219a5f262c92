import re
from pathlib import Path
from typing import Any

import pytest

from heyhi.cli.complete_config import Sketcher, read_sketch, text_of
from heyhi.config.includes import Loader
from heyhi.config.outline import Outline, read_outline
from heyhi.config.prototxt import parse
from heyhi.errors import ConfigError
from tests.conftest import FULL, ComposeText, sketch_of

ROOT = Path("/the/root")


@pytest.fixture
def outline(outline_text: str) -> Outline:
    return read_outline(outline_text)


# ---- One file -----------------------------------------------------------------------------------

TEXTS = [
    "",
    " \n# nothing\n",
    FULL,
    "seed: 007 big: -0x1F count: 0 total: 0x10 shift: -3",
    "lr: 1 precise: 1e-5 weights: [1., .5, 1f, 2.5F, -inf, nan, 1E3]",
    "wet: True dry: f flags: [1, 0, t, false]",
    "name: 'a' \"b\" # c\n 'd'",
    r"name: 'a\tb\\c\'\"\x41\101\u00e9' blobs: ['\001', 'e']",
    "name: 'ü' tags: 'NULL' tags: [] tags: ['SELECT', '\\\\NULL']",
    "colour: GREEN colours: [ODD, -3, 2]",
    "soil { depth: 1; kind: 'x', }, tree < left: { size: 2 } branches: [{ size: 3 }, < >] >",
    "labels { value: 'v' } labels { key: 'k' } prices { value: 2 } beds { key: 'b' }",
    "prices: [{ key: 1 value: 1 }, { key: -2 value: 2 }] lights { key: 0 value: 1 }",
    "plants { name: 'x' } plants [ { }, { name: 'y' } ] watering { rain: 1 }",
]
WRONG = [
    "sed: 1",
    "seed: 1 seed: 2",
    "seed",
    "seed:",
    "seed: x",
    "seed: 1.5",
    "seed: '1'",
    "seed: [1]",
    "seed: 09",
    "seed: - 3",
    "seed:1lr:2",
    "lr: x",
    "lr: '1'",
    "wet: 2",
    "wet: TRUE",
    "colour: BLUE",
    "colour: 'RED'",
    "name: x",
    "name: 1",
    "name: 'x",
    "name: 'x\ny'",
    "soil: 1",
    "soil { depth: 1",
    "soil }",
    "soil { depth: 1 >",
    "soil { dept: 1 }",
    "tags: ['a' 'b'",
    "tags: ['a', 'b',",
    "numbers: [1 2]",
    "[demo.ext]: 1",
    "grow { }",
    "}",
    "?",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_as_protobuf_reads_it(outline: Outline, demo: Any, text: str) -> None:
    wanted = sketch_of(parse(text, demo.Grow, "x"))
    assert _numbers_written_alike(read_sketch(text, outline, ".demo.Grow", ROOT)) == wanted


def _numbers_written_alike(sketch: dict[str, Any]) -> dict[str, Any]:
    """The numbers of enums as their names, as which protobuf tells them."""
    names = {"-3": "ODD", "0": "NONE", "1": "RED", "2": "GREEN"}
    for key in ("colours", "lights"):
        found = sketch.get(key)
        if isinstance(found, list):
            sketch[key] = [names.get(one, one) for one in found]
        elif found is not None:
            sketch[key] = {name: names.get(one, one) for name, one in found.items()}
    return sketch


@pytest.mark.parametrize("text", WRONG)
def test_what_protobuf_refuses_is_refused(outline: Outline, demo: Any, text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text, demo.Grow, "x")
    with pytest.raises((ValueError, LookupError)):
        read_sketch(text, outline, ".demo.Grow", ROOT)


def test_the_root_is_put_in(outline: Outline) -> None:
    text = "kind: '{{ROOT_DIR}}/a b {{  ROOT_DIR }}'"
    assert read_sketch(text, outline, ".demo.Soil", ROOT) == {"kind": "/the/root/a b /the/root"}


def test_a_file_that_cannot_be_read_fits_nothing(tmp_path: Path, outline: Outline) -> None:
    (tmp_path / "latin").write_bytes(b"kind: '\xe9'")
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbfdepth: 1")
    for name in ("latin", "nosuch", "."):
        with pytest.raises(LookupError):
            read_sketch(text_of(tmp_path / name), outline, ".demo.Soil", ROOT)
    assert read_sketch(text_of(tmp_path / "marked"), outline, ".demo.Soil", ROOT) == {"depth": "1.0"}


# ---- With its includes --------------------------------------------------------------------------

CHUNKS = {
    "clay": "kind: 'clay'",
    "loam": "kind: 'loam' depth: 2",
    "a": "includes { path: 'clay' mount: 'soil' } name: 'a'",
    "deep": "includes { path: 'a' } name: 'deep'",
    "rose": "name: 'rose'",
    "drip": "litres: 2",
    "rain": "rain: 4",
    "more": "tags: ['b', 'c'] plants { } labels { key: 'x' value: '2' } labels { key: 'y' value: '3' }",
    "inside/clay": "kind: 'inside'",
    "soil/loam": "kind: 'of its mount'",
}
CONFIGS = [
    "grow { }",
    "includes { path: 'clay' mount: 'soil' } grow { soil { depth: 3 } }",
    "includes { path: 'loam' mount: 'soil' } includes { path: 'clay' mount: 'soil' } grow { }",
    "includes { path: 'more' } grow { tags: 'z' plants { name: 'p' } labels { key: 'y' value: '9' } }",
    "includes { path: 'deep' mount: 'helper' } grow { helper { soil { depth: 2 } } }",
    "grow { helper { includes { path: 'a' } next { includes { path: 'deep' } name: 'own' } } }",
    "grow { helpers { includes { path: 'a' } } named_helpers { key: 'k' value { includes { path: 'a' } } } }",
    "includes { path: 'rose' mount: 'plants.-1' } includes { path: 'rose' mount: 'plants.0' } grow { }",
    "includes { path: 'rose' mount: 'beds.\"a.b\"' } grow { beds { key: 'n' } }",
    "includes { path: 'drip' mount: 'watering.drip' } grow { watering { rain: 1 } }",
    "includes { path: 'drip' mount: 'watering.drip' } includes { path: 'rain' mount: 'watering' } grow { }",
    "includes { path: 'inside/clay' mount: 'soil' } grow { }",
    "includes { path: 'clay.prototxt' mount: 'soil' } pick { what: 'x' }",
]


@pytest.mark.parametrize("text", CONFIGS)
def test_includes_merge_as_they_do_in_a_composition(
    compose_text: ComposeText, outline: Outline, text: str
) -> None:
    for name, chunk in CHUNKS.items():
        compose_text.write(f"conf/common/{name}.prototxt", chunk)
    base = compose_text.write("conf/base.prototxt", text)
    project, meta_class = compose_text.project, compose_text.demo.MetaCfg
    task, sketch = Sketcher(project, outline).load(base)
    assert {task.name: sketch} == sketch_of(Loader(project, meta_class).load(base, meta_class))


LEFT_OUT = {
    "not there": "path: 'nosuch'",
    "of another type": "path: 'a' mount: 'soil'",
    "wrong": "path: 'broken' mount: 'soil'",
    "into nothing": "path: 'clay' mount: 'sol'",
    "into a scalar": "path: 'clay' mount: 'seed'",
    "into a list": "path: 'rose' mount: 'plants'",
    "into no element": "path: 'rose' mount: 'plants.7'",
    "into what is no index": "path: 'rose' mount: 'plants.x'",
    "with a broken mount": "path: 'rose' mount: 'a..b'",
    "without a path": "mount: 'soil'",
    "in a circle": "path: 'circle' mount: 'helper'",
    "in a circle of two": "path: 'one' mount: 'helper'",
}


@pytest.mark.parametrize("include", LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_wrong_include_is_left_out(compose_text: ComposeText, outline: Outline, include: str) -> None:
    circles = {name: f"includes {{ path: '{to}' }}" for name, to in [("circle", "circle"), ("one", "two")]}
    for name, chunk in {**CHUNKS, **circles, "two": "includes { path: 'one' }", "broken": "kind:"}.items():
        compose_text.write(f"conf/common/{name}.prototxt", chunk)
    base = compose_text.write("conf/base.prototxt", f"includes {{ {include} }} grow {{ seed: 1 }}")
    _, sketch = Sketcher(compose_text.project, outline).load(base)
    assert sketch["seed"] == "1"
    assert not re.search("rose|clay|circle", str(sketch))


@pytest.mark.parametrize("text", ["", "includes { path: 'clay' }", "grow { } pick { }", "grow {", "seed: 1"])
def test_a_wrong_base_is_an_error_that_its_readers_know(
    compose_text: ComposeText, outline: Outline, text: str
) -> None:
    base = compose_text.write("conf/base.prototxt", text)
    with pytest.raises((ValueError, LookupError)):
        Sketcher(compose_text.project, outline).load(base)
