from typing import Any

import pytest

from heyhi.errors import ConfigError
from tests.conftest import ComposeText

BASE = "grow { tags: 'a' tags: 'b' plants { name: 'x' } plants { } prices { key: 3 value: 1 } }"

# overrides (with `, ` between them) -> canonical overrides; an empty text: these are canonical
CANONICAL = {
    # one spelling
    "--seed=1": "seed=1",
    "lr=.1": "lr=0.1",
    "lr=0.10": "lr=0.1",
    "lr=1e-1": "lr=0.1",
    "lr=1": "lr=1.0",
    "lr=1e-5": "lr=1e-05",
    "precise=0.10": "precise=0.1",
    "seed=007": "seed=7",
    "seed=+7": "seed=7",
    "wet=1": "wet=true",
    "wet=False": "wet=false",
    "colour=2": "colour=GREEN",
    "colour=-3": "colour=ODD",
    "name=.1": "",
    "name=SELECT": "name=\\SELECT",
    "name=\\NULL": "",
    "name=NULL": "",
    "soil=SELECT": "",
    "blob=\\xff": "blob=\\377",
    "prices.+3=1": "prices.3=1.0",
    "lights.1=1": "lights.true=RED",
    'labels."a"=b': "labels.a=b",
    'labels."a.b"=c': "",
    "labels.a b=c": 'labels."a b"=c',
    # appends by their index
    "tags.-1=c, tags.-1=d": "tags.2=c, tags.3=d",
    "plants.-1.name=y": "plants.2.name=y",
    "Iplants.-1=rose": "Iplants.2=rose",
    "Iplants.0=rose, Iplants.0=tall": "",
    # includes
    "Isoil=clay.prototxt": "Isoil=clay",
    "I.soil=clay": "Isoil=clay",
    "I=whole.prototxt": "I=whole",
    # order: dots, key, value
    "seed=1, lr=1": "lr=1.0, seed=1",
    "soil.kind=a, seed=1": "seed=1, soil.kind=a",
    "seed=1, I=whole, Isoil=clay": "I=whole, Isoil=clay, seed=1",
    "watering.hours=1, watering.rain=2": "",
    # elements in the order in which they can be made
    "plants.-1.soil.depth=1, plants.-1.name=a": "plants.2.soil.depth=1.0, plants.3.name=a",
    "plants.1.name=a, plants.0.name=b": "plants.0.name=b, plants.1.name=a",
    "plants.0.soil.depth=1, seed=1, plants.1.name=a": "seed=1, plants.0.soil.depth=1.0, plants.1.name=a",
    "plants.0.soil.depth=1, plants.0.name=b": "plants.0.name=b, plants.0.soil.depth=1.0",
    # order stays where it counts
    "soil.depth=1.0, soil=NULL": "",
    "soil=NULL, soil.depth=1.0": "",
    "tags=NULL, tags.0=a, lr=1": "lr=1.0, tags=NULL, tags.0=a",
    "Isoil=clay, I=whole": "",
    "Iwatering.drip=drip, Iwatering.can=can": "",
    "Iwatering.can=can, Iwatering.drip=drip": "",
    "watering.drip=NULL, watering.can=SELECT": "",
    "labels.a=1, labels=NULL": "",
    "beds.x.name=a, beds.x=NULL": "",
    # a key given twice: the last
    "seed=1, seed=2": "seed=2",
    "seed=2, lr=1, seed=2": "lr=1.0, seed=2",
    "prices.3=1, prices.03=2": "prices.3=2.0",
    "tags.0=c, tags.0=d": "tags.0=d",
    "tags.-1=c, tags.2=d": "tags.2=d",
    "plants.-1.name=c, plants.2.name=NULL": "plants.2.name=c, plants.2.name=NULL",
    "plants.-1.name=NULL, plants.2.name=c": "plants.2.name=c",
    "Isoil=clay, Isoil=loam": "Isoil=loam",
    # names that look like the language's own steps
    'labels."|"=1': "",
    'beds."|x".name=a, beds."|x".height=1': 'beds."|x".height=1, beds."|x".name=a',
    "": "",
}
CHUNKS = {
    "clay": "kind: 'clay'",
    "loam": "kind: 'loam'",
    "whole": "soil { kind: 'whole' }",
    "rose": "name: 'rose'",
    "tall": "height: 3",
    "drip": "litres: 5",
    "can": "",
}


