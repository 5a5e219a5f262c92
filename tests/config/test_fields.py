import re
from typing import Any

import pytest

from heyhi.config.fields import Path, set_text, settled
from heyhi.config.overrides import split_key
from tests.conftest import NO_FIELD


def apply(message: Any, *lines: str) -> list[str]:
    """Do `path=text` lines; returns them in their canonical spelling."""
    done = []
    for line in lines:
        key, _, text = line.partition("=")
        path, canonical = set_text(message, split_key(key), text)
        done.append(f"{'.'.join(path)}={canonical}")
    return done


# ---- Paths --------------------------------------------------------------------------------------

# lines -> the message as text, and the lines in canonical spelling where these differ
DONE = {
    "seed=1 seed=2": ("seed: 2", ""),
    "seed=1 seed=NULL": ("", ""),
    "seed=NULL": ("", ""),
    "soil.depth=1": ("soil { depth: 1.0 }", "soil.depth=1.0"),
    "soil=SELECT": ("soil { }", ""),
    "soil.depth=1 soil=SELECT": ("soil { depth: 1.0 }", "soil.depth=1.0 soil=SELECT"),
    "soil.depth=1 soil=NULL": ("", "soil.depth=1.0 soil=NULL"),
    "soil.depth=NULL": ("", ""),
    "tree.left.left.size=NULL": ("", ""),
    "soil.depth=1 soil.depth=NULL": ("soil { }", "soil.depth=1.0 soil.depth=NULL"),
    "Iterations=3": ("Iterations: 3", ""),
    # oneofs
    "watering.drip.litres=1": ("watering { drip { litres: 1 } }", ""),
    "watering.drip=SELECT": ("watering { drip { } }", ""),
    "watering.drip.litres=1 watering.drip=SELECT": ("watering { drip { litres: 1 } }", ""),
    "watering.drip.litres=1 watering.can=SELECT": ("watering { can { } }", ""),
    "watering.rain=0": ("watering { rain: 0 }", ""),
    "watering.rain=1 watering.drip=NULL": ("watering { rain: 1 }", ""),
    "watering.rain=1 watering.rain=NULL": ("watering { }", ""),
    "watering.drip.litres=NULL": ("", ""),
    # lists of every kind
    "tags.-1=a tags.-1=b": ('tags: "a" tags: "b"', "tags.0=a tags.1=b"),
    "tags.0=a tags.1=b tags.0=c": ('tags: "c" tags: "b"', ""),
    "tags.-1=NULLx tags.-1=\\NULL": ('tags: "NULLx" tags: "NULL"', "tags.0=NULLx tags.1=\\NULL"),
    "tags.0=a tags=NULL tags.0=b": ('tags: "b"', ""),
    "numbers.-1=1 numbers.-1=-2": ("numbers: 1 numbers: -2", "numbers.0=1 numbers.1=-2"),
    "weights.-1=.5": ("weights: 0.5", "weights.0=0.5"),
    "colours.-1=-3 colours.-1=RED": ("colours: ODD colours: RED", "colours.0=ODD colours.1=RED"),
    "flags.-1=1 flags.0=false": ("flags: false", "flags.0=true flags.0=false"),
    "blobs.-1=\\xff": ('blobs: "\\377"', "blobs.0=\\377"),
    "plants.-1.name=x plants.0.height=2": (
        'plants { name: "x" height: 2 }',
        "plants.0.name=x plants.0.height=2",
    ),
    "plants.-1=SELECT plants.-1=SELECT": ("plants { } plants { }", "plants.0=SELECT plants.1=SELECT"),
    "plants.-1.soil.depth=1": ("plants { soil { depth: 1.0 } }", "plants.0.soil.depth=1.0"),
    "plants.-1.name=NULL": ("", "plants.0.name=NULL"),
    "plants=NULL": ("", ""),
    # maps of every kind
    "labels.a=x labels.b=y": ('labels { key: "a" value: "x" } labels { key: "b" value: "y" }', ""),
    "labels.a=x labels.a=NULL": ("", ""),
    "labels.a=NULL": ("", ""),
    "labels.a=x labels=NULL": ("", ""),
    "labels.a=\\NULL": ('labels { key: "a" value: "NULL" }', ""),
    'labels."a.b"=x': ('labels { key: "a.b" value: "x" }', "labels.a.b=x"),
    "prices.+3=1 prices.-03=2": (
        "prices { key: -3 value: 2.0 } prices { key: 3 value: 1.0 }",
        "prices.3=1.0 prices.-3=2.0",
    ),
    "lights.1=2 lights.False=RED": (
        "lights { key: false value: RED } lights { key: true value: GREEN }",
        "lights.true=GREEN lights.false=RED",
    ),
    "beds.n.name=x": ('beds { key: "n" value { name: "x" } }', ""),
    "beds.n=SELECT": ('beds { key: "n" value { } }', ""),
    "beds.n=SELECT beds.n=NULL": ("", ""),
    "beds.n.name=NULL": ("", ""),
    "beds.n=NULL": ("", ""),
    "beds.n.soil.depth=2": ('beds { key: "n" value { soil { depth: 2.0 } } }', "beds.n.soil.depth=2.0"),
    # a message inside itself
    "tree.left.left.size=3": ("tree { left { left { size: 3 } } }", ""),
    "tree.branches.-1.branches.-1.size=1": (
        "tree { branches { branches { size: 1 } } }",
        "tree.branches.0.branches.0.size=1",
    ),
}


