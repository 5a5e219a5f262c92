"""Decide what to do for a batch, purely: entries x their states x mode -> items, with reasons.

DONE                       nothing, and not in the workflow
DONE, its result elsewhere move it in; left, if the place is on another machine
NOT_STARTED, ...           start, restart, continue: as the mode says
QUEUED, RUNNING elsewhere  adopt: wait for its end
DEAD, UNKNOWN and left     named, and the batch ends with status 1; who needs it waits
                           (so is all that is not DONE by mode=dryrun)
"""

import enum
import graphlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from heyhi.batch.entries import Batch, Entry
from heyhi.launch import schedulers
from heyhi.runs import Action, Mode, Plan, Run, RunState, Status, deaths, make_plan

__all__ = ["Agenda", "Item", "Kind", "make_agenda", "read_states"]


class Kind(enum.Enum):
    """The kind of work of an item."""

    START = "start"  # or wipe and start, or start in place
    ADOPT = "adopt"
    MOVE_IN = "move the result in"
    LEAVE = "leave"  # it needs a decision of the user's
    NOTHING = "nothing"


class Item(NamedTuple):
    """The work for one run of a batch, the runs that it waits for, and the reason."""

    entry: Entry
    plan: Plan
    kind: Kind
    needs: tuple[Path, ...] = ()
    reason: str = ""

    @property
    def run(self) -> Run:
        """The run that it is about."""
        return self.entry.run

    @property
    def is_pending(self) -> bool:
        """True if there is work to do or to wait for."""
        return self.kind is not Kind.NOTHING


class Agenda(NamedTuple):
    """All items of a batch, in the order of its lines."""

    batch: Batch
    mode: Mode
    items: tuple[Item, ...]

    @property
    def pending(self) -> list[Item]:
        """The items that are not done."""
        return [item for item in self.items if item.is_pending]

    def counts(self) -> dict[str, int]:
        """The number of runs of each status."""
        found = Counter(item.plan.state.status.value for item in self.items)
        return {status.value: found[status.value] for status in Status if found[status.value]}


def read_states(batch: Batch) -> dict[Path, RunState]:
    """The state of every run of a batch, by its folder; Slurm is asked at most once."""
    return schedulers.read_states([entry.run for entry in batch.entries])


def make_agenda(batch: Batch, mode: Mode, states: Mapping[Path, RunState]) -> Agenda:
    """Return what is to be done; a line's own --mode wins over the batch's."""
    items = {}
    for entry in batch.entries:
        plan = make_plan(states[entry.run.folder], entry.invocation.chosen_mode or mode)
        items[entry.run.folder] = Item(entry, plan, _kind(plan))
    blockers = _blockers(batch, items)
    for folder, item in items.items():
        wanted = () if item.kind is Kind.MOVE_IN else batch.needs[folder]
        needs = tuple(need for need in wanted if items[need].is_pending)
        items[folder] = item._replace(needs=needs, reason=_reason(item, blockers.get(folder)))
    return Agenda(batch, mode, tuple(items.values()))


def _kind(plan: Plan) -> Kind:
    if plan.action is Action.MOVE_IN:
        return Kind.MOVE_IN
    if plan.action not in (Action.SKIP, Action.REFUSE):
        return Kind.START
    # A job of a Slurm that does not answer is waited for, until it does.
    if not plan.state.keeps and (plan.state.status.is_alive or schedulers.needs_queue(plan.state)):
        return Kind.ADOPT
    return Kind.NOTHING if plan.state.has_result else Kind.LEAVE


def _blockers(batch: Batch, items: Mapping[Path, Item]) -> dict[Path, str]:
    """Runs that cannot start yet -> what has to happen first to one that they need, at any distance."""
    left = {
        folder: _what_first(item.run, item.plan.state)
        for folder, item in items.items()
        if item.kind in (Kind.LEAVE, Kind.MOVE_IN)
    }
    found: dict[Path, str] = {}
    for folder in graphlib.TopologicalSorter(batch.needs).static_order() if left else ():
        if items[folder].kind is Kind.START:
            blocking = (left.get(need) or found.get(need) for need in batch.needs[folder])
            if blocker := next(filter(None, blocking), None):
                found[folder] = blocker
    return found


def _what_first(run: Run, state: RunState) -> str:
    if state.result_place is not None:
        return f"the result of {run.id} is moved in from {state.result_place.text}"
    return f"{run.id} is done"


def _reason(item: Item, blocker: str | None) -> str:
    """Return what the run is, and what is done about it."""
    entry, plan, kind = item.entry, item.plan, item.kind
    status = plan.reason.removesuffix(f": {plan.action.value}")
    if plan.state.keeps and not (kind is Kind.LEAVE and plan.state.status is Status.UNKNOWN):
        status += f" ({plan.state.keeps})"
    if entry.drift and plan.state.status is not Status.NOT_STARTED:
        status += f" (drifted: {'; '.join(entry.drift)})"
    if plan.state.status is Status.UNKNOWN and kind is Kind.ADOPT:
        status += f": {plan.state.detail}"
    if kind is Kind.ADOPT:
        return f"{status}: adopt"
    if kind is Kind.LEAVE:
        return f"{status}{_why_left(entry.run, plan.state)}"
    return f"{status}: {plan.action.value}" + (f", once {blocker}" if blocker else "")


def _why_left(run: Run, state: RunState) -> str:
    if state.status is Status.NOT_STARTED:
        return ": left, as mode=dryrun starts nothing"
    if state.result_place is not None:
        return f": left; start it on {state.result_place.host or 'this machine'} to move the result in"
    if state.status is Status.UNKNOWN:
        return f": left: {state.detail}; {state.way_on(run)}"
    return f" ({deaths.why(run, state)}): left; mode=start_continue goes on, mode=start_restart starts anew"
