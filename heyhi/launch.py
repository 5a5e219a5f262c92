"""Carry out a plan: claim, wipe, freeze, copy the code, start. Alone in changing run folders from outside.

Everything is done under the run's claim, in an order that a kill between any two lines leaves right:
heyhi.jobid comes last before the task (without it the run is NOT_STARTED), and when a folder is wiped
result.json goes first and heyhi.jobid last (a half-wiped run is DEAD, never DONE, never fresh).
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import Message

from heyhi import config, job, prototxt, runs, slurm, snapshot
from heyhi.compose import Composition
from heyhi.errors import LaunchError, RefusedError
from heyhi.plan import Action, Plan
from heyhi.project import Project
from heyhi.runs import Run, RunState, Status

__all__ = [
    "Launch",
    "Lost",
    "find_aliases",
    "find_collision",
    "find_drift",
    "kill",
    "launch_here",
    "wipe",
]

_PATIENCE = 10  # seconds that a job has to end after SIGTERM, before SIGKILL


class Launch(NamedTuple):
    """All that is known of a run to be launched, besides the plan."""

    run: Run
    project: Project
    experiment_root: Path
    composition: Composition
    base: Path
    overrides: tuple[str, ...]
    canonical: tuple[str, ...]
    argv: tuple[str, ...]
    snapshot_place: Path | None
    say: Callable[[str], None]

    @property
    def fingerprint(self) -> str:
        """What two runs share if they compute the same."""
        return config.fingerprint(self.composition.task, self.composition.config)


class Lost(NamedTuple):
    """Another process was faster: the run is not ours to start. Its state now."""

    state: RunState


def launch_here(
    launch: Launch, plan: Plan, main: job.Main, meta_class: type[Message], level: str
) -> job.Outcome | Lost:
    """Do the run in this process. Of any number of starts at once, one gets an Outcome.

    Raises LaunchError if the folder cannot be written.
    """
    run = launch.run
    try:
        if plan.action is Action.KILL_RESTART:
            kill(run, plan.state)
        with job.claimed(run) as got:
            if not got or not _still_as_planned(run, plan):
                return Lost(runs.read_state(run))
            if plan.action in (Action.RESTART, Action.KILL_RESTART):
                wipe(run)
            continues = plan.action is Action.CONTINUE and run.config_meta.exists()
            if not continues:
                _freeze(launch)
            _prepare(launch, keep_frozen=continues)
            return job.execute(run, main, launch.project, meta_class, level)
    except OSError as problem:
        where = problem.filename or run.folder
        raise LaunchError(f"{where}: cannot be written: {problem.strerror or problem}") from None


def _still_as_planned(run: Run, plan: Plan) -> bool:
    """Under the claim no local job lives; is the rest as it was when the plan was made?"""
    if plan.action is Action.KILL_RESTART:
        return True
    has_job, is_done = run.jobid.exists(), run.result.exists()
    now = Status.DONE if is_done else Status.DEAD if has_job else Status.NOT_STARTED
    return now is plan.state.status and _same_job(run, plan.state)


def _same_job(run: Run, state: RunState) -> bool:
    """A DEAD run may have been started, and have died, again since."""
    return state.job is None or run.jobid.read_text(encoding="utf-8").strip() == state.job.text


# ---- Ending and wiping --------------------------------------------------------------------------


def kill(run: Run, state: RunState) -> None:
    """End the job of a run, and wait until it has. Only the very job that the plan saw."""
    assert state.job is not None, "only a job can be killed"
    if state.job.local is None:
        slurm.cancel(state.job.text)
        return
    host, pid = state.job.local
    for number in (signal.SIGTERM, signal.SIGKILL):
        if runs.lock_holder(run) != pid:
            break
        os.kill(pid, number)
        _wait(lambda: runs.lock_holder(run) != pid, _PATIENCE)
    if runs.lock_holder(run) == 0:
        raise RefusedError(f"{run.id}: its job {state.job.text} runs on {host}; end it there")


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def wipe(run: Run) -> None:
    """Empty the folder, but for the lock that this process holds."""
    first, last = run.result, run.jobid
    first.unlink(missing_ok=True)
    for entry in os.scandir(run.folder):
        if entry.path in (str(last), str(run.lock)):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    last.unlink(missing_ok=True)


# ---- Writing what will be run -------------------------------------------------------------------


def _freeze(launch: Launch) -> None:
    composition = launch.composition
    runs.write_whole(launch.run.config, prototxt.write_text(composition.config))
    runs.write_whole(launch.run.config_meta, prototxt.write_text(composition.meta))


# What heyhi.json says of the frozen config: it stays as long as that config does.
_OF_THE_CONFIG = ("base_config", "overrides", "canonical_overrides", "config", "fingerprint")


def _prepare(launch: Launch, *, keep_frozen: bool) -> None:
    """The snapshot, the provenance, and the note by which runs of one config find each other."""
    copy = None
    if launch.snapshot_place is not None:
        copy = snapshot.take_snapshot(
            launch.project,
            launch.snapshot_place,
            exclude=launch.experiment_root,
            say=launch.say,
        )
        runs.write_whole(launch.run.snapshot_link, str(copy.project_root))
    else:
        launch.run.snapshot_link.unlink(missing_ok=True)
    known = runs.read_provenance(launch.run)
    content = {**_provenance(launch, copy), "starts": known.get("starts", [])}
    if keep_frozen:
        content.update({key: known[key] for key in _OF_THE_CONFIG if key in known})
    text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
    runs.write_whole(launch.run.provenance, text + "\n")
    _note_fingerprint(launch)


def _provenance(launch: Launch, copy: snapshot.Snapshot | None) -> dict[str, Any]:
    import getpass
    import platform

    import google.protobuf

    git = snapshot.git_state(launch.project.root)
    return {
        "id": launch.run.id,
        "task": launch.composition.task,
        "project": launch.project.name,
        "project_root": str(launch.project.root),
        "experiment_root": str(launch.experiment_root),
        "cwd": os.getcwd(),
        "argv": list(launch.argv),
        "base_config": _base_name(launch),
        "overrides": list(launch.overrides),
        "canonical_overrides": list(launch.canonical),
        "config": config.to_dict(launch.composition.config, with_defaults=True),
        "fingerprint": launch.fingerprint,
        "git_commit": git.commit,
        "git_dirty": git.dirty,
        "snapshot": None if copy is None else str(copy.folder),
        "host": os.uname().nodename,
        "user": getpass.getuser(),
        "versions": {"python": platform.python_version(), "protobuf": google.protobuf.__version__},
    }


def _base_name(launch: Launch) -> str:
    root = launch.project.root
    base = Path(os.path.realpath(launch.base.parent)) / launch.base.name
    real_root = os.path.realpath(root)
    return str(base.relative_to(real_root) if base.is_relative_to(real_root) else base)


# ---- What is already there ----------------------------------------------------------------------


def find_collision(launch: Launch) -> str | None:
    """Why the folder of this id belongs to another config or other overrides, if it does."""
    known = runs.read_provenance(launch.run)
    if not known:
        return None
    theirs = (known.get("base_config"), tuple(known.get("canonical_overrides", ())))
    ours = (_base_name(launch), launch.canonical)
    if theirs == ours:
        return None
    return f"{_say_origin(*theirs)} has it already, and {_say_origin(*ours)} meets it there"


def _say_origin(base: Any, overrides: tuple[str, ...]) -> str:
    return f"[{' '.join(['-c', str(base), *overrides])}]"


def find_drift(launch: Launch) -> list[str]:
    """How the config composed now differs from the frozen one of the same run, a line a field."""
    known = runs.read_provenance(launch.run)
    if known.get("fingerprint") in (None, launch.fingerprint):
        return []
    now = config.to_dict(launch.composition.config, with_defaults=True)
    plain = json.loads(json.dumps(now, default=str))
    return config.diff(known.get("config", {}), plain) or ["its task"]


def _fingerprint_file(launch: Launch) -> Path:
    return launch.experiment_root / ".heyhi" / "fingerprints" / launch.fingerprint


def _note_fingerprint(launch: Launch) -> None:
    if launch.run.id in _ids_of_fingerprint(launch):
        return
    path = _fingerprint_file(launch)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:  # one write of one line: processes do not mix
        file.write(f"{launch.run.id}\n".encode("utf-8", "surrogateescape"))


def _ids_of_fingerprint(launch: Launch) -> list[str]:
    try:
        return _fingerprint_file(launch).read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []


def find_aliases(launch: Launch) -> list[Run]:
    """Other runs whose frozen config is the same but for the launcher."""
    found = []
    for run_id in _ids_of_fingerprint(launch):
        other = Run(run_id, launch.experiment_root / run_id)
        same = runs.read_provenance(other).get("fingerprint") == launch.fingerprint
        if same and other.folder != launch.run.folder and not run_id.startswith("adhoc/"):
            found.append(other)
    return found