@pytest.mark.parametrize("typed", CANONICAL)
def test_what_means_the_same_has_one_form_and_the_form_is_its_own(
    compose_text: ComposeText, typed: str
) -> None:
    want = _split(CANONICAL[typed] or typed)
    first = compose_text(BASE, *_split(typed), **CHUNKS)
    assert first.overrides == want
    again = compose_text(BASE, *want)
    assert again.overrides == want
    assert again.notes == ()
    assert again.meta == first.meta


def _split(texts: str) -> tuple[str, ...]:
    return tuple(texts.split(", ")) if texts else ()


def test_more_than_ten_elements_keep_the_order_of_their_index(compose_text: ComposeText) -> None:
    numbers = [f"numbers.{index}={index}" for index in range(12)]
    done = compose_text("grow {}", *numbers)
    assert done.overrides == tuple(numbers)
    assert compose_text("grow {}", *done.overrides).meta == done.meta


NOTES = {
    "seed=1, --seed=2": ["'seed=1' is given up for '--seed=2': the last one counts"],
    "seed=1, seed=2, seed=3": [
        "'seed=1' is given up for 'seed=2': the last one counts",
        "'seed=2' is given up for 'seed=3': the last one counts",
    ],
    "prices.3=1, prices.03=2": ["'prices.3=1' is given up for 'prices.03=2': the last one counts"],
    "Isoil=clay, I.soil=loam": ["'Isoil=clay' is given up for 'I.soil=loam': the last one counts"],
    "tags.0=c, tags.0=d": ["'tags.0=c' is given up for a later value: the last one counts"],
    "seed=1, lr=1": [],
    "tags.-1=c, tags.-1=d": [],
}


@pytest.mark.parametrize("typed", NOTES)
def test_an_override_that_is_given_up_is_noted(compose_text: ComposeText, typed: str) -> None:
    assert list(compose_text(BASE, *_split(typed), **CHUNKS).notes) == NOTES[typed]


def test_an_earlier_value_of_a_key_is_not_even_looked_at(compose_text: ComposeText) -> None:
    assert compose_text(BASE, "seed=x", "seed=2").overrides == ("seed=2",)


CLASHES = {
    "watering.drip.litres=1, watering.can=SELECT": "override 'watering.can=SELECT': "
    "chooses 'can' of oneof 'how', and 'watering.drip.litres=1' chooses 'drip'; only one of them can be set",
    "watering.rain=1, --watering.drip=SELECT": "override '--watering.drip=SELECT': "
    "chooses 'drip' of oneof 'how', and 'watering.rain=1' chooses 'rain'; only one of them can be set",
}


@pytest.mark.parametrize("typed", CLASHES)
def test_two_members_of_a_oneof_are_refused(compose_text: ComposeText, typed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_text(BASE, *_split(typed))
    assert str(caught.value) == CLASHES[typed]


MEMBERS = {
    "a value that ends in NULL is a value": ("watering.note=x=NULL", "watering.can=SELECT", True),
    "clearing one and choosing another": ("watering.drip=NULL", "watering.can=SELECT", False),
    "another than the include's": ("Iwatering.drip=drip", "watering.can=SELECT", False),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_a_member_of_a_oneof_is_chosen_once(compose_text: ComposeText, case: str) -> None:
    *typed, is_clash = MEMBERS[case]
    overrides: list[Any] = typed
    if is_clash:
        with pytest.raises(ConfigError, match="only one of them can be set"):
            compose_text(BASE, *overrides, **CHUNKS)
    else:
        config: Any = compose_text(BASE, *overrides, **CHUNKS).config
        assert config.watering.WhichOneof("how") == "can"
