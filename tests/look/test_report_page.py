"""A report in a real browser: Debian's Chromium, without a network, driven by Playwright."""

import json
import math
import re
import shlex
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from heyhi.look.records import Record
from heyhi.look.report import Subject, make_page
from heyhi.project import Project
from tests.batches import CARROT, needing, snakemake, write_batch
from tests.cli.test_looking import heyhi
from tests.conftest import Garden, wait_until

pytestmark = pytest.mark.pages

# Each way out of text: of a script, an attribute, an element, a template.
NASTY = "</script><img src=x onerror=hacked=1>'\"><b onclick=hacked=1>{{ 77777*6 }}<svg onload=hacked=1>"

Look = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    place = shutil.which("chromium")
    if place is None:
        pytest.skip("no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        # Root, as in CI, has no sandbox.
        browser = playwright.chromium.launch(executable_path=place, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def look(browser: Browser) -> Iterator[Look]:
    """look(file, "#run=..."): the page, once all is drawn. It loads nothing, and complains of nothing."""
    problems: list[str] = []
    context = browser.new_context(viewport={"width": 1300, "height": 900})

    def open_page(path: Path, hash_: str = "") -> Page:
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda problem: problems.append(str(problem)))
        page.on("request", lambda request: asked(request.url, path.as_uri()))
        page.goto(f"{path.as_uri()}{hash_}")
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    def asked(url: str, address: str) -> None:
        if url != address and not url.startswith(("blob:null/", "data:")):
            problems.append(url)

    yield open_page
    context.close()
    assert problems == []


class Report:
    """A page of a batch in the garden."""

    def __init__(self, garden: Garden) -> None:
        self.garden = garden
        self.path = garden.root / "page.html"
        self.first = garden.folder(*CARROT, "seed=1", "lr=0.5", "fail=metrics")

    def id_of(self, *overrides: str) -> str:
        return str(self.garden.folder(*CARROT, *overrides).relative_to(self.garden.exp))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, garden_template: Path) -> Report:
    """Of runs of all kinds, made by `heyhi report`."""
    root = tmp_path_factory.mktemp("report")
    shutil.copytree(garden_template, root / "garden")
    garden = Garden(root / "garden", root)
    done = ["seed=1 lr=0.5 fail=metrics", "seed=2 lr=0.25 fail=metrics", "seed=1 lr=10 fail=metrics"]
    needs = [needing(done[0]), 'seed=5 note="$T/mine.txt"']
    write_batch(garden, *done, *needs, "seed=3 lr=1 fail=raise")
    assert snakemake(garden).status == 1
    write_batch(garden, *done, *needs, "seed=3 lr=1 fail=raise", "seed=4 lr=2")
    heyhi(garden, "plan", "batch.sh")
    said = heyhi(garden, "report", "batch.sh", "-o", "page.html")
    assert re.fullmatch(r"page.html: 6 runs, \d\.\d MB\n", said.out), said
    return Report(garden)


def column(page: Page, name: str) -> list[str]:
    """The texts of a column of the table."""
    heads = [text.strip() for text in page.locator("#table thead th").all_inner_texts()]
    return page.locator(f"#table tbody tr td:nth-child({heads.index(name) + 1})").all_inner_texts()


def traces(page: Page, selector: str = "#curve-chart") -> int:
    """How many lines a chart has."""
    count: int = page.evaluate("selector => document.querySelector(selector).data.length", selector)
    return count


def test_a_click_on_a_header_sorts_by_value_both_ways(report: Report, look: Look) -> None:
    page = look(report.path)
    assert column(page, "lr") == ["0.5", "0.25", "10", "0.5", "1", "2"]
    page.locator("#table thead th", has_text=re.compile("^lr$")).click()
    assert column(page, "lr") == ["0.25", "0.5", "0.5", "1", "2", "10"]
    loss = page.locator("#table thead th", has_text=re.compile("^loss$"))
    loss.click()
    assert column(page, "loss") == ["0.0125", "0.025", "0.5", "", "", ""]
    loss.click()
    assert column(page, "loss") == ["0.5", "0.025", "0.0125", "", "", ""], "what is missing stays last"


def test_the_table_filters_and_the_charts_follow(report: Report, look: Look) -> None:
    page = look(report.path)
    assert traces(page) == 3
    page.get_by_placeholder("Filter").fill("raise")
    assert column(page, "lr") == ["1"]
    page.get_by_placeholder("Filter").fill("")
    page.get_by_role("button", name="1 DEAD").click()
    assert (column(page, "status"), traces(page)) == (["DEAD"], 0)
    page.get_by_role("button", name="1 DEAD").click()
    page.get_by_role("button", name="Conditions").click()
    page.locator(".dtsb-data").select_option(label="lr")
    page.locator(".dtsb-condition").select_option(label="Less Than")
    page.locator("input.dtsb-value").fill("0.6")
    expect(page.locator("#table tbody tr")).to_have_count(3)
    assert (column(page, "lr"), traces(page)) == (["0.5", "0.25", "0.5"], 2)


