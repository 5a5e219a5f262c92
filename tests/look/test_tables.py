"""Records as columns, and what is asked of them."""

import math
from typing import Any

import pytest

from heyhi.errors import UsageError
from heyhi.look.records import Record
from heyhi.look.tables import _ABOUT, Columns, columns, each_once, frame, group, select, sort


def record(name: str, config: dict[str, Any] | None = None, **known: Any) -> Record:
    return Record(name, f"/exp/{name}", **{"status": "DONE", "task": "grow", "config": config or {}, **known})


def config_columns(*several: Record, every: bool = False) -> list[str]:
    names = list(columns(several, every=every))
    return names[names.index("status") + 1 : names.index("started")]


# ---- Columns ------------------------------------------------------------------------------------


def test_each_field_of_a_record_about_the_run_is_a_column() -> None:
    values = {"config", "result", "metrics"}  # a column for each of their scalars
    assert {*Record._fields} - values == {*columns([record("a")])}, "the columns are tables._FIRST and _LAST"


DIFFERS: dict[str, tuple[list[Record], list[str]]] = {
    "a value": ([record("a", {"lr": 1, "n": 1}), record("b", {"lr": 2, "n": 1})], ["lr"]),
    "unset in one": ([record("a", {"lr": 1}), record("b")], ["lr"]),
    "of another task": ([record("a", {"lr": 1}), record("b", {"n": 1}, task="pick")], []),
    "a value in two tasks": ([record("a", {"lr": 1}), record("b", {"lr": 2}, task="pick")], ["lr"]),
    "NaN": ([record("a", {"lr": float("nan")}), record("b", {"lr": float("nan")})], []),
    "one run": ([record("a", {"lr": 1})], []),
}


@pytest.mark.parametrize(("several", "expected"), DIFFERS.values(), ids=DIFFERS)
def test_fields_are_columns_that_differ(several: list[Record], expected: list[str]) -> None:
    assert config_columns(*several) == expected
    assert config_columns(*several, every=True) == list(dict.fromkeys(n for r in several for n in r.config))


def test_a_name_that_is_taken_says_where_it_is_from() -> None:
    known = {"result": {"lr": 3, "loss": 4, "host": 5}, "metrics": {"loss": 6, "lr": 7, "step": 8}}
    table = columns([record("a", {"id": 1, "lr": 2}, **known)], every=True)
    found = {name: values[0] for name, values in table.items() if isinstance(values[0], int)}
    assert found == {
        "config.id": 1, "lr": 2, "result.lr": 3, "loss": 4, "result.host": 5,
        "metrics.loss": 6, "metrics.lr": 7, "step": 8,
    }  # fmt: skip
    assert table["id"] == ["a"]


def test_a_name_does_not_change_with_what_is_shown() -> None:
    several = [record("a", {"lr": 1}, result={"lr": 2})]
    assert config_columns(*several) == ["result.lr"]


TYPES: dict[str, tuple[list[Any], str]] = {
    "int": ([1, None], "Int64"),
    "float": ([0.5, None], "float64"),
    "whole floats": ([1.0, 2.0], "float64"),
    "int and float": ([1, 0.5], "float64"),
    "infinite": ([math.inf, math.nan], "float64"),
    "bool": ([True, None], "boolean"),
    "text": (["a", None], "string"),
    "text and number": (["a", 1], "object"),
    "bool and number": ([True, 1], "object"),
    "more than 64 bits": ([2**70, 1], "object"),
    "nothing": ([None, None], "object"),
}


def test_a_column_about_runs_has_its_type_also_where_it_is_empty() -> None:
    table = frame(columns([record("a"), record("b")]))
    assert {str(table[name].dtype) for name in ("problem", "drift", "job", "snapshot")} == {"string"}
    assert str(table["duration_s"].dtype) == "float64"


@pytest.mark.parametrize(("values", "dtype"), TYPES.values(), ids=TYPES)
def test_a_column_has_the_type_of_its_values(values: list[Any], dtype: str) -> None:
    assert str(frame({"x": values})["x"].dtype) == dtype


def test_start_is_a_time_and_what_is_none_is_missing() -> None:
    table = frame({"started": ["2026-11-24T08:00:00+0100", "soon", None]})
    assert str(table["started"].dt.tz) == "UTC"
    assert [str(value) for value in table["started"]] == ["2026-11-24 07:00:00+00:00", "NaT", "NaT"]


NAMELESS, NAMED = Record("a", "/exp/a", "QUEUED"), record("a", {"lr": 1})


