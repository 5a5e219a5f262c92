import os
from pathlib import Path

import pytest

from heyhi.errors import ProjectError
from heyhi.project import Project, find_project
from tests.conftest import Done, Garden


def make_project(root: Path, pyproject: str = "") -> Project:
    (root / "conf").mkdir(parents=True)
    (root / "conf" / "conf.proto").touch()
    if pyproject:
        (root / "pyproject.toml").write_text(pyproject)
    return Project(root)


# ---- Where it is --------------------------------------------------------------------------------

# Which one is found, with the script run.py of one of them running, $HEYHI_PROJECT, and a cwd.
RULES = """
script     variable  cwd           found
-          -         above         above
-          -         above/a/b     above
-          -         above/inner   above/inner
-          other     above         other
above      other     other         above
link       -         other         above
-          -         nowhere       nowhere: no conf/conf.proto here or above; go to a project, or set HEYHI_PROJECT
-          nowhere   above         HEYHI_PROJECT=nowhere: no conf/conf.proto there
nowhere    other     above         nowhere: no conf/conf.proto here; a project keeps its schemas in conf/
"""  # noqa: E501
_RULES = [line.split(maxsplit=3) for line in RULES.strip().splitlines()[1:]]


@pytest.mark.parametrize(("script", "variable", "cwd", "found"), _RULES)
def test_the_project_is_that_of_the_script_or_of_the_variable_or_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, variable: str, cwd: str, found: str
) -> None:
    for name in ("above", "above/inner", "other"):
        make_project(tmp_path / name)
    for name in ("above/a/b", "nowhere", "link"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link" / "run.py").symlink_to("../above/run.py")
    (tmp_path / "above" / "run.py").touch()
    monkeypatch.chdir(tmp_path / cwd)
    monkeypatch.delenv("HEYHI_PROJECT", raising=False)
    if variable != "-":
        monkeypatch.setenv("HEYHI_PROJECT", str(tmp_path / variable))
    try:
        said = str(find_project(None if script == "-" else str(tmp_path / script / "run.py")).root)
    except ProjectError as problem:
        said = str(problem)
    assert said.replace(f"{tmp_path}/", "") == found


def test_a_relative_script_and_variable_are_taken_from_the_cwd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "it")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEYHI_PROJECT", "it")
    assert find_project() == project
    assert find_project("it/run.py") == project


def test_a_current_folder_that_is_gone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEYHI_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir("gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ProjectError, match="the current folder is gone; go to a project"):
        find_project()


def test_run_py_belongs_to_its_own_project_wherever_it_is_started(garden: Garden, tmp_path: Path) -> None:
    other = make_project(tmp_path / "other").root
    done = garden("-c", "conf/beds/carrot.prototxt", "--print", cwd=other, env={"HEYHI_PROJECT": str(other)})
    assert done == garden("-c", "conf/beds/carrot.prototxt", "--print")
    assert done.status == 0


def test_any_script_beside_conf_belongs_to_that_project(garden: Garden, tmp_path: Path) -> None:
    other = make_project(tmp_path / "other").root
    (garden.root / "tool.py").write_text("import heyhi; print(heyhi.PROJ_ROOT)")
    done = garden.python(str(garden.root / "tool.py"), cwd=other, env={"HEYHI_PROJECT": str(other)})
    assert done == Done(0, f"{garden.root}\n", "")


def test_an_installed_package_called_conf_does_not_stand_in_for_the_project(
    garden: Garden, tmp_path: Path
) -> None:
    (tmp_path / "site" / "conf").mkdir(parents=True)
    (tmp_path / "site" / "conf" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    done = garden("-c", "conf/beds/carrot", "--print", env={"PYTHONPATH": str(tmp_path / "site")})
    assert (done.status, done.err) == (0, "")


# ---- How it is called ---------------------------------------------------------------------------

NAMES = {
    "": "folder",
    "[tool.heyhi]": "folder",
    "[project]\nname = 'other'": "folder",
    "[tool.heyhi]\nproject = 'my project'": "my project",
    "[tool.heyhi]\nproject = ''": """P: [tool.heyhi] needs project = "a name", not ''""",
    "[tool.heyhi]\nproject = 'a/b'": """P: [tool.heyhi] needs project = "a name", not 'a/b'""",
    "[tool.heyhi]\nproject = '..'": """P: [tool.heyhi] needs project = "a name", not '..'""",
    "[tool.heyhi]\nproject = 3": """P: [tool.heyhi] needs project = "a name", not 3""",
    "[tool]\nheyhi = 3": """P: [tool.heyhi] needs project = "a name", not None""",
    "tool = 3": """P: [tool.heyhi] needs project = "a name", not None""",
    "[tool.heyhi": "P: cannot be read: Expected ']' at the end of a table declaration (at end of document)",
}


@pytest.mark.parametrize(("pyproject", "name"), NAMES.items())
def test_the_name_is_in_pyproject_or_that_of_the_folder(tmp_path: Path, pyproject: str, name: str) -> None:
    project = make_project(tmp_path / "folder", pyproject)
    try:
        said = project.name
    except ProjectError as problem:
        said = str(problem)
    assert said == name.replace("P:", f"{project.root}/pyproject.toml:")


def test_a_broken_pyproject_is_one_line_and_exit_status_2(garden: Garden) -> None:
    (garden.root / "pyproject.toml").write_bytes(b"\xff")
    done = garden("-c", "conf/beds/carrot", "--print-out-dir", env={"HH_EXP_DIR": ""})
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert done.err.startswith(f"error: {garden.root}/pyproject.toml:1: not UTF-8 text")


# ---- Where results are --------------------------------------------------------------------------

ROOTS = {
    ("/exp", "/home/me"): "/exp",
    ("~/exp", "/home/me"): "/home/me/exp",
    ("exp/../there", "/home/me"): "CWD/there",
    ("", "/home/me"): "/home/me/results/folder",
    (None, "/home/me"): "/home/me/results/folder",
    ("/exp", None): "/exp",
}


@pytest.mark.parametrize(("variable", "home"), ROOTS)
def test_the_experiment_root_is_in_the_variable_or_below_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, home: str | None
) -> None:
    for name, value in (("HH_EXP_DIR", variable), ("HOME", home)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    root = make_project(tmp_path / "folder").experiment_root
    assert str(root) == ROOTS[variable, home].replace("CWD", str(tmp_path))


def test_without_any_home_the_variable_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HH_EXP_DIR", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 5)  # nobody's
    with pytest.raises(ProjectError, match="no home folder: set HH_EXP_DIR to where results shall be"):
        _ = make_project(tmp_path / "folder").experiment_root
