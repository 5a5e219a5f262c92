from pathlib import Path

import pytest

from heyhi.batch.agenda import Agenda, Kind, make_agenda, read_states
from heyhi.runs.elsewhere import Place
from heyhi.runs.invocation import Mode
from heyhi.runs.status import Queue, QueuedJob, RunState, Status
from tests.conftest import BatchOf, end_as

# What is to be done with a run (columns) by a mode (rows).
KINDS = """
                NOT_STARTED  QUEUED  RUNNING  UNKNOWN  DONE     DEAD
gentle_start    START        ADOPT   ADOPT    LEAVE    NOTHING  LEAVE
start_restart   START        ADOPT   ADOPT    LEAVE    NOTHING  START
start_continue  START        ADOPT   ADOPT    LEAVE    NOTHING  START
restart         START        START   START    LEAVE    START    START
dryrun          LEAVE        ADOPT   ADOPT    LEAVE    NOTHING  LEAVE
"""

_HEAD, *_ROWS = [line.split() for line in KINDS.strip().splitlines()]
_CASES = [(mode, status, kind) for mode, *row in _ROWS for status, kind in zip(_HEAD, row, strict=True)]


def _agenda(batch_of: BatchOf, mode: Mode, lines: dict[str, Status]) -> Agenda:
    batch = batch_of(*lines)
    states = {
        entry.run.folder: RunState(status)
        for entry, status in zip(batch.entries, lines.values(), strict=True)
    }
    return make_agenda(batch, mode, states)


@pytest.mark.parametrize(("mode", "status", "kind"), _CASES, ids=[f"{m}-{s}" for m, s, _ in _CASES])
def test_kind(mode: str, status: str, kind: str, batch_of: BatchOf) -> None:
    (item,) = _agenda(batch_of, Mode(mode), {"lr=1": Status[status]}).items
    assert item.kind is Kind[kind]
    assert item.is_pending == (kind != "NOTHING")


# A line's own mode, that of the batch, what the run is -> what is done with it.
OWN_MODES = [
    ("start_restart", "gentle_start", Status.DEAD, Kind.START),
    ("gentle_start", "restart", Status.DONE, Kind.NOTHING),
    ("dryrun", "gentle_start", Status.NOT_STARTED, Kind.LEAVE),
    ("gentle_start", "dryrun", Status.NOT_STARTED, Kind.START),
]


@pytest.mark.parametrize(("own", "mode", "status", "kind"), OWN_MODES)
def test_a_lines_own_mode_wins(own: str, mode: str, status: Status, kind: Kind, batch_of: BatchOf) -> None:
    assert _agenda(batch_of, Mode(mode), {f"lr=1 --mode {own}": status}).items[0].kind is kind


# What `a` is, `b` needing it and `c` needing `b`, which are not started -> what is said of c and b.
CHAINS = {
    Status.NOT_STARTED: ("NOT_STARTED: start", "NOT_STARTED: start"),
    Status.RUNNING: ("NOT_STARTED: start", "NOT_STARTED: start"),
    Status.DONE: ("NOT_STARTED: start", "NOT_STARTED: start"),
    Status.DEAD: ("NOT_STARTED: start, once a is done", "NOT_STARTED: start, once a is done"),
    Status.UNKNOWN: ("NOT_STARTED: start, once a is done", "NOT_STARTED: start, once a is done"),
}


@pytest.mark.parametrize("status", CHAINS)
def test_dependants_of_what_is_left_say_what_they_wait_for(status: Status, batch_of: BatchOf) -> None:
    new = Status.NOT_STARTED
    lines = {"--out c --after b": new, "--out b --after a": new, "--out a": status}
    agenda = _agenda(batch_of, Mode.GENTLE_START, lines)
    assert (agenda.items[0].reason, agenda.items[1].reason) == CHAINS[status]
    assert [len(item.needs) for item in agenda.items] == [1, 0 if status is Status.DONE else 1, 0]


def test_what_is_done_waits_for_nothing_and_holds(batch_of: BatchOf) -> None:
    lines = {
        "--out a": Status.DEAD,
        "--out b --after a": Status.DONE,
        "--out c --after b": Status.NOT_STARTED,
    }
    agenda = _agenda(batch_of, Mode.GENTLE_START, lines)
    assert [item.reason for item in agenda.items][1:] == ["DONE: skip", "NOT_STARTED: start"]
    assert agenda.items[2].needs == ()