def test_a_click_on_a_run_opens_what_there_is_to_know(report: Report, look: Look) -> None:
    page = look(report.path)
    panel = page.locator("dialog")
    page.locator("#table tbody a").first.focus()
    page.keyboard.press("Enter")
    expect(panel).to_contain_text(str(report.first))
    page.keyboard.press("Escape")
    page.locator("#table tbody tr").nth(4).locator("td").nth(1).click()
    expect(panel).to_be_visible()
    text = panel.inner_text()
    assert "ValueError: too dry" in text
    assert "Traceback" in text
    assert "growing" in text
    assert "python run.py -c conf/beds/carrot.prototxt seed=3 lr=1 fail=raise" in text
    told = [row.split("\t")[:2] for row in panel.locator("table").first.locator("tr").all_inner_texts()]
    assert {("seed", "3"), ("lr", "1"), ("fail", "raise")} <= {(name, value) for name, value in told}
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page).not_to_have_url(re.compile("#run"))  # a dialog tells of its end after it is hidden


def test_a_run_has_an_address_and_neighbours(report: Report, look: Look) -> None:
    page = look(report.path, f"#run={report.id_of('seed=2', 'lr=0.25', 'fail=metrics')}")
    expect(page.locator("dialog")).to_be_visible()
    expect(page.locator("#run-title")).to_contain_text("seed=2")
    page.get_by_role("button", name="Previous run").click()
    expect(page.locator("dialog .folder")).to_contain_text(str(report.first))
    page.go_back()
    expect(page.locator("#run-title")).to_contain_text("seed=2")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()


def test_curves_and_results_are_drawn(report: Report, look: Look) -> None:
    page = look(report.path)
    assert page.locator("#curve-metric option").all_inner_texts() == ["loss", "carrot"]
    assert page.evaluate("document.querySelector('#curve-chart').data[0].x.length") == 20
    expect(page.locator("#curve-chart")).to_contain_text("epoch")
    page.locator("#curve-metric").select_option("carrot")
    expect(page.locator("#curve-chart .ytitle")).to_have_text("carrot")
    page.locator("#curve-colour").select_option("seed")
    assert set(page.locator("#curve-chart .legendtext").all_text_contents()) == {"1", "2"}
    page.locator("#field-result").select_option("result.lr")
    titles = page.locator("#field-charts .xtitle").all_text_contents()
    assert {"seed", "lr"} <= set(titles)
    charts = "[...document.querySelectorAll('#field-charts .chart')]"
    means = f"{charts}.map(c => c.data).find(d => d.length == 2)[1]"
    mean, error = page.evaluate(f"[{means}.y[0], {means}.error_y.array[0]]")
    assert (mean, error) == (5.25, 4.75), "of the runs with seed=1: lr=0.5 and lr=10"


def test_the_graph_leads_to_runs_also_on_a_narrow_screen_in_the_dark(report: Report, look: Look) -> None:
    page = look(report.path)
    assert (page.locator("svg .box").count(), page.locator("svg .edge").count()) == (6, 1)
    page.locator("svg .box", has_text="seed=3").click()
    expect(page.locator("dialog")).to_contain_text("too dry")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 360, "height": 700})
    wait_until(lambda: int(page.evaluate("document.documentElement.scrollWidth")) <= 360)
    lightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0)"
    assert page.evaluate(lightness) > 600
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(lightness) < 150


