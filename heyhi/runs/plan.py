"""Decide, purely: what a run is (status) x what the user allows (mode) -> what will be done (action)."""

import enum
from typing import NamedTuple

from heyhi.runs.invocation import Mode
from heyhi.runs.status import RunState, Status

__all__ = ["Action", "Plan", "make_plan"]


class Action(enum.Enum):
    """The change that HeyHi will make to a run."""

    SKIP = "skip"
    START = "start"
    CONTINUE = "start in place"
    RESTART = "wipe, start"
    KILL_RESTART = "kill, wipe, start"
    MOVE_IN = "move the result in"
    REFUSE = "refuse"


class Plan(NamedTuple):
    """A decision not yet carried out, and why."""

    action: Action
    reason: str
    state: RunState

    @property
    def loses_work(self) -> bool:
        """True if the plan wipes a result, a living job, or files that HeyHi did not make."""
        was_done = self.action is Action.RESTART and self.state.status is Status.DONE
        is_kept = bool(self.state.keeps) and self.action in (Action.RESTART, Action.CONTINUE)
        return was_done or is_kept or self.action is Action.KILL_RESTART


# A row for each status. A mode that is not in it leaves such a run alone.
_ACTIONS: dict[Status, dict[Mode, Action]] = {
    Status.NOT_STARTED: {mode: Action.START for mode in Mode if mode is not Mode.DRYRUN},
    Status.QUEUED: {Mode.RESTART: Action.KILL_RESTART},
    Status.RUNNING: {Mode.RESTART: Action.KILL_RESTART},
    Status.UNKNOWN: {Mode.RESTART: Action.REFUSE},
    Status.DONE: {Mode.RESTART: Action.RESTART},
    Status.DEAD: {
        Mode.START_RESTART: Action.RESTART,
        Mode.START_CONTINUE: Action.CONTINUE,
        Mode.RESTART: Action.RESTART,
    },
}

# What is done to a run that is DONE, and whose result is elsewhere, on a machine that sees the place.
_MOVE_IN = (Mode.GENTLE_START, Mode.START_RESTART, Mode.START_CONTINUE)


# Of a folder that HeyHi did not make, or cannot read: its job is another program's, and is never killed; what
# is not known may be wiped on the user's word.
_UNLESS_OURS = {Action.KILL_RESTART: Action.REFUSE, Action.REFUSE: Action.RESTART}


def make_plan(state: RunState, mode: Mode) -> Plan:
    """The plan of `mode` for a run in this state."""
    action = _ACTIONS[state.status].get(mode, Action.SKIP)
    if state.keeps:
        action = _UNLESS_OURS.get(action, action)
    if state.result_place is not None and state.result_place.is_here and mode in _MOVE_IN:
        action = Action.MOVE_IN
    return Plan(action, f"{_describe(state)}: {action.value}", state)


def _describe(state: RunState) -> str:
    if state.result_place is not None:
        return state.text
    job = (
        f" ({state.job.text})"
        if state.job and (state.status.is_alive or state.status is Status.UNKNOWN)
        else ""
    )
    return f"{state.status.value}{job}"
