"""`run.py`'s command line: argv -> Invocation -> compose -> Run -> status -> Plan -> launch.

`run` shows the whole path. Only this module and `commands` print, and turn errors to exit statuses:
0 done (or nothing to do), 1 the task failed (or is DEAD), 2 the user's mistake, 130 Ctrl-C.
"""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heyhi.errors import HeyhiError, RefusedError, UsageError, did_you_mean
from heyhi.project import Project, find_project

if TYPE_CHECKING:
    import argparse

    from google.protobuf.message import Message

    from heyhi.compose import Composition
    from heyhi.job import Main, Outcome
    from heyhi.launch import Launch, Lost
    from heyhi.plan import Plan
    from heyhi.runs import RunState

__all__ = ["Invocation", "Report", "parse_argv", "run", "start"]

_MODES = ("gentle_start", "start_restart", "start_continue", "restart", "dryrun")
_LEVELS = ("ERROR", "WARN", "INFO", "DEBUG")
_DEFAULT_SNAPSHOT = "DEFAULT"
_NO_SNAPSHOT = ("", "none")


class Invocation(NamedTuple):
    """One command line, parsed."""

    cfg: str
    overrides: tuple[str, ...] = ()
    mode: str | None = None
    adhoc: bool = False
    force: bool = False
    checkpoint: str = _DEFAULT_SNAPSHOT
    pattern: str | None = None
    log_level: str = "INFO"
    print_text: bool = False
    print_flat: bool = False
    print_flat_all: bool = False
    print_out_dir: bool = False
    help_cfg: str | None = None
    explain: str | None = None
    argv: tuple[str, ...] = ()
    experiment_root: Path | None = None

    @property
    def mode_name(self) -> str:
        """The mode asked for, or the default one."""
        return self.mode or ("restart" if self.adhoc else "gentle_start")

    @property
    def only_shows(self) -> bool:
        """Whether it prints something about the config and touches no folder."""
        shows = self.print_text or self.print_flat or self.print_flat_all
        return shows or self.help_cfg is not None or self.explain is not None


# ---- Parsing ------------------------------------------------------------------------------------


def parse_argv(argv: Sequence[str]) -> Invocation:
    """The invocation in the arguments of run.py. Raises UsageError; exits for --help."""
    known, rest = _parser().parse_known_args(list(argv))
    for word in rest:
        if "=" not in word:
            raise UsageError(_not_an_override(word))
    return Invocation(
        cfg=known.cfg,
        overrides=tuple(rest),
        mode=known.mode,
        adhoc=known.adhoc,
        force=known.force,
        checkpoint=known.checkpoint,
        pattern=known.pattern,
        log_level=known.log_level,
        print_text=known.print_text,
        print_flat=known.print_flat,
        print_flat_all=known.print_flat_all,
        print_out_dir=known.print_out_dir,
        help_cfg=known.help_cfg,
        explain=known.explain,
        argv=tuple(argv),
    )


def _not_an_override(word: str) -> str:
    if word.startswith("-"):
        flags = [flag for action in _parser()._actions for flag in action.option_strings]
        return f"unknown flag {word!r}{did_you_mean(word, flags) or '; see --help'}"
    return f"bad argument {word!r}: expected an override key=value, or a flag (see --help)"


