import copy
import pickle
from typing import Any

import pytest

from heyhi.config import prototxt
from heyhi.config.frozen import editable, freeze, frozen_class
from heyhi.config.views import to_dict
from tests.conftest import FULL, NO_FIELD


@pytest.fixture
def grow(demo: Any) -> Any:
    """grow("seed: 1"): a frozen Grow."""
    return lambda text="": freeze(prototxt.parse(text, demo.Grow, "f"))


# ---- Attributes ---------------------------------------------------------------------------------

# text -> what is read -> its value
READ = {
    # scalars
    ("seed: 1", "seed"): 1,
    ("", "seed"): 7,
    ("", "big"): None,
    ("", "lr"): None,
    ("", "precise"): 0.25,
    ("", "wet"): False,
    ("", "dry"): True,
    ("", "name"): None,
    ("name: ''", "name"): "",
    ("", "blob"): None,
    ("blob: '\\377'", "blob"): b"\xff",
    ("", "colour"): "RED",
    ("colour: ODD", "colour"): "ODD",
    ("lr: 0.1", "lr"): 0.1,
    # messages
    ("", "soil.depth"): 0.5,
    ("", "soil.kind"): None,
    ("", "helper.next.next.name"): None,
    ("", "tree.left.left.left.size"): 1,
    ("tree { left { size: 3 } }", "tree.left.size"): 3,
    ("tree { left { size: 3 } }", "tree.left.left.size"): 1,
    # oneofs
    ("", "watering.which_how"): None,
    ("", "watering.how"): None,
    ("", "watering.drip"): None,
    ("", "watering.rain"): None,
    ("", "watering.note"): None,
    ("watering { drip { } }", "watering.which_how"): "drip",
    ("watering { drip { } }", "watering.how.litres"): 3,
    ("watering { drip { } }", "watering.drip.litres"): 3,
    ("watering { drip { } }", "watering.can"): None,
    ("watering { rain: 0 }", "watering.how"): 0,
    ("watering { rain: 0 }", "watering.which_how"): "rain",
    # lists and maps
    ("", "tags"): (),
    ("tags: 'a'", "tags"): ("a",),
    ("colours: [RED, ODD]", "colours"): ("RED", "ODD"),
    ("weights: 0.1", "weights"): (0.1,),
    ("", "labels"): {},
    ("labels { key: 'b' } labels { key: 'a' value: 'x' }", "labels"): {"a": "x", "b": ""},
    ("lights { key: true value: ODD }", "lights"): {True: "ODD"},
    ("prices { key: 1 value: 0.1 }", "prices"): {1: 0.1},
}


@pytest.mark.parametrize(("text", "path"), READ, ids=lambda text: text[:40] or "-")
def test_a_field_reads_as(grow: Any, text: str, path: str) -> None:
    value = grow(text)
    for name in path.split("."):
        value = getattr(value, name)
    assert value == READ[text, path]
    assert type(value) is type(READ[text, path]) or isinstance(value, dict)


def test_lists_and_maps_of_messages_hold_frozen_ones(grow: Any, demo: Any) -> None:
    config = grow("plants { name: 'x' } beds { key: 'n' value { height: 2 } }")
    assert isinstance(config.plants, tuple)
    assert type(config.plants[0]) is type(config.beds["n"]) is frozen_class(demo.Plant)
    plants: list[Any] = [config.plants[0], config.beds["n"]]
    assert (plants[0].name, plants[1].height) == ("x", 2)


