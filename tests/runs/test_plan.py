from pathlib import Path

import pytest

from heyhi.runs.elsewhere import Place
from heyhi.runs.invocation import Mode
from heyhi.runs.plan import _ACTIONS, Action, make_plan
from heyhi.runs.status import RunState, Status

# The table of docs/runs.md: what each mode (rows) does to a run (columns).
DECISIONS = """
                NOT_STARTED  QUEUED        RUNNING       UNKNOWN  DONE     DEAD
gentle_start    START        SKIP          SKIP          SKIP     SKIP     SKIP
start_restart   START        SKIP          SKIP          SKIP     SKIP     RESTART
start_continue  START        SKIP          SKIP          SKIP     SKIP     CONTINUE
restart         START        KILL_RESTART  KILL_RESTART  REFUSE   RESTART  RESTART
dryrun          SKIP         SKIP          SKIP          SKIP     SKIP     SKIP
"""

_HEAD, *_ROWS = [line.split() for line in DECISIONS.strip().splitlines()]
_CASES = [(mode, status, action) for mode, *row in _ROWS for status, action in zip(_HEAD, row, strict=True)]


@pytest.mark.parametrize(("mode", "status", "action"), _CASES, ids=[f"{m}-{s}" for m, s, _ in _CASES])
def test_action(mode: str, status: str, action: str) -> None:
    plan = make_plan(RunState(Status[status]), Mode(mode))
    assert plan.action.name == action
    assert status in plan.reason


def test_each_status_has_its_row() -> None:
    assert set(_ACTIONS) == set(Status), "what each mode does to it"
    assert set(_HEAD) == {status.name for status in Status}, "the table above, and that of docs/runs.md"


HERE = Place(Path("/home/me/kept/it"), "", "local:here:1")
THERE = Place(Path("/var/tmp/it"), "another-host", "local:here:1")


@pytest.mark.parametrize("place", [HERE, THERE], ids=["here", "there"])
@pytest.mark.parametrize("mode", Mode)
def test_a_result_that_is_elsewhere_is_moved_in_where_it_can_be(mode: Mode, place: Place) -> None:
    state = RunState(Status.DONE, None, f"result at {place.text}", result_place=place)
    plan = make_plan(state, mode)
    if mode is Mode.RESTART:
        assert (plan.action, plan.loses_work) == (Action.RESTART, True)
    elif mode is Mode.DRYRUN or place is THERE:
        assert (plan.action, plan.loses_work) == (Action.SKIP, False)
    else:
        assert (plan.action, plan.loses_work) == (Action.MOVE_IN, False)
    assert plan.reason == f"DONE (result at {place.text}): {plan.action.value}"


def test_only_a_wiped_result_and_a_killed_job_lose_work() -> None:
    losing = {
        (mode, status)
        for mode, status, _ in _CASES
        if make_plan(RunState(Status[status]), Mode(mode)).loses_work
    }
    assert losing == {("restart", "DONE"), ("restart", "RUNNING"), ("restart", "QUEUED")}
