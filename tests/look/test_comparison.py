"""What differs between two runs, by names and typed values."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from heyhi.look.comparison import Section, changes, compare, lines
from heyhi.look.records import Record
from heyhi.runs.folder import Run

CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], list[tuple[str, str, str]]]] = {
    "nothing": ({"a": 1}, {"a": 1}, []),
    "a value": ({"lr": 0.1}, {"lr": 0.2}, [("lr", "0.1", "0.2")]),
    "a type": ({"a": 1, "b": "1", "c": True}, {"a": 1.0, "b": 1, "c": 1}, [
        ("a", "1", "1.0"), ("b", "'1'", "1"), ("c", "True", "1")
    ]),
    "only in one": ({"a": 1, "b": 2}, {"b": 2, "c": 3}, [("a", "1", "unset"), ("c", "unset", "3")]),
    "NaN": ({"a": math.nan}, {"a": math.nan}, []),
    "order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES.values(), ids=CHANGES)
def test_changes(old: dict[str, Any], new: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert [change[:3] for change in changes(old, new)] == expected


def record(folder: Path, name: str, **fields: Any) -> Record:
    folder = folder / name
    folder.mkdir()
    return Record(name, str(folder), **{"status": "DONE", "task": "grow", **fields})


def section(title: str, old: Record, new: Record, **options: bool) -> Section:
    return next(one for one in compare(old, new, **options) if one.title == title)


def told(found: Section) -> list[str]:
    return [" ".join(filter(None, change)) for change in found.changes]


RESULTS: dict[str, tuple[Any, Any, str]] = {
    "a number": (0.2, 0.3, "+0.1, +50 %"),
    "less": (-2, -4, "-2, -100 %"),
    "from nothing": (0, 3, "+3"),
    "a text": ("a", "b", ""),
    "true": (True, 2, ""),
    "only in one": (None, 2, ""),
    "infinite": (1.0, math.inf, "+inf, +inf %"),
    "large": (1, 10**400, ""),
}


@pytest.mark.parametrize(("old", "new", "difference"), RESULTS.values(), ids=RESULTS)
def test_the_difference_of_a_result(tmp_path: Path, old: Any, new: Any, difference: str) -> None:
    values = [{} if value is None else {"score": value} for value in (old, new)]
    before, after = (record(tmp_path, name, result=v) for name, v in zip("ab", values, strict=True))
    (change,) = section("result", before, after).changes
    assert change.told == difference
    (change,) = section("result", before._replace(result={}, metrics=values[0]), after).changes
    assert change.told == difference, "the last metrics of one that has no result yet"


def test_other_tasks_and_members_of_a_oneof_are_told(tmp_path: Path) -> None:
    old = record(tmp_path, "a", config={"lr": 0.1, "tree.left": "SELECT"})
    new = record(tmp_path, "b", config={"what": "x", "tree.right.age": 3}, task="pick")
    assert told(section("config", old, new)) == [
        *("task grow pick", "lr 0.1 unset", "tree.left 'SELECT' unset"),
        *("what unset 'x'", "tree.right.age unset 3"),
    ]


def test_a_config_that_is_not_known_is_said(tmp_path: Path) -> None:
    old, new = record(tmp_path, "a"), record(tmp_path, "b", task="", problem="heyhi.json: no JSON")
    found = section("config", old, new)
    assert found.note == "the config of b is not known"
    assert told(section("status", old, new)) == ["problem unset heyhi.json: no JSON"]


def test_the_environment_is_that_of_the_last_start(tmp_path: Path) -> None:
    old, new = record(tmp_path, "a"), record(tmp_path, "b")
    for one, host, python in ((old, "here", "3.11"), (new, "there", "3.12")):
        content = {"host": host, "versions": {"python": python}, "environment": {"OMP": None}, "user": "me"}
        Run("", Path(one.folder)).provenance.write_text(json.dumps(content))
    assert told(section("environment", old, new)) == ["host here there", "python 3.11 3.12"]


def test_a_variable_that_a_batch_unset_is_unset(tmp_path: Path) -> None:
    old, new = record(tmp_path, "a"), record(tmp_path, "b")
    for one, environment in ((old, {"OMP": None, "TERM": None}), (new, {"TERM": "dumb"})):
        Run("", Path(one.folder)).provenance.write_text(json.dumps({"environment": environment}))
    assert told(section("environment", old, new)) == ["TERM unset dumb"]


# ---- The code -----------------------------------------------------------------------------------


def copy_of_code(place: Path, name: str, files: dict[str, bytes], *, git: bool = True) -> str:
    """A snapshot, with the project in a folder of it."""
    for path, content in {
        **files,
        "inner/run.py": b"",
        **({"GITHASH.txt": name.encode()} if git else {}),
    }.items():
        (place / name / path).parent.mkdir(parents=True, exist_ok=True)
        (place / name / path).write_bytes(content)
    return str(place / name / "inner")


FILES = {
    "a.py": b"one\ntwo\n",
    "inner/b.py": b"x",
    "same.py": b"s",
    "data.bin": b"\0\1",
    "__pycache__/a.nbi": b"1",
    "b.pyc": b"1",
    "inner/conf/.heyhi_protos.lock": b"",
    "inner/conf/.heyhi_protos/conf_pb2.py": b"1",
    "inner/conf/.heyhi_protos/stamp": b"1",
}
OTHERS = {
    "a.py": b"one\n2\n",
    "inner/c.py": b"y",
    "same.py": b"s",
    "data.bin": b"\0\2",
    "x_pb2.py": b"",
    "y_cfgs.pyi": b"",
}


def test_files_that_differ_are_named_also_beside_the_project(tmp_path: Path) -> None:
    old = record(tmp_path, "a", snapshot=copy_of_code(tmp_path, "0123", FILES))
    new = record(tmp_path, "b", snapshot=copy_of_code(tmp_path, "4567", OTHERS))
    found = section("code", old, new)
    assert told(found) == [
        *("a.py differs", "data.bin differs"),
        *("inner/b.py there not there", "inner/c.py not there there"),
    ]
    assert found.text == []
    text = section("code", old, new, with_code=True).text
    assert text[:6] == ["--- a/a.py", "+++ b/a.py", "@@ -1,2 +1,2 @@", " one", "-two", "+2"]
    assert "data.bin: no text, or a large one" in text


COPIES = {
    "one": ("0123", "0123", "one copy of the code"),
    "none": ("", "0123", "there is no copy of the code of a"),
    "gone": ("gone", "0123", "a copy of the code is gone: gone"),
}


@pytest.mark.parametrize(("first", "second", "note"), COPIES.values(), ids=COPIES)
def test_copies_of_the_code(tmp_path: Path, first: str, second: str, note: str) -> None:
    known = {"0123": copy_of_code(tmp_path, "0123", FILES, git=False)}
    old, new = (record(tmp_path, n, snapshot=known.get(s, s)) for n, s in (("a", first), ("b", second)))
    assert section("code", old, new) == Section("code", [], note)


def test_a_run_and_its_replay_have_the_same_code_whatever_git_called_changed(tmp_path: Path) -> None:
    copy = copy_of_code(tmp_path, "0123", FILES)
    told = {"a": {"git_commit": "c1", "git_dirty": True}, "b": {"git_commit": "c1", "git_dirty": False}}
    told["c"] = {"git_commit": "c2", "git_dirty": True}
    old, new, other = (record(tmp_path, name, snapshot=copy) for name in "abc")
    for name, known in told.items():
        (tmp_path / name / "heyhi.json").write_text(json.dumps(known))
    assert section("code", old, new) == Section("code", [], "one copy of the code")
    note = "one copy of the code, commit c1, with changes -> c2, with changes"
    assert section("code", old, other) == Section("code", [], note), "committed between the two"


# ---- As text ------------------------------------------------------------------------------------


def test_sections_are_aligned_by_name(tmp_path: Path) -> None:
    old = record(tmp_path, "a", config={"lr": 0.1, "note": "x"}, result={"score": 1.0})
    new = record(tmp_path, "b", config={"lr": 0.2, "note": "y\x1b[31m"}, result={"score": 1.5})
    assert list(lines(compare(old, new))) == [
        "status: no difference",
        "config:",
        "  lr    0.1 -> 0.2",
        "  note  'x' -> 'y\\x1b[31m'",
        "code: there is no copy of the code of a and of b; no difference",
        "environment: no difference",
        "result:",
        "  score  1.0 -> 1.5  +0.5, +50 %",
        "they differ in config, result",
    ]
    assert list(lines(compare(old, old)))[-1] == "no difference"


def test_many_files_are_counted_unless_asked_for(tmp_path: Path) -> None:
    old = record(tmp_path, "a", snapshot=copy_of_code(tmp_path, "0123", {}))
    new = record(tmp_path, "b", snapshot=copy_of_code(tmp_path, "4567", {f"{n}.py": b"" for n in range(25)}))
    assert "  ... and 5 more; --code shows all" in list(lines(compare(old, new)))
    assert sum(line.endswith("not there -> there") for line in lines(compare(old, new), every=True)) == 25
