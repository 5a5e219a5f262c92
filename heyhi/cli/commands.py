"""The `heyhi` command: everything that you do with a project besides `python run.py`.

A project:
heyhi init DIR            make a new project: schema, config, task, batch, profiles, tests
heyhi validate            compose every config under conf/ and list all errors
heyhi pp CFG [overrides]  show a composed config: heyhi pp conf/fit/sine.prototxt lr=0.1
heyhi protos              generate the Python modules of the schemas (run.py does it when they are stale)

A batch:
heyhi plan BATCH [--mode MODE] [--all] [--json]
                          list the pending runs and why; start none
heyhi start BATCH [--mode MODE] [--profile NAME] [--force] [--detach]
                          start the missing runs and wait for them; --detach returns at once
                          heyhi start sweep.sh --profile slurm --detach
heyhi stop                stop the drivers of this experiment root and the jobs that they started
heyhi kill RUN ... [--force]
                          end the jobs of runs, here or in Slurm, and keep their files. For an UNKNOWN run,
                          show what is known; answer yes, or give --force, to record that it has ended

Runs:
heyhi status [BATCH | FOLDER | RUN ...] [--watch]
                          count the runs, name their drivers, and list every run that is not DONE
heyhi logs RUN [-f] [-n LINES]
                          print a run's output; -f follows it to its end (exit status 1 if not DONE)
heyhi summary [BATCH | FOLDER | RUN ...] [--all] [--where "lr < 0.1 and status == 'DONE'"] [--sort [-]COLUMN]
              [--over FIELD] [--csv FILE] [--json FILE] [--html FILE] [--parquet FILE]
                          show a table with a row per run; --over shows mean, standard error and count
                          heyhi summary sweep.sh --over seed --csv sweep.csv
heyhi report [BATCH | FOLDER | RUN ...] [-o FILE]
                          write one HTML page with a table, curves, charts, logs and errors
heyhi diff RUN RUN [--code]
                          compare config, code, environment and results of two runs
heyhi replay RUN [--out DIR] [--check]
                          print the command that makes a run again with the same code, id and config;
                          --check verifies that it does. To make it: heyhi replay RUN | bash
heyhi migrate --check [FOLDER]
                          list runs that would differ with the present schema and configs (exit status 1)

Tab completion:
heyhi completion --install
                          add one line to the start-up file of your shell (bash, zsh, fish)
heyhi completion SHELL    print the script that this line loads
heyhi completion --trust DIR | --distrust DIR
                          allow a key press to start DIR/.venv/bin/python, or revoke that

BATCH is a bash script with `python run.py ...` lines, or - for such lines on stdin. RUN is an id, a folder, a
part of an id that no other run has, or a job id. Exit status: 0 success, 1 a run failed, 2 wrong usage.
"""

import gc
import importlib
import os
import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from heyhi.cli.completion import Command, NotOurs, answer
from heyhi.errors import ConfigError, HeyhiError, LaunchError, UsageError, did_you_mean
from heyhi.log import ask, prepare_streams, say, say_error, say_problem, show
from heyhi.project import Project, find_project
from heyhi.runs import Mode, OneOf, Parser, to_mode
from heyhi.texts import quoted, shown, some_of

if TYPE_CHECKING:
    from heyhi.cli.shells import Shell
    from heyhi.config import Composer
    from heyhi.runs import Run, RunState

# What is heavy is imported where it is used: a key press (tab completion) comes through here.

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a `heyhi` command; returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--complete"] and len(words) == 4:
        _complete(*words[1:])
    prepare_streams()
    try:
        if not words or words[0] in ("-h", "--help"):
            print(__doc__.strip(), flush=True)
            return 0 if words else 2
        if words[0] not in _COMMANDS:
            hint = did_you_mean(words[0], list(_COMMANDS))
            raise UsageError(f"no command {words[0]!r}{hint or '; see heyhi --help'}")
        if words[1:] in (["-h"], ["--help"]):
            print(__doc__.strip(), flush=True)
            return 0
        if "" in words:
            raise UsageError(f"heyhi {words[0]}: argument {words.index('')} is empty; is a variable unset?")
        status = _COMMANDS[words[0]].do(words[1:])
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (the reader left, as `head` does)
        return 0
    except (HeyhiError, OSError, KeyboardInterrupt) as problem:
        return say_problem(problem)


