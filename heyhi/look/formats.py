"""A table as text for people, and as CSV, JSON, HTML and Parquet for everything else."""

import csv
import html
import io
import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from heyhi.errors import UsageError
from heyhi.look.tables import Columns, frame, is_numeric
from heyhi.texts import cut, on_one_line, some_of

__all__ = ["text_lines", "to_csv", "to_html", "to_json", "to_parquet"]

# Columns that a terminal has room for before all others.
_FIRST = ("id", "status", "drift", "problem")
_MOST_ROWS = 100  # on a terminal
_GAP = "  "


def text_lines(table: Columns, width: int | None = None) -> Iterator[str]:
    """The table for people; what is empty in all rows is left out.

    `width` is that of a terminal: columns that do not fit, and rows after the first hundred, are counted.
    """
    count = len(next(iter(table.values()), []))
    if not count:
        yield "no runs"
        return
    cells = {
        name: _cells(name, values if width is None else values[:_MOST_ROWS], width)
        for name, values in table.items()
        if any(value is not None for value in values)
    }
    shown = list(cells) if width is None else _fitting(cells, width)
    for row in zip(*(cells[name] for name in shown), strict=True):
        yield _GAP.join(row).rstrip()
    if width is None:
        return
    if count > _MOST_ROWS:
        yield f"... and {count - _MOST_ROWS:,} more rows: --where and --sort choose, --csv FILE has all"
    if left := [name for name in cells if name not in shown]:
        yield f"not shown: {some_of(list(map(on_one_line, left)))} (--csv FILE has all)"


def _cells(name: str, values: list[Any], width: int | None) -> list[str]:
    """A column of equally wide texts, its name first."""
    longest = sys.maxsize if width is None else max(20, width // 3)
    # Most values repeat: format each once.
    keys = values if _read_as_they_are(values) else list(map(repr, values))
    texts = {
        key: cut(_told(value), longest, 9) for key, value in dict(zip(keys, values, strict=True)).items()
    }
    head = on_one_line(name)
    wide = max(map(len, [head, *texts.values()]))
    align = str.rjust if is_numeric(values) else str.ljust
    padded = {key: align(text, wide) for key, text in texts.items()}
    return [align(head, wide), *map(padded.__getitem__, keys)]


def _read_as_they_are(values: list[Any]) -> bool:
    """True if two equal values also read the same, unlike 1, 1.0 and True, or 0.0 and -0.0."""
    kinds = {*map(type, values)} - {type(None)}
    return len(kinds) <= 1 and not (float in kinds and 0.0 in values)


def _told(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return on_one_line(str(value))


def _fitting(cells: Mapping[str, list[str]], width: int) -> list[str]:
    """The columns that a terminal has room for: what is wrong comes before what came out."""
    first = [name for name in _FIRST if name in cells]
    chosen: set[str] = set()
    room = width + len(_GAP)
    for name in dict.fromkeys([*first, *cells]):
        room -= len(cells[name][0]) + len(_GAP)
        if room < 0 and chosen:
            break
        chosen.add(name)
    return [name for name in cells if name in chosen]


# ---- For files ----------------------------------------------------------------------------------


def to_csv(table: Columns) -> str:
    """The table as CSV; what is missing is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return file.getvalue()


def to_json(table: Columns) -> str:
    """A JSON object a row, a line each; what is missing is null. NaN and infinities are texts."""
    rows = zip(*table.values(), strict=True)
    objects = (dict(zip(table, map(_in_json, row), strict=True)) for row in rows)
    return "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in objects)


def _in_json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def to_html(table: Columns) -> str:
    """The table as a page."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table)
    rows = (
        "".join(f"<td>{html.escape(_told(value))}</td>" for value in row)
        for row in zip(*table.values(), strict=True)
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"{_PAGE}<table>\n<tr>{head}</tr>\n{body}\n</table>\n"


_PAGE = """\
<!doctype html>
<meta charset="utf-8">
<title>Runs</title>
<style>
body { font: 14px sans-serif }
table { border-collapse: collapse }
th, td { border: 1px solid #ccc; padding: 2px 8px; text-align: left; white-space: nowrap }
</style>
"""


def to_parquet(table: Columns) -> bytes:
    """The table as a Parquet file; a column of several types is one of texts. Raises UsageError."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UsageError(
            "--parquet needs pyarrow: pip install 'heyhi[parquet]'; --csv needs nothing"
        ) from None
    whole = frame(table)
    for name in whole.select_dtypes(object).columns:
        texts = [None if value is None else str(value) for value in table[name]]
        whole[name] = frame({name: texts})[name]
    data = whole.to_parquet(None, index=False)
    assert isinstance(data, bytes), "without a path it is returned"
    return data
