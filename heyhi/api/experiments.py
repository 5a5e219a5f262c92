"""Launching from Python: the entry of run.py, `maybe_launch`, and a run folder as an object.

The names and signatures are those of the original HeyHi, so that its projects run on this one.
"""

import enum
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from heyhi import files, runs
from heyhi.config import compose, find_base, load_messages, notebooks
from heyhi.errors import RefusedError
from heyhi.launch import Main, claimed, here, schedulers, start_run
from heyhi.project import Project, find_project
from heyhi.runs import (
    EXP_ID_PATTERN,
    Action,
    Draft,
    Invocation,
    Mode,
    Queue,
    Run,
    deaths,
    guard,
    make_draft,
    make_plan,
    ownership,
    results,
    to_mode,
)

__all__ = [
    "EXP_ID_PATTERN",
    "MODES",
    "ExperimentDir",
    "Status",
    "get_all_runing_job_ids",
    "get_default_exp_dir",
    "get_exp_dir",
    "get_exp_id",
    "handle_dst",
    "maybe_launch",
    "reset_slurm_cache",
]

MODES = tuple(mode.value for mode in Mode)


class Status(enum.IntEnum):
    """The status of a run; QUEUED and UNKNOWN count as RUNNING here, as neither may be touched."""

    NOT_STARTED = 1
    DONE = 2
    DEAD = 3
    RUNNING = 4


@functools.cache
def _queue(scheduler: str) -> Queue | None:
    """The jobs in a queue, asked for once until `reset_slurm_cache`; None: no answer."""
    return schedulers.SCHEDULERS[scheduler].ask_queue()


def reset_slurm_cache() -> None:
    """Ask the queue again the next time."""
    _queue.cache_clear()


def get_all_runing_job_ids() -> frozenset[str]:
    """The ids of this user's jobs in Slurm's queue, running or waiting; asked once a process."""
    queues = (_queue(name) or {} for name in schedulers.SCHEDULERS)
    return frozenset(job.id for queue in queues for job in queue.values() if job.lives)


class ExperimentDir:
    """A run by its folder."""

    def __init__(self, exp_path: str | os.PathLike[str], exp_id: str = "") -> None:
        self.exp_path = Path(exp_path)
        self.exp_id = exp_id
        self._run = Run(exp_id or str(exp_path), Path(os.path.abspath(exp_path)))

    def __repr__(self) -> str:
        return f"{self._run.id}: {self.get_status().name}\n  folder {self._run.folder}"

    def _repr_html_(self) -> str:
        """Its status, folder and result, for a notebook."""
        state = self._state()
        status = Status[state.status.original]
        rows: list[tuple[object, ...]] = [("status", status.name), ("folder", self._run.folder)]
        if status is Status.DEAD:
            rows.append(("last error", deaths.why(self._run, state)))
        try:
            rows += results.scalars(results.read(self._run)).items()
        except (OSError, ValueError):
            pass  # there is none yet, or it is damaged: `heyhi summary` says so
        return notebooks.table(rows, caption=self._run.id)

    @property
    def job_id_path(self) -> Path:
        """The file with the id of its job."""
        return self._run.jobid

    @property
    def result_path(self) -> Path:
        """The file of its result, present or not."""
        return self._run.result

    @property
    def slurm_path(self) -> Path:
        """A folder for what Slurm writes."""
        return self._run.folder / "slurm"

    def maybe_get_job_id(self) -> str | None:
        """The id of its job; None if it was not started."""
        state = self._state()
        return state.job.text if state.job else None

    def save_job_id(self, id: str) -> None:
        """Record the id of its job."""
        files.write_whole(self._run.jobid, id)

    def get_status(self) -> Status:
        """Its present status."""
        return Status[self._state().status.original]

    def is_done(self) -> bool:
        """True if its result exists."""
        return self._state().has_result

    def is_started(self) -> bool:
        """True if it was ever started."""
        return self.get_status() is not Status.NOT_STARTED

    def is_running(self) -> bool:
        """True if its job is alive, or may be."""
        return self.get_status() is Status.RUNNING

    def kill_and_prune(self, silent: bool = False) -> None:
        """End its job, and remove the folder. Raises HeyhiError if the job may live on."""
        state = self._state()
        if state.status is runs.Status.UNKNOWN:
            raise RefusedError(f"{self._run.folder}: {state.detail}; it is not removed on a guess")
        if not self._run.folder.exists():
            return
        if (keeps := state.keeps or (state.detail if state.result_place else "")) and not silent:
            raise RefusedError(f"{self._run.folder}: {keeps}; it is not removed unasked")
        root = runs.read_provenance(self._run).get("experiment_root")
        if link := ownership.find_link(self._run.folder, Path(str(root or self._run.folder))):
            raise RefusedError(f"{self._run.folder}: {link} is a link; what it leads to is not removed")
        if not silent:
            print(f"{self._run.folder}: {state.status.value}: removed", file=sys.stderr)
        if state.status.is_alive:
            here.kill(self._run, state)
        with claimed(self._run, ended=[state.job.text] if state.job else []) as got:
            if not got:
                raise RefusedError(f"{self._run.folder}: its job lives; nothing was removed")
            here.wipe(self._run)
            guard.leave(self._run.owner)
            for path in (self._run.provenance, self._run.lock):
                path.unlink(missing_ok=True)
            if not os.listdir(self._run.folder):  # else files that were there before HeyHi
                self._run.folder.rmdir()

    def _state(self) -> runs.RunState:
        state = runs.read_state(self._run)
        if schedulers.needs_queue(state):
            name = (state.job and state.job.scheduler) or ""
            queue = _queue(name)
            state = runs.read_state(self._run, queue)
            state = schedulers.with_ends({self._run: state}, {name: queue})[self._run]
        return state


