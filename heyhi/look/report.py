"""A batch, or other runs, as one HTML page that needs nothing else: no network, no file beside it.

    places ─▶ Subject: records, needs, scripts ─▶ what the page shows, as JSON ─▶ the page
    batch  ─┘                                     heyhi/look/page/ ───────────────────┘

Whatever a folder holds is data: it reaches the page as JSON, compressed, and is shown as text; the templates
escape the rest.
"""

import base64
import gzip
import hashlib
import importlib.util
import json
import os
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files, runs
from heyhi.batch import StoredBatch
from heyhi.errors import UsageError
from heyhi.log import warn
from heyhi.look import tables
from heyhi.look.curves import read_curves
from heyhi.look.graph import HEIGHT, WIDTH, Box, Graph, make_graph
from heyhi.look.labels import choices, config_of, end_of, is_launcher, names_of, owner_of
from heyhi.look.logs import log_end
from heyhi.look.records import Part, Record, batch_records, find_parts
from heyhi.project import Project
from heyhi.runs import RunState, Status
from heyhi.texts import as_utf8, cut

__all__ = ["Subject", "find_subject", "make_page", "of_batch"]

_MOST_CURVES = 200  # runs whose learning curves are in the page
_MOST_POINTS = 400_000  # of all of them
_TAIL_LINES, _TAIL_CHARACTERS = 50, 6_000  # of a run's log, and of its error
_ALL_TAILS = 8_000_000  # characters
_WHOLE = 2**53  # integers from here on are others in JavaScript
_LONGEST = 40  # characters of a text in the table


class Subject(NamedTuple):
    """The content of a page: runs, their dependencies (by folder), and the scripts that contain them."""

    title: str
    records: Sequence[Record]
    needs: Mapping[Path, Sequence[Path]]
    scripts: Mapping[str, str] = {}


# ---- What it is about ---------------------------------------------------------------------------


def find_subject(places: Sequence[str], project: Project, tell: Callable[[str], None] = warn) -> Subject:
    """All runs in these places, as `tables.find_records` has them; without any, of the whole experiment root.

    `tell` is called with a line if a script has changed since it was captured. Raises UsageError for a place
    that is none.
    """
    parts = [_subject_of(part) for part in find_parts(places, project, tell)]
    needs: dict[Path, list[Path]] = {}
    for part in parts:
        for folder, those in part.needs.items():
            needs[folder] = list(dict.fromkeys([*needs.get(folder, ()), *those]))
    return Subject(
        ", ".join(part.title for part in parts),
        tables.each_once(record for part in parts for record in part.records),
        needs,
        {name: text for part in parts for name, text in part.scripts.items()},
    )


def _subject_of(part: Part) -> Subject:
    if part.batch is not None:
        return of_batch(part.batch)
    return _of_records(_project_name(part.project) if part.place is None else part.place, part.records())


def of_batch(batch: StoredBatch, states: Mapping[Path, RunState] | None = None) -> Subject:
    """A batch. `states` are those of its runs, if they were read already."""
    try:
        scripts = {} if batch.changed else {batch.name: files.read_text(batch.name, "replace")}
    except OSError:
        scripts = {}  # of lines on stdin, or from Python
    return Subject(batch.name, batch_records(batch, states), batch.needs, scripts)


def _of_records(title: str, records: Sequence[Record]) -> Subject:
    """Runs of no batch: which need which is read from their configs, as for a batch."""
    folders = {record.folder for record in records}
    by_id = {f"/{record.id}": record.folder for record in records}
    needs: dict[Path, list[Path]] = {}
    for record in records:
        texts = [value for value in record.config.values() if isinstance(value, str)]
        paths = [os.path.normpath(text) for text in texts if text.startswith("/")]
        owners = {owner_of(path, folders) or _owner_before_a_move(path, by_id) for path in paths}
        needs[Path(record.folder)] = [Path(one) for one in sorted(owners - {"", record.folder})]
    return Subject(title, records, needs)


def _owner_before_a_move(path: str, by_id: Mapping[str, str]) -> str:
    """The folder of the run that a path lies in by its id: the experiment root may have been moved since."""
    depths = {run_id.count("/") for run_id in by_id}
    while path != "/":
        for depth in depths:
            if owner := by_id.get("/" + "/".join(path.rsplit("/", depth)[1:])):
                return owner
        path = os.path.dirname(path)
    return ""


# ---- The page -----------------------------------------------------------------------------------