def init(words: Sequence[str]) -> int:
    """Make a new project."""
    from heyhi.cli.init import make_project, requirement

    if len(words) != 1 or words[0].startswith("-"):
        raise UsageError("usage: heyhi init DIR")
    folder = Path(words[0])
    name = make_project(folder, requirement())
    go_there = "" if folder.samefile(os.curdir) else f"cd {quoted(str(folder))} && "
    show(f"{name}: a new project in {folder.absolute()}")
    show(f"  {go_there}make test    # makes .venv (a minute, once), and tests the project")
    print("  . .venv/bin/activate && python run.py -c conf/fit/sine.prototxt")
    print("  heyhi plan sweep.sh; heyhi start sweep.sh")
    return 0


def protos(words: Sequence[str]) -> int:
    """Generate the Python modules of the schemas."""
    from heyhi.config import generate

    _no_more(words, "protos")
    project = find_project()
    changed = generate(project)
    show(f"{project.conf}: {'generated modules written' if changed else 'nothing to do'}")
    return 0


def pp(words: Sequence[str]) -> int:
    """Show a composed config."""
    from heyhi.config import compose, find_base, prototxt, read_schemas

    if not words or words[0].startswith("-"):
        raise UsageError("usage: heyhi pp CFG [overrides]")
    project = find_project()
    composition = compose(find_base(words[0], project), words[1:], project, read_schemas(project).meta)
    for note in composition.notes:
        say(f"note: {note}")
    print(prototxt.write_text(composition.config))
    return 0


def validate(words: Sequence[str]) -> int:
    """Compose every config under conf/; exit status 2 if any has an error."""
    from heyhi.config import Composer, read_schemas

    _no_more(words, "validate")
    project = find_project()
    composer = Composer(project, read_schemas(project).meta)
    paths = sorted(project.conf.rglob("*.prototxt"))
    problems = [str(problem) for path in paths if (problem := _problem_of(path, project, composer))]
    # What is wrong in a chunk is wrong in all that include it: it is said once.
    for text in dict.fromkeys(problems):
        say_error(text)
    print(f"{len(paths)} configs, {len(problems)} with errors")
    return 2 if problems else 0


def plan(words: Sequence[str]) -> int:
    """List the pending runs of a batch."""
    from heyhi.batch import listing, make_agenda, read_batch, read_states, store

    asked = _batch_parser("plan").parse_args(list(words))
    batch = read_batch(asked.batch, find_project())
    if asked.batch != "-" and (problem := store(batch)):
        say(f"note: {problem}")
    agenda = make_agenda(batch, asked.mode, read_states(batch))
    text = "\n".join((listing.json_lines if asked.json else listing.lines)(agenda, every=asked.all))
    print(text if asked.json else shown(text))
    return 0


def start(words: Sequence[str]) -> int:
    """Carry a batch out."""
    from heyhi.batch import drivers

    asked = _batch_parser("start").parse_args(list(words))
    project = find_project()
    script = os.path.abspath(asked.batch) if asked.batch != "-" else _script_of_stdin(project)
    command = drivers.command(project, script, asked.profile, asked.mode.value, force=asked.force)
    return drivers.start(project, command, detach=True) if asked.detach else drivers.become(command)


def _script_of_stdin(project: Project) -> str:
    """Lines on stdin as a script: a driver reads them once it is another process."""
    from heyhi.batch import drivers, lines_of_stdin

    lines = [shlex.join(["python", str(line.run_py), *line.argv]) for line in lines_of_stdin(project).lines]
    return drivers.write_script(project, "\n".join([f"cd {shlex.quote(os.getcwd())}", *lines, ""]))


def stop(words: Sequence[str]) -> int:
    """End all drivers of the experiment root."""
    from heyhi.batch import drivers

    _no_more(words, "stop")
    living = drivers.alive(find_project())
    problems = 0
    for driver in living:
        try:
            drivers.stop(driver)
            show(f"stopped: {driver.batch}")
        except LaunchError as problem:
            say_error(problem)
            problems += 1
    if not living:
        print("no driver lives")
    return 1 if problems else 0


def kill(words: Sequence[str]) -> int:
    """End the jobs of runs; exit status 1 if one may still be alive."""
    from heyhi.launch import here, schedulers
    from heyhi.runs import Status, deaths, find_run

    asked = _kill_parser().parse_args(list(words))
    project = find_project()
    runs = [find_run(word, project) for word in asked.runs]
    problems = 0
    for run in runs:
        state = schedulers.read_state(run)
        if state.status is Status.UNKNOWN:
            problems += not _settle(run, state, force=asked.force)
            continue
        if not state.status.is_alive:
            show(f"{run.id}: {state.status.value}: no job to end")
            continue
        try:
            here.kill(run, state, deaths.KILL)
            show(f"{run.id}: ended: {state.job.text if state.job else '?'}")
        except HeyhiError as problem:
            say_error(problem)
            problems += 1
    return 1 if problems else 0


