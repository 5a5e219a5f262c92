"""What runs are now: counts, rows with reasons, what to do next; and all of it as text."""

import io
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from heyhi.batch.drivers import Driver
from heyhi.batch.stored import store
from heyhi.errors import UsageError
from heyhi.look.status import NO_RUN, Look, Overview, Row, overview_lines, overview_panel
from heyhi.project import Project
from heyhi.runs import claim
from heyhi.runs.folder import Run
from heyhi.runs.status import Status
from tests.conftest import BatchOf, end_as


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "project" / "conf").mkdir(parents=True)
    (tmp_path / "exp").mkdir()
    monkeypatch.setenv("HH_EXP_DIR", str(tmp_path / "exp"))
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path / "project")


def make(project: Project, name: str, status: Status | None = None, **known: object) -> Run:
    run = Run(name, project.experiment_root / name)
    run.folder.mkdir(parents=True)
    content = {
        "id": name,
        "task": "grow",
        "config": {},
        "argv": ["-c", "it", "lr=1"],
        "project_root": "/here",
        **known,
    }
    run.provenance.write_text(json.dumps(content))
    if status:
        end_as(run, status)
    return run


def rows(overview: Overview) -> list[tuple[str, str, str]]:
    return [(row.status, row.id, row.what) for row in overview.rows]


def test_counts_and_each_run_that_is_not_done(project: Project) -> None:
    for number in range(3):
        make(project, f"p/done{number}", Status.DONE)
    make(project, "p/dead", Status.DEAD)
    lost = make(project, "p/lost", Status.UNKNOWN)
    overview = Look([], project)()
    assert (overview.total, dict(overview.counts)) == (5, {"DONE": 3, "UNKNOWN": 1, "DEAD": 1})
    assert rows(overview) == [
        ("UNKNOWN", "p/lost", "it was started on elsewhere, and from here its lock cannot be tested"),
        ("DEAD", "p/dead", "ValueError: too dry"),
    ]
    assert not overview.lives
    assert list(overview.hints) == [
        "to go on with the first that is DEAD: python /here/run.py -c it lr=1 --mode start_continue",
        "what it printed: heyhi logs p/dead",
        f"once one that is UNKNOWN has surely ended, say so: heyhi kill {lost.id}",
    ]


START = {"started": "2025-11-24T21:00:00+0000", "ended": "2025-11-24T21:10:00+0000"}
ENDED = 1_764_018_600.0  # 21:10


def touch(run: Run, name: str, when: float, text: str = "x\n") -> None:
    (run.folder / name).write_text(text)
    os.utime(run.folder / name, (when, when))


def no_file(run: Run) -> None: ...
def a_log(run: Run) -> None:
    touch(run, "run.log", 50.0)


TIMES: dict[str, tuple[object, Callable[[Run], None], float | None]] = {
    "it said when it ended": ([START], a_log, ENDED),
    "it was killed": ([{**START, "ended": None}], a_log, 50.0),
    "it was killed, and had no log": ([{**START, "ended": None}], no_file, ENDED - 600),
    "nothing is known": ([], no_file, None),
    "rubbish": ([{"started": 7, "ended": []}], no_file, None),
}  # fmt: skip


@pytest.mark.parametrize(("starts", "prepare", "since"), TIMES.values(), ids=TIMES)
def test_since_when_a_run_is_dead(
    project: Project, starts: object, prepare: Callable[[Run], None], since: float | None
) -> None:
    prepare(make(project, "p/dead", Status.DEAD, starts=starts))
    (row,) = Look([], project)().rows
    assert row.since == since


def test_what_a_running_run_does(project: Project) -> None:
    run = make(project, "p/it", starts=[{**START, "ended": None}])
    run.jobid.write_text("local:here:1")
    assert claim.take(run.lock, "local:here:1")
    try:
        look = Look([], project)
        touch(run, "run.log", 1000.0, "one\n 10%\r 20%\r")
        before = look()
        (row,) = before.rows
        assert (row.status, row.what, row.job) == ("RUNNING", "20%", "local:here:1")
        assert (row.since, row.sign) == (ENDED - 600, 1000.0)
        touch(run, "metrics.jsonl", 2000.0, '{"epoch": 1, "loss": 2}\n{"epoch": 2, "loss": 1.23456}\n{"ep')
        overview = look()
        assert (overview.rows[0].what, overview.rows[0].sign) == ("epoch 2, loss 1.235", 2000.0)
        assert (overview.lives, overview.asks_scheduler) == (True, False)
        assert overview.key == before.key, "it does the same still"
    finally:
        claim.drop(run.lock)


def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> Path:
    program = tmp_path / "bin" / "squeue"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho x >> {tmp_path}/asked; {answer}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path / "asked"


