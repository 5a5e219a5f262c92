"""Which runs the schema and the configs of now would make others."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heyhi.batch.entries import Batch
from heyhi.config.descriptors import Schemas
from heyhi.launch.here import freeze
from heyhi.runs.draft import make_order
from heyhi.runs.migration import check
from tests.conftest import NO_FIELD, BatchOf


def start(batch: Batch) -> Path:
    """Leave what a start writes."""
    (entry,) = batch.entries
    order = make_order(entry.draft)
    order.run.folder.mkdir(parents=True)
    freeze(order)
    order.run.provenance.write_text(json.dumps(order.provenance))
    return order.run.folder


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def edit(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "heyhi.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def before_a_field(path: str, text: str = "grow { }", **changes: object) -> Callable[[Path], object]:
    """As if the run had been frozen when the schema did not have some field of Grow yet, nor its config."""

    def change(folder: Path) -> None:
        known = json.loads((folder / "heyhi.json").read_text())
        known["config"].pop(path, None)
        known["unset"] = [one for one in known["unset"] if one != path and not one.startswith(f"{path}.")]
        edit(**{**known, "fingerprint": "of then", **changes})(folder)
        (Path.cwd() / "conf/it.prototxt").write_text(text)

    return change


OLD = 'grow { lr: 1 soil { acid: -3 } old { x: "a" "b" y: [1] } }'
FROZEN = {"seed": 7, "lr": 1.0, "precise": 0.25, "dry": True, "colour": "RED"}
CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda f: None, ""),
    "an unknown field": (
        lambda f: (f / "config_meta.prototxt").write_text(OLD),
        'frozen with what the schema has no more: grow.soil.acid (-3), grow.old ({ x : "a" "b" y : [ 1 ] })',
    ),
    "another type": (
        lambda f: (f / "config_meta.prototxt").write_text('grow { lr: "fast" }'),
        "its frozen config cannot be read: config_meta.prototxt:1:12: grow.lr: ",
    ),
    "no frozen config": (
        lambda f: os.remove(f / "config_meta.prototxt"),
        "its frozen config cannot be read: No such file or directory",
    ),
    "the base is gone": (
        lambda f: os.remove(Path.cwd() / "conf/it.prototxt"),
        "composes no more: conf/it.prototxt: cannot be read: No such file or directory",
    ),
    "the base was edited": (
        lambda f: (Path.cwd() / "conf/it.prototxt").write_text("grow { seed: 3 }"),
        "composes to another config: seed 7 -> 3",
    ),
    "the schema got a field with a default": (before_a_field("precise"), ""),
    "the schema got a field without one": (before_a_field("wet"), ""),
    "the schema got a message with defaults": (before_a_field("soil"), ""),
    "the schema got a field, and the base sets it": (
        before_a_field("precise", "grow { precise: 2 }"),
        "composes to another config: precise unset -> 2.0",
    ),
    "the schema got a message, and the base sets it": (
        before_a_field("soil", 'grow { soil { kind: "clay" } }'),
        "composes to another config: soil.depth unset -> 0.5, soil.kind unset -> 'clay'",
    ),
    "the base has got a message of nothing but defaults": (
        lambda f: (Path.cwd() / "conf/it.prototxt").write_text("grow { watering { drip { } } }"),
        "composes to another config: watering.drip.litres unset -> 3",
    ),
    "a field has got a default": (
        before_a_field("precise", unset=["wet", "precise"]),
        "composes to another config: precise unset -> 0.25",
    ),
    "a default is another one": (
        edit(config={**FROZEN, "seed": 6}, fingerprint="of then"),
        "composes to another config: seed 6 -> 7",
    ),
    "an older heyhi did not write down what was unset": (
        before_a_field("precise", unset=None),
        "composes to another config: precise unset -> 0.25",
    ),
    "a field is gone": (
        edit(overrides=["speed=1"]),
        f"composes no more: override 'speed=1': Grow {NO_FIELD} 'speed'",
    ),
    "provenance that cannot be read": (
        lambda f: (f / "heyhi.json").write_text("{"),
        "heyhi.json cannot be read",
    ),
    "provenance that cannot be looked at": (
        lambda f: link_to_itself(f / "heyhi.json"),
        "heyhi.json cannot be read",
    ),
    "canonical overrides that are no texts": (edit(canonical_overrides=[["lr=1"], 7]), ""),
    "an experiment root that no file system can have": (edit(experiment_root="a\0b"), ""),
    "provenance without overrides": (
        edit(overrides=None),
        "composes no more: heyhi.json does not say what it was composed of",
    ),
}  # fmt: skip


@pytest.fixture
def same_schema(demo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heyhi.runs.migration.read_schemas", lambda project: Schemas(demo.MetaCfg, ()))


@pytest.mark.usefixtures("same_schema")
@pytest.mark.parametrize(("change", "reason"), CASES.values(), ids=CASES)
def test_a_run_would_change_because(batch_of: BatchOf, change: Callable[[Path], object], reason: str) -> None:
    batch = batch_of("lr=1")
    change(start(batch))
    run = batch.entries[0].run
    checked = check([run], batch.project)
    told = "; ".join(checked.changes.get(run, []))
    assert (checked.total, checked.others) == (1, 0)
    assert told.startswith(reason)
    assert bool(told) is bool(reason)


@pytest.mark.usefixtures("same_schema")
def test_an_id_is_another_one_when_an_override_is_spelled_in_another_way(batch_of: BatchOf) -> None:
    batch = batch_of("lr=1")
    folder = start(batch)
    run = batch.entries[0].run
    old = batch_of("big=1").entries[0]  # as if `big` had been the name of `lr` once
    edit(id=old.run.id, canonical_overrides=["big=1"])(folder)
    assert check([run], batch.project).changes[run] == [f"its id would be {run.id}"]
    edit(id="by/hand")(folder)
    assert check([run], batch.project).changes == {}, "a folder that was named stays where it is"


@pytest.mark.usefixtures("same_schema")
def test_runs_of_other_projects_and_folders_without_provenance_are_not_looked_at(batch_of: BatchOf) -> None:
    batch = batch_of("lr=1")
    folder = start(batch)
    edit(project="park")(folder)
    run = batch.entries[0].run
    assert check([run, run._replace(folder=folder.parent)], batch.project) == (0, {}, 1)