@pytest.mark.parametrize("lines", DONE)
def test_a_path_reaches_every_field(demo: Any, lines: str) -> None:
    message = demo.Grow()
    text, canonical = DONE[lines]
    done = apply(message, *lines.split())
    assert " ".join(str(message.to_frozen()).split()) == text
    assert " ".join(done) == (canonical or lines)


_GROW_FIELDS = (
    "seed, big, count, total, shift, far, fixed, long_fixed, signed_fixed, long_signed_fixed, lr, precise, "
    "wet, dry, name, blob, colour, tags, numbers, weights, colours, plants, labels, prices, beds, lights, "
    "soil, watering, tree, helper, Iterations, flags, blobs, helpers, named_helpers, launcher"
)
REFUSED = {
    # names
    "sed=1": f"Grow {NO_FIELD} 'sed'; did you mean 'seed'?",
    "soil.dpth=1": f"soil (Soil) {NO_FIELD} 'dpth'; did you mean 'soil.depth'?",
    "watering.drip.liters=1": f"watering.drip (Drip) {NO_FIELD} 'liters'; "
    "did you mean 'watering.drip.litres'?",
    "litres=1": f"Grow {NO_FIELD} 'litres'; did you mean 'watering.drip.litres'?",
    "watering.litres=1": f"watering (Watering) {NO_FIELD} 'litres'; did you mean 'watering.drip.litres'?",
    "watering.can.x=1": f"watering.can (Can) {NO_FIELD} 'x'; its fields: none",
    "plants.0.nam=x": f"plants.0 (Plant) {NO_FIELD} 'nam'; did you mean 'plants.0.name'?",
    "zzzzzz=1": f"Grow {NO_FIELD} 'zzzzzz'; its fields: {_GROW_FIELDS}",
    'soil."a b\n"=1': f"soil (Soil) {NO_FIELD} 'a b\\n'; its fields: depth, kind",
    # Python attributes are no fields
    "DESCRIPTOR=1": f"Grow {NO_FIELD} 'DESCRIPTOR'; its fields: {_GROW_FIELDS}",
    "to_dict=1": f"Grow {NO_FIELD} 'to_dict'; its fields: {_GROW_FIELDS}",
    "__class__=x": f"Grow {NO_FIELD} '__class__'; its fields: {_GROW_FIELDS}",
    "soil.SetInParent=1": f"soil (Soil) {NO_FIELD} 'SetInParent'; its fields: depth, kind",
    # what is there, is no such thing
    "watering.how=drip": "watering.how is a oneof; name its member: drip, can, rain, note",
    "watering.how.drip=SELECT": "watering.how is a oneof; name its member: drip, can, rain, note",
    "soil=3": "soil is a message (Soil), it cannot be '3': set its fields (soil.depth=...), "
    "choose it with soil=SELECT, or clear it with soil=NULL",
    "watering.can=": "watering.can is a message (Can), it cannot be '': "
    "choose it with watering.can=SELECT, or clear it with watering.can=NULL",
    "seed.x=1": f"seed is of type int32; it {NO_FIELD} 'x'",
    "tags=a": "tags is a list: set tags.0=..., append with tags.-1=..., or tags=NULL",
    "tags=SELECT": "tags is a list: set tags.0=..., append with tags.-1=..., or tags=NULL",
    "labels=a": "labels is a map: set labels.<key>=..., or clear it with NULL",
    "plants.0=x": "plants.0 is a message (Plant), it cannot be 'x': set its fields (plants.0.name=...), "
    "choose it with plants.0=SELECT, or clear it with plants.0=NULL",
    "beds.a=x": "beds.a is a message (Plant), it cannot be 'x': set its fields (beds.a.name=...), "
    "choose it with beds.a=SELECT, or clear it with beds.a=NULL",
    "tags.0.x=1": f"tags.0 is of type string; it {NO_FIELD} 'x'",
    "labels.a.b=x": "labels.a is of type string; a key with a dot needs quotes",
    # elements
    "tags.1=a": "tags has 0 elements: bad index '1'; valid are 0 or -1 to append",
    "numbers.-1=1 numbers.2=1": "numbers has 1 element: bad index '2'; "
    "valid are 0 to 0 to change, 1 or -1 to append",
    "tags.x=a": "tags has 0 elements: bad index 'x'; valid are 0 or -1 to append",
    "tags.-2=a": "tags has 0 elements: bad index '-2'; valid are 0 or -1 to append",
    "tags.+0=a": "tags has 0 elements: bad index '+0'; valid are 0 or -1 to append",
    "tags.-1=NULL": "tags.0: an element cannot be NULL; tags=NULL clears the list",
    "plants.0=NULL": "plants.0: an element cannot be NULL; plants=NULL clears the list",
    "numbers.-1=x": "numbers.0: expected a whole number (int32), not 'x'",
    "plants.-1.height=x": "plants.0.height: expected a whole number (int32), not 'x'",
    "prices.x=1": "a key of prices: expected a whole number (int32), not 'x'",
    "lights.maybe=RED": "a key of lights: expected true or false, not 'maybe'",
    "lights.true=BLUE": "lights.true: expected one of NONE, RED, GREEN, ODD, not 'BLUE'",
    "prices.1=x": "prices.1: expected a number (float), not 'x'",
    # NULL of what cannot be
    "soil.dpth=NULL": f"soil (Soil) {NO_FIELD} 'dpth'; did you mean 'soil.depth'?",
    "plants.0.nam=NULL": f"plants.0 (Plant) {NO_FIELD} 'nam'; did you mean 'plants.0.name'?",
    "beds.n.nam=NULL": f"beds.n (Plant) {NO_FIELD} 'nam'; did you mean 'beds.n.name'?",
    "tree" + ".left" * 100 + ".size=1": f"tree{'.left' * 10}.le... is nested too deeply: more than 90 levels",
}