@pytest.mark.processes
def test_what_is_queued_has_slurms_reason_and_slurm_is_asked_once(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = squeue(tmp_path, monkeypatch, "echo '5_0|PENDING|Resources|it'; echo '5_1|PENDING|Priority|it'")
    for number in (0, 1):
        make(project, f"p/{number}").jobid.write_text(f"5_{number}")
    overview = Look(["p/0", "p/1"], project)()
    assert [(row.status, row.job, row.what) for row in overview.rows] == [
        ("QUEUED", "5_0", "PENDING: Resources"),
        ("QUEUED", "5_1", "PENDING: Priority"),
    ]
    assert (overview.lives, overview.asks_scheduler, asked.read_text()) == (True, True, "x\n")


@pytest.mark.processes
def test_a_slurm_that_does_not_answer_may_still_answer(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue(tmp_path, monkeypatch, "exit 1")
    make(project, "p/it").jobid.write_text("5")
    overview = Look([], project)()
    assert rows(overview) == [("UNKNOWN", "p/it", "Slurm cannot be asked about its job 5")]
    assert (overview.lives, list(overview.hints)) == (True, [])


# ---- What is broken -----------------------------------------------------------------------------


def half_deleted(run: Run) -> None:
    run.provenance.unlink()


def broken_result(run: Run) -> None:
    run.result.write_text('{"a": 1')


def nothing_but_a_cat(run: Run) -> None:
    for path in run.folder.iterdir():
        path.unlink()
    (run.folder / "cat.jpg").write_bytes(b"\0")


def links_in_a_circle(run: Run) -> None:
    run.provenance.unlink()
    run.provenance.symlink_to(run.provenance)


BROKEN: dict[str, tuple[Callable[[Run], None], tuple[str, str]]] = {
    "half deleted": (half_deleted, ("DONE", "its heyhi.json is missing")),
    "a broken result": (broken_result, ("DONE", "result.json: no JSON: Expecting")),
    "foreign": (nothing_but_a_cat, ("NO_RUN", "no run: it has files, and none of a run's")),
    "a circle": (links_in_a_circle, ("DONE", "heyhi.json is a link to itself")),
}


@pytest.mark.parametrize(("harm", "expected"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_a_row_with_its_reason(
    project: Project, harm: Callable[[Run], None], expected: tuple[str, str]
) -> None:
    harm(make(project, "p/a/it", Status.DONE))
    make(project, "p/b/it", Status.DONE)
    overview = Look([], project)()
    (row,) = overview.rows
    assert (row.status, row.id) == (expected[0], "p/a/it")
    assert row.what.startswith(expected[1])


# ---- Places -------------------------------------------------------------------------------------


def test_of_a_batch_what_was_not_started_is_told_and_what_it_waits_for(
    batch_of: BatchOf,
) -> None:
    first, alone = batch_of.run("lr=1"), batch_of.run("lr=3")
    lines = ["lr=1", f"name={first.folder}/model", "lr=3"]
    assert store(batch_of(*lines)) == ""
    look = Look(["it.sh"], batch_of.project)
    overview = look()
    assert dict(overview.counts) == {"NOT_STARTED": 3}
    waiting = next(row for row in overview.rows if row.what)
    assert waiting.what == f"waits for {first.id} (NOT_STARTED)"
    assert list(overview.hints) == ["to start the rest: heyhi start it.sh"]
    end_as(first, Status.DEAD)
    end_as(alone, Status.DONE)
    overview = look()
    assert next(row for row in overview.rows if row.id == waiting.id).what == f"waits for {first.id} (DEAD)"
    assert overview.hints[0] == "to go on with what is DEAD: heyhi start it.sh --mode start_continue"
    end_as(first, Status.DONE)
    first.error.unlink()
    assert [row.what for row in look().rows if row.id == waiting.id] == [""], "it waits no more"


def test_a_run_in_two_places_counts_once(project: Project) -> None:
    make(project, "p/it", Status.DONE)
    assert Look(["p", "exp/p", "p/it", "it"], project)().total == 1


def test_what_comes_later_is_seen(project: Project) -> None:
    look = Look([], project)
    before = look()
    assert (before.total, look().key == before.key) == (0, True)
    make(project, "p/it", Status.DEAD)
    after = look()
    assert (after.total, after.key == before.key) == (1, False)


@pytest.mark.parametrize(
    ("place", "problem"), {"nope": "no run 'nope'", "x.sh": "x.sh: no such batch"}.items()
)
def test_a_place_that_is_none_is_an_error(project: Project, place: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Look([place], project)()


# ---- As text ------------------------------------------------------------------------------------


NOW = 1_764_018_600.0


def row(status: str, name: str, **fields: object) -> Row:
    return Row(**{"status": status, "id": name, "since": None, "sign": None, "job": "", "what": "", **fields})  # type: ignore[arg-type]


def overview(
    *rows: Row, done: int = 0, hints: tuple[str, ...] = (), drivers: tuple[Driver, ...] = ()
) -> Overview:
    counts = {"DONE": done} if done else {}
    for one in rows:
        counts[one.status] = counts.get(one.status, 0) + 1
    return Overview(counts, drivers, rows, hints, lives=False, asks_scheduler=False)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def drawn(shown: Overview, width: int = 100, height: int | None = None, colour: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(overview_panel(shown, NOW, width, height))
    return file.getvalue()


def test_in_a_pipe_columns_are_aligned_and_words() -> None:
    shown = overview(
        row(
            "RUNNING", "p/a b", since=NOW - 70, sign=NOW - 12.5, job="local:here:1", what="epoch 3, loss 1.7"
        ),
        row("DEAD", "p/it", what="a\x1b[31m\nb"),
        done=1_234,
        hints=("to go on: this",),
        drivers=(Driver(Path("x"), "local:here:4711", "a.sh", "/a b.log", NOW),),
    )
    assert list(overview_lines(shown, NOW)) == [
        "runs 1,236: 1,234 DONE, 1 RUNNING, 1 DEAD",
        "driver a.sh since 2025-11-24T21:10:00 process 4711 on here; tail -F '/a b.log'; heyhi stop ends it",
        "STATUS   ID     SINCE                SIGN  JOB           WHAT",
        "RUNNING  p/a_b  2025-11-24T21:08:50  12    local:here:1  epoch 3, loss 1.7",
        "DEAD     p/it   -                    -     -             a\\x1b[31m\\nb",
        "to go on: this",
    ]


def test_without_runs_it_says_so() -> None:
    assert list(overview_lines(overview(), NOW)) == ["no runs"]
    assert drawn(overview()).strip() == "no runs"


def test_only_done_runs_are_a_line() -> None:
    assert list(overview_lines(overview(done=3), NOW)) == ["runs 3: 3 DONE"]


def test_a_pipe_gets_all_rows_and_a_terminal_what_fits() -> None:
    shown = overview(
        *(row("DEAD", f"p/{n}") for n in range(500)), *(row(NO_RUN, f"p/x{n}") for n in range(30))
    )
    assert len(list(overview_lines(shown, NOW))) == 532
    text = drawn(shown)
    assert text.count("DEAD ") == 20
    assert "... and 480 more" in text
    assert "heyhi summary --where \"status == 'DEAD'\"" in text
    assert "... and 10 more" in text
    for height in (12, 24, 60):
        assert len(drawn(shown, height=height).splitlines()) <= height


SPANS = {-5: "0s", 0: "0s", 59: "59s", 60: "1m", 3599: "59m", 3600: "1h", 86_399: "23h", 86_400: "1d"}


@pytest.mark.parametrize(("seconds", "told"), SPANS.items())
def test_a_terminal_tells_how_long_ago(seconds: float, told: str) -> None:
    text = drawn(overview(row("RUNNING", "p/it", since=NOW - seconds)))
    assert text.splitlines()[-1].split() == ["RUNNING", "p/it", told, "-", "-"]


def test_a_line_of_a_terminal_is_never_broken_and_markup_is_text() -> None:
    told: dict[str, object] = {"since": NOW - 90, "sign": NOW, "job": "local:here:4711"}
    long = row("DEAD", "p/c02/" + "x" * 100 + "_2b05b5b0", what="[red]Error[/red]: " + "y" * 200, **told)
    *_, head, last = drawn(overview(long, row("RUNNING", "p/it")), width=100).splitlines()[:-1]
    assert head.split() == ["STATUS", "ID", "SINCE", "SIGN", "JOB", "WHAT"]
    assert re.fullmatch(
        r"DEAD     p/c02/x+\.\.\._2b05b5b0  1m     0s    local:here:4711  \[red\]Error\S+ y+…", last
    )
    assert len(last) == 100
    assert "\x1b[31m" in drawn(overview(long), colour=True), "what is dead is red"


def test_the_bar_takes_one_line_of_a_narrow_terminal() -> None:
    shown = overview(row("DEAD", "p/it"), row("QUEUED", "p/q"), done=100_000)
    bar, following, *_ = drawn(shown, width=20).splitlines()
    assert bar == "━" * 20
    assert following.startswith("runs 100,002")


def test_control_characters_in_a_job_are_escaped() -> None:
    shown = overview(row("UNKNOWN", "p/it", job="\x1b[31m\x00"))
    *_, line = overview_lines(shown, NOW)
    assert line.split() == ["UNKNOWN", "p/it", "-", "-", r"\x1b[31m\x00", "-"]
    assert r"\x1b[31m\x00" in drawn(shown)


def test_the_bar_shows_each_status_however_rare() -> None:
    bar = drawn(overview(row("DEAD", "p/it"), done=100_000), colour=True).splitlines()[0]
    assert bar.count("━") == 61
    assert "\x1b[31m━\x1b[0m" in bar
