from collections.abc import Callable
from pathlib import Path

import pytest

from heyhi.errors import UsageError
from heyhi.project import Project
from heyhi.runs.find import find_run, find_runs, runs_at
from heyhi.runs.folder import Run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "project" / "conf").mkdir(parents=True)
    (tmp_path / "results").mkdir()
    monkeypatch.setenv("HH_EXP_DIR", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path / "project")


def make(project: Project, run_id: str, *names: str, job: str = "local:here:7") -> Path:
    folder = project.experiment_root / run_id
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("")
    if not names:
        (folder / "heyhi.jobid").write_text(job)
    return folder


def ids(project: Project, place: Path | None = None) -> list[str]:
    return [run.id for run in find_runs(place or project.experiment_root, project)]


def test_runs_are_listed_by_id_and_nothing_inside_of_one(project: Project) -> None:
    make(project, "p/b/x_1/checkpoints", "model.bin")
    make(project, "p/b/x_2")
    make(project, "p/a/y_1")
    (project.experiment_root / "p/b/x_1/heyhi.jobid").write_text("1")
    assert ids(project) == ["p/a/y_1", "p/b/x_1", "p/b/x_2"]
    assert ids(project, project.experiment_root / "p/b") == ["p/b/x_1", "p/b/x_2"]
    assert ids(project, project.experiment_root / "p/b/x_1") == ["p/b/x_1"]


@pytest.mark.parametrize("name", ["heyhi.json", "heyhi.jobid", "config_meta.prototxt", "result.json"])
def test_what_a_deletion_left_is_still_a_run(project: Project, name: str) -> None:
    make(project, "p/a", name)
    assert ids(project) == ["p/a"]
    assert find_run("p/a", project).id == "p/a"


def test_a_foreign_folder_is_listed_and_ours_are_not(project: Project) -> None:
    make(project, "checkpoints/0123/conf", "conf.proto")
    make(project, ".heyhi/orders", "x.jsonl")
    make(project, "p/photos", "cat.jpg")
    make(project, "p/empty/inner", "x")
    (project.experiment_root / "p/empty/inner/x").unlink()
    assert ids(project) == ["p/photos"]


def test_a_folder_outside_the_root_has_runs_too(project: Project, tmp_path: Path) -> None:
    make(project, "../disk/b", "heyhi.json")
    assert ids(project, tmp_path / "disk") == ["../disk/b"]
    assert ids(project, Path("disk")) == ["../disk/b"], "relative to where one is"


def test_a_run_has_one_id_by_whatever_links_it_is_reached(project: Project, tmp_path: Path) -> None:
    root = project.experiment_root
    make(project, "p/a")
    root.rename(tmp_path / "disk")
    root.symlink_to(tmp_path / "disk")
    (tmp_path / "short").symlink_to(root / "p")
    for place in (root / "p", tmp_path / "disk/p", tmp_path / "short", tmp_path / "disk/p/a"):
        assert [found.run for found in find_runs(place, project)] == [Run("p/a", root / "p/a")]
    assert find_run(str(tmp_path / "disk/p/a"), project) == Run("p/a", root / "p/a")
    assert ids(project, tmp_path / "disk") == ["p/a"]


def test_links_lead_to_runs_elsewhere_and_never_in_circles(project: Project, tmp_path: Path) -> None:
    make(project, "p/a")
    (project.experiment_root / "p/again").symlink_to(project.experiment_root / "p/a")
    (project.experiment_root / "p/circle").symlink_to(project.experiment_root)
    (project.experiment_root / "p/above").symlink_to(tmp_path)
    (project.experiment_root / "p/gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "disk").mkdir()
    make(project, "../disk/b")
    (project.experiment_root / "p/moved").symlink_to(tmp_path / "disk")
    assert ids(project) == ["p/a", "p/moved/b"]


def test_no_such_folder_is_an_error(project: Project, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nope: no such folder"):
        find_runs(tmp_path / "nope", project)


NAMES = {
    "id": "p/sl/lr@1_aaaa",
    "folder": "results/p/sl/lr@1_aaaa",
    "folder with a slash at its end": "results/p/sl/lr@1_aaaa/",
    "part": "1_aa",
    "job": "62_1",
    "process": "4711",
    "local job": "local:here:4711",
}


@pytest.mark.parametrize("word", NAMES.values(), ids=NAMES)
def test_a_run_is_named_by(project: Project, word: str) -> None:
    make(project, "p/sl/lr@1_aaaa", job="local:here:4711" if "4711" in word else "62_1")
    make(project, "p/sl/lr@2_bbbb", job="62_2")
    assert find_run(word, project).id == "p/sl/lr@1_aaaa"


@pytest.mark.parametrize("word", [".", "..", "/", "./"])
def test_a_word_of_no_letters_is_no_part_of_an_id(project: Project, word: str) -> None:
    make(project, "p/sl/lr@0.1_aaaa")
    make(project, "p/sl/a..b_bbbb")
    with pytest.raises(UsageError, match="no run "):
        find_run(word, project)


def test_a_file_of_a_run_is_no_place_of_runs(project: Project) -> None:
    log = make(project, "p/sl/lr@1_aaaa", "heyhi.json") / "run.log"
    log.touch()
    with pytest.raises(UsageError, match="no run "):
        runs_at(str(log), project)


def test_a_word_that_is_the_job_of_one_run_and_in_the_id_of_another_names_neither(project: Project) -> None:
    make(project, "p/sl/lr@1_aa62aaaa", job="7")
    make(project, "p/sl/lr@2_bbbbbbbb", job="62")
    with pytest.raises(
        UsageError, match="run '62': 2 runs have that in their ids, or as their job: p/sl/lr@1"
    ):
        find_run("62", project)
    assert find_run("7", project).id == "p/sl/lr@1_aa62aaaa"


WRONG = {
    "lr@": r"run 'lr@': 2 runs have that in their ids, or as their job: p/sl/lr@1_aaaa, p/sl/lr@2_bbbb",
    "p/sl/lr@1_aaab": r"no run 'p/sl/lr@1_aaab': .*; did you mean 'p/sl/lr@1_aaaa'",
    "99": r"no run '99': no id, folder, part of an id or job in ",
}


@pytest.mark.parametrize(("word", "problem"), WRONG.items(), ids=WRONG)
def test_a_word_that_names_no_run_or_several_is_an_error(project: Project, word: str, problem: str) -> None:
    make(project, "p/sl/lr@1_aaaa")
    make(project, "p/sl/lr@2_bbbb")
    with pytest.raises(UsageError, match=problem):
        find_run(word, project)


def test_the_whole_name_of_a_folder_is_no_part_of_another_id(project: Project) -> None:
    make(project, "p/sl/lr@1_aaaa", job="7")
    make(project, "p/sl/sta@lr@1_aaaa_bbbb", job="8")
    assert find_run("lr@1_aaaa", project).id == "p/sl/lr@1_aaaa"


@pytest.mark.parametrize("find", [find_run, runs_at])
def test_an_empty_text_is_not_the_current_folder(
    find: Callable[[str, Project], object], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make(project, "p/a"))
    with pytest.raises(UsageError, match="an empty word names none"):
        find("", project)