def test_nothing_that_a_run_leaves_becomes_part_of_the_page(garden: Garden, look: Look) -> None:
    for fail in ("metrics", "complain", "raise"):
        garden(*CARROT, f"note={NASTY}{fail}", f"fail={fail}", "lr=1")
    folder = garden.folder(*CARROT, f"note={NASTY}metrics", "fail=metrics", "lr=1")
    (folder / "run.log").write_bytes(f"{NASTY}\n\x1b[1m\xff".encode("latin-1"))
    known = json.loads((folder / "heyhi.json").read_text())
    known["config"][NASTY] = {NASTY: NASTY}
    (folder / "heyhi.json").write_text(json.dumps({**known, "argv": [NASTY], "user": {NASTY: NASTY}}))
    (folder / "result.json").write_text(json.dumps({NASTY: NASTY, f"{NASTY}2": 3.5}))
    foreign = garden.exp / NASTY.replace("/", "")
    foreign.mkdir()
    (foreign / NASTY.replace("/", "")).touch()
    write_batch(garden, "seed=1", f"!: {shlex.quote(NASTY)}", name="<i onclick=hacked=1>.sh")
    assert heyhi(garden, "plan", "<i onclick=hacked=1>.sh").status == 0
    assert (
        heyhi(garden, "report", ".", "<i onclick=hacked=1>.sh", str(garden.exp), "-o", "x.html").status == 0
    )
    page = look(garden.root / "x.html")
    for run in range(page.locator("#table tbody a").count()):
        page.locator("#table tbody a").nth(run).click()
        expect(page.locator("dialog")).to_be_visible()
        page.keyboard.press("Escape")
    for select in ("#curve-colour", "#field-colour", "#field-result", "#curve-metric"):
        for option in page.locator(f"{select} option").all():
            page.locator(select).select_option(option.get_attribute("value"))
    page.locator("#curve-chart .point").first.hover(force=True)
    page.get_by_role("button", name="Columns").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Conditions").click()
    for name in ("note", "run", "status"):
        page.locator(".dtsb-data").select_option(label=name)
        page.locator(".dtsb-condition").select_option(label="Equals")
        assert page.locator("select.dtsb-value option").count() > 1
    page.locator("select.dtsb-value").first.select_option(index=1)
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("img, b, i[onclick], [onerror], [onload], svg[onload]").count() == 0
    assert NASTY in page.locator("#source").inner_text() + page.content().replace("&lt;", "<").replace(
        "&gt;", ">"
    )
    assert "466662" not in page.locator("header").inner_text()


