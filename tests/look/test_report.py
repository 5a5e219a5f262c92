"""What a report is made of: runs as data, and the page around it. How it looks is in test_report_page.py."""

import base64
import gzip
import json
import math
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from heyhi.errors import UsageError
from heyhi.look import report
from heyhi.look.records import Record
from heyhi.look.report import Subject, make_page, page_data
from heyhi.project import Project
from heyhi.runs.status import Status


def record(name: str = "p/it/x_00000001", config: dict[str, Any] | None = None, **known: Any) -> Record:
    return Record(name, f"/exp/{name}", **{"status": "DONE", "task": "grow", "config": config or {}, **known})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("HH_EXP_DIR", "/exp")
    return Project(tmp_path)


def data_of(project: Project, *several: Record) -> dict[str, Any]:
    """What the program of the page gets, as it gets it."""
    page = make_page(Subject("it", several, {}), project)
    packed = re.search(r'id="data">([^<]*)<', page)
    assert packed
    data: dict[str, Any] = json.loads(
        gzip.decompress(base64.b64decode(packed[1])), parse_constant=pytest.fail
    )
    return data


def column(data: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in data["columns"] if one["name"] == name)


def test_values_are_those_that_javascript_has(project: Project) -> None:
    values = {"big": 2**64 - 1, "nan": math.nan, "inf": -math.inf, "no": False}
    data = data_of(project, record(config=values), record("p/it/y_00000002"))
    row = dict(zip([one["name"] for one in data["columns"]], data["rows"][0], strict=True))
    assert {name: row[name] for name in values} == {
        **values,
        "big": str(2**64 - 1),
        "nan": "nan",
        "inf": "-inf",
    }


def test_a_config_is_told_beside_the_commonest_one_of_its_task(project: Project) -> None:
    configs = [{"lr": 1, "n": 1}, {"lr": 1, "n": 1}, {"lr": 2, "n": 1, "x": 1}, {"lr": 1}]
    runs = [record(f"p/it/x_{number:08x}", config) for number, config in enumerate(configs)]
    data = data_of(project, *runs, record("p/other/x", {"lr": 7}, task="pick"))
    assert data["common"] == {"grow": {"lr": 1, "n": 1}, "pick": {"lr": 7}}
    assert [run["differs"] for run in data["runs"]] == [{}, {}, {"lr": 2, "x": 1}, {"n": None}, {}]


def test_a_path_in_a_run_is_shown_as_that_run(project: Project) -> None:
    one, other = (
        record(config={"lr": 1}),
        record("p/it/y_00000002", {"lr": 2, "from": "/exp/p/it/x_00000001/m"}),
    )
    assert data_of(project, one, other)["short"]["/exp/p/it/x_00000001/m"] == "it lr=1/m"


def test_columns_that_tell_runs_apart_are_shown_first(project: Project) -> None:
    runs = [
        record(
            f"p/it/x_{n:08x}",
            {"same": 1, "lr": n, "six.a.n" if n else "six.b.n": 1},
            result={"loss": n, "k": "x"},
        )
        for n in range(3)
    ]
    runs.append(record("p/other/x", {"lr": 1}, task="pick"))
    data = data_of(project, *runs)
    shown = [one["name"] for one in data["columns"] if one["shown"]]
    assert shown[:4] == ["id", "status", "lr", "six"], "most runs have lr"
    assert {"lr", "loss", "task"} < set(shown)
    assert not {"same", "k", "folder"} & set(shown)
    assert column(data, "six")["tasks"] == ["grow"]
    assert column(data, "six.a.n")["inside"]


def test_a_result_that_is_a_text_in_some_runs_is_one_of_numbers(project: Project) -> None:
    values = [{"loss": 1.5, "k": "x"}, {"loss": "diverged"}, {"loss": math.nan}]
    data = data_of(
        project,
        *(record(f"p/it/x_{n:08x}", {"lr": n, "n": n or "no"}, result=one) for n, one in enumerate(values)),
    )
    assert [column(data, name)["numeric"] for name in ("loss", "k", "lr", "n")] == [True, False, True, False]
    place = [one["name"] for one in data["columns"]].index("loss")
    assert [row[place] for row in data["rows"]] == [1.5, "diverged", "nan"]