def test_reasons_tell_what_happened(batch_of: BatchOf) -> None:
    lines = ["--out dead", "--out far", "--out done", "--out new"]
    for line, status in zip(lines, [Status.DEAD, Status.UNKNOWN, Status.DONE], strict=False):
        end_as(batch_of.run(line), status)
    batch = batch_of(*lines)
    items = make_agenda(batch, Mode.GENTLE_START, read_states(batch)).items
    assert items[0].reason == (
        "DEAD (ValueError: too dry): left; mode=start_continue goes on, mode=start_restart starts anew"
    )
    assert items[1].reason == (
        "UNKNOWN (local:elsewhere:123): left: it was started on elsewhere, and from here its lock cannot be "
        "tested; once it has surely ended, say so: heyhi kill far"
    )
    assert items[2].reason == "DONE: skip"
    assert items[3].reason == "NOT_STARTED: start"


# On which host the result of `a` is, the mode -> what is done with it, and why. `b` needs it.
ELSEWHERE = [
    ("", Mode.GENTLE_START, Kind.MOVE_IN, "move the result in"),
    ("", Mode.START_CONTINUE, Kind.MOVE_IN, "move the result in"),
    ("", Mode.RESTART, Kind.START, "wipe, start"),
    ("", Mode.DRYRUN, Kind.LEAVE, "left; start it on this machine to move the result in"),
    ("node07", Mode.GENTLE_START, Kind.LEAVE, "left; start it on node07 to move the result in"),
]


@pytest.mark.parametrize(("host", "mode", "kind", "reason"), ELSEWHERE)
def test_a_result_that_is_elsewhere(
    host: str, mode: Mode, kind: Kind, reason: str, batch_of: BatchOf
) -> None:
    batch = batch_of("--out a", "--out b --after a --mode start_restart")
    place = Place(Path("/kept/a"), host, "local:here:1")
    done = RunState(Status.DONE, None, f"result at {place.text}", result_place=place)
    first, second = [entry.run.folder for entry in batch.entries]
    items = make_agenda(batch, mode, {first: done, second: RunState(Status.NOT_STARTED)}).items
    assert items[0].kind is kind
    assert items[0].reason == f"DONE (result at {place.text}): {reason}"
    assert items[1].needs == (first,)
    waits = "" if kind is Kind.START else f", once the result of a is moved in from {place.text}"
    assert items[1].reason == f"NOT_STARTED: start{waits}"


def test_by_dryrun_all_is_left(batch_of: BatchOf) -> None:
    agenda = _agenda(batch_of, Mode.DRYRUN, {"lr=1": Status.NOT_STARTED, "lr=2": Status.DONE})
    assert [item.reason for item in agenda.items] == [
        "NOT_STARTED: left, as mode=dryrun starts nothing",
        "DONE: skip",
    ]


def test_counts(batch_of: BatchOf) -> None:
    lines = {"lr=1": Status.DONE, "lr=2": Status.RUNNING, "lr=3": Status.DONE, "lr=4": Status.NOT_STARTED}
    agenda = _agenda(batch_of, Mode.RESTART, lines)
    assert agenda.counts() == {"NOT_STARTED": 1, "RUNNING": 1, "DONE": 2}


def test_drift_is_a_part_of_the_reason(batch_of: BatchOf) -> None:
    batch = batch_of("lr=1")
    entry = batch.entries[0]._replace(drift=("seed 7 -> 3", "lr 1 -> 2"))
    states = {entry.run.folder: RunState(Status.DONE)}
    (item,) = make_agenda(batch._replace(entries=(entry,)), Mode.GENTLE_START, states).items
    assert item.reason == "DONE (drifted: seed 7 -> 3; lr 1 -> 2): skip"


@pytest.mark.processes
def test_slurm_is_asked_once_and_only_if_a_job_may_be_there(
    batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask_queue() -> Queue:
        asked.append("squeue")
        return {"7": QueuedJob("7", "PENDING", "a"), "8": QueuedJob("8", "RUNNING", "b")}

    monkeypatch.setattr("heyhi.launch.slurm.ask_queue", ask_queue)
    batch = batch_of("--out a", "--out b", "--out c")
    assert [state.status for state in read_states(batch).values()] == [Status.NOT_STARTED] * 3
    assert asked == []
    for entry, job in zip(batch.entries, ["7", "8", "9"], strict=True):
        entry.run.folder.mkdir(parents=True)
        entry.run.provenance.write_text("{}")
        entry.run.jobid.write_text(job)
    statuses = [state.status for state in read_states(batch).values()]
    assert statuses == [Status.QUEUED, Status.RUNNING, Status.DEAD]
    assert asked == ["squeue"]
