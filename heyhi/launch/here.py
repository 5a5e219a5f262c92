"""Carry out an order: claim, wipe, freeze, copy the code, start. Alone in changing run folders from outside.

heyhi.json comes first of all, as the proof that the folder is HeyHi's. All else is done under the run's
claim, in an order that a kill between any two lines leaves right: heyhi.jobid comes last before the task
(without it the run is NOT_STARTED), and when a folder is wiped result.json goes first and heyhi.jobid last
(a half-wiped run is DEAD, never DONE, never fresh).
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import Message

from heyhi import files, runs
from heyhi.errors import LaunchError, RefusedError
from heyhi.launch import job, schedulers, snapshot
from heyhi.log import copy_output_to, send_output_to
from heyhi.project import Project, moved
from heyhi.runs import (
    Action,
    JobId,
    Mode,
    Order,
    Plan,
    Run,
    RunState,
    Status,
    claim,
    deaths,
    elsewhere,
    fingerprints,
    guard,
    make_plan,
    ownership,
    results,
)

if TYPE_CHECKING:
    import psutil

__all__ = [
    "Lost",
    "code_state",
    "freeze",
    "freeze_new",
    "jobs_of",
    "kill",
    "launch_here",
    "launch_order",
    "make_ready",
    "move_in",
    "own",
    "refuse_links",
    "still_as_planned",
    "user_name",
    "wipe",
    "with_code_state",
]

_PAUSE = 0.5  # seconds between two looks at a run that lives elsewhere
_GLANCE = 0.02  # seconds between two looks at what ends in a moment
_PATIENCE = 10  # seconds that a job has to end after SIGTERM, before SIGKILL

Say = Callable[[str], None]


class Lost(NamedTuple):
    """Another process was faster: the run is not ours to start. Its state now."""

    state: RunState


def launch_here(
    order: Order,
    plan: Plan,
    main: job.Main,
    meta_class: type[Message],
    say: Say,
    output: job.Output = copy_output_to,
) -> job.Outcome | Lost:
    """Do the run in this process. Of any number of starts at once, one gets an Outcome.

    What it prints is also in its log, or as `output` has it. Raises RefusedError if the folder is not
    HeyHi's to change, LaunchError if it cannot be written.
    """
    run = order.run
    try:
        refuse_links(order, plan)
        if plan.action is Action.KILL_RESTART:
            kill(run, plan.state)
        own(order, plan)
        with job.claimed(run, ended=jobs_of(plan)) as got:
            if got and still_as_planned(run, plan):
                make_ready(order, plan, say)
                return job.execute(run, main, meta_class, order.log_level, output)
        return Lost(_once_decided(run))
    except OSError as problem:
        where = problem.filename or run.folder
        raise LaunchError(f"{where}: cannot be written: {problem.strerror or problem}") from None


def _once_decided(run: Run) -> RunState:
    """The state of a run once the process that has its claim has started it, or has let it go again."""
    while True:
        state, recorded = runs.read_state(run), runs.read_job(run)
        if state.status is not Status.RUNNING or state.job is None or state.job == recorded:
            return state
        time.sleep(_GLANCE)


def launch_order(order: Order, mode: Mode, main: job.Main, meta_class: type[Message], say: Say) -> RunState:
    """Do what the mode says with the run of an order, and wait for its end. Returns its state then.

    For a job of a batch: if several processes start the same run at once, here or elsewhere, one does it.
    """
    first = runs.read_job(order.run)
    while True:
        if runs.read_job(order.run) != first:
            mode = Mode.GENTLE_START  # somebody else has started it, as we would have
        state = schedulers.read_state(order.run)
        plan = make_plan(state, mode)
        if plan.action in (Action.SKIP, Action.REFUSE):
            if not state.status.is_alive:
                return state
            time.sleep(_PAUSE)  # it lives elsewhere: its end is ours
            continue
        if plan.action is Action.MOVE_IN:
            return move_in(order.run)
        outcome = launch_here(order, plan, main, meta_class, say, send_output_to)
        if not isinstance(outcome, Lost):
            return runs.read_state(order.run)
        time.sleep(_GLANCE)


def move_in(run: Run) -> RunState:
    """Move the result of a run, which is elsewhere, into its folder. Returns the run's state then.

    Raises LaunchError if that cannot be: then all is as it was.
    """
    place = None
    try:
        known = runs.read_job(run)
        # Its task has ended, wherever that was: its guard does not count.
        with job.claimed(run, ended=[known.text] if known else []) as got:
            if got and not run.result.exists():
                place = runs.result_place(run)
                if place is not None:
                    results.move_in(run, place)
    except OSError as problem:
        told = f"{problem.filename or run.folder}: {problem.strerror or problem}"
        where = f"result at {place.text}" if place else "its result is elsewhere"
        raise LaunchError(f"{run.id}: DONE ({where}): it cannot be moved in: {told}") from None
    return runs.read_state(run)


def jobs_of(plan: Plan) -> list[str]:
    """The job that a plan takes for ended, or that it has ended: its guard does not count."""
    return [plan.state.job.text] if plan.state.job else []


def refuse_links(order: Order, plan: Plan) -> None:
    """Raise RefusedError if the plan wipes a folder that is reached by a link: what it holds is elsewhere."""
    wipes = plan.action in (Action.RESTART, Action.KILL_RESTART)
    if wipes and (link := ownership.find_link(order.run.folder, Path(order.experiment_root))):
        raise RefusedError(
            f"{order.run.folder}: {link} is a link, and a wipe follows none; nothing was wiped. Remove the "
            "link (the files that it leads to stay), or go on in place: --mode start_continue"
        )


def own(order: Order, plan: Plan) -> None:
    """Leave heyhi.json in a run's folder, before anything else: it says that the folder is HeyHi's.

    Raises RefusedError if it is not: files of others with names of HeyHi's are in it. OSError.
    """
    run = order.run
    run.folder.mkdir(parents=True, exist_ok=True)
    if files.is_file(run.provenance):
        return
    if plan.state.keeps:  # the user has said that it may be wiped
        if run.provenance.is_dir() and not run.provenance.is_symlink():
            shutil.rmtree(run.provenance)
        files.write_whole(run.provenance, runs.provenance_text(order.provenance))
        return
    if obstacle := ownership.find_obstacle(run, order.config, order.config_meta):
        raise RefusedError(f"{run.folder}: {obstacle}")
    strangers = ownership.find_strangers(run.folder)
    files.write_new(run.provenance, runs.provenance_text({**order.provenance, "found": strangers}))


def make_ready(order: Order, plan: Plan, say: Say, *, sync: bool = True) -> None:
    """Under the claim: all that the plan does to the folder, and all that is in it before the job id.

    `sync` waits until heyhi.json is on the disk. Raises OSError.
    """
    run = order.run
    if plan.action in (Action.RESTART, Action.KILL_RESTART):
        wipe(run)
        if plan.state.result_place is not None:
            say(f"note: its earlier result stays at {plan.state.result_place.text}")
    continues = plan.action is Action.CONTINUE and run.config_meta.exists()
    if continues:
        _follow_the_root(order)
    else:
        freeze(order)
    _prepare(order, say, keep_frozen=continues, sync=sync)


def still_as_planned(run: Run, plan: Plan) -> bool:
    """Under the claim no local job lives; is the rest as it was when the plan was made?

    A run may have been started, and have ended, again since: then its job is another one.
    """
    job_now, planned = runs.read_job(run), plan.state.job
    is_mark = job_now is not None and job_now.text.startswith(runs.SUBMITTING)
    if plan.action is Action.KILL_RESTART and is_mark:
        return True  # a crash left the id out of the folder: the plan has it from Slurm, by this name
    if job_now not in (None, planned) and (planned is not None or is_mark):
        return False
    if plan.action is Action.KILL_RESTART:
        return True
    is_done = runs.is_done(run)
    if plan.state.keeps:
        return not is_done or plan.state.status is Status.DONE
    # Of a submission that came to nothing the plan knows: Slurm was asked about that very one.
    now, then = runs.status_on_disk(job_now, is_done=is_done), plan.state.status
    return now is then or (now.has_failed and then.has_failed)


# ---- Ending and wiping --------------------------------------------------------------------------


def kill(run: Run, state: RunState, reason: str = "") -> None:
    """End the job of a run, and wait until it has. Only the very job that the plan saw.

    `reason` is what the run is to have died of, if it stays. Raises RefusedError if the job cannot be ended
    from here, LaunchError if Slurm does not cancel it, or if it lives on.
    """
    if state.job is None:
        raise LaunchError(f"{run.id}: its process is only starting, and has not said who it is; try again")
    if state.keeps:
        raise RefusedError(f"{run.id}: {state.keeps}: its job {state.job.text} is not HeyHi's to end")
    job = state.job.text
    if state.job.scheduler:
        with deaths.recorded(run, state.job, reason):
            schedulers.cancel([state.job])
        schedulers.await_end([state.job])
        if not _wait(lambda: claim.holder(run.lock) is None):
            raise LaunchError(
                f"{run.id}: {state.job.scheduler} has ended its job {job}, but one of its processes lives on"
            )
        return
    assert state.job.local is not None, "it is no scheduler's"
    host, pid = state.job.local
    if host != runs.this_host():
        raise RefusedError(f"{run.id}: its job {job} runs on {host}; end it there")
    _end_process(run, state.job, reason)
    if claim.holder(run.lock) == job or _is_its_process(run, pid):
        raise RefusedError(f"{run.id}: its job {job} could not be ended")


def _is_its_process(run: Run, pid: int) -> bool:
    """True if a process of this machine has the run: it has the lock open, or the guard names it."""
    known = guard.read(run.owner)
    if known is not None and known.process is not None and known.process.pid == pid and known.lives:
        return True
    try:
        return claim.is_open_in(run.lock, pid)
    except FileNotFoundError:
        return False


def _end_process(run: Run, job: JobId, reason: str) -> None:
    """SIGTERM, later SIGKILL, for the job and what it started; nothing, if the pid is no longer the job's."""
    import psutil  # knows a process from a later one with its number

    assert job.local is not None, "it is a process of this machine"
    pid = job.local[1]
    try:
        process = psutil.Process(pid)
        if not _is_its_process(run, pid):
            return
        children = process.children(recursive=True)
        with deaths.recorded(run, job, reason):
            process.terminate()
        _wait(lambda: not _lives(process))
        left = [one for one in (process, *children) if _lives(one)]
        for one in left:
            one.kill()
        _wait(lambda: not any(map(_lives, left)))
    except psutil.NoSuchProcess:
        return
    except (psutil.AccessDenied, PermissionError):
        raise RefusedError(f"{run.id}: its job, process {pid}, is another user's") from None


