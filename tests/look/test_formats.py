"""A table as text, CSV, JSON, HTML and Parquet."""

import io
import json
import math
import sys

import pytest

from heyhi.errors import UsageError
from heyhi.look.formats import text_lines, to_csv, to_html, to_json, to_parquet
from heyhi.look.tables import Columns

TABLE: Columns = {
    "id": ["p/a", "p/b"],
    "lr": [0.1, None],
    "n": [1, 10],
    "note": ["<b>,\n", None],
    "mixed": [1, "x"],
    "nothing": [None, None],
}


def test_text_aligns_numbers_to_the_right_and_leaves_out_what_is_empty() -> None:
    assert list(text_lines(TABLE)) == [
        "id    lr   n  note    mixed",
        "p/a  0.1   1  <b>,\\n  1",
        "p/b       10          x",
    ]


def test_names_are_on_one_line_too() -> None:
    table: Columns = {"id": ["p/a"], "a\nb": [1], "c\x1b[31m": [2]}
    assert list(text_lines(table)) == ["id   a\\nb  c\\x1b[31m", "p/a     1          2"]
    assert list(text_lines(table, width=9))[-1] == "not shown: c\\x1b[31m (--csv FILE has all)"


def test_text_of_no_runs_says_so() -> None:
    assert list(text_lines({"id": []})) == ["no runs"]


def test_on_a_terminal_rows_and_columns_fit_and_the_rest_is_counted() -> None:
    rows = 1000
    wide: Columns = {"id": [f"p/{'x' * 90}_{row:08d}" for row in range(rows)], "status": ["DONE"] * rows}
    wide |= {f"result_{number}": [row * 1.5 for row in range(rows)] for number in range(30)}
    wide |= {"problem": [None] * (rows - 1) + ["bad"]}
    lines = list(text_lines(wide, width=80))
    assert max(map(len, lines[:-2])) <= 80
    assert len(lines) == 103
    assert lines[1].startswith("p/xxxxxxxxxxxx..._00000000  DONE")
    assert lines[-2] == "... and 900 more rows: --where and --sort choose, --csv FILE has all"
    assert lines[-1].startswith("not shown: result_")
    assert lines[-1].endswith("more (--csv FILE has all)")


def test_what_is_wrong_has_room_before_what_came_out() -> None:
    table: Columns = {"id": ["a"], "status": ["DEAD"], "loss": [1], "problem": ["too dry"]}
    assert next(text_lines(table, width=20)).split() == ["id", "status", "problem"]
    assert next(text_lines(table, width=3)) == "id", "at least who it is about"


def test_csv_has_all_and_what_is_missing_is_empty() -> None:
    assert to_csv({**TABLE, "x": [math.nan, -math.inf]}) == (
        'id,lr,n,note,mixed,nothing,x\np/a,0.1,1,"<b>,\n",1,,nan\np/b,,10,,x,,-inf\n'
    )


def test_json_is_an_object_a_row_that_any_reader_takes() -> None:
    first, second = to_json({**TABLE, "x": [math.nan, -math.inf]}).splitlines()

    def refuse(word: str) -> None:
        raise AssertionError(word)

    assert json.loads(first, parse_constant=refuse)["x"] == "nan"
    assert json.loads(second, parse_constant=refuse) == {
        "id": "p/b", "lr": None, "n": 10, "note": None, "mixed": "x", "nothing": None, "x": "-inf",
    }  # fmt: skip


def test_html_is_a_page_in_which_nothing_is_markup() -> None:
    page = to_html(TABLE)
    assert page.count("<tr>") == 3
    assert "<td>&lt;b&gt;,\\n</td>" in page
    assert "<b>" not in page


def test_parquet_keeps_types_and_makes_texts_of_what_is_mixed() -> None:
    import pandas as pd

    data = to_parquet({**TABLE, "big": [2**70, 1], "x": [math.inf, None]})
    read = pd.read_parquet(io.BytesIO(data))
    assert list(read["n"]) == [1, 10]
    assert (list(read["mixed"]), list(read["big"])) == (["1", "x"], [str(2**70), "1"])
    assert read["x"][0] == math.inf


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"--parquet needs pyarrow: pip install 'heyhi\[parquet\]'"):
        to_parquet(TABLE)