def _parser() -> "argparse.ArgumentParser":
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> Any:
            raise UsageError(f"{message}; see --help")

    parser = Parser(
        usage="python run.py -c CFG [flags] [key=value ...]",
        description="Compose a config, and run its task once, in a folder that is a function of it.",
        epilog="Overrides: key=value, key=NULL (clear), member=SELECT (choose), Imount=path (include).",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-c", "--cfg", required=True, metavar="CFG", help="the base config")
    add("--mode", choices=_MODES, help="what may be done to the run (default: gentle_start)")
    add("--adhoc", action="store_true", help="a new folder under adhoc/<date>; for debugging")
    add("--out", "--exp_id_pattern_override", dest="pattern", metavar="DIR", help="the run folder")
    add("--force", action="store_true", help="do not ask before a result is wiped or a job killed")
    add(
        "--checkpoint",
        default=_DEFAULT_SNAPSHOT,
        metavar="DIR",
        help='where the copy of the code goes; "": no copy',
    )
    add("--log-level", default="INFO", choices=_LEVELS, help="given to the task (default: INFO)")
    add("--print", dest="print_text", action="store_true", help="show the config, and do nothing")
    add("--print-flat", action="store_true", help="the same as overrides, a line each")
    add("--print-flat-all", action="store_true", help="the same with defaults and what is unset")
    add("--print-out-dir", action="store_true", help="show the run folder, and do nothing")
    add(
        "--help-cfg",
        nargs="?",
        const="",
        metavar="PATTERN",
        help="explain the flags of this config",
    )
    add("--explain", metavar="KEY", help="show where the value of a field comes from")
    return parser


# ---- The path -----------------------------------------------------------------------------------


class Report(NamedTuple):
    """What became of an invocation: the run's launch, its state, and its outcome if it ran here."""

    launch: "Launch"
    state: "RunState"
    outcome: "Outcome | None" = None


def run(main: "Main", argv: Sequence[str], script: str | None = None) -> int:
    """All that `python run.py ARGV` does; returns its exit status."""
    try:
        invocation = parse_argv(argv)
        project = find_project(script)
        meta_class, composition, base = _compose(invocation, project)
        if invocation.only_shows:
            _show(invocation, project, composition, base)
            return 0
        if invocation.print_out_dir:
            print(launch_of(invocation, project, composition, base).run.folder)
            return 0
        report = start(main, invocation, project, meta_class, composition, base)
        return _finish(invocation, report)
    except HeyhiError as problem:
        _say(f"error: {problem}")
        return problem.exit_status
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (the reader left, as `head` does)
        return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _compose(invocation: Invocation, project: Project) -> tuple[type["Message"], "Composition", Path]:
    from heyhi.compose import compose, find_base
    from heyhi.protos import load_messages

    meta_class = load_messages(project)
    base = find_base(invocation.cfg, project)
    composition = compose(base, invocation.overrides, project, meta_class)
    for note in composition.notes:
        _say(f"note: {note}")
    return meta_class, composition, base


def launch_of(invocation: Invocation, project: Project, composition: "Composition", base: Path) -> "Launch":
    """Everything about the run that the config decides: id, folder, where its code goes."""
    from heyhi.launch import Launch
    from heyhi.runs import Run, make_id, relative_to_root

    root = invocation.experiment_root or project.experiment_root
    canonical = tuple(relative_to_root(text, root) for text in composition.overrides)
    date = _date() if invocation.adhoc else ""
    run_id = make_id(
        base,
        canonical,
        project,
        prefix=f"adhoc/{date}" if invocation.adhoc else "p",
        date=date or _date(),
        pattern=invocation.pattern,
    )
    folder = Path(os.path.abspath(root / run_id))
    if folder == root or root.is_relative_to(folder):
        raise UsageError(f"--out {invocation.pattern!r}: a run needs a folder of its own below {root}")
    return Launch(
        run=Run(run_id, folder),
        project=project,
        experiment_root=root,
        composition=composition,
        base=base,
        overrides=invocation.overrides,
        canonical=canonical,
        argv=invocation.argv,
        snapshot_place=_snapshot_place(invocation, root),
        say=_say,
    )


def _date() -> str:
    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H%M%S", time.localtime(seconds)) + f".{seconds % 1:.6f}"[2:]


def _snapshot_place(invocation: Invocation, root: Path) -> Path | None:
    if invocation.checkpoint in _NO_SNAPSHOT:
        return None
    if invocation.checkpoint == _DEFAULT_SNAPSHOT:
        return None if invocation.adhoc else root / "checkpoints"
    return Path(os.path.abspath(invocation.checkpoint))


def start(
    main: "Main",
    invocation: Invocation,
    project: Project,
    meta_class: type["Message"],
    composition: "Composition",
    base: Path,
) -> Report:
    """Decide what is to be done with the run, say so, and do it. Raises HeyhiError."""
    from heyhi.launch import launch_here
    from heyhi.plan import Action, Mode, make_plan
    from heyhi.slurm import refuse_without_slurm, wants_slurm

    launch = launch_of(invocation, project, composition, base)
    state = _state(launch)
    _say_what_is_there(launch, state, invocation)
    plan = make_plan(state, Mode(invocation.mode_name))
    if plan.action is Action.REFUSE:
        raise RefusedError(_why_refused(launch, state))
    if plan.action is Action.SKIP:
        return Report(launch, state)
    if wants_slurm(composition.config) and "SLURM_PROCID" not in os.environ:
        refuse_without_slurm()
    _confirm(plan, launch, invocation)
    _say(f"{launch.run.id}: {plan.reason}\n  folder {launch.run.folder}")
    outcome = launch_here(launch, plan, main, meta_class, invocation.log_level)
    return _report(launch, outcome)


def _why_refused(launch: "Launch", state: "RunState") -> str:
    return (
        f"{launch.run.id}: {state.status.value}: {state.detail}; it is not wiped on a guess. "
        f"Once it has surely ended, delete {launch.run.jobid}"
    )


def _report(launch: "Launch", outcome: "Outcome | Lost") -> Report:
    from heyhi.launch import Lost

    if isinstance(outcome, Lost):
        _say("  another process was faster")
        return Report(launch, outcome.state)
    return Report(launch, _state(launch), outcome)


def _state(launch: "Launch") -> "RunState":
    """What the run is now; Slurm is asked only if the run is one of its jobs."""
    from heyhi.runs import Status, read_state
    from heyhi.slurm import ask_queue

    state = read_state(launch.run)
    if state.job is not None and state.job.local is None and state.status is not Status.DONE:
        state = read_state(launch.run, ask_queue())
    return state


def _say_what_is_there(launch: "Launch", state: "RunState", invocation: Invocation) -> None:
    """Whose folder it is, what changed since, and who has computed the same elsewhere."""
    from heyhi.launch import find_aliases, find_collision, find_drift
    from heyhi.runs import Status

    if state.status is not Status.NOT_STARTED:
        collision = None if invocation.pattern else find_collision(launch)
        if collision:
            raise RefusedError(f"{launch.run.folder}: {collision}; --out names another folder")
        drift = find_drift(launch)
        if drift:
            _say(f"{launch.run.id}: {state.status.value} (drifted: {'; '.join(drift)})")
            _say("  the config was edited since this run was frozen; --mode restart runs it anew")
    elif not invocation.adhoc:
        for other in find_aliases(launch):
            _say(f"note: {other.id} has the same config; its folder is {other.folder}")


def _confirm(plan: "Plan", launch: "Launch", invocation: Invocation) -> None:
    if not plan.loses_work or invocation.force:
        return
    question = f"{launch.run.id} is {plan.state.status.value}: 1 run would be wiped"
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise RefusedError(f"{question}; add --force to do it")
    _say(f"{question}: {launch.run.folder}")
    print("Wipe it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RefusedError("nothing was changed")


# ---- What came of it ----------------------------------------------------------------------------


def _finish(invocation: Invocation, report: Report) -> int:
    """Say what the run is now, with its result or its error, and the exit status for it."""
    from heyhi.runs import Status

    launch, state = report.launch, report.state
    if report.outcome is not None and report.outcome.failure is None:
        _say(f"{launch.run.id}: DONE")
        _print_result(launch)
        return 0
    if report.outcome is None and invocation.mode_name == "dryrun":
        _say_state(launch, state)
        return 0
    _say_state(launch, state)
    if state.status is Status.DONE:
        _print_result(launch)
    if state.status in (Status.DEAD, Status.UNKNOWN):
        _say_how_to_go_on(launch, state, invocation)
        return report.outcome.exit_status if report.outcome else 1
    return 0


def _say_state(launch: "Launch", state: "RunState") -> None:
    job = f" ({state.job.text})" if state.job and state.status.value in ("RUNNING", "QUEUED") else ""
    detail = f": {state.detail}" if state.detail else ""
    _say(f"{launch.run.id}: {state.status.value}{job}{detail}\n  folder {launch.run.folder}")


def _say_how_to_go_on(launch: "Launch", state: "RunState", invocation: Invocation) -> None:
    from heyhi.runs import Status, last_error

    error = last_error(launch.run)
    if error:
        _say(f"  last error: {error}  (all of it: {launch.run.error})")
    if state.status is Status.UNKNOWN:
        _say(f"  once it has surely ended, delete {launch.run.jobid} and start again")
        return
    command = _command_without_mode(invocation)
    _say(f"  to go on:     {command} --mode start_continue")
    _say(f"  to start anew: {command} --mode start_restart")


def _command_without_mode(invocation: Invocation) -> str:
    words = list(invocation.argv)
    for index, word in enumerate(words):
        if word == "--mode":
            del words[index : index + 2]
            break
        if word.startswith("--mode="):
            del words[index]
            break
    return shlex.join(["python", sys.argv[0], *words])


def _print_result(launch: "Launch") -> None:
    from heyhi import results

    try:
        value = results.read(launch.run)
    except (OSError, ValueError) as problem:
        _say(f"{launch.run.result}: cannot be read: {problem}")
        return
    for name, scalar in results.scalars(value).items():
        print(f"{name}: {scalar}")


# ---- Showing a config ---------------------------------------------------------------------------


def _show(invocation: Invocation, project: Project, composition: "Composition", base: Path) -> None:
    from heyhi import config, prototxt

    if invocation.print_text:
        print(prototxt.write_text(composition.config))
    if invocation.print_flat or invocation.print_flat_all:
        lines = config.flat_lines(composition.config, with_all=invocation.print_flat_all)
        print("\n".join(lines))
    if invocation.help_cfg is not None:
        from heyhi import describe

        print("\n".join(describe.flags(project, composition.config, invocation.help_cfg)))
    if invocation.explain is not None:
        from heyhi import describe

        lines = describe.layers(project, composition, base, invocation.overrides, invocation.explain)
        print("\n".join(lines))


def load(path: str, overrides: Sequence[str], script: str | None = None) -> "Composition":
    """Compose a config by its path, as `-c` does. Raises ConfigError."""
    return _compose(Invocation(path, tuple(overrides)), find_project(script))[1]