@pytest.mark.parametrize("several", [[NAMELESS, NAMED], [NAMED, NAMELESS]])
def test_of_a_folder_in_two_places_what_says_most_is_taken(several: list[Record]) -> None:
    assert each_once([*several, record("b")]) == [NAMED, record("b")]


def test_no_records_make_an_empty_table() -> None:
    assert len(frame(columns([]))) == 0
    assert group([], []) == {"runs": []}


# ---- --where ------------------------------------------------------------------------------------

RUNS = [
    record("a", {"lr": 0.1, "soil.depth": 1.0, "wet": True, "note": "lr < 0.01", "tags.0": "x"},
           result={"loss": 1}),
    record("b", {"lr": 0.01, "soil.depth": 2.0, "wet": False, "note": "it's", "tags.0": "y", 'l."a b"': 1},
           status="DEAD"),
    record("c", {"soil.depth": 3.0, "note": "c0"},
           started="2026-11-24T08:00:00+0100", result={"loss": math.inf}),
]  # fmt: skip
CONDITIONS = {
    "lr < 0.1 and status == 'DEAD'": "b",
    "lr < 0.1 or soil.depth > 2": "bc",
    "0.5 < soil.depth <= 2.0": "ab",
    "lr != 0.1": "b",
    "lr is None": "c",
    "tags.0 not in ['x']": "b",
    "not wet == True": "b",
    "wet == true": "a",
    "note == 'lr < 0.01'": "a",
    'note == "it\'s"': "b",
    "note == 'c0'": "c",
    "tags.0 in ['x', 'z']": "a",
    "`tags.0` == 'y'": "b",
    '`l."a b"` == 1': "b",
    "note.str.contains('lr')": "a",
    "task == 'grow'": "abc",
    "loss > 1e3": "c",
    "loss.isna()": "b",
    "started > '2026-01-01'": "c",
    "duration_s > 1": "",
    "problem.str.contains('disk')": "",
    "note.str.contains('LR', case=False)": "a",
    "note.str.contains('(', regex = False)": "",
}


@pytest.mark.parametrize(("where", "expected"), CONDITIONS.items(), ids=CONDITIONS)
def test_a_condition_selects(where: str, expected: str) -> None:
    assert "".join(one.id for one in select(RUNS, where)) == expected


def test_texts_among_numbers_are_told_of() -> None:
    several = [
        record(name, result={"loss": loss}) for name, loss in zip("abc", [0.5, "nan", "off"], strict=True)
    ]
    told: list[str] = []
    assert [one.id for one in select(several, "loss > 0.1 and status == 'DONE'", told.append)] == ["a"]
    assert told == ["what is no number counts as no value: loss in 2 runs"]
    assert [one.id for one in select(several, "loss != 0.5", told.append)] == ["b", "c"]
    assert len(told) == 1
    with pytest.warns(UserWarning, match="loss in 2 runs") as warned:
        select(several, "loss < 1")
    assert warned[0].filename == __file__, "it shows the caller's line"


WRONG = {
    "lrr < 1": "--where 'lrr < 1': no column 'lrr'; did you mean 'lr'?",
    "soil.deep < 1": "--where 'soil.deep < 1': no column 'soil.deep'; did you mean 'soil.depth'?",
    "`x y` == 1": "--where '`x y` == 1': no column 'x y'; there are id, status, lr, ",
    "lr <": "--where 'lr <': ",
    "lr": "--where 'lr': no condition; one is like lr < 0.1 and status == 'DONE'",
    "1 < 2": "--where '1 < 2': no condition",
    "note < 1": "--where 'note < 1': ",
    "@lr < 1": "--where '@lr < 1': ",
    "": "--where '': ",
}


@pytest.mark.parametrize(("where", "problem"), WRONG.items(), ids=WRONG)
def test_a_wrong_condition_says_what_is_wrong_in_the_words_of_the_user(where: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(RUNS, where)
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)
    assert " c2" not in str(caught.value)


# ---- --sort -------------------------------------------------------------------------------------

ORDERS: dict[str, tuple[list[str], list[int]]] = {
    "up, what is missing last": (["x"], [2, 0, 3, 1, 4]),
    "down, what is missing last": (["-x"], [3, 0, 2, 1, 4]),
    "by two": (["y", "-x"], [0, 2, 3, 1, 4]),
    "mixed": (["mixed"], [1, 3, 0, 2, 4]),
    "a name with a dash": (["-z"], [4, 3, 2, 1, 0]),
}
UNSORTED: Columns = {
    "row": [0, 1, 2, 3, 4],
    "x": [2, None, 1, 3, math.nan],
    "y": ["a", "b", "a", "b", "b"],
    "mixed": ["a", 5, "b", 7.5, None],
    "-z": [5, 4, 3, 2, 1],
}