CHANGES: dict[str, tuple[Any, str]] = {
    "a field": (lambda c: setattr(c, "seed", 1), "Attempt to set seed=1 on read-only config"),
    "a new name": (lambda c: setattr(c, "x", 1), "Attempt to set x=1 on read-only config"),
    "the message behind it": (
        lambda c: setattr(c, "_message", 1),
        "Attempt to set _message=1 on read-only config",
    ),
    "a deletion": (lambda c: delattr(c, "seed"), "Attempt to delete seed of read-only config"),
    "a field of an unset message": (lambda c: setattr(c.soil, "depth", 1), "Attempt to set depth=1 .*"),
    "m[k] = v": (lambda c: c.labels.__setitem__("a", "b"), "Attempt to change a map of a read-only config"),
    "del m[k]": (lambda c: c.labels.__delitem__("a"), "Attempt to change a map of a read-only config"),
    "m.update": (lambda c: c.labels.update(a="b"), "Attempt to change a map of a read-only config"),
    "m.pop": (lambda c: c.labels.pop("a", None), "Attempt to change a map of a read-only config"),
    "m.clear": (lambda c: c.labels.clear(), "Attempt to change a map of a read-only config"),
    "m.setdefault": (
        lambda c: c.labels.setdefault("a", "b"),
        "Attempt to change a map of a read-only config",
    ),
    "m |= other": (lambda c: c.labels.__ior__({"a": "b"}), "Attempt to change a map of a read-only config"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_nothing_can_be_changed(grow: Any, what: str) -> None:
    change, message = CHANGES[what]
    config = grow("labels { key: 'a' }")
    with pytest.raises(RuntimeError, match=f"^{message}$"):
        change(config)
    assert config == grow("labels { key: 'a' }")


def test_an_unknown_field_is_an_attribute_error_with_its_like(grow: Any) -> None:
    with pytest.raises(AttributeError, match=rf"^Grow {NO_FIELD} 'sed'; did you mean 'seed'"):
        _ = grow().sed
    assert getattr(grow(), "sed", 5) == 5
    assert not hasattr(grow(), "HasField")
    assert {"seed", "watering", "to_dict"} <= set(dir(grow()))


def test_which_oneof_is_the_old_way(grow: Any) -> None:
    with pytest.warns(DeprecationWarning, match="which_how"):
        assert grow("watering { can { } }").watering.WhichOneof("how") == "can"


# ---- Values: equality, copies, pickle, text -----------------------------------------------------


def test_equality_and_hash_are_by_value(grow: Any, demo: Any) -> None:
    assert grow(FULL) == grow(FULL)
    assert hash(grow(FULL)) == hash(grow(FULL))
    assert grow("seed: 1") != grow("seed: 2")
    assert grow("seed: 7") != grow("")  # set, and not set
    assert grow("lr: nan") == grow("lr: nan")
    assert grow().soil == demo.Soil().to_frozen()
    assert grow("") != demo.Soil().to_frozen()
    assert grow("") != demo.Grow()
    assert len({grow("labels { key: 'a' }").labels, grow("labels { key: 'a' }").labels}) == 1


def test_a_map_in_another_order_is_the_same_config(demo: Any) -> None:
    labels = {f"key {number}": "" for number in range(50)}
    one, other = demo.Grow(labels=labels), demo.Grow(labels=dict(reversed(labels.items())))
    assert one.to_frozen() == other.to_frozen()
    assert hash(one.to_frozen()) == hash(other.to_frozen())
    assert str(one.to_frozen()) == str(other.to_frozen())


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_is_equal_and_frozen(grow: Any, again: Any) -> None:
    config = grow(FULL)
    for one in (config, config.launcher, config.launcher.local, config.plants, config.labels, config.beds):
        assert again(one) == one
        assert type(again(one)) is type(one)


def test_to_frozen_is_itself_and_to_editable_a_copy(grow: Any) -> None:
    config = grow("seed: 1")
    assert config.to_frozen() is config
    assert config.is_frozen()
    assert config.heyhi_patched
    message = config.to_editable()
    message.seed = 2
    assert config.seed == 1
    assert not message.is_frozen()
    assert message.heyhi_patched
    assert message.to_editable() is message
    assert message.to_frozen().seed == 2


def test_freezing_takes_a_copy(demo: Any) -> None:
    message = demo.Grow(seed=1)
    message.soil.depth = 2
    config = message.to_frozen()
    message.seed, message.soil.depth = 5, 5
    assert (config.seed, config.soil.depth, str(config)) == (1, 2, "seed: 1\nsoil {\n  depth: 2.0\n}\n")


def test_the_text_of_a_config_is_that_of_a_file(grow: Any, demo: Any) -> None:
    config = grow(FULL)
    assert str(config) == repr(config)
    assert freeze(prototxt.parse(str(config), demo.Grow, "f")) == config


def test_the_text_with_defaults_has_those_of_the_schema(demo: Any) -> None:
    tree = prototxt.parse("left { } branches { }", demo.Tree, "f")
    want = "size: 1\nleft {\n  size: 1\n}\nbranches {\n  size: 1\n}\n"
    assert freeze(tree).to_str_with_defaults() == want
    assert tree.to_str_with_defaults() == want  # type: ignore[attr-defined]
    assert str(freeze(tree)) == "left {\n}\nbranches {\n}\n"


def test_a_config_of_either_kind_tells_the_same(grow: Any) -> None:
    config = grow(FULL)
    for how in ({}, {"with_defaults": True}, {"with_all": True}):
        told = config.to_editable().to_dict(**how)
        assert config.to_dict(**how) == told == to_dict(config.to_editable(), **how)
        assert editable(config) == editable(config.to_editable())


# ---- Made from Python values --------------------------------------------------------------------


def test_a_config_is_made_of_python_values(demo: Any, grow: Any) -> None:
    cls = frozen_class(demo.Grow)
    config = cls(
        seed=1,
        colour="ODD",
        name=None,
        tags=["a"],
        colours=("RED", -3),
        soil={"depth": 2, "kind": None},
        helper=demo.Helper(name="h"),
        tree=frozen_class(demo.Tree)(size=3),
        plants=[frozen_class(demo.Plant)(name="x"), {"height": 1}, demo.Plant()],
        labels={"a": "b"},
        lights={True: "GREEN"},
        beds={"n": {"name": "y"}, "m": frozen_class(demo.Plant)()},
        watering={"can": {}},
    )
    assert config == grow(
        "seed: 1 colour: ODD tags: 'a' colours: [RED, ODD] soil { depth: 2 } helper { name: 'h' } "
        "tree { size: 3 } plants { name: 'x' } plants { height: 1 } plants { } "
        "labels { key: 'a' value: 'b' } "
        "lights { key: true value: GREEN } beds { key: 'n' value { name: 'y' } } beds { key: 'm' } "
        "watering { can { } }"
    )
    assert config == cls(**config.to_dict())


def test_a_wrong_python_value_is_told(demo: Any) -> None:
    cls = frozen_class(demo.Grow)
    with pytest.raises(ValueError, match=rf"^Grow {NO_FIELD} 'sed'; did you mean 'seed'"):
        cls(sed=1)
    with pytest.raises(ValueError, match=rf"^Soil {NO_FIELD} 'dpth'; did you mean 'depth'"):
        cls(soil={"dpth": 1})
    with pytest.raises(ValueError, match="expected one of NONE, RED, GREEN, ODD, not 'BLUE'"):
        cls(colour="BLUE")
    with pytest.raises(TypeError):
        cls(seed="x")


def test_a_message_in_a_message_is_an_attribute_of_the_class(demo: Any) -> None:
    launcher = frozen_class(demo.Launcher)
    assert launcher.Slurm is frozen_class(demo.Launcher.Slurm)  # type: ignore[attr-defined]
    assert launcher.Slurm(num_gpus=8).num_gpus == 8  # type: ignore[attr-defined]
