import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from heyhi.cli.init import make_project, name_for, requirement, requirement_for
from heyhi.errors import LaunchError, UsageError
from tests.conftest import HERE, Done, Garden, wait_until

TEMPLATE = HERE / "heyhi" / "template"
SINE = ("-c", "conf/fit/sine.prototxt")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def tracked() -> list[str]:
    """The files of the template, as the repository has them."""
    listed = subprocess.run(["git", "ls-files"], cwd=TEMPLATE, capture_output=True, text=True, check=True)
    return sorted(listed.stdout.splitlines())


def init(place: Path, *words: str) -> Done:
    return Garden(place, place).python("-m", "heyhi.commands", "init", *words)


# ---- The whole thing ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fits(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Garden:
    """A new project, made by the command, in a folder of an awkward name."""
    place = tmp_path_factory.mktemp("new")
    done = init(place, "2 Fits - für d'Alembert")
    assert (done.status, done.err) == (0, "")
    return Garden(place / "2 Fits - für d'Alembert", place)


def test_a_new_project_passes_its_own_tests(fits: Garden) -> None:
    command = ["make", "test", f"PYTHON={sys.executable}"]
    env = fits.environment(PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, cwd=fits.root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)
    assert "failed" not in done.stdout


def test_it_runs_and_carries_its_batch_out_from_anywhere(fits: Garden, tmp_path: Path) -> None:
    done = fits(*SINE, cwd=tmp_path)
    assert done.status == 0, done.err
    assert float(done.out.removeprefix("loss: ")) < 0.01
    sweep = str(fits.root / "sweep.sh")
    env = {"HEYHI_PROJECT": str(fits.root)}
    plan = fits.python("-m", "heyhi.commands", "plan", sweep, cwd=tmp_path, env=env)
    assert "7 runs: 7 NOT_STARTED; 7 to start" in plan.out, plan.err
    start = fits.python("-m", "heyhi.commands", "start", sweep, cwd=tmp_path, env=env)
    assert start.status == 0, start.out + start.err
    plan = fits.python("-m", "heyhi.commands", "plan", "sweep.sh")
    assert "7 runs: 7 DONE; nothing to do" in plan.out, plan.err


def test_a_task_that_run_py_does_not_have_is_named(fits: Garden, tmp_path: Path) -> None:
    root = shutil.copytree(fits.root, tmp_path / "more")
    schema = root / "conf/conf.proto"
    schema.write_text(schema.read_text().replace("fit = 101;", "fit = 101;\n    FitTask predict = 102;"))
    (root / "conf/fit/predict.prototxt").write_text("predict { }\n")
    done = Garden(root, tmp_path)("-c", "conf/fit/predict.prototxt")
    assert done.status == 1
    assert "last error: NotImplementedError: run.py has no task 'predict'; its TASKS are: fit  (" in done.err


def test_its_code_is_typed(fits: Garden, pytestconfig: pytest.Config) -> None:
    assert fits.python("-m", "heyhi.commands", "protos").status == 0
    assert pytestconfig.cache is not None
    cache = pytestconfig.cache.mkdir(
        "mypy-init"
    )  # of what is always the same: the standard library, protobuf
    words = ["--strict", "--no-error-summary", "--explicit-package-bases", f"--cache-dir={cache}"]
    done = fits.python("-m", "mypy", *words, "run.py", "tasks", env={"MYPYPATH": "."})
    assert (done.status, done.out) == (0, ""), done.out


def test_the_sweep_is_its_default_batch(fits: Garden) -> None:
    done = fits.python("-m", "snakemake", "--profile", "profiles/local", "-n")
    assert done.status == 0, done.err
    assert f"{fits.root}/sweep.sh: 7 runs" in done.out + done.err


# ---- What is said -------------------------------------------------------------------------------


@pytest.mark.processes
def test_it_says_what_to_do_next(tmp_path: Path) -> None:
    done = init(tmp_path, "my fits")
    assert done == Done(
        0,
        f"my_fits: a new project in {tmp_path}/my fits\n"
        "  cd 'my fits' && make test    # makes .venv (a minute, once), and tests the project\n"
        "  . .venv/bin/activate && python run.py -c conf/fit/sine.prototxt\n"
        "  heyhi plan sweep.sh; heyhi start sweep.sh\n",
        "",
    )