def test_the_page_itself_forbids_what_it_does_not_do(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(make_page(Subject("it", [], {}), Project(tmp_path)))
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        where = f"http://127.0.0.1:{server.server_port}"
        page.evaluate(f"fetch('{where}/fetched').catch(() => 0)")
        loaded = "new Promise(done => Object.assign(new Image(), {onload: done, onerror: done, src: place}))"
        page.evaluate(f"place => {loaded}.then(() => 0)", f"{where}/image")
        page.evaluate(
            "document.body.innerHTML += '<b onclick=hacked=1>x</b>'; document.body.lastChild.click()"
        )
        hacked = page.evaluate("typeof hacked")
        page.close()
        server.shutdown()
    assert (asked, hacked) == ([], "undefined")


KINDS: dict[str, tuple[list[Record], list[str]]] = {
    "nothing": ([], ["No runs."]),
    "one run": ([Record("p/it/x_00000001", "/exp/x", "DONE", "grow", {"lr": 1})], ["1 DONE", "it 00000001"]),
    "not started": ([Record("p/it/x", "/exp/x", "NOT_STARTED", "grow")], ["1 NOT_STARTED"]),
    "running": ([Record("p/it/x", "/exp/x", "RUNNING", "grow", duration_s=3700.0)], ["RUNNING", "1 h 1 min"]),
    "no run": ([Record("misc", "/exp/misc", problem="no run: it has files")], ["1 no run", "it has files"]),
    "broken": ([Record("p/a/x", "/exp/x", "DONE", problem="result.json: no JSON")], ["no JSON"]),
    "one result": (
        [
            Record("p/a/x", "/exp/x", "DONE", "grow", {"lr": 1.5}, {"loss": 1e-7}, drift="lr 1.5 -> 2"),
            Record("p/a/y", "/exp/y", "NOT_STARTED", "grow", {"lr": 2.5}),
        ],
        ["1.000e-7", "1 run: the config composes otherwise now"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("several", "expected"), KINDS.values(), ids=KINDS)
def test_every_kind_of_run_has_a_page(
    several: list[Record], expected: list[str], look: Look, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(make_page(Subject("it", several, {}), Project(tmp_path)))
    page = look(path)
    text = page.locator("body").inner_text()
    assert [one for one in expected if one not in text] == []
    assert page.locator("#curves").is_hidden()
    if several:
        page.locator("#table tbody tr").first.click(position={"x": 150, "y": 5})
        expect(page.locator("dialog")).to_be_visible()


def test_a_result_that_is_a_text_in_some_runs_is_drawn_of_the_others(look: Look, tmp_path: Path) -> None:
    losses = [0.5, 0.25, NASTY, math.nan]
    several = [
        a_run(tmp_path, number)._replace(config={"lr": number}, result={"loss": loss})
        for number, loss in enumerate(losses)
    ]
    path = tmp_path / "page.html"
    path.write_text(make_page(Subject("it", several, {}), Project(tmp_path)))
    page = look(path)
    dots = page.evaluate("document.querySelector('#field-charts .chart').data[0].y")
    assert dots == [0.5, 0.25]
    expect(page.locator("#field-note")).to_contain_text(
        "Not drawn: 2 runs in which loss is no finite number."
    )
    page.locator("input[type=search]").fill("onload")
    expect(page.locator("#table tbody tr")).to_have_count(1)
    expect(page.locator("#table tbody")).to_contain_text("</script>")
    assert page.evaluate("window.hacked") is None


def test_a_value_between_two_that_are_none_is_drawn_and_an_id_is_an_address_as_it_is(
    look: Look, tmp_path: Path
) -> None:
    several = [a_run(tmp_path, number)._replace(id=f"p/{number}%") for number in range(2)]
    metrics = "".join(f'{{"loss": {"NaN" if step % 2 else step}}}\n' for step in range(100))
    Path(several[0].folder, "metrics.jsonl").write_text(metrics)
    path = tmp_path / "page.html"
    path.write_text(make_page(Subject("it", several, {}), Project(tmp_path)))
    page = look(path, "#run=p/1%")
    expect(page.locator("dialog .folder")).to_contain_text(several[1].folder)
    modes = page.evaluate("document.getElementById('curve-chart').data.map(({ mode }) => mode)")
    assert modes == ["lines+markers", "lines"]


def test_a_thousand_runs_are_a_page_that_one_can_mail(look: Look, tmp_path: Path) -> None:
    several = [a_run(tmp_path, number) for number in range(1000)]
    text = make_page(Subject("sweep", several, {}), Project(tmp_path))
    assert len(text) < 5_000_000
    path = tmp_path / "page.html"
    path.write_text(text)
    page = look(path)
    expect(page.locator(".dt-info")).to_have_text("1 to 25 of 1,000 runs")
    assert traces(page) == 50 + 1, "and the bar of colours"
    expect(page.locator("#curve-note")).to_contain_text("the latest of 200")
    expect(page.locator("#curve-note")).to_contain_text(
        "Of 1000 runs with metrics this page has the 200 latest."
    )
    page.get_by_placeholder("Filter").fill("0000007b")
    assert column(page, "lr") == ["0.0123"]
    page.locator("#table tbody a").click()
    expect(page.locator("dialog")).to_contain_text("epoch 99 of run 123")


def a_run(root: Path, number: int) -> Record:
    """A run with a log of 100 lines and as many metrics, whose texts have little in common with another's."""
    folder = root / "runs" / f"{number}"
    folder.mkdir(parents=True)
    losses = [math.sin(number * epoch) for epoch in range(100)]
    lines = [f"epoch {epoch} of run {number}: loss {loss}" for epoch, loss in enumerate(losses)]
    (folder / "run.log").write_text("\n".join(lines))
    rows = [json.dumps({"epoch": epoch, "loss": loss}) for epoch, loss in enumerate(losses)]
    (folder / "metrics.jsonl").write_text("\n".join(rows))
    config = {"lr": number / 10000, "seed": number % 5, **{f"field{n}": n for n in range(30)}}
    started = f"2026-11-24T07:{number // 60:02}:{number % 60:02}+0000"
    return Record(
        f"p/c/it/x_{number:08x}", str(folder), "DONE", "grow", config, {"loss": losses[-1]}, started=started
    )


def test_snakemake_reports_have_it_as_an_item(garden: Garden, browser: Browser) -> None:
    batch = write_batch(garden, "seed=1", "seed=2 fail=raise")
    place = garden.exp / ".heyhi" / "reports" / "batch.html"
    failed = snakemake(garden, "report")
    assert (failed.status, f"report: {place}" in failed.err) == (1, True), "it is made, though a run failed"
    before = place.read_text()
    write_batch(garden, "seed=1")
    again = snakemake(garden, "report")
    assert (again.status, garden.executions()) == (0, 2)
    assert place.read_text() != before
    quick = snakemake(garden)
    assert f"report: {place}" not in quick.err, "rule all does not make it"
    whole = garden.home / "all.zip"
    made = snakemake(garden, "--report", str(whole))
    assert (made.status, garden.executions()) == (0, 2), made.err
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    with zipfile.ZipFile(whole) as packed:
        packed.extractall(garden.home)
    page.goto((garden.home / "all" / "report.html").as_uri())
    page.get_by_text("Results").click()
    expect(page.get_by_role("cell", name=str(batch))).to_be_visible()
    page.locator("a[iconname=eye]").click()
    inner = page.frame_locator("iframe")
    inner.locator("html[data-ready]").wait_for(state="attached")
    inner.locator("#table tbody a").first.click()
    expect(inner.locator("dialog")).to_contain_text("growing")
    page.keyboard.press("Escape")
    expect(inner.locator("dialog")).to_be_hidden()
    page.close()
