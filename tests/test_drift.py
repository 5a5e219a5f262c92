"""How runs would compose now. Of a sweep one is composed: the others are told by it, and never otherwise."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from heyhi import drift
from heyhi.compose import Composer, Composition
from heyhi.draft import make_order
from heyhi.drift import Drift
from heyhi.records import _flat
from tests.conftest import BatchOf

Known = dict[str, Any]

SWEEPS = {
    "numbers": ["seed=1 lr=0.1", "seed=2 lr=.2", "lr=0.1 seed=3", "seed=0 lr=-0.0", "seed=0 lr=0"],
    "words": ["wet=true colour=RED name=a", "wet=0 colour=2 name=", "wet=true colour=RED name=\\NULL"],
    "bytes": ["blob=a", "blob=\\xff"],
    "not finite": ["precise=nan", "precise=inf", "precise=nan"],
    "in messages": ["soil.depth=1", "soil.depth=2", "soil.depth=0.5"],
    "members": ["watering.drip.litres=1", "watering.drip.litres=2", "watering.rain=3", "watering.note=soft"],
    "cleared": ["seed=1 soil.depth=2 soil=NULL", "seed=2 soil.depth=3 soil=NULL", "seed=NULL"],
    "twice": ["seed=1 seed=2", "seed=2 seed=1", "seed=2"],
    "lists": ["tags.-1=a", "tags.-1=b", "tags.-1=a tags.-1=b", "numbers.0=1", "numbers.0=2"],
    "maps": ["labels.a=1", "labels.a=2", 'prices.1=0.5', "prices.1=1"],
    "includes": [
        "Isoil=wet seed=1", "Isoil=wet seed=2", "Isoil=dry seed=2",
        "Isoil=wet soil.depth=4", "Isoil=dry soil.depth=5",
    ],
}  # fmt: skip

SOIL = {"conf/common/wet.prototxt": "depth: 8", "conf/common/dry.prototxt": "depth: 9"}
BASE = "conf/it.prototxt"
EDITS = {
    "nothing": {},
    "a field": {BASE: "grow { count: 5 }"},
    "a field that may be set": {BASE: "grow { seed: 5 lr: 5 soil { depth: 5 } }"},
    "the task": {BASE: 'pick { what: "x" }'},
    "an include": {"conf/common/wet.prototxt": "depth: 80"},
    "nonsense": {BASE: "grow {"},
}


def swap(knowns: list[Known], **values: Any) -> None:
    """As if these runs had been frozen otherwise: the second one, and the last one in its first field."""
    knowns[1]["config"].update(values)
    first = next(iter(knowns[-1]["config"]))
    knowns[-1]["config"][first] = "other"
    of_then(knowns)


def of_then(knowns: list[Known]) -> None:
    for known in knowns[1:]:
        known["fingerprint"] = "of then"


def drop(knowns: list[Known]) -> None:
    del knowns[0]["fingerprint"], knowns[1]["config"], knowns[1]["overrides"]


FROZEN: dict[str, Callable[[list[Known]], None]] = {
    "as composed": lambda knowns: None,
    "otherwise": lambda knowns: swap(knowns, seed=5),
    "as another type": lambda knowns: swap(knowns, seed=2.0, lr="0.2", wet=0, count=1),
    "by another version": lambda knowns: of_then(knowns),
    "of nothing": lambda knowns: drop(knowns),
    "of no texts": lambda knowns: knowns[1].update(overrides=[1, None, ["seed=1"]], task=["grow"]),
}


@pytest.fixture
def told(batch_of: BatchOf, demo: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What is told of runs, as their heyhi.json has them."""
    monkeypatch.setattr("heyhi.drift.load_messages", lambda project: demo.MetaCfg)
    batch_of.write("conf/conf.proto", "")
    for path, text in SOIL.items():
        batch_of.write(path, text)

    def ask(knowns: list[Known]) -> list[str]:
        asked = Drift(batch_of.project)
        found = []
        for number, known in enumerate(knowns):
            config = known.get("config")
            found.append(asked.of(known, str(number), _flat(config) if isinstance(config, dict) else {}))
        return found

    return ask


def frozen(batch_of: BatchOf, lines: list[str]) -> list[Known]:
    entries = [batch_of(line).entries[0] for line in lines]
    # As heyhi.json has it.
    return [json.loads(json.dumps(make_order(entry.draft).provenance, default=str)) for entry in entries]


@pytest.mark.parametrize("lines", SWEEPS.values(), ids=SWEEPS)
@pytest.mark.parametrize("change", FROZEN.values(), ids=FROZEN)
def test_one_of_a_sweep_is_told_as_if_it_was_composed(
    told: Callable[..., list[str]],
    batch_of: BatchOf,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    change: Callable[[list[Known]], None],
) -> None:
    knowns = frozen(batch_of, lines)
    change(knowns)
    for what, edit in EDITS.items():
        for path, text in {BASE: "grow { }", **SOIL, **edit}.items():
            batch_of.write(path, text)
        quick, backwards = told(knowns), told(knowns[::-1])[::-1]
        with monkeypatch.context() as patch:
            patch.setattr(drift, "_sort_out", lambda *words: None)
            assert quick == backwards == told(knowns), f"{what} was edited"


TRAPS: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "a value": (["seed=1", "seed=2"], {"seed": 3}, "seed 3 -> 2"),
    "a type": (["seed=1", "seed=2"], {"seed": 2.0}, "seed 2.0 -> 2"),
    "another field": (["seed=1", "seed=2"], {"dry": False}, "dry False -> True"),
    "a field in a message": (["seed=1", "seed=2"], {"soil": {"depth": 8}}, "soil.depth 8 -> 0.5"),
    "a field that was not there": (["seed=1", "seed=2"], {"count": 1}, "count 1 -> unset"),
    "another include": (["Isoil=wet", "Isoil=dry"], {"soil": {"depth": 8.0}}, "soil.depth 8.0 -> 9.0"),
    "a text that reads NULL": (["name=a", "name=NULL"], {"name": "NULL"}, "name 'NULL' -> unset"),
    "a zero": (["precise=1 lr=0", "precise=-0.0 lr=0"], {"precise": 0.0}, "precise 0.0 -> -0.0"),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "was", "expected"), TRAPS.values(), ids=TRAPS)
def test_what_was_frozen_otherwise_is_told_beside_one_that_was_not(
    told: Callable[..., list[str]], batch_of: BatchOf, lines: list[str], was: dict[str, Any], expected: str
) -> None:
    knowns = frozen(batch_of, lines)
    fields = {**knowns[1]["config"], **was}
    # In the order of the schema, as the other one is.
    knowns[1]["config"] = {name: fields[name] for name in [*knowns[0]["config"], *fields] if name in fields}
    of_then(knowns)
    assert told(knowns) == ["", expected]


def test_of_a_sweep_one_is_composed(
    told: Callable[..., list[str]], batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"Isoil=wet seed={seed} lr=0.{seed % 7 + 1} soil.depth={seed}" for seed in range(20)]
    knowns = frozen(batch_of, lines)
    composed: list[str] = []
    original = Composer.compose

    def compose(composer: Composer, base: Path, overrides: Sequence[str]) -> Composition:
        composed.append(base.name)
        return original(composer, base, overrides)

    monkeypatch.setattr(Composer, "compose", compose)
    assert (told(knowns), composed) == ([""] * 20, ["it.prototxt"])
    knowns[7]["config"]["seed"] = 8
    knowns[7]["fingerprint"] = "of then"
    assert told(knowns) == [""] * 7 + ["seed 8 -> 7"] + [""] * 12