def make_page(subject: Subject, project: Project) -> str:
    """The HTML of the page. Raises UsageError if a library is missing."""
    libraries = {name: _library(*where) for name, where in _LIBRARIES.items()}
    from jinja2 import Environment, PackageLoader  # comes with the libraries

    environment = Environment(
        loader=PackageLoader("heyhi.look", "page"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    names = names_of(subject.records)
    records = subject.records
    program = _template("report.js")
    page = environment.get_template("report.html").render(
        title=subject.title,
        project=_project_name(project),
        made=time.strftime("%Y-%m-%d %H:%M %Z"),
        root=str(project.experiment_root),
        statuses=_counts(records),
        tasks=Counter(r.task for r in records if r.task).most_common(),
        problems=Counter(r.problem for r in records if r.problem).most_common(20),
        drifted=[
            r._replace(id=as_utf8(r.id)) for r in records if r.drift and not r.drift.startswith("not known")
        ],
        commits=Counter(r.commit for r in records if r.commit).most_common(),
        scripts=subject.scripts,
        command=shlex.join(["heyhi", "start", *subject.scripts]) if len(subject.scripts) == 1 else "",
        graph=_drawn(make_graph(records, subject.needs), names),
        names=names,
        packed={name: _packed(data) for name, data in libraries.items()},
        style=_template("report.css"),
        data=_packed(json.dumps(page_data(subject, project, names), separators=(",", ":")).encode()),
        program=program,
        program_hash=base64.b64encode(hashlib.sha256(program.encode()).digest()).decode(),
    )
    return as_utf8(page)


def _template(name: str) -> str:
    return Path(__file__).with_name("page").joinpath(name).read_text(encoding="utf-8")


_LIBRARIES = {
    "plotly": ("plotly", "package_data/plotly.min.js"),
    "datatables": ("itables", "html/dt_bundle.js"),
    "datatables-style": ("itables", "html/dt_bundle.css"),
}


def _library(package: str, name: str) -> bytes:
    """A file that a package brings; it is not imported, which takes longer than the page."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None or importlib.util.find_spec("jinja2") is None:
        raise UsageError(f"heyhi report needs {package}: pip install 'heyhi[report]'")
    return Path(found.origin).parent.joinpath(name).read_bytes()


def _packed(data: bytes) -> str:
    """Half as long, and nothing in it can end a script."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def _project_name(project: Project) -> str:
    """Its name; what an experiment root is called, where there is no project any more."""
    return project.name if project.conf.is_dir() else project.experiment_root.name


def _counts(records: Iterable[Record]) -> list[tuple[str, int]]:
    """The number of runs of each status, in the order of a run's life."""
    counts = Counter(record.status for record in records)
    return [(status, counts[status]) for status in (*(one.value for one in Status), "") if counts[status]]


# ---- What it shows ------------------------------------------------------------------------------


def page_data(subject: Subject, project: Project, names: Mapping[str, str]) -> dict[str, Any]:
    """All that the program of the page is given; see heyhi/look/page/report.js."""
    columns = _columns(subject.records)
    values = [column.values for column in columns]
    common = _common(subject.records)
    return {
        "columns": [{**column._asdict(), "values": None} for column in columns],
        "rows": [[_plain(value) for value in row] for row in zip(*values, strict=True)],
        "short": _shortened(values, subject, names, str(project.experiment_root)),
        "common": {task: _plain_values(config) for task, config in common.items()},
        "runs": _runs(subject.records, names, common),
        **_curves(subject.records),
    }


def _shortened(
    columns: Sequence[Sequence[Any]], subject: Subject, names: Mapping[str, str], root: str
) -> dict[str, str]:
    """Long texts of the table -> what is shown of them: of a path in a run's folder, which run."""
    folders = {record.folder for record in subject.records}
    texts = {value for values in columns for value in values if isinstance(value, str)}
    found = {}
    for text in texts:
        if owner := owner_of(text, folders):
            found[text] = f"{names[owner]}{text[len(owner) :]}"
        elif len(text) > _LONGEST:
            found[text] = cut(text.removeprefix(f"{root}/"), _LONGEST, _LONGEST // 2)
    return found


def _plain(value: Any) -> Any:
    """The value, or as text what JSON or JavaScript has no number for."""
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return str(value)
    return str(value) if isinstance(value, int) and abs(value) >= _WHOLE else value


def _plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in values.items()}


# ---- The table

_ALWAYS = ("id", "status", "started", "duration_s", "problem")
_KINDS = ("first", "field", "result", "metric", "about")  # in this order
_MOST_SHOWN = {"field": 7, "result": 7, "metric": 2}


class Column(NamedTuple):
    """A column of the table: its values, and what the program of the page has to know of it.

    `tasks` are those in whose runs there are several values; a column `inside` a message that is chosen is
    unset where that is not.
    """

    name: str
    values: Sequence[Any]
    kind: str
    numeric: bool
    inside: bool
    tasks: Sequence[str]
    shown: bool = False


def _columns(records: Sequence[Record]) -> list[Column]:
    """The columns that have any value; of fields and results those first that most runs have."""
    chosen = {name: values for name, values in choices(records).items() if name not in Record._fields}
    config = {*chosen, *(name for record in records for name in record.config)}
    result = {name for record in records for name in record.result}
    columns = []
    for name, values in {**tables.columns(records), **chosen}.items():
        if name in ("id", "status") or any(value is not None for value in values):
            inside = name.startswith(tuple(f"{one}." for one in chosen))
            tasks = _varies(values, records, without_unset=inside)
            kind = _kind(name, config, result)
            # A result that is a text in some runs can be drawn of the others.
            is_numeric = tables.has_numbers if kind in ("result", "metric") else tables.is_numeric
            columns.append(Column(name, values, kind, is_numeric(values), inside, tasks))
    columns.sort(key=lambda column: (_KINDS.index(column.kind), _missing(column)))
    shown = _shown_first(columns, Counter(record.task for record in records))
    return [column._replace(shown=column.name in shown) for column in columns]


def _missing(column: Column) -> int:
    return 0 if column.kind in ("first", "about") else list(column.values).count(None)


def _shown_first(columns: Sequence[Column], sizes: Mapping[str, int]) -> set[str]:
    """The fields and results that fit on a page: those that distinguish most runs."""
    shown = {*_ALWAYS, *(["task"] if len(sizes) > 1 else [])}
    for kind, room in _MOST_SHOWN.items():
        fitting = [column for column in columns if column.kind == kind and not is_launcher(column.name)]
        fitting = [column for column in fitting if (column.tasks if kind == "field" else column.numeric)]
        fitting.sort(key=lambda column: -sum(sizes[task] for task in column.tasks))
        shown.update(column.name for column in fitting[:room])
    return shown


def _varies(values: Sequence[Any], records: Sequence[Record], *, without_unset: bool) -> list[str]:
    """The tasks in whose runs there are several values."""
    found: dict[str, set[str]] = {}
    for value, record in zip(values, records, strict=True):
        if value is not None or not without_unset:
            found.setdefault(record.task, set()).add(repr(value))
    return [task for task, several in found.items() if len(several) > 1]


def _kind(name: str, config: set[str], result: set[str]) -> str:
    if name in Record._fields:
        return "first" if name in ("id", "status") else "about"
    if name in config or name.removeprefix("config.") in config:
        return "field"
    return "result" if name.removeprefix("result.") in result else "metric"


# ---- A run


def _common(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """The commonest value of each field, by task: the baseline for showing each run's config."""
    counts: dict[str, dict[str, Counter[Any]]] = {}
    totals = Counter(record.task for record in records)
    values: dict[tuple[str, str, str], Any] = {}
    for record in records:
        of_task = counts.setdefault(record.task, {})
        for name, value in record.config.items():
            of_task.setdefault(name, Counter())[repr(value)] += 1
            values[record.task, name, repr(value)] = value
    return {
        task: {
            name: values[task, name, found.most_common(1)[0][0]]
            for name, found in of_task.items()
            if 2 * found.total() > totals[task] or found.total() == totals[task]
        }
        for task, of_task in counts.items()
    }


_URGENT = [one.value for one in Status if one.has_failed or one.phase in ("unknown", "runs")]


def _runs(
    records: Sequence[Record], names: Mapping[str, str], common: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    tails = _tails(records)
    return [
        {
            "name": names[record.folder],
            "end": end_of(record),
            "config": as_utf8(os.path.basename(config_of(record))),
            "folder": as_utf8(record.folder),
            "task": record.task,
            "differs": _plain_values(_difference(record.config, common.get(record.task, {}))),
            "result": _plain_values(record.result),
            "about": _about(record),
            **tails.get(record.folder, {"cut": True}),
        }
        for record in records
    ]


def _difference(config: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """The values in which a config differs from the baseline; None for a missing field."""
    differs = {name: value for name, value in config.items() if repr(common.get(name)) != repr(value)}
    return {**differs, **{name: None for name in common if name not in config}}


def _tails(records: Sequence[Record]) -> dict[str, dict[str, str]]:
    """The ends of logs by folder, as long as there is room: those first of what went wrong, and of late."""
    found: dict[str, dict[str, str]] = {}
    room = _ALL_TAILS
    for record in sorted(_latest_first(records), key=lambda record: record.status not in _URGENT):
        files = {"log": record.run.log, "error": record.run.error}
        ends = {name: log_end(path, _TAIL_LINES, _TAIL_CHARACTERS) for name, path in files.items()}
        room -= sum(map(len, ends.values()))
        if room < 0:
            break
        found[record.folder] = {name: text for name, text in ends.items() if text}
    return found


def _latest_first(records: Sequence[Record]) -> list[Record]:
    return sorted(records, key=lambda record: record.started, reverse=True)


def _about(record: Record) -> list[tuple[str, str]]:
    """The provenance of a run from heyhi.json, which may hold anything."""
    try:
        known = runs.read_provenance(record.run)
    except RecursionError:
        known = {}
    argv = known.get("argv")
    told: list[tuple[str, Any]] = [
        ("command", shlex.join(["python", "run.py", *map(str, argv)]) if isinstance(argv, list) else None),
        (
            "commit",
            record.commit + (", with changes that were not committed" if known.get("git_dirty") else ""),
        ),
        ("copy of the code", record.snapshot),
        *((name.replace("_", " "), known.get(name)) for name in ("cwd", "user", "fingerprint", "versions")),
        *(("start", start) for start in _starts(known, record.status)),
        ("drift", record.drift),
    ]
    return [(name, _told(value)) for name, value in told if value]


def _starts(known: Mapping[str, Any], status: str) -> list[dict[str, Any]]:
    """The last starts. One that was killed before it could note its end has no status."""
    starts = runs.starts_of(known)[-5:]
    lives = [start for start in starts[-1:] if status == Status.RUNNING.value]
    return [
        {**start, "status": None}
        if start.get("status") == Status.RUNNING.value and start not in lives
        else start
        for start in starts
    ]


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items() if one is not None)
    return str(value)


# ---- Learning curves


def _curves(records: Sequence[Record]) -> dict[str, Any]:
    """The curves of the latest runs, and how many runs have curves."""
    having = [r for r in _latest_first(records) if os.path.isfile(f"{r.folder}/metrics.jsonl")]
    numbers = {record.folder: number for number, record in enumerate(records)}
    found: dict[int, Any] = {}
    without = 0  # though they have the file
    room = _MOST_POINTS
    for record in having[:_MOST_CURVES]:
        curves = read_curves(Path(record.folder) / "metrics.jsonl")
        room -= sum(len(curve.x) for curve in curves.values())
        if room < 0:
            break
        if curves:
            found[numbers[record.folder]] = {name: curve._asdict() for name, curve in curves.items()}
        without += not curves
    return {"curves": found, "with_curves": len(having) - without}


# ---- The graph


def _drawn(graph: Graph | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    """The graph as the template writes it: boxes with texts and bars, lines as SVG paths."""
    if graph is None:
        return None
    numbers = {id(box): number for number, box in enumerate(graph.boxes)}
    return {
        "box_width": WIDTH,
        "box_height": HEIGHT,
        "width": graph.width,
        "height": graph.height,
        "left_out": graph.left_out,
        "boxes": [_drawn_box(box, names) for box in graph.boxes],
        "lines": [(_line(*edge), *(numbers[id(box)] for box in edge)) for edge in graph.edges],
    }


def _drawn_box(box: Box, names: Mapping[str, str]) -> dict[str, Any]:
    first = box.runs[0]
    config = as_utf8(config_of(first))
    is_one = len(box.runs) == 1
    counts = _counts(box.runs)
    widths = [count * (WIDTH - 2) / len(box.runs) for _, count in counts]
    starts = [sum(widths[:number]) for number in range(len(widths))]
    told = ", ".join(f"{count} {status or 'no run'}" for status, count in counts)
    return {
        "x": box.x,
        "y": box.y,
        "label": names[first.folder] if is_one else f"{os.path.basename(config)}: {len(box.runs):,} runs",
        "title": f"{as_utf8(first.id)}: {first.status}" if is_one else f"{config}: {told}",
        "run": as_utf8(first.id) if is_one else "",
        "config": config,
        "parts": [
            (status, start, width) for (status, _), start, width in zip(counts, starts, widths, strict=True)
        ],
    }


def _line(one: Box, other: Box) -> str:
    x1, y1, x2, y2 = one.x + WIDTH, one.y + HEIGHT / 2, other.x, other.y + HEIGHT / 2
    middle = (x1 + x2) / 2
    return f"M{x1:.0f},{y1:.1f}C{middle:.0f},{y1:.1f} {middle:.0f},{y2:.1f} {x2:.0f},{y2:.1f}"
