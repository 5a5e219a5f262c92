import shlex
import subprocess
from typing import Any

import pytest

from heyhi.config import prototxt
from heyhi.config.views import (
    added_fields,
    diff,
    fingerprint,
    flat_lines,
    flatten,
    paths,
    to_dict,
    unset,
    with_defaults,
)
from tests.conftest import FULL, ComposeText


@pytest.fixture
def grow(demo: Any) -> Any:
    """grow("seed: 1"): a Grow."""
    return lambda text="": prototxt.parse(text, demo.Grow, "f")


# ---- Dicts --------------------------------------------------------------------------------------


def test_a_dict_has_what_is_set(grow: Any) -> None:
    assert to_dict(grow(FULL)) == {
        "seed": 1,
        "big": -5,
        "count": 3,
        "total": 18446744073709551615,
        "lr": 0.1,
        "precise": 0.1,
        "wet": True,
        "dry": False,
        "name": "it's",
        "blob": b"\xff",
        "colour": "ODD",
        "tags": ["a", "NULL"],
        "numbers": [1, -2],
        "weights": [0.1, float("inf")],
        "colours": ["RED", "ODD"],
        "plants": [{"name": "x"}, {}],
        "labels": {"a.b": "SELECT"},
        "prices": {-3: 0.5, 10: 2.0},
        "beds": {"n": {"height": 2}},
        "lights": {True: "GREEN"},
        "watering": {"drip": {}, "hours": 2},
        "launcher": {"local": {}},
    }


def test_a_dict_with_defaults_has_the_explicit_ones(grow: Any, demo: Any) -> None:
    assert to_dict(grow(""), with_defaults=True) == {
        "seed": 7,
        "precise": 0.25,
        "dry": True,
        "colour": "RED",
        "soil": {"depth": 0.5},
        "tree": {"size": 1},
        "helper": {"soil": {"depth": 0.5}},
    }
    drip = prototxt.parse("drip { }", demo.Watering, "f")
    assert to_dict(drip, with_defaults=True) == {"drip": {"litres": 3}}


def test_a_dict_with_all_has_what_is_unset_too(demo: Any) -> None:
    assert to_dict(demo.Plant(), with_all=True) == {
        "name": None,
        "height": None,
        "soil": {"depth": 0.5, "kind": None},
    }
    assert to_dict(demo.Watering(), with_all=True) == {"hours": None}
    assert to_dict(demo.Tree(), with_all=True) == {"size": 1, "branches": []}
    everything = to_dict(demo.Grow(), with_all=True)
    assert (everything["wet"], everything["tags"], everything["labels"]) == (False, [], {})


# ---- Flat ---------------------------------------------------------------------------------------


def test_flat_lines_are_sorted_quoted_and_whole(grow: Any) -> None:
    assert flat_lines(grow(FULL)) == [
        "beds.n.height=2",
        "big=-5",
        "blob='\\377'",
        "colour=ODD",
        "colours.0=RED",
        "colours.1=ODD",
        "count=3",
        "dry=False",
        "'labels.\"a.b\"'='\\SELECT'",
        "launcher.local=SELECT",
        "lights.true=GREEN",
        "lr=0.1",
        "name='it'\"'\"'s'",
        "numbers.0=1",
        "numbers.1=-2",
        "plants.0.name=x",
        "plants.1=SELECT",
        "precise=0.1",
        "prices.-3=0.5",
        "prices.10=2.0",
        "seed=1",
        "tags.0=a",
        "tags.1='\\NULL'",
        "total=18446744073709551615",
        "tree.left=SELECT",
        "watering.drip=SELECT",
        "watering.hours=2",
        "weights.0=0.1",
        "weights.1=inf",
        "wet=True",
    ]


@pytest.mark.processes
def test_flat_lines_pasted_into_a_shell_compose_the_same(compose_text: ComposeText, grow: Any) -> None:
    config = grow(FULL + " soil { kind: '$HOME `x` \\n\\'\"*' } tags: '' tags: ' '")
    lines = flat_lines(config)
    shell = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {' '.join(lines)}"], check=True, capture_output=True, text=True
    )
    overrides = shell.stdout.split("\0")[:-1]
    assert overrides == [shlex.split(line)[0] for line in lines]
    assert compose_text("grow { }", *overrides).config == config


def test_flat_lines_with_all_compose_the_same_values(compose_text: ComposeText, grow: Any) -> None:
    config = grow(FULL)
    overrides = [shlex.split(line)[0] for line in flat_lines(config, with_all=True)]
    again = compose_text("grow { }", *overrides).config
    assert to_dict(again, with_all=True) == to_dict(config, with_all=True)
    assert {"name=it's", "soil.kind=NULL", "flags=NULL", "helper.name=NULL", "tree.left=SELECT"} <= set(
        overrides
    )


def test_words_of_the_language_round_trip_as_enums_too(compose_text: ComposeText, demo: Any) -> None:
    for word in ("NULL", "SELECT"):
        config = demo.Odd(I=1, word=word)
        overrides = [shlex.split(line)[0] for line in flat_lines(config)]
        assert compose_text("odd { }", *overrides).config == config


def test_flatten_gives_python_values_by_path(grow: Any) -> None:
    assert flatten(grow("lr: 0.1 tags: 'a' colour: ODD"), with_all=False) == {
        "lr": 0.1,
        "tags.0": "a",
        "colour": "ODD",
    }
    everything = flatten(grow(""))
    assert everything["seed"] == 7
    assert everything["name"] is None
    assert everything["tags"] == []
    assert everything["wet"] is False
    assert everything["tree.size"] == 1
    assert "watering.rain" not in everything