def _settle(run: "Run", state: "RunState", *, force: bool) -> bool:
    """Show what HeyHi knows of an UNKNOWN run, and record that it has ended if the user says so."""
    from heyhi.launch import user_name
    from heyhi.runs import deaths, read_provenance, starts_of

    show(f"{run.id}: {state.text}")
    if state.job is None or state.keeps:
        show(f"  no job of HeyHi's to end; {state.way_on(run)}")
        return False
    last = (starts_of(read_provenance(run)) or [{}])[-1]
    show(f"  its job: {state.job.text}, started {last.get('started') or 'at a time that is not known'}")
    for path in (run.log, run.folder / "metrics.jsonl"):
        if path.exists():
            seen = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(path.stat().st_mtime))
            show(f"  it last wrote to {path.name} at {seen}")
    has_ended = force or ask("Has it surely ended?")
    if not has_ended:
        if has_ended is None:
            print("  if it has surely ended, say so: the same with --force")
        return False
    deaths.settle(run, state.job, user_name())
    print("  noted: it has ended. --mode start_continue goes on, --mode start_restart starts anew")
    return True


def _kill_parser() -> Parser:
    parser = Parser(prog="heyhi kill")
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--force", action="store_true", help="record that an UNKNOWN run has ended")
    return parser


# ---- Tab completion -----------------------------------------------------------------------------


def completion(words: Sequence[str]) -> int:
    """Print a shell's script for tab completion, or have the shell read it whenever it starts."""
    asked = _completion_parser().parse_args(list(words))
    if asked.trust is not None:
        return _trust(asked.trust)
    if asked.distrust is not None:
        return _distrust(asked.distrust)
    shell = asked.shell or _shell_of_user()
    if not asked.install:
        print(shell.script.read_text(encoding="utf-8"), end="")
        return 0
    path = shell.start_up_file(os.environ)
    is_new = _add_line(path, shell.line)
    done = "one line added" if is_new else "nothing to do"
    show(f"{path}: {done}; a {shell.name} that starts now completes")
    return 0


def _trust(typed: str) -> int:
    """Note a folder whose interpreter a key press may start."""
    folder = os.path.realpath(os.path.expanduser(typed))
    if not os.path.isdir(folder) or not folder.isprintable():
        raise UsageError(f"--trust {typed!r}: no such folder")
    known = _trusted()
    if folder not in known:
        _write_trusted([*known, folder])
    print(
        f"{folder}: a key press may start {folder}/.venv/bin/python and {folder}/bin/python, and heyhi there"
    )
    return 0


def _distrust(typed: str) -> int:
    """Take that back, also of a folder that is gone."""
    named = {os.path.realpath(os.path.expanduser(typed)), os.path.abspath(os.path.expanduser(typed))}
    known = _trusted()
    left = [folder for folder in known if folder not in named]
    if left == known:
        raise UsageError(f"--distrust {typed!r}: was not trusted; these are: {some_of(known) or 'none'}")
    _write_trusted(left)
    print(f"{min(named)}: a key press starts nothing there any more")
    return 0


def _trusted() -> list[str]:
    from heyhi import files
    from heyhi.cli.shells import trusted_file

    path = trusted_file(os.environ)
    return files.read_text(path, "surrogateescape").splitlines() if path.exists() else []


def _write_trusted(folders: Sequence[str]) -> None:
    from heyhi import files
    from heyhi.cli.shells import trusted_file

    path = trusted_file(os.environ)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.write_whole(path, "".join(f"{folder}\n" for folder in folders), mode=0o600)


def _shell_of_user() -> "Shell":
    from heyhi.cli.shells import SHELLS

    name = os.path.basename(os.environ.get("SHELL", ""))
    if name not in SHELLS:
        raise UsageError(
            f"SHELL={name}: not one of {', '.join(SHELLS)}; name one: heyhi completion --install bash"
        )
    return SHELLS[name]


def _add_line(path: Path, line: str) -> bool:
    """Have a start-up file hold our line; whether it did not."""
    from heyhi import files
    from heyhi.cli.shells import with_line

    old = files.read_text(path, "surrogateescape") if path.exists() else ""
    new = with_line(old, line)
    if new == old:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode if path.exists() else None
    files.write_whole(path, new)
    if mode is not None:
        path.chmod(mode)
    return True