@pytest.mark.parametrize("lines", REFUSED, ids=lambda lines: lines[:40])
def test_what_is_wrong_is_said_with_the_full_path_and_what_would_be_right(demo: Any, lines: str) -> None:
    *before, last = lines.split(" ") if '"' not in lines else [lines]
    message = demo.Grow()
    apply(message, *before)
    with pytest.raises(ValueError, match=f"^{re.escape(REFUSED[lines])}$"):
        apply(message, last)


@pytest.mark.parametrize("line", ["plants.-1.height=x", "beds.n.height=x", "soil.depth=x", "watering.rain=x"])
def test_what_is_refused_changes_nothing(demo: Any, line: str) -> None:
    message = demo.Grow()
    with pytest.raises(ValueError, match="expected a"):
        apply(message, line)
    assert message == demo.Grow()


SETTLED: dict[str, Path | None] = {
    "seed": ("seed",),
    "prices.+03": ("prices", "3"),
    "lights.1": ("lights", "true"),
    "labels.03": ("labels", "03"),
    "beds.a.soil.depth": ("beds", "a", "soil", "depth"),
    "tags": ("tags",),
    "tags.0": None,
    "beds.a.soil.x.y": ("beds", "a", "soil", "x", "y"),
    "tree.branches.0.size": None,
    "prices.x": ("prices", "x"),
    "nothing.1": ("nothing", "1"),
}


@pytest.mark.parametrize("key", SETTLED)
def test_a_path_outside_lists_has_one_spelling(demo: Any, key: str) -> None:
    assert settled(demo.Grow.DESCRIPTOR, split_key(key)) == SETTLED[key]
