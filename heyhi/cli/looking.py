"""The `heyhi` commands that look at runs: each takes its words, prints, and returns an exit status."""

import argparse
import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heyhi import look
from heyhi.cli.completion import PLACES, Command
from heyhi.errors import UsageError
from heyhi.files import write_out
from heyhi.log import say, show
from heyhi.look import formats, tables
from heyhi.project import find_project
from heyhi.runs import (
    STARTING,
    Parser,
    Run,
    RunState,
    all_runs,
    deaths,
    find_run,
    find_runs,
    some_project,
)
from heyhi.texts import shown

if TYPE_CHECKING:
    from heyhi.look import Follower, Look, Overview

# What is heavy comes by `look`, when it is used: a summary needs neither drivers nor Slurm.

__all__ = ["COMMANDS"]

_PAUSE = 2.0  # seconds between two pictures
_SHARE = 10  # of the time, looking takes a tenth at most


# ---- summary ------------------------------------------------------------------------------------


def summary(words: Sequence[str]) -> int:
    """Show a table of runs, a row per run."""
    asked = _summary_parser().parse_args(_joined(words))
    records = tables.find_records(asked.places, some_project(asked.places), _note)
    records = tables.select(records, asked.where, _note)
    if asked.over:
        table = tables.sort(tables.group(records, asked.over, _note), asked.sort)
    else:
        table = tables.columns(records, every=asked.all, by=asked.sort)
    paths = {form: getattr(asked, form) for form in _FORMS}
    written = [_write_table(form, path, table) for form, path in paths.items() if path is not None]
    if not written:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        show("\n".join(formats.text_lines(table, width)))
    return 0


def _note(text: str) -> None:
    say(f"note: {text}")


_FORMS: dict[str, Callable[[tables.Columns], str | bytes]] = {
    "csv": formats.to_csv,
    "json": formats.to_json,
    "html": formats.to_html,
    "parquet": formats.to_parquet,
}


