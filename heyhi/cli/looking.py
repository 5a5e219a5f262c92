"""The `heyhi` commands that look at runs: each takes its words, prints, and returns an exit status."""

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from heyhi.cli.completion import PLACES, Command
from heyhi.errors import UsageError
from heyhi.files import write_out
from heyhi.log import say, show
from heyhi.look import formats, tables
from heyhi.project import find_project
from heyhi.runs import Parser, all_runs, find_runs, some_project

__all__ = ["COMMANDS"]


def summary(words: Sequence[str]) -> int:
    """Show what came of runs, a row a run."""
    asked = _summary_parser().parse_args(_joined(words))
    records = tables.find_records(asked.places, some_project(asked.places), _note)
    records = tables.select(records, asked.where, _note)
    if asked.over:
        table = tables.sort(tables.group(records, asked.over, _note), asked.sort)
    else:
        table = tables.columns(records, every=asked.all, by=asked.sort)
    written = [_write(form, path, table) for form in _FORMS for path in [getattr(asked, form)] if path]
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


def _summary_parser() -> Parser:
    parser = Parser(prog="heyhi summary")
    parser.add_argument("places", nargs="*", metavar=PLACES)
    parser.add_argument("--all", action="store_true", help="every field of the configs")
    parser.add_argument("--where", metavar="CONDITION")
    parser.add_argument("--sort", action="append", default=[], metavar="[-]COLUMN")
    parser.add_argument("--over", action="append", default=[], metavar="FIELD")
    for form in _FORMS:
        parser.add_argument(f"--{form}", metavar="FILE")
    return parser


def _joined(words: Sequence[str]) -> list[str]:
    """`--sort -lr` as one word: what begins with a dash would be taken for a flag."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--sort":
            joined[-1] = f"--sort={word}"
        else:
            joined.append(word)
    return joined


def _write(form: str, path: str, table: tables.Columns) -> str:
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


def _report_parser() -> Parser:
    parser = Parser(prog="heyhi report")
    parser.add_argument("places", nargs="*", metavar=PLACES)
    parser.add_argument("-o", "--output", metavar="FILE", help="where the page goes")
    return parser


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


def _migrate_parser() -> Parser:
    parser = Parser(prog="heyhi migrate")
    parser.add_argument("--check", action="store_true", help="only list them")
    parser.add_argument("folder", nargs="?", metavar="FOLDER")
    return parser


#: All of them, by their names.
COMMANDS = {
    "summary": Command(summary, _summary_parser),
    "report": Command(report, _report_parser),
    "migrate": Command(migrate, _migrate_parser),
}
