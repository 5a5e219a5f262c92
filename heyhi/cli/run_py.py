"""`run.py`'s command line: argv -> Invocation -> compose -> Run -> status -> Plan -> launch.

`run` shows the whole path. Only this module, `commands` and `looking` print; errors become exit statuses:
0 done (or nothing to do), 1 the task failed (or is DEAD), 2 the user's mistake, 130 Ctrl-C.
"""

import itertools
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heyhi.errors import HeyhiError, LaunchError, UsageError
from heyhi.log import prepare_streams, say, say_error, say_problem
from heyhi.project import Project, find_project
from heyhi.runs import Invocation, Mode, parse_argv
from heyhi.texts import joined, shown

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from heyhi.config import Composition
    from heyhi.launch import Main, Report
    from heyhi.runs import Draft, Kept, Order, Run, RunState

__all__ = ["load", "parse_args_and_maybe_launch", "run"]


def parse_args_and_maybe_launch(main: "Main") -> None:
    """The whole of run.py: take its arguments, and launch what they ask for, or say why not.

    `main` is called as main(cfg=<frozen config of the task>, task=<its name>, log_level=<text>).
    Leaves with the exit status if it is not 0.
    """
    status = run(main, sys.argv[1:], _program_of(main))
    if status:
        sys.exit(status)


def _program_of(main: "Main") -> str | None:
    """The path of the program that `main` is written in; None if it has none, or is a module's.

    Under `python -m cProfile` or `trace`, `sys.modules["__main__"]` is the profiler, and not the program.
    """
    if getattr(main, "__module__", None) != "__main__":
        return None
    function: object = main
    while function is not None:
        names = getattr(function, "__globals__", {})
        if names.get("__name__") == "__main__":
            return names.get("__file__")  # none: `python < run.py`, exec
        function = getattr(function, "__wrapped__", None)
    return getattr(sys.modules["__main__"], "__file__", None)


# ---- The path -----------------------------------------------------------------------------------


def run(main: "Main", argv: Sequence[str], script: str | None = None) -> int:
    """All that `python run.py ARGV` does; returns its exit status."""
    prepare_streams()
    try:
        return _run(main, argv, script)
    except (HeyhiError, OSError, KeyboardInterrupt) as problem:
        return say_problem(problem, "run.py")
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] != "google":
            raise
        say_error(
            f"{sys.executable} has no {problem.name}: it is not the Python of this project. "
            "`make setup` makes one; then `. .venv/bin/activate`, or .venv/bin/python run.py ..."
        )
        return 2
    finally:
        _flush()


def _flush() -> None:
    """Flush the output. If its reader has left, keep Python from complaining at its end."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            print(end="", file=stream, flush=True)
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _run(main: "Main", argv: Sequence[str], script: str | None) -> int:
    if _is_captured(argv):
        return 0
    if argv[:1] == ["--job"]:
        return _run_job(main, argv[1:], script)
    if argv[:1] == ["--on-slurm"]:
        return _run_on_slurm(main, argv[1:], script)
    if argv[:1] == ["--freeze"]:
        return _freeze(argv[1:])
    invocation = parse_argv(argv)
    _refuse_deleted_cwd()
    project = find_project(script)
    if invocation.is_many:
        return _run_many(invocation, project, argv)
    meta_class, composition, base = _compose(invocation, project)
    if invocation.only_shows:
        _show(invocation, project, composition, base)
        return 0
    draft = _draft(invocation, project, composition, base)
    from heyhi.launch import start_run  # here: what only shows a config needs none of it

    report = start_run(main, invocation, draft, meta_class)
    if invocation.wait and invocation.mode is not Mode.DRYRUN:
        report = _wait_for_end(report)
    return _finish(invocation, report)


_PAUSE = 1.0  # seconds between two looks at a run's folder
_LOOKS = 10  # at the folder, for one at Slurm's queue


def _wait_for_end(report: "Report") -> "Report":
    """The report of a run once it has ended, wherever it runs. Ctrl-C leaves it alone."""
    from heyhi import runs
    from heyhi.launch import schedulers

    run, state = report.draft.run, report.state
    try:
        for look in itertools.count(1):
            if not state.status.is_alive and not schedulers.needs_queue(state):
                break
            time.sleep(_PAUSE)
            before, state = state, runs.read_state(run)
            if schedulers.needs_queue(state):
                # What ran a moment ago, or has left an error and no result, has probably failed.
                ask = look % _LOOKS == 0 or before.status is runs.Status.RUNNING or run.error.exists()
                state = schedulers.read_state(run) if ask else state._replace(status=runs.Status.QUEUED)
    except KeyboardInterrupt:
        say(f"{run.id}: {state._replace(detail='').text}: it goes on; the same command tells its state")
        raise
    return report._replace(state=state)


def _refuse_deleted_cwd() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the current folder was deleted; go to another one") from None


def _print(text: str) -> None:
    """Print an answer, and all of it now; a reader that leaves, as `head` does, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _flush()


