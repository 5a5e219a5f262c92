"""An overview as text, for pipes and for terminals."""

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from heyhi.batch.drivers import Driver
from heyhi.look.board import lines, panel
from heyhi.look.status import NO_RUN, Overview, Row

NOW = 1_764_018_600.0


def row(status: str, name: str, **fields: object) -> Row:
    return Row(**{"status": status, "id": name, "since": None, "sign": None, "job": "", "what": "", **fields})  # type: ignore[arg-type]


def overview(
    *rows: Row, done: int = 0, hints: tuple[str, ...] = (), drivers: tuple[Driver, ...] = ()
) -> Overview:
    counts = {"DONE": done} if done else {}
    for one in rows:
        counts[one.status] = counts.get(one.status, 0) + 1
    return Overview(counts, drivers, rows, hints, lives=False, asks_slurm=False)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def drawn(shown: Overview, width: int = 100, height: int | None = None, colour: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(panel(shown, NOW, width, height))
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
    assert list(lines(shown, NOW)) == [
        "runs 1,236: 1,234 DONE, 1 RUNNING, 1 DEAD",
        "driver a.sh since 2025-11-24T21:10:00 process 4711 on here; tail -F '/a b.log'; heyhi stop ends it",
        "STATUS   ID     SINCE                SIGN  JOB           WHAT",
        "RUNNING  p/a_b  2025-11-24T21:08:50  12    local:here:1  epoch 3, loss 1.7",
        "DEAD     p/it   -                    -     -             a\\x1b[31m\\nb",
        "to go on: this",
    ]


def test_without_runs_it_says_so() -> None:
    assert list(lines(overview(), NOW)) == ["no runs"]
    assert drawn(overview()).strip() == "no runs"


def test_only_done_runs_are_a_line() -> None:
    assert list(lines(overview(done=3), NOW)) == ["runs 3: 3 DONE"]


def test_a_pipe_gets_all_rows_and_a_terminal_what_fits() -> None:
    shown = overview(
        *(row("DEAD", f"p/{n}") for n in range(500)), *(row(NO_RUN, f"p/x{n}") for n in range(30))
    )
    assert len(list(lines(shown, NOW))) == 532
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
        r"DEAD     p/c02/x+…_2b05b5b0  1m     0s    local:here:4711  \[red\]Error\S+ y+…", last
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
    *_, line = lines(shown, NOW)
    assert line.split() == ["UNKNOWN", "p/it", "-", "-", r"\x1b[31m\x00", "-"]
    assert r"\x1b[31m\x00" in drawn(shown)


def test_the_bar_shows_each_status_however_rare() -> None:
    bar = drawn(overview(row("DEAD", "p/it"), done=100_000), colour=True).splitlines()[0]
    assert bar.count("━") == 61
    assert "\x1b[31m━\x1b[0m" in bar
