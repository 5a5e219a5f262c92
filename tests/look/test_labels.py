"""What tells runs apart, in few words."""

from typing import Any

import pytest

from heyhi.config.overrides import SELECT
from heyhi.look.labels import choices, config_of, end_of, names_of, owner_of
from heyhi.look.records import Record


def record(run_id: str, config: dict[str, Any] | None = None, **known: Any) -> Record:
    return Record(run_id, f"/exp/{run_id}", **{"task": "grow", "config": config or {}, **known})


def names(*configs: dict[str, Any]) -> list[str]:
    """What runs of these configs are called, all of p/it."""
    several = [record(f"p/it/x_{number:08x}", config) for number, config in enumerate(configs)]
    return list(names_of(several).values())


NAMES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "one run": ([{"lr": 1}], ["it"]),
    "what differs": ([{"lr": 0.1, "n": 1}, {"lr": 0.2, "n": 1}], ["it lr=0.1", "it lr=0.2"]),
    "the end of a path": ([{"a.b.lr": 1}, {"a.b.lr": 2}], ["it lr=1", "it lr=2"]),
    "what of it is its own": (
        [{"one.m.path": 1, "six.m.path": 3}, {"one.m.path": 2, "six.m.path": 4}],
        ["it one=1, six=3", "it one=2, six=4"],
    ),
    "a choice": (
        [{"six.x.greedy.epsilon": 1}, {"six.x.random": SELECT}],
        ["it x=greedy", "it x=random"],
    ),
    "a run that it needs": (
        [{"from": "/exp/p/it/x_00000001/m"}, {"lr": 1}, {"from": "/exp/p/it/x_00000003"}, {"lr": 2}],
        ["it from=it lr=1", "it lr=1", "it from=it lr=2", "it lr=2"],
    ),
    "no long texts, then the hash": (
        [{"note": "x" * 30}, {"note": "y" * 30}],
        ["it 00000000", "it 00000001"],
    ),
    "no launcher": (
        [{"launcher.slurm.hours": 1}, {"launcher.slurm.hours": 2}],
        ["it 00000000", "it 00000001"],
    ),
}


@pytest.mark.parametrize(("configs", "expected"), NAMES.values(), ids=NAMES)
def test_a_run_is_called(configs: list[dict[str, Any]], expected: list[str]) -> None:
    assert names(*configs) == expected


def test_what_an_id_says() -> None:
    one, other = record("p/c02/sl/lr@1_2b05b5b0"), record("mine")
    assert [(config_of(run), end_of(run)) for run in (one, other)] == [
        ("p/c02/sl", "2b05b5b0"),
        ("mine", "mine"),
    ]


CHOICES: dict[str, tuple[list[Record], dict[str, list[str | None]]]] = {
    "members of a oneof": (
        [record("a", {"six.greedy.e": 1}), record("b", {"six.random": SELECT}), record("c", {"six.n": 1})],
        {"six": ["greedy", "random", None]},
    ),
    "always the same": ([record("a", {"six.greedy.e": 1}), record("b", {"six.greedy.e": 2})], {}),
    "two at once are no choice": (
        [record("a", {"six.x.e": 1, "six.y.e": 1}), record("b", {"six.n": 1}), record("c", {"six.x.e": 1})],
        {},
    ),
    "of another task": ([record("a", {"six.x.e": 1}), record("b", {"six.y.e": 1}, task="pick")], {}),
    "elements of lists": ([record("a", {"s.l.0.x": 1, "s.n": 1}), record("b", {"s.n": 1})], {}),
}


@pytest.mark.parametrize(("several", "expected"), CHOICES.values(), ids=CHOICES)
def test_choices_are(several: list[Record], expected: dict[str, list[str | None]]) -> None:
    assert choices(several) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    {"/exp/a": "/exp/a", "/exp/a/m.json": "/exp/a", "/exp/ab": "", "a": "", "/": "", "": ""}.items(),
)
def test_the_run_of_a_path(text: str, expected: str) -> None:
    assert owner_of(text, {"/exp/a"}) == expected
