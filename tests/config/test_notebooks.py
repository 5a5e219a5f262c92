"""What a notebook shows of HeyHi's objects."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from heyhi.config import notebooks, prototxt
from heyhi.config.frozen import freeze
from tests.conftest import NO_FIELD, Garden

HERE = Path(__file__).resolve().parent.parent.parent
NOTEBOOK = HERE / "docs" / "notebook.ipynb"


def cells(text: str) -> list[list[str]]:
    """The rows of the table in it, its header first."""
    rows = re.findall("<tr.*?</tr>", text)
    return [re.findall("<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]


def test_all_that_is_shown_is_escaped() -> None:
    text = notebooks.table([("<b>", None)], ["<i>"], caption="<u>", notes=["<s>"])
    assert cells(text) == [["&lt;i&gt;"], ["&lt;b&gt;", ""]]
    assert not re.search("<[bius]>", text.replace("<b>&lt;u&gt;</b>", ""))


def test_a_config_is_shown_by_field_with_its_defaults_paler(demo: Any) -> None:
    config = freeze(prototxt.parse("left { } branches { size: 2 }", demo.Tree, "f"))
    text = config._repr_html_()
    assert cells(text) == [
        ["size", "1", "default"],
        ["left.size", "1", "default"],
        ["branches.0.size", "2", ""],
    ]
    assert text.count("opacity") == 2
    assert "<b>Tree</b>" in text


def test_an_empty_config_says_that_nothing_is_set(demo: Any) -> None:
    assert "nothing is set" in freeze(demo.Can())._repr_html_()


CODE = """
import heyhi
batch = heyhi.Batch("sweep")
print(repr(batch), "|", batch._repr_html_())
first = batch.add("conf/beds/carrot.prototxt", lr=0.5)
batch.add("conf/beds/carrot.prototxt", note=first / "model")
print(repr(batch), "|", batch._repr_html_())
print(repr(batch.plan()) == str(batch.plan()), "|", batch.plan()._repr_html_())
"""


def test_a_batch_and_its_plan_are_tables(garden: Garden) -> None:
    (garden.root / "look.py").write_text(CODE)
    done = garden.python("look.py")
    assert done.err == ""
    empty, batch, plan = done.out.splitlines()
    assert empty.startswith("Batch 'sweep', 0 runs |")
    assert "no `python run.py ...` line" in empty
    assert batch.startswith("Batch 'sweep', 2 runs |")
    assert plan.startswith("True |")
    for shown in (batch, plan):
        header, first, second = cells(shown)
        assert header == ["", "run", "status: what will be done", "after", "from"]
        assert first[2:] == ["NOT_STARTED: start", "", "look.py:5"]
        assert (second[0], second[3]) == ("#2", "#1")
        assert "sweep: 2 runs: 2 NOT_STARTED; 2 to start" in shown


def test_a_run_is_shown_with_its_result(garden: Garden) -> None:
    folder = garden.folder("-c", "conf/beds/carrot.prototxt")
    code = f"from heyhi.api.experiments import ExperimentDir\nrun = ExperimentDir({str(folder)!r}, 'p/x')\n"
    (garden.root / "look.py").write_text(f"{code}print(run)\nprint(run._repr_html_())")
    before = garden.python("look.py").out
    assert before.startswith(f"p/x: NOT_STARTED\n  folder {folder}\n")
    assert garden("-c", "conf/beds/carrot.prototxt").status == 0
    after = garden.python("look.py").out
    assert after.startswith("p/x: DONE\n")
    rows = dict(cells(after))
    assert (rows["status"], rows["folder"]) == ("DONE", str(folder))
    assert len(rows) > 2


# ---- The notebook -------------------------------------------------------------------------------


def kinds(notebook: Any) -> list[list[tuple[str, ...]]]:
    """What each of its cells has put out, by MIME types."""
    return [
        [tuple(sorted(output.get("data", {output.get("name"): 0}))) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.pages
def test_the_notebook_runs_and_shows_what_is_stored_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HH_EXP_DIR", str(tmp_path / "results"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    stored = kinds(notebook)
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    assert kinds(notebook) == stored
    assert any(stored), "it was never executed"
    text = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    assert "2 runs: 2 NOT_STARTED; 2 to start" in text
    assert "In[" in text
    assert len(list((tmp_path / "results").glob("p/*/*/*/result.json"))) == 2


CELL = """import heyhi
batch = heyhi.Batch("sweep")

def add(**values):
    return batch.add("conf/beds/carrot.prototxt", **values)

add(lr=0.5)
add(lrr=0.5)
"""


@pytest.mark.pages
def test_an_error_in_a_notebook_is_the_line_and_the_message(
    garden: Garden, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("HH_EXP_DIR", str(garden.exp))
    cell = nbformat.v4.new_code_cell(CELL)  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=[cell])  # type: ignore[no-untyped-call]
    NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(garden.root)}}).execute()
    (error,) = notebook.cells[0].outputs
    assert error.ename == "ConfigError"
    assert error.traceback == [
        'line 5: return batch.add("conf/beds/carrot.prototxt", **values)',
        f"ConfigError: override 'lrr=0.5': Grow {NO_FIELD} 'lrr'; did you mean 'lr'?",
    ]