def run_folder(root: Path, name: str = "x_00000001", **files: str) -> Record:
    """A run in a folder with such files: `run_log` is run.log."""
    folder = root / "p" / "it" / name
    folder.mkdir(parents=True)
    for key, text in files.items():
        (folder / key.replace("_", ".")).write_text(text)
    return Record(f"p/it/{name}", str(folder), files.pop("status", "DONE"), "grow")


def test_a_run_has_the_ends_of_its_files_and_where_it_came_from(project: Project, tmp_path: Path) -> None:
    known = {
        "argv": ["-c", "a b"],
        "git_dirty": True,
        "starts": [{"host": "n1", "ended": None, "status": "RUNNING"}],  # killed before it could note its end
        "user": ["odd"],
    }
    one = run_folder(
        tmp_path, run_log="\n" * 60 + "one\r\x1b[1mtwo", error_txt="ValueError", heyhi_json=json.dumps(known)
    )
    (run,) = page_data(Subject("it", [one._replace(commit="0123")], {}), project, {one.folder: "it"})["runs"]
    assert (run["log"].strip(), run["error"]) == ("two", "ValueError")
    assert dict(run["about"]) == {
        "command": "python run.py -c 'a b'",
        "commit": "0123, with changes that were not committed",
        "user": "['odd']",
        "start": "host n1",
    }


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", '{"starts": 1, "argv": 1, "versions": []}'])
def test_a_broken_provenance_is_none(text: str, project: Project, tmp_path: Path) -> None:
    one = run_folder(tmp_path, heyhi_json=text)
    assert page_data(Subject("it", [one], {}), project, {one.folder: "it"})["runs"][0]["about"] == []


def test_logs_have_room_first_where_something_went_wrong(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [
        run_folder(tmp_path, f"x_{number}", run_log="x" * 100)._replace(
            started=f"2026-0{number}", status=status
        )
        for number, status in enumerate(["DONE", "DEAD", "DONE", "DONE"], 1)
    ]
    monkeypatch.setattr(report, "_ALL_TAILS", 250)
    runs = data_of(project, *several)["runs"]
    assert ["log" in run for run in runs] == [False, True, False, True]
    assert [run.get("cut") for run in runs] == [True, None, True, None]


def test_curves_are_those_of_the_latest_runs(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = '{"loss": 1}\n{"loss": 2}\n'
    several = [
        run_folder(tmp_path, f"x_{number}", metrics_jsonl=metrics)._replace(started=f"2026-0{number}")
        for number in range(1, 5)
    ]
    monkeypatch.setattr(report, "_MOST_POINTS", 5)
    data = data_of(project, *several)
    assert (list(data["curves"]), data["with_curves"]) == (["3", "2"], 4)
    empty = run_folder(tmp_path, "x_5", metrics_jsonl="")._replace(started="2026-05")
    assert data_of(project, *several, empty)["with_curves"] == 4


def test_the_page_says_what_is_missing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_LIBRARIES", {"plotly": ("no_such_plotly", "x.js")})
    with pytest.raises(UsageError, match=re.escape("pip install 'heyhi[report]'")):
        make_page(Subject("it", [], {}), project)


def test_a_page_can_be_written_whatever_a_path_is_made_of(project: Project) -> None:
    several = [record("p/b\udcff/c", drift="lr 1 -> 2")]
    page = make_page(Subject("a\udcff", several, {}), project).encode().decode()
    assert "a\\udcff" in page
    assert 'href="#run=p/b%5Cudcff/c"' in page


def test_the_page_has_a_colour_for_each_status() -> None:
    page = Path(report.__file__).parent / "page" / "report.css"
    assert {status.value for status in Status} <= set(re.findall(r"\.s-(\w+)", page.read_text()))


def test_the_template_escapes_what_it_is_given(project: Project) -> None:
    nasty = "<script>alert(1)</script>\"'"
    one = record(f"p/{nasty}/x", commit=nasty, drift=nasty, problem=nasty, status="DEAD")
    other = record(f"p/{nasty}/y")
    needs = {Path(one.folder): [Path(other.folder)]}
    page = make_page(Subject(nasty, [one, other], needs, {nasty: nasty}), project)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 8


@pytest.mark.processes
def test_the_templates_are_in_the_wheel(tmp_path: Path) -> None:
    root = Path(report.__file__).parent.parent.parent
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"heyhi/look/page/report.{ending}" for ending in ("html", "css", "js")} <= set(names)