def _lives(process: "psutil.Process") -> bool:
    import psutil

    try:
        # A zombie has ended; its parent has not waited for it yet.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(condition: Callable[[], bool]) -> bool:
    """True if it holds, now or some seconds later."""
    end = time.monotonic() + _PATIENCE
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return holds


def wipe(run: Run) -> None:
    """Empty the folder, but for heyhi.json, what this process holds, and files that were there before HeyHi.

    Raises RefusedError if another run lies in it, if another process has taken it, or if a rank of the run's
    last job goes on writing there.
    """
    if not guard.is_ours(run.owner):
        raise RefusedError(f"{run.id}: another process has taken it ({run.owner}); nothing was wiped")
    if not _wait(lambda: not any(map(runs.is_at_work, run.meetings()))):
        raise RefusedError(
            f"{run.id}: a rank of its last job lives on, on a node that Slurm has lost; nothing was wiped. "
            "End it there, or wait for its end"
        )
    for folder, _, names in os.walk(run.folder):
        if Path(folder) != run.folder and not {run.jobid.name, run.provenance.name}.isdisjoint(names):
            raise RefusedError(f"{run.folder}: {folder} is another run, in it; nothing was wiped")
    strangers = ownership.noted_strangers(runs.read_provenance(run))
    kept = {path.name for path in (run.jobid, run.lock, run.owner, run.provenance)} | {*strangers}
    elsewhere.forget(run.lock)  # with heyhi.jobid gone, it would be read
    _remove(run.result)
    for name in os.listdir(run.folder):
        if name not in kept:
            _remove(run.folder / name)
    _remove(run.jobid)


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; a link is removed, not what it leads to."""
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        shutil.rmtree(path)


# ---- Writing what will be run -------------------------------------------------------------------


def freeze(order: Order) -> None:
    """Write the frozen configs. Raises OSError."""
    for path, text in ((order.run.config, order.config), (order.run.config_meta, order.config_meta)):
        if not _has(path, text):  # in a batch it is frozen already, and to write it anew takes its time
            files.write_whole(path, text)


def _has(path: Path, text: str) -> bool:
    try:
        return files.read(path) == text.encode("utf-8", "surrogateescape")
    except OSError:
        return False


def freeze_new(order: Order) -> None:
    """Write the frozen configs that are not there yet, without the claim. Raises OSError, RefusedError."""
    run = order.run
    for path, text in ((run.config, order.config), (run.config_meta, order.config_meta)):
        while not path.exists():
            try:
                own(order, make_plan(RunState(Status.NOT_STARTED), Mode.GENTLE_START))
                files.write_new(path, text)
            except FileNotFoundError:
                pass  # the process that has the claim has tidied up; or the folder was deleted


# What heyhi.json says of the frozen config: it stays as long as that config does.
_OF_THE_CONFIG = ("base_config", "overrides", "canonical_overrides", "config", "unset", "fingerprint")


def _follow_the_root(order: Order) -> None:
    """Let a frozen config name files of the experiment root where they are, if the root was moved since."""
    known = runs.read_provenance(order.run)
    old, new = str(known.get("experiment_root")), order.experiment_root
    if old == new or not all(map(_PLAIN.fullmatch, (old, new))):
        return
    for path in (order.run.config, order.run.config_meta):
        text = files.read_text(path, "surrogateescape")
        changed = text.replace(f'"{old}/', f'"{new}/').replace(f'"{old}"', f'"{new}"')
        if changed != text:
            files.write_whole(path, changed)
    config = _moved(known.get("config"), old, new)
    if config != known.get("config"):
        files.write_whole(order.run.provenance, runs.provenance_text({**known, "config": config}))


_PLAIN = re.compile(r"[\w/.@+-]+", re.ASCII)  # what protobuf's text format writes as it is


def _moved(value: Any, old: str, new: str) -> Any:
    """A value of JSON with the paths below `old` in it as they are below `new`."""
    if isinstance(value, dict):
        return {key: _moved(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_moved(inner, old, new) for inner in value]
    return moved(value, old, new) if isinstance(value, str) else value


def _prepare(order: Order, say: Say, *, keep_frozen: bool, sync: bool) -> None:
    """The snapshot, the provenance, and the note by which runs of one config find each other."""
    run = order.run
    content = {**_circumstances(order, say), **order.provenance}
    known = runs.read_provenance(run)
    if keep_frozen:
        content.update({key: known[key] for key in _OF_THE_CONFIG if key in known})
    if strangers := ownership.noted_strangers(known):
        content["found"] = strangers
    content["starts"] = known.get("starts", []) if keep_frozen else []
    if content["snapshot"] is None:
        run.snapshot_link.unlink(missing_ok=True)
    else:
        files.write_whole(run.snapshot_link, content["snapshot"])
    files.write_whole(run.provenance, runs.provenance_text(content), sync=sync)
    fingerprints.note(Path(order.experiment_root), content["fingerprint"], run.id)


def _circumstances(order: Order, say: Say) -> dict[str, Any]:
    """The provenance besides the config: the code, the place, the time."""
    import platform

    import google.protobuf

    return {
        **({} if "snapshot" in order.provenance else code_state(order, say)),
        "cwd": os.getcwd(),
        "host": runs.this_host(),
        "user": user_name(),
        "versions": {"python": platform.python_version(), "protobuf": google.protobuf.__version__},
        **({"environment": order.environment} if order.environment else {}),
    }


def code_state(order: Order, say: Say) -> dict[str, Any]:
    """The commit of the code as it is now, and where the snapshot of it is, which is made if asked for."""
    project = Project(Path(order.project_root))
    if project.origin != project.root:  # the code is a copy itself: none is made of it
        git = snapshot.noted_git_state(project.root)
        return {"git_commit": git.commit, "git_dirty": git.dirty, "snapshot": str(project.root)}
    copy, root = None, Path(order.experiment_root)
    if order.snapshot_place is not None:
        place = Path(order.snapshot_place)
        copy = str(snapshot.take_snapshot(project, place, exclude=root, say=say).project_root)
    git = snapshot.git_state(project.root, trusted=True, without=root)  # runs are no code
    return {"git_commit": git.commit, "git_dirty": git.dirty, "snapshot": copy}


def with_code_state(orders: Iterable[Order], say: Say) -> list[Order]:
    """The orders with the copy of the code that each starts from in its provenance; one copy for all."""
    states: dict[str | None, dict[str, Any]] = {}
    changed = []
    for order in orders:
        place = order.snapshot_place
        if place not in states:
            states[place] = {**code_state(order, say), "cwd": os.getcwd()}
        changed.append(order._replace(snapshot_place=None, provenance={**order.provenance, **states[place]}))
    return changed


def user_name() -> str:
    """The name of the user whose process this is."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