def get_exp_dir(project_name: str) -> Path:
    """The root of a project's runs: `$HH_EXP_DIR`, or `~/results/<project_name>`."""
    chosen = os.environ.get("HH_EXP_DIR")
    return _absolute(chosen) if chosen else Path.home() / "results" / project_name


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))


def get_default_exp_dir() -> Path:
    """The root of this project's runs."""
    return find_project().experiment_root


def get_exp_id(
    config_path: str | os.PathLike[str],
    overrides: Sequence[str],
    adhoc: bool,
    exp_id_pattern: str | None = None,
) -> str:
    """The id of a run: its path below the experiment root. Raises ConfigError."""
    invocation = Invocation(os.fspath(config_path), tuple(overrides), adhoc=adhoc, pattern=exp_id_pattern)
    return _draft_of(invocation, find_project(), None)[0].run.id


def _draft_of(invocation: Invocation, project: Project, root: Path | None) -> tuple[Draft, type[Message]]:
    meta_class = load_messages(project)
    base = find_base(invocation.cfg, project)
    composition = compose(base, invocation.overrides, project, meta_class)
    return make_draft(invocation, project, composition, base, root or project.experiment_root), meta_class


def handle_dst(exp_handle: ExperimentDir, mode: str, force: bool = False) -> bool:
    """Make a run folder ready as `mode` says, wiping it if so, and whether the run is to be started.

    With `force` nothing is said; asked is never. Raises HeyhiError if a job that has to end may live on.
    """
    plan = make_plan(exp_handle._state(), to_mode(mode))
    if plan.action in (Action.RESTART, Action.KILL_RESTART, Action.REFUSE):
        exp_handle.kill_and_prune(silent=force)
    return plan.action not in (Action.SKIP, Action.MOVE_IN)


def maybe_launch(
    main: Main,
    *,
    exp_root: str | os.PathLike[str] | None,
    overrides: Sequence[str],
    cfg: Path,
    mode: str,
    checkpoint: str = "DEFAULT",
    adhoc: bool = False,
    exp_id_pattern_override: str | None = None,
    force: bool = False,
    log_level: str = "INFO",
) -> ExperimentDir:
    """Do what `run.py` does with these arguments, in this process; the run's folder.

    Raises HeyhiError, and what the task raises. It leaves a done or living run as it is, unless `mode` says
    restart: then it needs `force` if it cannot ask on a terminal.
    """
    invocation = Invocation(
        os.fspath(cfg),
        tuple(overrides),
        chosen_mode=to_mode(mode),
        adhoc=adhoc,
        force=force,
        snapshot=checkpoint,
        pattern=exp_id_pattern_override,
        log_level=log_level,
        argv=_argv(os.fspath(cfg), mode, checkpoint, adhoc, exp_id_pattern_override, overrides),
    )
    root = _absolute(exp_root) if exp_root is not None else None
    draft, meta_class = _draft_of(invocation, find_project(), root)
    report = start_run(main, invocation, draft, meta_class)
    if report.outcome is not None and report.outcome.failure is not None:
        raise report.outcome.failure
    return ExperimentDir(draft.run.folder, draft.run.id)


def _argv(
    cfg: str, mode: str, checkpoint: str, adhoc: bool, pattern: str | None, overrides: Sequence[str]
) -> tuple[str, ...]:
    """The command line that does the same."""
    flags = ["-c", cfg, f"--mode={mode}", f"--snapshot={checkpoint}"]
    flags += ["--adhoc"] if adhoc else []
    flags += [f"--out={pattern}"] if pattern is not None else []
    return (*flags, *overrides)


PROJECT_NAME: str


def __getattr__(name: str) -> Any:
    if name == "PROJECT_NAME":
        return find_project().name
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