@pytest.mark.processes
@pytest.mark.parametrize("words", [(), ("a", "b"), ("--force", "a"), ("--now",)], ids=str)
def test_other_words_are_a_mistake(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert init(tmp_path, *words) == Done(2, "", "error: usage: heyhi init DIR\n")
    assert os.listdir(tmp_path) == []


# ---- Where it goes ------------------------------------------------------------------------------


@pytest.mark.processes
def test_this_folder_and_one_with_only_git_in_it_will_do(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    done = init(tmp_path, ".")
    assert done.status == 0, done.err
    assert "\n  make test " in done.out
    assert files(tmp_path) == sorted([*tracked(), ".git/HEAD"])


@pytest.mark.processes
def test_folders_above_it_are_made(tmp_path: Path) -> None:
    make_project(tmp_path / "a" / "b" / "fits", "heyhi")
    assert files(tmp_path / "a" / "b" / "fits") == tracked()
    assert os.listdir(tmp_path / "a" / "b") == ["fits"]


# What is there -> what is said of it.
IN_THE_WAY = {
    "a file": (["notes.txt"], "not empty: notes.txt; a new project needs a folder of its own"),
    "git and more": ([".git/HEAD", "README.md"], "not empty: README.md; "),
    "many": ([f"f{n}" for n in range(7)], "not empty: f0, f1, f2, f3, f4 and 2 more; "),
    "a project": (["conf/conf.proto", "run.py"], "not empty: conf, run.py; "),
}


@pytest.mark.parametrize(("names", "told"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_is_there_is_named_and_stays(tmp_path: Path, names: list[str], told: str) -> None:
    for name in names:
        (tmp_path / "fits" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fits" / name).write_text("mine")
    with pytest.raises(UsageError) as caught:
        make_project(tmp_path / "fits", "heyhi")
    assert str(caught.value).startswith(f"{tmp_path}/fits: {told}")
    assert files(tmp_path / "fits") == names
    assert {(tmp_path / "fits" / name).read_text() for name in names} == {"mine"}


def test_a_file_of_that_name_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "fits").write_text("mine")
    with pytest.raises(UsageError, match="fits: it is there, and no folder"):
        make_project(tmp_path / "fits", "heyhi")
    assert (tmp_path / "fits").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LaunchError, match=r"/file: (Not a directory|File exists)"):
        make_project(tmp_path / "file" / "fits", "heyhi")


@pytest.mark.parametrize(("is_there", "calls"), [(False, 1), (True, 1), (True, 3)])
def test_an_interrupted_one_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool, calls: int
) -> None:
    folder = tmp_path / "fits"
    if is_there:
        folder.mkdir()
    moves = []
    rename = os.rename

    def stop_at(old: Path, new: Path) -> None:
        moves.append(new)
        if len(moves) == calls:
            raise KeyboardInterrupt
        rename(old, new)

    monkeypatch.setattr(os, "rename", stop_at)
    with pytest.raises(KeyboardInterrupt):
        make_project(folder, "heyhi")
    assert os.listdir(tmp_path) == (["fits"] if is_there else [])
    assert files(tmp_path) == []


@pytest.mark.processes
def test_killed_at_any_moment_a_new_one_is_whole_or_not_there(tmp_path: Path) -> None:
    code = "import sys; from heyhi.cli.init import make_project; make_project(sys.argv[1], 'heyhi')"
    for number in range(5):
        place = tmp_path / str(number)
        place.mkdir()
        with subprocess.Popen([sys.executable, "-c", code, str(place / "fits")]) as process:
            wait_until(lambda place=place: bool(os.listdir(place)))  # type: ignore[misc]
            process.kill()
        assert not (place / "fits").exists() or files(place / "fits") == tracked()


# ---- What is in it ------------------------------------------------------------------------------


@pytest.mark.processes
def test_its_name_is_everywhere(tmp_path: Path) -> None:
    make_project(tmp_path / "Curves", "heyhi==9")
    assert "my_project" not in "".join((tmp_path / "Curves" / name).read_text() for name in tracked())
    assert os.access(tmp_path / "Curves/sweep.sh", os.X_OK)
    assert not os.access(tmp_path / "Curves/run.py", os.X_OK)
    assert "\npackage curves;\n" in (tmp_path / "Curves/conf/conf.proto").read_text()
    assert 'project = "curves"' in (tmp_path / "Curves/pyproject.toml").read_text()
    lines = (tmp_path / "Curves/requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["pytest>=8", "heyhi==9"]


@pytest.mark.processes
def test_what_running_the_template_leaves_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [
        "conf/conf_pb2.py",
        "conf/conf_cfgs.pyi",
        "tasks/__pycache__/fit.cpython-311.pyc",
        "conf/.heyhi_protos.lock",
    ]
    shutil.copytree(TEMPLATE, tmp_path / "template")
    for name in made:
        (tmp_path / "template" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "template" / name).write_bytes(b"\xff")
    monkeypatch.setattr("heyhi.cli.init._TEMPLATE", tmp_path / "template")
    make_project(tmp_path / "fits", "heyhi")
    assert files(tmp_path / "fits") == tracked()


def test_its_launcher_is_the_one_of_this_repository() -> None:
    def launcher(path: Path) -> str:
        return path.read_text().partition("// The needs of one job")[2]

    assert launcher(TEMPLATE / "conf/common.proto") == launcher(HERE / "conf/common.proto") != ""


NAMES = {
    "fits": "fits",
    "My Fits": "my_fits",
    "2024-fits": "project_2024_fits",
    "für-élise": "fur_elise",
    "実験": "project",
    "--": "project",
    "": "project",
    "a.b//c": "a_b_c",
}


@pytest.mark.parametrize(("folder", "name"), NAMES.items())
def test_the_name_follows_from_the_folders(folder: str, name: str) -> None:
    assert name_for(folder) == name


# ---- Where it gets HeyHi from -------------------------------------------------------------------

# direct_url.json -> the line.
ORIGINS = {
    "an index": (None, "heyhi==1.2"),
    "a folder": ({"url": "file:///a%20b/heyhi", "dir_info": {}}, "heyhi @ file:///a%20b/heyhi"),
    "editable": ({"url": "file:///heyhi", "dir_info": {"editable": True}}, "heyhi @ file:///heyhi"),
    "a wheel": ({"url": "file:///x/heyhi-1.2.whl", "archive_info": {}}, "heyhi @ file:///x/heyhi-1.2.whl"),
    "git": (
        {
            "url": "https://example.org/heyhi.git",
            "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": "abc123"},
        },
        "heyhi @ git+https://example.org/heyhi.git@abc123",
    ),
    "a part of one": (
        {
            "url": "ssh://git@example.org/all.git",
            "vcs_info": {"vcs": "git", "commit_id": "abc123"},
            "subdirectory": "tools/heyhi",
        },
        "heyhi @ git+ssh://git@example.org/all.git@abc123#subdirectory=tools/heyhi",
    ),
}


@pytest.mark.parametrize(("origin", "line"), ORIGINS.values(), ids=ORIGINS)
def test_the_requirement_names_where_this_heyhi_came_from(
    origin: dict[str, object] | None, line: str
) -> None:
    assert requirement_for(origin, "1.2") == line


def test_here_it_is_this_repository() -> None:
    assert requirement() == f"heyhi @ {HERE.as_uri()}"


# ---- The package --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(processes: None, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The package, as it is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=HERE, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_package_has_the_template_and_the_rules(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    start = "heyhi/template/"
    assert sorted(name.removeprefix(start) for name in names if name.startswith(start)) == tracked()
    assert "heyhi/workflow/launch.smk" in names


def test_a_project_can_be_made_by_what_was_installed(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    code = "import heyhi, heyhi.commands as c; print(heyhi.__file__); c.main(['init', 'fits'])"
    done = Garden(tmp_path, tmp_path).python("-I", "-c", f"import sys; sys.path.insert(0, 'site'); {code}")
    assert done.out.startswith(f"{tmp_path}/site/heyhi/__init__.py\nfits: a new project"), done.err
    assert files(tmp_path / "fits") == tracked()


# ---- With nothing but what the package asks for -------------------------------------------------


def needed(*requirements: str) -> dict[str, metadata.Distribution]:
    """The installed packages that these need, and that those need, by their names."""
    found: dict[str, metadata.Distribution] = {}
    asked: set[str] = set()
    rest = list(requirements)
    while rest:
        if (text := rest.pop()) in asked:
            continue
        asked.add(text)
        one = Requirement(text)
        found[canonicalize_name(one.name)] = package = metadata.distribution(one.name)
        for inner in map(Requirement, package.requires or ()):
            if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in ("", *one.extras)):
                inner.marker = None
                rest.append(str(inner))
    return found


def bare_environment(place: Path, wheel: zipfile.ZipFile) -> Path:
    """An environment as pip would make it of the wheel and pytest: links to their packages, and no others."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    wheel.extractall(site)
    (own,) = metadata.distributions(path=[str(site)])
    for package in [
        own,
        *needed("pytest", *(text for text in own.requires or () if "extra ==" not in text)).values(),
    ]:
        for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(str(package.locate_file(name)))
        for entry in package.entry_points.select(group="console_scripts"):
            script = place / "bin" / entry.name
            script.write_text(
                f"#!{place}/bin/python\nimport {entry.module} as m, sys; sys.exit(m.{entry.attr}())\n"
            )
            script.chmod(0o755)
    return place


@pytest.mark.pages
def test_the_first_steps_need_nothing_that_the_package_does_not_ask_for(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    place = bare_environment(tmp_path / "env", wheel)
    script = f"""set -euo pipefail
        export PATH="{place}/bin:$PATH"
        python -c 'from importlib.util import *; assert not find_spec("pyarrow") and not find_spec("mypy")'
        heyhi init fits
        cd fits
        make -s test PYTHON=python
        python run.py -c conf/fit/sine.prototxt
        heyhi start sweep.sh
        heyhi summary sweep.sh --where "status != 'DEAD' and degree > 3" --over degree
        heyhi status; heyhi diff clean@deg@1 clean@deg@3; heyhi replay clean@deg@1"""
    env = Garden(tmp_path, tmp_path).environment()
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 7 runs are done" in done.stderr
