import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from heyhi.config import prototxt
from heyhi.errors import ConfigError
from tests.conftest import NO_FIELD

# text of a MetaCfg -> what is wrong with it, after `f:`
WRONG = {
    # names
    "grow { sed: 1 }": f"1:8: grow (Grow) {NO_FIELD} 'sed'; did you mean 'grow.seed'?",
    "grow {\n  soil {\n    dpth: 1\n  }\n}": f"3:5: grow.soil (Soil) {NO_FIELD} 'dpth'; "
    "did you mean 'grow.soil.depth'?",
    "gro { }": f"1:1: MetaCfg {NO_FIELD} 'gro'; did you mean 'grow'?",
    "grow { plants { } plants { nam: 'x' } }": f"1:28: grow.plants.1 (Plant) {NO_FIELD} 'nam'; "
    "did you mean 'grow.plants.1.name'?",
    "grow { beds { key: 'n' value { nam: 'x' } } }": f"1:32: grow.beds.n (Plant) {NO_FIELD} 'nam'; "
    "did you mean 'grow.beds.n.name'?",
    "grow { DESCRIPTOR: 1 }": f"1:8: grow (Grow) {NO_FIELD} 'DESCRIPTOR'; its fields: seed, big, .*",
    # values
    "grow { seed: 'x' }": "1:14: grow.seed: expected a whole number (int32), not \"'x'\"",
    "grow { seed: 1.5 }": "1:14: grow.seed: expected a whole number (int32), not '1.5'",
    "grow { seed: 1_000 }": "1:14: grow.seed: expected a whole number (int32), not '1_000'",
    "grow { seed: \u0663 }": "1:14: grow.seed: expected a whole number (int32), not '\u0663'",
    "grow { seed: 3000000000 }": "1:14: grow.seed: 3000000000 is out of range: "
    "int32 goes from -2147483648 to 2147483647",
    "grow { count: -1 }": "1:15: grow.count: -1 is out of range: uint32 goes from 0 to 4294967295",
    "grow { lr: 1e39 }": "1:12: grow.lr: 1e39 is too large for a float",
    "grow { lr: -1e39 }": "1:12: grow.lr: -1e39 is too large for a float",
    "grow { weights: [1, 1e39] }": "1:21: grow.weights.1: 1e39 is too large for a float",
    "grow { lr: 1e-60 }": "1:12: grow.lr: 1e-60 is too small for a float: it would become 0",
    "grow { precise: 1e400 }": "1:17: grow.precise: 1e400 is too large for a double",
    "grow { lr: 0.0_1 }": "1:12: grow.lr: expected a number (float), not '0.0_1'",
    "grow { name: 'a\u2028b' seed: fast }": "1:26: grow.seed: expected a whole number (int32), not 'fast'",
    "grow { lr: fast }": "1:12: grow.lr: expected a number (float), not 'fast'",
    "grow { wet: maybe }": "1:13: grow.wet: expected true or false, not 'maybe'",
    "grow { name: 3 }": "1:14: grow.name: expected string in quotes, not 3",
    "grow { name: '\\xff' }": "1:21: grow.name: not valid UTF-8 text: .*",
    "grow { tags: ['a', 1] }": "1:20: grow.tags.1: expected string in quotes, not 1",
    "grow { colour: BLUE }": "1:16: grow.colour: expected one of NONE, RED, GREEN, ODD, not 'BLUE'",
    "grow { colour: GREN }": "1:16: grow.colour: expected one of NONE, RED, GREEN, ODD, not 'GREN'; "
    "did you mean 'GREEN'?",
    "grow { colour: 9 }": "1:16: grow.colour: expected one of NONE, RED, GREEN, ODD, not '9'",
    "grow { soil: 3 }": "1:14: grow.soil: expected a message (Soil) in { }, not 3",
    "grow { beds { key: 'n' value { soil { depth: 'x' } } } }": "1:46: grow.beds.n.soil.depth: "
    "expected a number (float), not \"'x'\"",
    "grow { prices { key: 1 value: 1e39 } }": "1:31: grow.prices.1: 1e39 is too large for a float",
    # twice
    "grow { seed: 1 seed: 2 }": "1:22: grow.seed is set twice in this file",
    "grow { soil { } soil { } }": "1:22: grow.soil is set twice in this file",
    "grow { watering { rain: 1 can { } } }": "1:27: grow.watering.can: chooses 'can' of oneof 'how', "
    "but 'rain' is set already; only one of them can be set",
    "grow { } pick { what: 'a' }": "1:10: pick: chooses 'pick' of oneof 'task', "
    "but 'grow' is set already; only one of them can be set",
    "grow { labels { key: 'a' }\nlabels { key: 'a' } }": "2:8: grow.labels.a: the key is given twice; "
    "the first time in line 1",
    "grow { lights { key: true } lights { key: 1 } }": "1:36: grow.lights.true: the key is given twice; "
    "the first time in line 1",
    "grow { prices { key: 0x3 } prices { key: 3 } }": "1:35: grow.prices.3: the key is given twice; "
    "the first time in line 1",
    # no text of this language at all
    "grow {": '1:6: Expected "}".',
    "grow { seed }": '1:13: Expected ":".',
    "}": "1:1: Expected identifier or number, got }.",
    "grow { name: 'a }": "1:14: String missing ending quote: .*",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_in_a_file_has_its_place_and_its_full_path(demo: Any, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prototxt.parse(text, demo.MetaCfg, "f")
    assert re.fullmatch(_pattern(f"f:{WRONG[text]}"), str(caught.value)), caught.value


def _pattern(text: str) -> str:
    return re.escape(text).replace(r"\.\*", ".*")


@pytest.mark.parametrize("depth", [95, 1000])
def test_a_text_that_is_nested_too_deeply_is_refused(demo: Any, depth: int) -> None:
    text = "grow { tree {" + "left {" * depth + "}" * depth + "} }"
    with pytest.raises(ConfigError, match=r"^f: nested too deeply: more than 90 levels$"):
        prototxt.parse(text, demo.MetaCfg, "f")


RIGHT = {
    "grow { lr: inf }": "grow { lr: inf }",
    "grow { lr: 0 precise: -0.0 }": "grow { lr: 0 precise: -0 }",
    "grow { lr: 1.5f }": "grow { lr: 1.5 }",
    "grow { seed: 0x10 }": "grow { seed: 16 }",
    "grow { colour: -3 }": "grow { colour: ODD }",
    "grow { name: 'a' \"b\" }": 'grow { name: "ab" }',
    "grow { name: '1_000 \u0663' }": 'grow { name: "1_000 \u0663" }',
    "grow { name: 'a\u2028b\x0bc' lr: 0 }": 'grow { lr: 0 name: "a\u2028b\\013c" }',
    "# a comment\ngrow { seed: 1 } # and one more": "grow { seed: 1 }",
    "grow: < seed: 1; name: 'x', >": 'grow { seed: 1 name: "x" }',
    "grow { prices { value: 0 } prices { key: 1 value: 0 } }": "grow { prices { key: 0 value: 0 } "
    "prices { key: 1 value: 0 } }",
    "": "",
}


@pytest.mark.parametrize("text", RIGHT)
def test_the_text_format_is_read_whole(demo: Any, text: str) -> None:
    message = prototxt.parse(text, demo.MetaCfg, "f")
    assert re.sub(r"[ \n]+", " ", str(message)).strip() == RIGHT[text]


# ---- Files --------------------------------------------------------------------------------------


def _read(demo: Any, path: Path, root: str = "/root") -> Any:
    return prototxt.read(path, demo.MetaCfg, Path(root)).grow  # type: ignore[attr-defined]


FILES = {
    "a byte order mark": b"\xef\xbb\xbfgrow { seed: 1 }",
    "lines of DOS": b"grow {\r\n  seed: 1\r\n}\r\n",
    "no line end": b"grow { seed: 1 }",
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_may_have(demo: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.prototxt"
    path.write_bytes(FILES[kind])
    assert _read(demo, path).seed == 1


def test_a_file_that_is_not_utf8_is_refused_with_the_line(demo: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.prototxt"
    path.write_bytes(b"grow {\n name: '\xff'\n}")
    with pytest.raises(ConfigError, match=r"a\.prototxt:2: not UTF-8 text; save it as UTF-8$"):
        _read(demo, path)


def test_a_file_that_cannot_be_read_says_why(demo: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r": cannot be read: is a folder$"):
        _read(demo, tmp_path)
    with pytest.raises(ConfigError, match=r"no\.prototxt: cannot be read: No such file or directory$"):
        _read(demo, tmp_path / "no.prototxt")


@pytest.mark.parametrize("root", ["/a b", "/it's", '/"x"', "/back\\slash", "/two\nlines", "/\\1", "/é"])
def test_root_dir_stands_for_the_project_whatever_its_name(demo: Any, tmp_path: Path, root: str) -> None:
    path = tmp_path / "a.prototxt"
    path.write_text("grow { name: '{{ROOT_DIR}}/x'  tags: '{{ ROOT_DIR }}' tags: '{{root_dir}}' }")
    grow = _read(demo, path, root)
    assert grow.name == f"{root}/x"
    assert list(grow.tags) == [root, "{{root_dir}}"]


def test_a_file_is_parsed_once_until_it_changes(demo: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.prototxt"
    path.write_text("grow { seed: 1 }")
    first = prototxt.read(path, demo.MetaCfg, tmp_path)
    assert prototxt.read(path, demo.MetaCfg, tmp_path) is first
    os.utime(path, (1, 1))
    assert prototxt.read(path, demo.MetaCfg, tmp_path) is first
    assert prototxt.read(path, demo.MetaCfg, tmp_path) is first
    path.write_text("grow { seed: 2 }")
    assert _read(demo, path).seed == 2


def test_a_change_within_one_tick_of_the_clock_is_seen(demo: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.prototxt"
    now = time.time_ns()
    for seed in (1, 2):
        path.write_text(f"grow {{ seed: {seed} }}")
        os.utime(path, ns=(now, now))
        assert _read(demo, path).seed == seed


def test_one_file_serves_several_types_and_projects(demo: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.prototxt"
    path.write_text("name: '{{ROOT_DIR}}'")
    plant = prototxt.read(path, demo.Plant, Path("/a"))
    helper: Any = prototxt.read(path, demo.Helper, Path("/b"))
    assert type(plant) is demo.Plant
    assert helper.name == "/b"
    assert prototxt.read(path, demo.Plant, Path("/c")).name == "/c"  # type: ignore[attr-defined]


def test_every_value_knows_its_place(demo: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.prototxt"
    path.write_text(
        "includes { path: 'x' }\n"
        "grow {\n"
        "  lr: -1.5\n"
        "  tags: ['a',\n 'b']\n"
        "  plants { name: 'x' }\n"
        "  beds { value { height: 3 } key: 'a.b' }\n"
        "  lights { key: 1 value: RED }\n"
        "  prices { key: 0x3 value: 1 }\n"
        "}\n",
    )
    places = prototxt.places(path, demo.MetaCfg.DESCRIPTOR, tmp_path)
    assert {key: f"{at.line}:{at.column} {at.text}" for key, at in places.items()} == {
        "includes.0": "1:10 {",
        "includes.0.path": "1:18 x",
        "grow": "2:6 {",
        "grow.lr": "3:7 -1.5",
        "grow.tags.0": "4:10 a",
        "grow.tags.1": "5:2 b",
        "grow.plants.0": "6:10 {",
        "grow.plants.0.name": "6:18 x",
        'grow.beds."a.b"': "7:16 {",
        'grow.beds."a.b".height': "7:26 3",
        "grow.lights.true": "8:26 RED",
        "grow.prices.3": "9:28 1",
    }


def test_what_is_written_is_read_again(demo: Any) -> None:
    message = demo.MetaCfg()
    message.grow.name = "é\n'\"\\"
    message.grow.lr = 0.1
    message.grow.precise = 0.1
    message.grow.labels["b"] = "2"
    message.grow.labels["a"] = "1"
    text = prototxt.write_text(message)
    assert text == (
        "grow {\n"
        "  lr: 0.1\n"
        "  precise: 0.1\n"
        '  name: "é\\n\\\'\\"\\\\"\n'
        '  labels {\n    key: "a"\n    value: "1"\n  }\n'
        '  labels {\n    key: "b"\n    value: "2"\n  }\n'
        "}\n"
    )
    assert prototxt.parse(text, demo.MetaCfg, "f") == message


# ---- Texts of older schemas ---------------------------------------------------------------------

UNKNOWN: dict[str, dict[str, str]] = {
    "grow { lr: 1 }": {},
    "old: 1": {"old": "1"},
    "old: -1.5 grow { lr: 1 }": {"old": "-1.5"},
    "grow { old: 'a' 'b', lr: 1 }": {"grow.old": "'a' 'b'"},
    "grow { old { x { } y: [1, 2] } lr: 1 }": {"grow.old": "{ x { } y : [ 1 , 2 ] }"},
    "grow { old < x: RED > old: [] lr: 1 }": {"grow.old": "< x : RED > [ ]"},
    "grow { plants { name: 'x' } plants { old: true } lr: 1 }": {"grow.plants.1.old": "true"},
    "grow { beds { key: 'n' value { old: 1 } } lr: 1 }": {"grow.beds.n.old": "1"},
}


@pytest.mark.parametrize(("text", "unknown"), UNKNOWN.items(), ids=UNKNOWN)
def test_what_the_schema_has_no_more_is_kept_as_text(demo: Any, text: str, unknown: dict[str, str]) -> None:
    message: Any
    message, found = prototxt.parse_old(text, demo.MetaCfg, "f")
    assert found == unknown
    assert message.grow.lr == (1 if "lr: 1" in text else 0)


def test_what_else_is_wrong_with_an_old_text_is_an_error(demo: Any) -> None:
    for text in ("grow { lr: 'x' old: 1 }", "grow { old: 1", "old", "grow { colour: BLUE }"):
        with pytest.raises(ConfigError, match=r"^f:1:"):
            prototxt.parse_old(text, demo.MetaCfg, "f")