def _print_path(path: Path) -> None:
    """Print a path for a program: the very bytes of its name."""
    data = os.fsencode(path)
    if not hasattr(sys.stdout, "buffer"):  # a notebook
        _print(str(path))
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _flush()


def _run_many(invocation: Invocation, project: Project, argv: Sequence[str]) -> int:
    """A line that stands for many runs is a batch of its own, under the profile its launcher asks for."""
    from heyhi.batch import drivers, expand
    from heyhi.launch import schedulers

    singles = expand(invocation, Path.cwd())
    if invocation.only_shows:
        for single in singles:
            _, composition, base = _compose(single, project)
            _show(single, project, composition, base)
        return 0
    _, composition, _ = _compose(singles[0], project)
    line = shlex.join(["python", str(project.root / "run.py"), *argv])
    script = drivers.write_script(project, f"cd {shlex.quote(os.getcwd())}\n{line}\n")
    profile = (schedulers.chosen(composition.config) or "local").lower()
    command = drivers.command(project, script, profile, invocation.mode.value, force=invocation.force)
    return drivers.become(command)


def _is_captured(argv: Sequence[str]) -> bool:
    """During a capture, record the command line, unless it only shows something."""
    from heyhi.batch import intercept

    if intercept.asks_to_show(argv):
        return False
    folder = intercept.capture_folder()
    if folder is not None:
        intercept.record(argv, folder)
    return folder is not None


def _run_job(main: "Main", argv: Sequence[str], script: str | None) -> int:
    """`run.py --job ORDERS NUMBER MODE`: start, in a batch, the run of an order; 0 if it is DONE at the end.

    A run that lives elsewhere is waited for.
    """
    from heyhi.config import load_messages
    from heyhi.launch import gpus, launch_order

    path, number, mode = argv
    (order,) = _read_orders(path, [number])
    _set_environment(order.environment)
    with gpus.own(order.gpus):
        state = launch_order(order, Mode(mode), main, load_messages(find_project(script)), say)
    return 0 if state.has_result else 1


def _run_on_slurm(main: "Main", argv: Sequence[str], script: str | None) -> int:
    """`run.py --on-slurm FOLDER`: be a rank of the job that does the run in a folder, which says all else."""
    from heyhi import runs
    from heyhi.config import load_messages
    from heyhi.launch import ranks

    (folder,) = argv
    run = runs.Run("", Path(folder))
    known = runs.read_provenance(run)
    _set_environment(known.get("environment") or {})
    run = run._replace(id=known.get("id", folder))
    return ranks.take_part(run, main, load_messages(find_project(script)), known.get("log_level", "INFO"))


def _freeze(argv: Sequence[str]) -> int:
    """`run.py --freeze ORDERS NUMBER...`: freeze the configs of runs that have none."""
    from heyhi.launch import freeze_new

    path, *numbers = argv
    for order in _read_orders(path, numbers):
        freeze_new(order)
    return 0


def _read_orders(path: str, numbers: Sequence[str]) -> "list[Order]":
    from heyhi.runs import read_order

    try:
        return [read_order(Path(path), int(number)) for number in numbers]
    except (OSError, ValueError) as problem:
        raise UsageError(f"{path}: no orders of a batch there: {problem}") from None


_HAS_ENVIRONMENT = "HEYHI_HAS_ENVIRONMENT"


def _set_environment(wanted: "Mapping[str, Kept]") -> None:
    """Start the program again with these variables: Python reads some (PYTHONPATH) only at its start.

    The process that started this one handed on the secrets. Raises LaunchError if one is missing.
    """
    missing = [name for name, value in wanted.items() if value is True and name not in os.environ]
    if missing:
        raise LaunchError(
            f"{', '.join(missing)}: not set here, and as a secret in no file: start the run again, by what "
            "sets it (a batch under an executor that hands it on: heyhi, heyhi-slurm)"
        )
    wanted = {name: value for name, value in wanted.items() if value is not True}
    if os.environ.pop(_HAS_ENVIRONMENT, None) or not wanted:
        return
    kept = {name: value for name, value in os.environ.items() if name not in wanted}
    given = {name: str(value) for name, value in wanted.items() if value is not None}
    os.execve(sys.executable, sys.orig_argv, {**kept, **given, _HAS_ENVIRONMENT: "1"})


