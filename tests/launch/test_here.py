import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from heyhi.errors import HeyhiError, LaunchError, RefusedError
from heyhi.launch import here, job
from heyhi.launch.here import Lost, launch_here
from heyhi.runs import claim, elsewhere
from heyhi.runs.elsewhere import Place
from heyhi.runs.folder import Run
from heyhi.runs.ids import JobId
from heyhi.runs.invocation import Mode
from heyhi.runs.order import Order
from heyhi.runs.plan import Plan, make_plan
from heyhi.runs.status import RunState, Status, read_state
from tests.conftest import end_as


@pytest.fixture
def order(run: Run, tmp_path: Path) -> Order:
    """The start of a run without a copy of the code."""
    return Order(
        id=run.id,
        folder=str(run.folder),
        project_root=str(tmp_path),
        experiment_root=str(tmp_path),
        config="",
        config_meta="grow { }",
        provenance={"id": run.id, "fingerprint": "0123abcd", "snapshot": None},
    )


def plan_of(run: Run, mode: Mode) -> Plan:
    return make_plan(read_state(run), mode)


def start(order: Order, plan: Plan, demo: Any) -> Any:
    return launch_here(order, plan, lambda **_: 1, demo.MetaCfg, lambda _: None)


@pytest.mark.parametrize(
    "has_begun", [False, True], ids=["once_that_is_decided", "without_waiting_if_it_has_begun"]
)
def test_what_lost_a_race_says_what_the_run_is(order: Order, run: Run, demo: Any, has_begun: bool) -> None:
    """Another process has the claim, and leaves the run as it was after a moment, or begins."""
    end_as(run, Status.DEAD)
    plan, before = plan_of(run, Mode.START_RESTART), read_state(run)
    assert claim.take(run.lock, "local:there:1")
    other = threading.Timer(0.5, claim.drop, [run.lock])
    if has_begun:
        run.jobid.write_text("local:there:1")
    else:
        other.start()
    lost = start(order, plan, demo)
    (claim.drop(run.lock) if has_begun else other.join())
    assert isinstance(lost, Lost)
    expected = (Status.RUNNING, JobId("local:there:1")) if has_begun else (before.status, before.job)
    assert (lost.state.status, lost.state.job) == expected


def test_a_lock_whose_owner_is_not_written_yet_is_no_job_of_slurm(run: Run) -> None:
    assert claim.take(run.lock, "")
    os.truncate(run.lock, 0)
    state = read_state(run)
    assert (state.status, state.job) == (Status.RUNNING, None)
    with pytest.raises(LaunchError, match="only starting"):
        here.kill(run, state)
    claim.drop(run.lock)


def test_nothing_is_killed_that_is_not_ours(run: Run) -> None:
    state = RunState(Status.RUNNING, JobId("12"), keeps="made by the original HeyHi")
    with pytest.raises(RefusedError, match="not HeyHi's to end"):
        here.kill(run, state)


def test_a_wipe_is_refused_once_another_process_has_taken_the_run(order: Order, run: Run, demo: Any) -> None:
    end_as(run, Status.DEAD)
    (run.folder / "weeks-of-work").touch()
    with pytest.raises(RefusedError, match="another process has taken it"):
        here.wipe(run)
    with job.claimed(run):
        elsewhere.note_place(run.lock, Place(Path("/kept/it"), "", "local:here:1"))
        here.wipe(run)
        assert sorted(os.listdir(run.folder)) == ["heyhi.json", "heyhi.lock", "heyhi.owner"]
        assert elsewhere.place_of(run.lock, None) is None


@pytest.mark.parametrize("kind", ["heyhi.json", "heyhi.jobid", "heyhi.lock", "result.json", "heyhi.owner"])
def test_a_fifo_in_place_of_a_file_hangs_and_wipes_nothing(
    order: Order, run: Run, demo: Any, kind: str
) -> None:
    end_as(run, Status.DEAD)
    (run.folder / "weeks-of-work").touch()
    (run.folder / kind).unlink(missing_ok=True)
    os.mkfifo(run.folder / kind)
    state = read_state(run)
    assert f"{kind} is a fifo" in f"{state.detail} {state.keeps}"
    assert state.keeps
    for mode in Mode:
        plan = make_plan(state, mode)
        assert plan.loses_work or plan.action.name in ("SKIP", "REFUSE"), mode
    assert (run.folder / "weeks-of-work").exists()


def test_a_claim_is_never_taken_through_a_link(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("mine")
    run.lock.symlink_to(tmp_path / "thesis")
    with pytest.raises(OSError, match="is a link"):
        claim.take(run.lock, "local:here:1")
    assert (tmp_path / "thesis").read_text() == "mine"
    assert read_state(run).keeps == "heyhi.lock is a link"


def test_a_run_is_started_where_the_files_of_a_killed_start_are(order: Order, run: Run, demo: Any) -> None:
    run.provenance.unlink()
    run.lock.write_text("local:here:1\n")
    outcome = start(order, plan_of(run, Mode.GENTLE_START), demo)
    assert outcome.failure is None
    assert read_state(run).status is Status.DONE


def test_a_folder_that_is_not_ours_is_refused_also_at_the_last_moment(
    order: Order, run: Run, demo: Any
) -> None:
    run.provenance.unlink()
    plan = plan_of(run, Mode.GENTLE_START)
    run.config.write_text("a user's, written after the plan was made")
    with pytest.raises(HeyhiError, match=r"config\.prototxt is in it"):
        start(order, plan, demo)
    assert os.listdir(run.folder) == ["config.prototxt"]


def test_a_run_that_goes_on_in_a_moved_root_finds_the_files_there(
    order: Order, run: Run, demo: Any, tmp_path: Path
) -> None:
    end_as(run, Status.DEAD)
    run.config_meta.write_text('grow { name: "/old/root/p/other/state.json" tags: "/old/rooted" }\n')
    run.config.write_text('name: "/old/root/p/other/state.json"\ntags: "/old/rooted"\n')
    config = {"name": "/old/root/p/other/state.json", "tags": ["/old/rooted"]}
    run.provenance.write_text(json.dumps({"experiment_root": "/old/root", "config": config}))
    seen: dict[str, Any] = {}
    plan = plan_of(run, Mode.START_CONTINUE)
    order = order._replace(provenance={**order.provenance, "experiment_root": str(tmp_path)})
    launch_here(order, plan, lambda **given: seen.update(given), demo.MetaCfg, lambda _: None)
    assert (seen["cfg"].name, seen["cfg"].tags) == (f"{tmp_path}/p/other/state.json", ("/old/rooted",))
    assert run.config.read_text().startswith(f'name: "{tmp_path}/p/other/state.json"')
    known = json.loads(run.provenance.read_text())
    assert (known["config"]["name"], known["experiment_root"]) == (seen["cfg"].name, str(tmp_path))