def test_elements_come_in_the_order_of_their_index(demo: Any) -> None:
    lines = flat_lines(demo.Grow(numbers=range(12)))
    assert lines == [f"numbers.{index}={index}" for index in range(12)]


# ---- With its defaults --------------------------------------------------------------------------


def test_defaults_reach_lists_maps_and_unset_messages_but_choose_no_oneof(grow: Any) -> None:
    message: Any = with_defaults(grow("beds { key: 'n' value { } } plants { } watering { drip { } }"))
    assert message.beds["n"].soil.depth == message.plants[0].soil.depth == 0.5
    assert message.soil.HasField("depth")
    assert message.watering.drip.HasField("litres")
    whole: Any = with_defaults(grow(""))
    assert whole.watering.WhichOneof("how") is None


# ---- Two of them --------------------------------------------------------------------------------

SAME = {
    ("", "seed: 7"): True,
    ("", "soil { }"): True,
    ("", "launcher { local { } }"): True,
    ("launcher { slurm { num_gpus: 8 } }", "launcher { slurm { num_gpus: 1 } }"): True,
    ("lr: 0.1", "lr: .1"): True,
    ("", "seed: 8"): False,
    ("", "tags: ''"): False,
    ("", "watering { drip { } }"): False,
    ("watering { drip { } }", "watering { can { } }"): False,
    ("name: 'x'", "name: 'y'"): False,
    ("blob: 'x'", "blob: 'y'"): False,
    ("plants { }", "plants { } plants { }"): False,
    ("tree { left { } }", "tree { }"): False,
}


@pytest.mark.parametrize(("one", "other"), SAME, ids=lambda text: text or "-")
def test_a_fingerprint_is_that_of_what_is_computed(grow: Any, one: str, other: str) -> None:
    is_same = fingerprint("grow", grow(one)) == fingerprint("grow", grow(other))
    assert is_same == SAME[one, other]


def test_a_fingerprint_is_of_the_task_too_and_the_same_everywhere(grow: Any) -> None:
    assert fingerprint("grow", grow("")) != fingerprint("pick", grow(""))
    assert len(fingerprint("grow", grow(FULL))) == 16


DIFF = {
    ("lr: 0.1", "lr: 0.2"): ["lr 0.1 -> 0.2"],
    ("", "lr: 0.2"): ["lr unset -> 0.2"],
    ("name: 'a'", ""): ["name 'a' -> unset"],
    ("tags: ['a', 'b']", "tags: ['a', 'c', 'd']"): ["tags.1 'b' -> 'c'", "tags.2 unset -> 'd'"],
    ("watering { drip { } }", "watering { can { } }"): [
        "watering.can unset -> {}",
        "watering.drip {} -> unset",
    ],
    ("labels { key: 'a.b' value: 'x' }", ""): ["labels.\"a.b\" 'x' -> unset"],
    ("launcher { local { } }", "launcher { slurm { } }"): [],
    ("helper { name: 'x' }", "helper { name: 'x' }"): [],
}


@pytest.mark.parametrize(("old", "new"), DIFF, ids=lambda text: text or "-")
def test_a_diff_has_a_line_a_field(grow: Any, old: str, new: str) -> None:
    assert diff(to_dict(grow(old)), to_dict(grow(new))) == DIFF[old, new]


# ---- What a schema has got since ----------------------------------------------------------------


def test_unset_is_what_has_neither_a_value_nor_a_default(grow: Any, demo: Any) -> None:
    found = unset(grow("lr: 1 dry: false launcher { slurm { } }"))
    assert {"wet", "name", "soil.kind", "watering.hours", "helper.soil.kind"} <= {*found}
    assert not {"lr", "dry", "seed", "tags", "soil.depth", "launcher.slurm.partition"} & {*found}
    assert unset(prototxt.parse("can { }", demo.Watering, "f")) == ["hours"]


TEXTS = (
    "",
    FULL,
    "watering { can { } }",
    "watering { drip { } }",
    "plants { }",
    "plants { } plants { soil { } }",
    "tree { left { } }",
    "tree { left { left { } } branches { } }",
    "helper { next { } }",
    "beds { key: 'a.b' value { } }",
    "soil { } launcher { slurm { } }",
)


@pytest.mark.parametrize("new", TEXTS, ids=lambda text: text[:20] or "-")
@pytest.mark.parametrize("old", TEXTS, ids=lambda text: text[:20] or "-")
def test_where_the_schema_is_the_same_no_field_that_differs_was_added(grow: Any, old: str, new: str) -> None:
    before, after = (to_dict(grow(text), with_defaults=True) for text in (old, new))
    added = added_fields([*paths(before), *unset(grow(old))], grow(new))
    assert diff(before, after, added=added) == diff(before, after)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:20] or "-")
def test_a_field_that_nobody_knew_of_was_added_wherever_it_is(grow: Any, text: str) -> None:
    known = [*paths(to_dict(grow(text), with_defaults=True)), *unset(grow(text))]
    before = [path for path in known if not path.endswith(("seed", "depth"))]
    added = {path for path in known if path.endswith(("seed", "depth"))} - {
        *flatten(grow(text), with_all=False)
    }
    assert added <= added_fields(before, grow(text))