def _joined(words: Sequence[str]) -> list[str]:
    """`--sort -lr` as one word: what begins with a dash would be taken for a flag."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--sort":
            joined[-1] = f"--sort={word}"
        else:
            joined.append(word)
    return joined


def _write_table(form: str, path: str, table: tables.Columns) -> str:
    """Write the table to a file (`-`: to stdout), and say so."""
    content = _FORMS[form](table)
    data = content.encode() if isinstance(content, str) else content
    if path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return path
    try:
        write_out(Path(path), data)
    except OSError as problem:
        raise UsageError(f"--{form} {path}: cannot be written: {problem.strerror}") from None
    say(f"{path}: {len(next(iter(table.values()), [])):,} rows")
    return path


# ---- report, migrate ----------------------------------------------------------------------------


def report(words: Sequence[str]) -> int:
    """Make the page of a batch, or of other runs."""
    from heyhi.batch import PAGE, file_about
    from heyhi.look import report as page

    asked = _report_parser().parse_args(list(words))
    project = some_project(asked.places)
    subject = page.find_subject(asked.places, project, _note)
    place = Path(asked.output) if asked.output else file_about(project, subject.title, *PAGE)
    made = page.make_page(subject, project)
    try:
        if not asked.output:
            place.parent.mkdir(parents=True, exist_ok=True)
        write_out(place, made)
    except OSError as problem:
        raise UsageError(f"{place}: cannot be written: {problem.strerror}") from None
    show(f"{place}: {len(subject.records):,} runs, {place.stat().st_size / 1e6:.1f} MB")
    return 0


def migrate(words: Sequence[str]) -> int:
    """List the runs whose id or config is another one by the schema and the configs of now; 1 if any."""
    from heyhi.runs import migration

    asked = _migrate_parser().parse_args(list(words))
    if not asked.check:
        raise UsageError("heyhi migrate changes nothing yet: heyhi migrate --check [FOLDER]")
    project = find_project()
    several = find_runs(Path(asked.folder), project) if asked.folder else all_runs(project)
    checked = migration.check([found.run for found in several], project)
    for run, reasons in checked.changes.items():
        show(f"{run.id}: {'; '.join(reasons)}")
    others = f"; {checked.others} of other projects were not looked at" if checked.others else ""
    print(f"{checked.total} runs, {len(checked.changes)} would be others now{others}")
    return 1 if checked.changes else 0


# ---- status -------------------------------------------------------------------------------------


def status(words: Sequence[str]) -> int:
    """Show what runs are now, once or until nothing lives."""
    asked = _status_parser().parse_args(list(words))
    looking = look.Look(asked.places, some_project(asked.places), lambda text: say(f"note: {text}"))
    show = _show_on_terminal if _has_terminal() else _show_in_pipe
    try:
        show(looking, watch=asked.watch)
    except KeyboardInterrupt:
        if not asked.watch:
            raise
    return 0  # to look no longer is no failure


def _has_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown", "", None)


def _show_in_pipe(looking: "Look", *, watch: bool) -> None:
    known: object = None
    while True:
        began = time.monotonic()
        overview = looking()
        if overview.key != known:
            if known is not None:
                print()
            show("\n".join(look.overview_lines(overview, time.time())))
            sys.stdout.flush()
        known = overview.key
        if not (watch and overview.lives):
            return
        _wait(_pause(overview, time.monotonic() - began))


def _wait(seconds: float) -> None:
    """Wait. Raises BrokenPipeError if the reader of the output has left."""
    try:
        reader = select.poll()
        reader.register(sys.stdout.fileno(), 0)  # POLLERR and POLLHUP are always reported
    except (OSError, ValueError):  # in a notebook there is no file
        time.sleep(seconds)
        return
    if reader.poll(1000 * seconds):
        raise BrokenPipeError


def _show_on_terminal(looking: "Look", *, watch: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False)
    if not watch:
        console.print(look.overview_panel(looking(), time.time(), console.width))
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            began = time.monotonic()
            overview = looking()
            end = time.monotonic() + _pause(overview, time.monotonic() - began)
            while True:
                live.update(
                    look.overview_panel(overview, time.time(), console.width, console.height - 1),
                    refresh=True,
                )
                if not overview.lives:
                    return
                if (left := end - time.monotonic()) <= 0:
                    break
                time.sleep(min(_PAUSE, left))


def _pause(overview: "Overview", took: float) -> float:
    """Seconds until the next look."""
    from heyhi.launch import schedulers

    return max(schedulers.PAUSE if overview.asks_scheduler else _PAUSE, _SHARE * took)


# ---- logs ---------------------------------------------------------------------------------------

_AT_FIRST = 10  # lines, if what comes is followed


def logs(words: Sequence[str]) -> int:
    """Print the output of a run, with -f to its end; returns 1 if it is DEAD."""
    asked = _logs_parser().parse_args(list(words))
    run = find_run(asked.run, some_project([asked.run]))
    try:
        state = _follow(run, asked.lines) if asked.follow else _show_log(run, asked.lines)
    except KeyboardInterrupt:
        return 130
    _say_how_it_is(run, state, ended=asked.follow)
    return 1 if state.status.has_failed else 0


def _show_log(run: Run, count: int | None) -> RunState:
    from heyhi.launch import schedulers

    try:
        for line in look.tail(run.log, count):
            show(line)
        sys.stdout.flush()
    except FileNotFoundError:
        state = schedulers.read_state(run)
        say(f"{run.log}: there is none yet; {state.text}")
        return state
    return schedulers.read_state(run)


def _follow(run: Run, count: int | None) -> RunState:
    follower = look.Follower(run.log, _AT_FIRST if count is None else count)
    watched = look.Watched(run, _wait)
    screen, known = _LastLine(), ""
    while not watched.has_ended():
        screen.print(follower.read(), follower)
        is_new = watched.state.text != known and watched.state.detail != STARTING
        if is_new and not run.log.exists():
            known = watched.state.text
            say(f"{run.id}: {known}")
        watched.wait()
    screen.print(follower.close(), follower)
    return watched.state


class _LastLine:
    """Show an unfinished line on a terminal as it is now; the next one replaces it."""

    def __init__(self) -> None:
        self._moves = sys.stdout.isatty()
        self._shown = ""

    def print(self, lines: Iterable[str], follower: "Follower") -> None:
        """Print lines, and what there is of the next one."""
        for line in lines:
            self._take_back()
            show(line)
        if self._moves and follower.rest != self._shown:
            self._take_back()
            self._shown = shown(follower.rest)[: shutil.get_terminal_size().columns - 1]
            print(end=self._shown)
        sys.stdout.flush()

    def _take_back(self) -> None:
        if self._shown:
            print(end="\r\x1b[K")
        self._shown = ""


def _say_how_it_is(run: Run, state: RunState, *, ended: bool) -> None:
    if state.status.has_failed:
        more = f"\n  all of it: {run.error}" if run.error.exists() else ""
        say(f"{run.id}: {state.status.value}: {deaths.why(run, state)}{more}")
    elif ended or state.result_place:
        say(f"{run.id}: {state.text if state.result_place else state.status.value}")


# ---- diff, replay -------------------------------------------------------------------------------


def diff(words: Sequence[str]) -> int:
    """Show what differs between two runs."""
    asked = _diff_parser().parse_args(list(words))
    project = some_project(asked.runs)
    old, new = look.read_records([find_run(word, project) for word in asked.runs], project)
    sections = look.comparison.compare(old, new, with_code=asked.code)
    show("\n".join(look.comparison.lines(sections, every=asked.code)))
    return 0


def replay(words: Sequence[str]) -> int:
    """Print the command that makes a run again; 1 if something is known not to be as it was."""
    asked = _replay_parser().parse_args(list(words))
    if asked.out == "":
        raise UsageError("--out needs a folder, not an empty text")
    run = find_run(asked.run, some_project([asked.run]))
    out = Path(os.path.abspath(asked.out)) if asked.out else None
    found = look.replay_of(run, out, check=asked.check)
    for text in found.notes:
        say(f"note: {text}")
    for text in found.problems:
        say(f"not as it was: {text}")
    print(found.command)
    return 1 if found.problems else 0


# ---- The parsers of their words -----------------------------------------------------------------


def _summary_parser() -> Parser:
    parser = Parser(prog="heyhi summary")
    parser.add_argument("places", nargs="*", metavar=PLACES)
    parser.add_argument("--all", action="store_true", help="show every field of the configs")
    parser.add_argument("--where", metavar="CONDITION")
    parser.add_argument("--sort", action="append", default=[], metavar="[-]COLUMN")
    parser.add_argument("--over", action="append", default=[], metavar="FIELD")
    for form in _FORMS:
        parser.add_argument(f"--{form}", metavar="FILE", type=_file)
    return parser


def _file(word: str) -> str:
    if not word:  # --csv=
        raise argparse.ArgumentTypeError("needs a file, not an empty text")
    return word


def _report_parser() -> Parser:
    parser = Parser(prog="heyhi report")
    parser.add_argument("places", nargs="*", metavar=PLACES)
    parser.add_argument("-o", "--output", metavar="FILE", type=_file, help="write the page to this file")
    return parser


def _migrate_parser() -> Parser:
    parser = Parser(prog="heyhi migrate")
    parser.add_argument("--check", action="store_true", help="list the runs that would differ")
    parser.add_argument("folder", nargs="?", metavar="FOLDER")
    return parser


def _status_parser() -> Parser:
    parser = Parser(prog="heyhi status")
    parser.add_argument("places", nargs="*", metavar=PLACES)
    parser.add_argument("--watch", action="store_true", help="redraw until no run is alive")
    return parser


def _logs_parser() -> Parser:
    parser = Parser(prog="heyhi logs")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("-f", "--follow", action="store_true", help="follow the output to the end of the run")
    parser.add_argument("-n", "--lines", type=int, metavar="LINES", help="print this many lines of the end")
    return parser


def _diff_parser() -> Parser:
    parser = Parser(prog="heyhi diff")
    parser.add_argument("runs", nargs=2, metavar="RUN")
    parser.add_argument("--code", action="store_true", help="show the changed lines of the code")
    return parser


def _replay_parser() -> Parser:
    parser = Parser(prog="heyhi replay")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--out", metavar="DIR", help="make the run again in this folder")
    parser.add_argument(
        "--check", action="store_true", help="run the snapshot's run.py to verify the command"
    )
    return parser


#: All of them, by their names.
COMMANDS = {
    "summary": Command(summary, _summary_parser),
    "report": Command(report, _report_parser),
    "migrate": Command(migrate, _migrate_parser),
    "status": Command(status, _status_parser),
    "logs": Command(logs, _logs_parser),
    "diff": Command(diff, _diff_parser),
    "replay": Command(replay, _replay_parser),
}
