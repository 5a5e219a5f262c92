"""An agenda as text: for people a line a run, for programs a JSON object a line."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from heyhi.batch.agenda import Agenda, Item, Kind
from heyhi.batch.capture import Remark
from heyhi.config import notebooks, views
from heyhi.launch import schedulers
from heyhi.texts import cut, listed, some_lines, some_of

__all__ = ["Listing", "json_lines", "lines", "summary"]


_LONGEST_ID = 60
_LONGEST_OVERRIDE = 100
_MOST = 5  # runs that one run waits for, before the rest is only counted
_MOST_NOTES = 20


def lines(agenda: Agenda, *, every: bool = False) -> Iterator[str]:
    """List the pending (or all) runs, why, and after which others; then counts and notes.

    #2  p/c02_sup_train/sl/lr@0.1_2b05b5b0  NOT_STARTED: start  after #1  [8 GPUs, 24 h]  (sweep.sh:4)
    """
    shown = [(number, item) for number, item in enumerate(agenda.items, 1) if every or item.is_pending]
    numbers = {item.run.folder: number for number, item in enumerate(agenda.items, 1)}
    id_width = max((len(_short(item.run.id)) for _, item in shown), default=0)
    number_width = len(f"#{len(agenda.items)}")
    for number, item in shown:
        name = f"{f'#{number}':{number_width}}  {_short(item.run.id):{id_width}}"
        yield "  ".join(
            part for part in (name, *_parts(item, agenda.batch.needs[item.run.folder], numbers)) if part
        )
    yield from summary(agenda)


class Listing:
    """The pending runs of a batch, and why, as a terminal or a notebook shows them."""

    def __init__(self, agenda: Agenda, *, every: bool = False) -> None:
        self._agenda, self._every = agenda, every

    def __str__(self) -> str:
        return "\n".join(lines(self._agenda, every=self._every))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same as a table."""
        items = {item.run.folder: number for number, item in enumerate(self._agenda.items, 1)}
        shown = [item for item in self._agenda.items if self._every or item.is_pending]
        rows = [
            (
                f"#{items[item.run.folder]}",
                _short(item.run.id),
                item.reason,
                _after(item, items),
                item.entry.where,
            )
            for item in shown
        ]
        header = ("", "run", "status: what will be done", "after", "from") if rows else ()
        return notebooks.table(rows, header, notes=list(summary(self._agenda)))


def summary(agenda: Agenda) -> Iterator[str]:
    """The counts, then the notes."""
    yield from _summary(agenda)
    yield from _notes(agenda)


def _short(run_id: str) -> str:
    """An id that fits in a line; what tells runs apart is at its ends: _2b05b5b0."""
    return cut(run_id, _LONGEST_ID, 9)


def _parts(item: Item, needs: Sequence[Path], numbers: Mapping[Path, int]) -> Sequence[str]:
    resources = schedulers.needs_of(item.entry.draft.composition.config)
    return (
        item.reason,
        f"after {_after(item, numbers)}" if item.needs else "",
        f"[{resources}]" if resources else "",
        f"({item.entry.where})",
        _overrides(item, needs, numbers) if len(item.run.id) > _LONGEST_ID else "",
    )


def _after(item: Item, numbers: Mapping[Path, int]) -> str:
    return some_of([f"#{numbers[folder]}" for folder in item.needs], _MOST)


def _overrides(item: Item, needs: Sequence[Path], numbers: Mapping[Path, int]) -> str:
    """The overrides behind a run's id, with `#2` for the folder of the second run."""
    root = item.entry.draft.experiment_root
    names = {f"{{{{EXP_DIR}}}}/{need.relative_to(root)}/": f"#{numbers[need]}/" for need in needs}
    words = []
    for text in item.entry.draft.canonical:
        for folder, name in names.items():
            text = text.replace(folder, name)
        text = cut(text, _LONGEST_OVERRIDE)
        words.append(text if text.isprintable() and " " not in text else repr(text))
    return " ".join(words)


def _notes(agenda: Agenda) -> Iterator[str]:
    if agenda.batch.commands:
        yield f"listing ran the script, with these commands of its own: {', '.join(agenda.batch.commands)}"
    notes = [
        f"{item.entry.where}: {item.run.id}: {item.reason}; to run it again: mode=restart"
        for item in agenda.items
        if item.entry.drift and item.kind is Kind.NOTHING
    ]
    notes += _joined(agenda.batch.remarks)
    yield from (f"note: {note}" for note in some_lines(notes, _MOST_NOTES))


def _joined(remarks: Iterable[Remark]) -> Iterator[str]:
    """A note for each remark; one for all lines of a file that need the same one."""
    found: dict[tuple[str, str], list[Remark]] = {}
    for remark in remarks:
        file, _, number = remark.where.rpartition(":")
        found.setdefault((file if number.isdecimal() else remark.where, remark.problem), []).append(remark)
    for (file, problem), same in found.items():
        numbers = listed([one.where.rpartition(":")[2] for one in same], _MOST)
        yield f"{file}: {problem} (on lines {numbers})" if len(same) > 1 else f"{same[0].where}: {problem}"


def _summary(agenda: Agenda) -> Iterator[str]:
    statuses = ", ".join(f"{count} {status}" for status, count in agenda.counts().items())
    kinds = Counter(item.kind for item in agenda.items)
    todo = {
        Kind.START: "to start",
        Kind.ADOPT: "to wait for",
        Kind.MOVE_IN: "to move in",
        Kind.LEAVE: "left as they are",
    }
    told = ", ".join(f"{kinds[kind]} {text}" for kind, text in todo.items() if kinds[kind])
    plural = "s" if len(agenda.items) > 1 else ""
    yield f"{agenda.batch.name}: {len(agenda.items)} run{plural}: {statuses}; {told or 'nothing to do'}"
    yield from _gpu_hours(agenda)


def _gpu_hours(agenda: Agenda) -> Iterator[str]:
    """The GPU hours by partition of the runs to start."""
    hours: Counter[str] = Counter()
    unlimited: Counter[str] = Counter()
    for item in agenda.items:
        needs = schedulers.needs_of(item.entry.draft.composition.config)
        if item.kind is not Kind.START or needs is None or not needs.gpus:
            continue
        partition = needs.partition or "the default partition"
        if needs.gpu_hours is None:
            unlimited[partition] += 1
        else:
            hours[partition] += needs.gpu_hours
    for partition in sorted({*hours, *unlimited}):
        parts = [f"at most {hours[partition]}"] if hours[partition] else []
        if count := unlimited[partition]:
            parts.append(f"no limit for {count} run{'s' if count > 1 else ''}")
        yield f"GPU hours in {partition}: {', '.join(parts)}"


def json_lines(agenda: Agenda, *, every: bool = False) -> Iterator[str]:
    """A JSON object for each run: id, folder, status, action, reason, config, overrides, resources, needs,
    source line."""
    for item in agenda.items if every else agenda.pending:
        yield json.dumps(_as_dict(item), default=str)


def _as_dict(item: Item) -> dict[str, Any]:
    draft = item.entry.draft
    resources = schedulers.needs_of(draft.composition.config)
    return {
        "id": item.run.id,
        "folder": str(item.run.folder),
        "status": item.plan.state.status.value,
        "action": item.kind.value if item.kind is not Kind.START else item.plan.action.value,
        "reason": item.reason,
        "base_config": draft.base_name,
        "config": views.to_dict(draft.composition.config),
        "overrides": list(draft.canonical),
        "resources": {"gpus": resources.gpus, **resources._asdict()} if resources else None,
        "needs": [str(folder) for folder in item.needs],
        "source": item.entry.where,
    }