def _complete(shell: str, line: str, tail: str) -> NoReturn:
    """`heyhi --complete SHELL LINE TAIL`: the candidates for a shell's script; 1 if the line is not ours."""
    gc.disable()
    try:
        print("\n".join(answer(shell, line, tail, _COMMANDS)), flush=True)
    except NotOurs:
        os._exit(1)
    # Somebody waits for the key: Python's own end would take a tenth of the time.
    os._exit(0)


def _completion_parser() -> Parser:
    from heyhi.cli.shells import SHELLS

    parser = Parser(prog="heyhi completion")
    parser.add_argument("shell", metavar="SHELL", nargs="?", type=OneOf("shell", SHELLS))
    parser.add_argument("--install", action="store_true", help="add one line to the shell's start-up file")
    parser.add_argument("--trust", metavar="DIR", help="allow a key press to start this folder's Python")
    parser.add_argument("--distrust", metavar="DIR", help="revoke --trust")
    return parser


# ---- Looking at runs ----------------------------------------------------------------------------


def _later(name: str, note: str) -> Command:
    """A command of `looking`, which is imported once it is called, or its words are to be completed."""

    def command() -> Command:
        found: Command = importlib.import_module("heyhi.cli.looking").COMMANDS[name]
        return found

    def do(words: Sequence[str]) -> int:
        return command().do(words)

    def parser() -> Parser:
        takes = command().takes
        assert callable(takes), "it is a parser's"
        return takes()

    do.__doc__ = note
    return Command(do, parser)


# ---- What the commands share --------------------------------------------------------------------


def _batch_parser(command: str) -> Parser:
    parser = Parser(prog=f"heyhi {command}")
    parser.add_argument("batch", metavar="BATCH")
    parser.add_argument("--mode", type=to_mode, default=Mode.GENTLE_START)
    if command == "plan":
        parser.add_argument("--all", action="store_true", help="also list runs that are done")
        parser.add_argument("--json", action="store_true", help="print a JSON object per run")
    else:
        parser.add_argument("--profile", default="local")
        parser.add_argument("--force", action="store_true", help="wipe done and living runs without asking")
        parser.add_argument(
            "--detach", action="store_true", help="return at once, and go on without this terminal"
        )
    return parser


def _problem_of(path: Path, project: Project, composer: "Composer") -> ConfigError | None:
    """The error of a config, or of a part that other configs include."""
    from heyhi.config import prototxt, read_schemas

    schemas = read_schemas(project)
    try:
        composer.compose(path, ())
        return None
    except ConfigError as problem:
        fitting = prototxt.types_that_fit(path, schemas.types, project.root)
        if schemas.meta in fitting and prototxt.read(path, schemas.meta, project.root).ListFields():
            return problem
        if not fitting:
            return _nearest_problem(path, project) if project.common in path.parents else problem
    problems = [_problem_of_chunk(path, composer, cls) for cls in fitting]
    return None if None in problems else problems[0]


def _problem_of_chunk(path: Path, composer: "Composer", cls: type[Any]) -> ConfigError | None:
    try:
        composer.load(path, cls)  # required fields may come from the including file
        return None
    except ConfigError as problem:
        return problem


def _nearest_problem(path: Path, project: Project) -> ConfigError:
    """The error of the type that a chunk fits furthest: most likely the one that was meant."""
    from heyhi.config import prototxt, read_schemas

    found: list[tuple[tuple[int, ...], ConfigError]] = []
    for cls in read_schemas(project).types:
        try:
            prototxt.read(path, cls, project.root)
        except ConfigError as problem:
            position = tuple(int(p) for p in problem.where.split(":")[1:] if p.isdigit())
            found.append((position, problem))
    return max(found, key=lambda entry: entry[0])[1]


def _no_more(words: Sequence[str], command: str) -> None:
    if words:
        raise UsageError(f"heyhi {command} takes no arguments, not {words[0]!r}")


_COMMANDS = {
    "init": Command(init, "DIR"),
    "protos": Command(protos),
    "pp": Command(pp, "CFG KEY=VALUE..."),
    "validate": Command(validate),
    "plan": Command(plan, partial(_batch_parser, "plan")),
    "start": Command(start, partial(_batch_parser, "start")),
    "stop": Command(stop),
    "kill": Command(kill, _kill_parser),
    "completion": Command(completion, _completion_parser),
    "summary": _later("summary", "Show a table with a row per run."),
    "report": _later("report", "Write runs as one HTML page."),
    "migrate": _later("migrate", "List runs that would differ with the present schema."),
    "status": _later("status", "Show the present state of runs."),
    "logs": _later("logs", "Show the output of a run."),
    "diff": _later("diff", "Show how two runs differ."),
    "replay": _later("replay", "Print the command that makes a run again."),
}