def _compose(invocation: Invocation, project: Project) -> tuple[type["Message"], "Composition", Path]:
    from heyhi.config import compose, find_base, load_messages

    meta_class = load_messages(project)
    base = find_base(invocation.cfg, project)
    composition = compose(base, invocation.overrides, project, meta_class)
    for note in composition.notes:
        say(f"note: {note}")
    return meta_class, composition, base


def _draft(invocation: Invocation, project: Project, composition: "Composition", base: Path) -> "Draft":
    from heyhi.runs import make_draft

    return make_draft(invocation, project, composition, base, project.experiment_root)


# ---- What came of it ----------------------------------------------------------------------------


def _finish(invocation: Invocation, report: "Report") -> int:
    """Say what the run is now, with its result or its error, and the exit status for it."""
    from heyhi.runs import Status

    run, state, outcome = report.draft.run, report.state, report.outcome
    if outcome is not None and outcome.exit_status == 0:
        say(f"{run.id}: DONE")
        _print_result(run)
        return 0
    folder = "" if report.is_submitted else f"\n  folder {run.folder}"
    say(f"{run.id}: {state.text}{folder}")
    if invocation.mode is Mode.DRYRUN:
        return 0
    if state.result_place is not None:
        place = state.result_place
        there = "" if place.is_here else f" on {place.host}"
        say(f"  make room, and start it again{there}: that moves the result in")
        return 1
    if state.status is Status.DONE:
        return 0 if state.keeps or _print_result(run) else 1
    if state.status.has_failed or state.status is Status.UNKNOWN:
        _say_how_to_go_on(run, state, invocation)
        return outcome.exit_status if outcome else 1
    return outcome.exit_status if outcome else 0


def _say_how_to_go_on(run: "Run", state: "RunState", invocation: Invocation) -> None:
    from heyhi.runs import Status

    _say_last_error(run, state)
    if state.status is Status.UNKNOWN:
        say(f"  {state.way_on(run)}")
        return
    for purpose, mode in [("to go on:      ", Mode.START_CONTINUE), ("to start anew: ", Mode.START_RESTART)]:
        say(f"  {purpose}{joined(['python', sys.argv[0], *invocation.again(mode, run.folder)])}")


def _say_last_error(run: "Run", state: "RunState") -> None:
    from heyhi.runs import deaths

    error = deaths.cause(run, state.job)
    if error and error != state.detail:
        say(f"  last error: {error}{f'  (all of it: {run.error})' if run.error.exists() else ''}")
    elif not error and not state.detail and state.status.has_failed:
        say(f"  {deaths.UNSAID}")


def _print_result(run: "Run") -> bool:
    """Show the scalars of a result, and whether there is one that can be read."""
    from heyhi.runs import results

    try:
        value = results.read(run)
    except (OSError, ValueError) as problem:
        say(f"{run.result}: cannot be read: {problem}; --mode restart computes it anew")
        return False
    try:
        _print(shown("\n".join(f"{name}: {scalar}" for name, scalar in results.scalars(value).items())))
    except (OSError, ValueError):
        pass  # the run is DONE, whether anybody hears of it or not
    return True


# ---- Showing a config ---------------------------------------------------------------------------


def _show(invocation: Invocation, project: Project, composition: "Composition", base: Path) -> None:
    from heyhi.config import prototxt

    if invocation.print_out_dir:
        _print_path(_draft(invocation, project, composition, base).run.folder)
    if invocation.print_text:
        _print(prototxt.write_text(composition.config))
    if invocation.print_flat or invocation.print_flat_all:
        from heyhi.config import views

        lines = views.flat_lines(composition.config, with_all=invocation.print_flat_all)
        _print("\n".join(lines))
    if invocation.help_cfg is not None:
        from heyhi.config import explain

        _print(shown("\n".join(explain.flags(project, composition.config, invocation.help_cfg))))
    if invocation.explain is not None:
        from heyhi.config import explain

        lines = explain.layers(project, composition, base, invocation.overrides, invocation.explain)
        _print(shown("\n".join(lines)))


def load(path: str, overrides: Sequence[str], script: str | None = None) -> "Composition":
    """Compose a config by its path, as `-c` does. Raises ConfigError."""
    return _compose(Invocation(path, tuple(overrides)), find_project(script))[1]