@pytest.mark.parametrize(("by", "expected"), ORDERS.values(), ids=ORDERS)
def test_rows_are_sorted(by: list[str], expected: list[int]) -> None:
    assert sort(UNSORTED, by)["row"] == expected


def test_a_table_is_sorted_also_by_a_field_that_does_not_differ() -> None:
    several = [record("b", {"lr": 1}), record("a", {"lr": 1})]
    assert columns(several, by=["lr", "id"])["id"] == ["a", "b"]
    with pytest.raises(UsageError, match="--sort -lrr: no column 'lrr'; did you mean 'lr'"):
        columns(several, by=["-lrr"])


# ---- --over -------------------------------------------------------------------------------------


def seeds() -> list[Record]:
    values = {0.1: [1.0, 2.0, 3.0], 0.2: [5.0]}
    return [
        record(f"{lr}{seed}", {"lr": lr, "seed": seed, "launcher.local": str(seed)},
               result={"loss": loss, "won": seed == 0, "name": "x"})
        for lr, losses in values.items()
        for seed, loss in enumerate(losses)
    ]  # fmt: skip


def test_a_group_has_mean_standard_error_and_count() -> None:
    table = group(
        [*seeds(), record("dead", {"lr": 0.1, "seed": 3, "launcher.local": "3"}, status="DEAD")], ["seed"]
    )
    assert list(table) == [
        "lr", "runs", "loss.mean", "loss.se", "loss.count", "won.mean", "won.se", "won.count",
    ]  # fmt: skip
    assert (table["lr"], table["runs"], table["loss.count"]) == ([0.1, 0.2], [4, 1], [3, 1])
    assert table["loss.mean"] == [2.0, 5.0]
    assert table["loss.se"] == [pytest.approx(1 / math.sqrt(3)), None]
    assert table["won.mean"] == [pytest.approx(1 / 3), 1.0]


def test_a_group_over_several_fields_is_what_is_left() -> None:
    table = group(seeds(), ["seed", "lr"])
    assert (list(table)[:2], table["loss.mean"]) == (["runs", "loss.mean"], [2.75])


def test_what_is_no_number_is_not_counted_and_told_of() -> None:
    several = [
        record("a", result={"x": 1, "y": 2.0, "name": "a"}),
        record("b", result={"x": math.nan, "y": "diverged", "name": "b"}),
        record("c", result={"x": 3, "y": math.nan, "all": math.nan}),
        record("d"),
    ]
    told: list[str] = []
    table = group(several, [], told.append)
    assert (table["x.mean"], table["x.se"], table["x.count"]) == ([2.0], [1.0], [2])
    assert (table["y.mean"], table["y.count"]) == ([2.0], [1])
    assert (table["all.mean"], table["all.count"]) == ([None], [0])
    assert not [name for name in table if name.startswith("name")]
    assert told == ["what is no number counts as no value: x in 1 run, y in 2 runs, all in 1 run"]


def test_infinities_show_in_the_mean() -> None:
    table = group([record("a", result={"y": math.inf, "z": 10**400}), record("b", result={"y": 1})], [])
    assert (table["y.mean"], table["z.mean"]) == ([math.inf], [math.inf])


def test_a_field_that_is_called_like_a_column_of_a_group_says_where_it_is_from() -> None:
    known = {"runs": 5, "x.mean": 6, "seed": 1}
    table = group([record("a", known, result={"x": 1}), record("b", {"seed": 2}, result={"x": 2})], ["seed"])
    assert {name: table[name] for name in ("config.runs", "runs", "config.x.mean", "x.mean")} == {
        "config.runs": [5, None], "runs": [1, 1], "config.x.mean": [6, None], "x.mean": [1.0, 2.0],
    }  # fmt: skip


def test_to_group_over_no_field_is_an_error() -> None:
    with pytest.raises(UsageError, match="--over sed: no column 'sed'; did you mean 'seed'"):
        group(seeds(), ["sed"])


def test_each_field_of_a_record_has_its_column() -> None:
    assert set(Record._fields) - {"config", "result", "metrics"} == set(_ABOUT), "in tables._LAST"
