"""An overview as text: in a pipe a line a run, whole; on a terminal coloured, and cut to what fits.

runs 5: 2 DONE, 1 RUNNING, 2 DEAD
driver sweep.sh since 2025-11-24T21:10:00 process 4711 on here; heyhi stop ends it
STATUS   ID                  SINCE                SIGN  JOB              WHAT
RUNNING  p/it/lr@1_2b05b5b0  2025-11-24T21:14:03  12    local:here:4711  epoch 3, val_loss 1.7
"""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from heyhi.batch import Driver
from heyhi.look.status import NO_RUN, Overview, Row
from heyhi.project import display
from heyhi.texts import on_one_line, quoted, shown

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

__all__ = ["MOST", "lines", "panel"]

#: Rows of one status that a terminal shows, if it need not be less.
MOST = 20

_HEAD = ("STATUS", "ID", "SINCE", "SIGN", "JOB", "WHAT")
_COLOURS = {
    "DONE": "green",
    "RUNNING": "cyan",
    "QUEUED": "blue",
    "NOT_STARTED": "bright_black",
    "UNKNOWN": "magenta",
    NO_RUN: "magenta",
    "DEAD": "red",
}
_BAR = 60  # characters
_FEWEST = 3  # rows of a status, however small a terminal is


def lines(overview: Overview, now: float) -> Iterator[str]:
    """All of it, plain: columns that grep, cut and awk can use; only the last one may have spaces."""
    yield _counts(overview)
    yield from (_driver(driver) for driver in overview.drivers)
    cells = [_HEAD, *(_plain_cells(row, now) for row in overview.rows)] if overview.rows else []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield from overview.hints


def _counts(overview: Overview) -> str:
    told = ", ".join(f"{count:,} {status}" for status, count in overview.counts.items())
    return f"runs {overview.total:,}: {told}" if told else "no runs"


def _driver(driver: Driver) -> str:
    host, pid = driver.host_and_pid
    log = f"; tail -F {quoted(driver.log)}" if driver.log else ""
    since = f" since {_clock(driver.started)}" if driver.started else ""
    return f"driver {display(driver.batch)}{since} process {pid} on {host}{log}; heyhi stop ends it"


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))


def _plain_cells(row: Row, now: float) -> tuple[str, ...]:
    since = _clock(row.since) if row.since else ""
    sign = str(max(0, int(now - row.sign))) if row.sign else ""
    words = map(_one_word, (row.status, on_one_line(row.id), since, sign, on_one_line(row.job)))
    return (*words, on_one_line(row.what) or "-")


def _one_word(text: str) -> str:
    return "_".join(text.split()) or "-"


# ---- On a terminal ------------------------------------------------------------------------------


def panel(overview: Overview, now: float, width: int, height: int | None = None) -> "RenderableType":
    """The same for a terminal of this width; cut to its height, if that is given."""
    from rich.console import Group
    from rich.text import Text

    around = 3 + len(overview.drivers) + len(overview.hints)
    groups = [list(group) for _, group in groupby(overview.rows, lambda row: row.status)]
    most = MOST if height is None else max(_FEWEST, (height - around) // max(1, len(groups)) - 1)
    rows = [cells for group in groups for cells in _cut_rows(group, most, now, width)]
    return Group(
        *_bar(overview, min(_BAR, width)),
        Text(_counts(overview), style="bold"),
        *(Text(shown(_driver(driver))) for driver in overview.drivers),
        *_table([_HEAD, *rows] if rows else []),
        *(Text(shown(hint)) for hint in overview.hints),
    )


def _bar(overview: Overview, width: int) -> "Iterator[Text]":
    """A line in which each status has its share; none is so rare that it is not seen."""
    from rich.text import Text

    bar = Text(no_wrap=True, overflow="crop")
    for status, count in overview.counts.items():
        if status != NO_RUN:
            bar.append("━" * max(1, round(width * count / overview.total)), style=_COLOURS[status])
    if bar:
        yield bar


def _table(rows: Sequence[Sequence[str]]) -> "Iterator[Text]":
    """A line a row; what does not fit is cut at its end. A row of one cell is a remark."""
    from rich.text import Text

    whole = [row for row in rows if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    for status, *others in rows:
        if not others:
            yield Text(f"{'':{widths[0]}}  {status}")
            continue
        told = [cell.ljust(width) for cell, width in zip(others, widths[1:], strict=True)]
        line = Text(no_wrap=True, overflow="ellipsis", style="bold" if status == _HEAD[0] else "")
        line.append(status.ljust(widths[0]), _COLOURS.get(status, ""))
        yield line.append("  ".join(["", *told]).rstrip())


def _cut_rows(group: Sequence[Row], most: int, now: float, width: int) -> Iterator[Sequence[str]]:
    for row in group[:most]:
        yield _cells(row, now, width)
    if (left := len(group) - most) > 0:
        yield (f"... and {left:,} more: {_how_to_see(group[0])}",)


def _how_to_see(row: Row) -> str:
    return "heyhi summary" if row.status == NO_RUN else f"heyhi summary --where \"status == '{row.status}'\""


def _cells(row: Row, now: float, width: int) -> Sequence[str]:
    spans = [_span(now - seen) if seen else "-" for seen in (row.since, row.sign)]
    return (
        row.status,
        _cut(on_one_line(row.id), max(20, width // 3)),
        *spans,
        _cut(on_one_line(row.job), 24) or "-",
        on_one_line(row.what),
    )


def _cut(text: str, most: int) -> str:
    """A text that fits; what tells ids apart is at their ends."""
    return text if len(text) <= most else f"{text[: most - 10]}…{text[-9:]}"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))  # the largest first


def _span(seconds: float) -> str:
    """A span of time: 12s, 5m, 3h, 4d."""
    size, unit = next((known for known in _UNITS if seconds >= known[0]), (1, "s"))
    return f"{max(0, int(seconds // size))}{unit}"
