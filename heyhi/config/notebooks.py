"""HTML for notebooks: a table of plain rows, all of it escaped.

A notebook shows the last value of a cell by its `_repr_html_`; these are what HeyHi's objects answer with.
"""

import html
from collections.abc import Sequence

from google.protobuf.message import Message

from heyhi.config import views

__all__ = ["of_config", "table"]

_CELL = "text-align: left; vertical-align: top; font-variant-numeric: tabular-nums"


def table(
    rows: Sequence[Sequence[object]],
    header: Sequence[str] = (),
    *,
    caption: str = "",
    notes: Sequence[str] = (),
    pale: frozenset[int] = frozenset(),
) -> str:
    """A table of texts; None is an empty cell. `pale` are the numbers of rows that matter less."""
    parts = ["<table>"]
    if caption:
        parts.append(f'<caption style="text-align: left"><b>{html.escape(caption)}</b></caption>')
    if header:
        parts.append(f"<thead><tr>{''.join(map(_head, header))}</tr></thead>")
    parts.append("<tbody>")
    for number, row in enumerate(rows):
        style = ' style="opacity: 0.6"' if number in pale else ""
        parts.append(f"<tr{style}>{''.join(map(_cell, row))}</tr>")
    parts.append("</tbody></table>")
    parts += [f"<div>{html.escape(note)}</div>" for note in notes]
    return "".join(parts)


def _head(text: str) -> str:
    return f'<th style="{_CELL}">{html.escape(text)}</th>'


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f'<td style="{_CELL}">{html.escape(text)}</td>'


def of_config(message: Message) -> str:
    """A config: what is set, and, paler, the defaults that it leaves as they are."""
    is_set = views.flatten(message, with_all=False)
    fields = views.flatten(views.with_defaults(message), with_all=False)
    rows = [(name, value, "" if name in is_set else "default") for name, value in fields.items()]
    pale = frozenset(number for number, row in enumerate(rows) if row[2])
    notes = [] if rows else ["nothing is set"]
    return table(rows, caption=message.DESCRIPTOR.name, notes=notes, pale=pale)
