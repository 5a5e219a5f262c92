"""Which rows of a table fit a condition."""

import math
from typing import Any

import pytest

from heyhi.errors import UsageError
from heyhi.look.tables import frame
from heyhi.look.where import fit

# ---- Rows without a value -----------------------------------------------------------------------

OF_EACH_TYPE: dict[str, list[Any]] = {
    "float": [0.1, None, 0.2],
    "int": [1, None, 2],
    "bool": [True, None, False],
    "text": ["a", None, "b"],
    "mixed": ["a", None, 1],
    "large": [2**70, None, 1],
    "nan": [1.5, math.nan, 0.5],
    "started": ["2026-11-24T08:00:00+0100", None, "2026-11-25T08:00:00+0100"],
}


def rows(where: str, **columns: list[Any]) -> str:
    """The numbers of the rows that fit."""
    table = frame(columns)
    if "started" in columns:
        table["started"] = table["started"].dt.tz_localize(None)
    return "".join(str(row) for row, fits in enumerate(fit(where, table).rows) if fits)


@pytest.mark.parametrize(("name", "values"), OF_EACH_TYPE.items(), ids=OF_EACH_TYPE)
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("{} == {first}", "0"),
        ("{} != {first}", "2"),
        ("not {} == {first}", "2"),
        ("not {} != {first}", "0"),
        ("{first} != {}", "2"),
        ("{} in [{first}]", "0"),
        ("{} not in [{first}]", "2"),
        ("{} in [None, {first}]", "01"),
        ("{} not in [None, {first}]", "2"),
        ("{} == {}", "02"),
        ("{} != {}", ""),
        ("{} is None", "1"),
        ("{} is not None", "02"),
        ("{} == None", "1"),
        ("not {} != None", "1"),
        ("{}.isna()", "1"),
        ("not {}.isna()", "02"),
        ("{} == {first} or row == 1", "01"),
        ("{} == {first} or {} is None", "01"),
    ],
)
def test_a_row_without_a_value_fits_no_comparison(
    name: str, values: list[Any], where: str, expected: str
) -> None:
    first = "'2026-11-24 07:00'" if name == "started" else repr(values[0])
    assert rows(where.format(name, name, first=first), row=[0, 1, 2], **{name: values}) == expected


# ---- A column of several types ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "expected", "passed_over"),
    [
        ("loss > 0.3", "0", {"loss": 2}),
        ("not loss > 0.3", "1", {"loss": 2}),
        ("0.3 < loss <= 5", "0", {"loss": 2}),
        ("loss * 2 > 0.5", "0", {"loss": 2}),
        ("-loss < 0", "01", {"loss": 2}),
        ("loss != 0.5", "124", {}),
        ("loss == 'diverged'", "24", {}),
        ("loss.str.contains('div')", "24", {}),
        ("not loss.str.contains('x')", "24", {}),
    ],
)
def test_in_a_column_of_numbers_and_texts_a_text_is_no_number(
    where: str, expected: str, passed_over: dict[str, int]
) -> None:
    table = frame({"loss": [0.5, 0.25, "diverged", None, "diverged"]})
    found = fit(where, table)
    assert "".join(str(row) for row, fits in enumerate(found.rows) if fits) == expected
    assert found.no_numbers == passed_over


def test_numbers_of_hundreds_of_digits_are_numbers() -> None:
    assert rows("n > 1e300", n=[10**400, 1, -(10**400)]) == "0"


# ---- Names --------------------------------------------------------------------------------------

NAMES: dict[str, tuple[str, str]] = {
    "a keyword": ("lambda", "lambda == 1"),
    "a part is one": ("model.class", "model.class == 1"),
    "an operator": ("in", "`in` == 1"),
    "an index": ("tags.0", "tags.0 == 1"),
    "a word of the rewritten condition": ("w0", "w0 == 1"),
    "a method": ("x.isna", "x.isna == 1"),
    "not in Latin letters": ("größe.λ", "größe.λ == 1"),
    "that Python writes otherwise": ("ﬁt", "ﬁt == 1"),
    "with a quote": ("it's", "`it's` == 1"),
    "with a quote, twice": ("it's", "`it's` == 1 and 'x' == 'x' and `it's` < 2"),
    "in a text": ("lr", "lr == 1 and 'lr' == 'lr'"),
    "in a raw text": ("lr", r"text.str.match(r'\w+$') and lr == 1"),
    "of an argument": ("case", "case == 1 and text.str.contains('A', case=False)"),
    "as a value": ("a", "a == 1 and a.isin([1, a.min()])"),
    "of a method of a part": ("abs", "(abs - 2).abs() == 1"),
    "with spaces around": ("lr", "  lr == 1\n"),
    "with pandas' and": ("lr", "lr == 1 & text == 'a' | lr > 2"),
    "with pandas' not": ("lr", "~(lr != 1) and not ~(lr < 2)"),
    "with a part": ("lr", "lr == 1 and text.str[0] == 'a' and lr in (1, 3)"),
    "the best": ("lr", "lr == lr.min()"),
}


@pytest.mark.parametrize(("name", "where"), NAMES.values(), ids=NAMES)
def test_a_name_is_a_column(name: str, where: str) -> None:
    columns: dict[str, list[Any]] = {name: [1, 2], "text": ["a", "b"]}
    assert rows(where, **columns) == "0"


def test_a_column_is_told_from_the_beginning_of_another() -> None:
    columns: dict[str, list[Any]] = {"a": [1, 2], "a.b": [2, 1], "a b": ["x", "y"]}
    assert rows("a == 1 and a.b == 2", **columns) == "0"
    assert rows("`a b`.str.contains('y')", **columns) == "1"


WRONG = {
    "lr = 1": "invalid syntax; one is like lr < 0.1 and status == 'DONE'",
    "lr == 1 and": "invalid syntax",
    "loss == 1": "no column 'loss'; there are lr, text",
    "tex == 'a'": "no column 'tex'; did you mean 'text'?",
    "`lr.min` == 1": "no column 'lr.min'; there are lr, text",
    "lr.minimum() == 1": "'Series' object has no attribute 'minimum'",
    "f'{lr}' == 1": "invalid syntax",
    "{lr: 1}": "Dict is not understood; no condition; one is like lr < 0.1 and status == 'DONE'",
    "lr @ lr": "MatMult is not understood; no condition; one is like",
    "lr and text": "no condition; one is like lr < 0.1 and status == 'DONE'",
    "lr in 1": "a column may be in a list: note in ['a', 'b']",
    "lr in []": "no condition",
    "'a' in text": "a column may be in a list: note in ['a', 'b']; a text in a column's: note.str.contains",
    "text < 1": "",
    "True": "no condition",
    "(" * 500: "",
    "\0": "",
}


@pytest.mark.parametrize(("where", "problem"), WRONG.items(), ids=map(repr, range(len(WRONG))))
def test_what_is_wrong_is_one_line(where: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        rows(where, lr=[1, 2], text=["a", "b"])
    assert str(caught.value).startswith(f"--where {where!r}: {problem}")
    assert "\n" not in str(caught.value)
