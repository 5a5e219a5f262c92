"""What is read of run folders, whatever is wrong with them. No schema is needed, but for drift."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heyhi.batch.stored import of_batch
from heyhi.config.descriptors import Schemas
from heyhi.look import records
from heyhi.look.records import Record, batch_records, read_records
from heyhi.project import Project
from heyhi.runs import deaths
from heyhi.runs.find import find_runs
from heyhi.runs.folder import read_job
from heyhi.runs.processes import this_host
from heyhi.runs.status import Status
from tests.conftest import BatchOf, Garden, end_as

PROVENANCE = {
    "id": "p/a",
    "task": "grow",
    "project": "garden",
    "config": {
        "lr": 0.1,
        "soil": {"depth": 0.5},
        "tags": ["x", "y"],
        "watering": {"can": {}},
        "labels": {"a.b": "c"},
    },
    "git_commit": "0123",
    "snapshot": "/copies/1",
    "host": "where it was submitted",
    "starts": [
        {
            "job": "62",
            "host": "n1",
            "started": "2026-11-24T07:00:00+0000",
            "ended": None,
            "status": "RUNNING",
        },
        {
            "job": "63",
            "host": "n2",
            "started": "2026-11-24T08:00:00+0100",
            "ended": "2026-11-24T08:01:30+0100",
        },
    ],
}


class Tree:
    """Run folders in a project that has no conf/ any more."""

    def __init__(self, root: Path) -> None:
        self.project = Project(root / "project")
        self.project.root.mkdir()
        self.exp = root / "exp"
        self.exp.mkdir()

    def make(self, run_id: str = "p/a", **files: str | bytes) -> Path:
        """A run that is done; `result` is the file result.json, and so on."""
        folder = self.exp / run_id
        folder.mkdir(parents=True, exist_ok=True)
        whole = {"heyhi": json.dumps(PROVENANCE), "result": '{"loss": 1}', **files}
        for name, content in whole.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / f"{name}.{'jsonl' if name == 'metrics' else 'json'}").write_bytes(data)
        (folder / "heyhi.jobid").write_text(f"local:{this_host()}:7")
        return folder

    def read(self) -> list[Record]:
        return read_records(find_runs(self.exp, self.project), self.project)

    def read_one(self) -> Record:
        (record,) = self.read()
        return record


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("HH_EXP_DIR", str(tmp_path / "exp"))
    return Tree(tmp_path)


def test_a_record_has_all_that_the_folder_says_without_a_schema(tree: Tree) -> None:
    folder = tree.make(metrics='{"step": 1, "val": {"loss": 3}}\n{"step": 2, "loss": 1}\n')
    assert tree.read_one() == Record(
        id="p/a",
        folder=str(folder),
        status="DONE",
        task="grow",
        config={
            "lr": 0.1,
            "soil.depth": 0.5,
            "tags.0": "x",
            "tags.1": "y",
            "watering.can": "SELECT",
            'labels."a.b"': "c",
        },
        result={"loss": 1},
        metrics={"step": 2, "val.loss": 3},  # the loss is that of the result
        started="2026-11-24T08:00:00+0100",
        duration_s=90.0,
        host="n2",
        job=f"local:{this_host()}:7",
        commit="0123",
        snapshot="/copies/1",
        drift=f"not known: {tree.project.conf}/conf.proto: no such file",
    )


def break_link(folder: Path) -> None:
    for name in ("heyhi.json", "result.json"):
        (folder / name).unlink()
        (folder / name).symlink_to("nowhere")


def make_folder(folder: Path) -> None:
    (folder / "result.json").unlink()
    (folder / "result.json").mkdir()


def half_delete(folder: Path) -> None:
    (folder / "heyhi.json").unlink()


def empty_result(folder: Path) -> None:
    (folder / "result.json").write_text("")


def deep(folder: Path) -> None:
    (folder / "result.json").write_text("[" * 100_000)


def deep_config(folder: Path) -> None:
    text = '{"a":' * 5000 + "1" + "}" * 5000
    (folder / "heyhi.json").write_text('{"task": "grow", "config": ' + text + "}")


BROKEN: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "invalid JSON": (lambda f: (f / "heyhi.json").write_text('{"id": '), "DONE", "heyhi.json: no JSON: "),
    "invalid UTF-8": (lambda f: (f / "result.json").write_bytes(b'"\xff"'), "DONE", "result.json: no JSON: "),
    "a list": (lambda f: (f / "heyhi.json").write_text("[1]"), "DONE", "heyhi.json: not what HeyHi writes"),
    "links to nothing": (
        break_link,
        "UNKNOWN",
        "heyhi.json is a link to nothing; result.json is a link to nothing",
    ),
    "a folder": (make_folder, "UNKNOWN", "result.json is a folder"),
    "half deleted": (half_delete, "DONE", "its heyhi.json is missing"),
    "an empty result": (empty_result, "DONE", "result.json: no JSON: "),
    "nested too deeply": (deep, "DONE", "result.json: nested too deeply"),
    "a config nested too deeply": (deep_config, "DONE", "heyhi.json: nested too deeply"),
    "too many digits": (
        lambda f: (f / "result.json").write_text("9" * 5000),
        "DONE",
        "result.json: no JSON: ",
    ),
}


@pytest.mark.parametrize(("damage", "status", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_is_a_record_with_its_reason(
    tree: Tree, damage: Callable[[Path], object], status: str, problem: str
) -> None:
    damage(tree.make())
    tree.make("p/b")
    broken, other = tree.read()
    assert (broken.status, broken.problem[: len(problem)]) == (status, problem)
    assert (other.status, other.problem) == ("DONE", "")
    assert tree.read() == [broken, other], "nor when it is read again"


ODD: dict[str, Any] = {
    "config is a list": {"config": [1]},
    "starts is a number": {"starts": 7},
    "starts of texts": {"starts": ["x"]},
    "times that are none": {"starts": [{"started": "soon", "ended": 7}]},
    "task is a number": {"task": 7},
    "half a character": {"task": "\ud800", "config": {"note": "\ud800", "\ud800": 1}},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_heyhi_never_wrote_is_left_out(tree: Tree, odd: dict[str, Any]) -> None:
    tree.make(heyhi=json.dumps({**PROVENANCE, **odd}))
    record = tree.read_one()
    assert (record.status, record.duration_s if "starts" in odd else None) == ("DONE", None)
    json.dumps(record, ensure_ascii=False).encode()


def test_a_foreign_folder_is_told_as_such_and_a_fresh_one_is_no_problem(tree: Tree) -> None:
    for name in ("photos/cat.jpg", "frozen/config.prototxt"):
        (tree.exp / name).parent.mkdir()
        (tree.exp / name).write_text("")
    frozen, photos = tree.read()
    assert (frozen.status, frozen.problem) == ("NOT_STARTED", "")
    assert (photos.status, photos.problem) == ("", "no run: it has files, and none of a run's")


def test_a_folder_that_cannot_be_read_is_unknown_with_its_reason(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A name that is too long fails for root too.
    run = find_runs(tree.make(), tree.project)[0].run
    (record,) = read_records([run._replace(folder=tree.exp / ("x" * 300))], tree.project)
    assert (record.status, record.problem) == (
        "UNKNOWN",
        "heyhi.json: File name too long; result.json: File name too long",
    )


def test_a_dead_run_says_its_last_error_and_one_elsewhere_why_it_is_unknown(tree: Tree) -> None:
    folder = tree.make()
    (folder / "result.json").unlink()
    (folder / "error.txt").write_text("Traceback\nValueError: too dry\n")
    assert (tree.read_one().status, tree.read_one().problem) == ("DEAD", "ValueError: too dry")
    (folder / "heyhi.jobid").write_text("local:elsewhere:7")
    assert (tree.read_one().status, tree.read_one().problem[:27]) == (
        "UNKNOWN",
        "it was started on elsewhere",
    )


def test_a_death_that_is_learnt_of_later_is_seen_at_the_next_look(tree: Tree) -> None:
    folder = tree.make()
    (folder / "result.json").unlink()
    run = find_runs(tree.exp, tree.project)[0].run
    assert (tree.read_one().status, tree.read_one().problem) == ("DEAD", "it left no error")
    job = read_job(run)
    assert job is not None
    assert deaths.record(run, job, "ended by SIGKILL (out of memory?)", "its driver", -9)
    assert tree.read_one().problem == "ended by SIGKILL (out of memory?)"
    (folder / "error.txt").write_text("ValueError: too dry\n\nTraceback\n")
    assert tree.read_one().problem == "ValueError: too dry"
    (folder / "result.json").write_text("{}")
    assert (tree.read_one().status, tree.read_one().problem) == ("DONE", "")


def test_a_done_run_that_was_killed_before_it_could_note_its_end_does_not_run(tree: Tree) -> None:
    folder = tree.make()
    known = json.loads((folder / "heyhi.json").read_text())
    start = {"job": "local:here:1", "started": "2026-01-01T00:00:00+0000", "ended": None, "status": "RUNNING"}
    (folder / "heyhi.json").write_text(json.dumps({**known, "starts": [start]}))
    (folder / ".heyhi.json.0123abcd.partial").write_text("{")
    (folder / ".result.json.0123abcd.partial").write_text("{")
    record = tree.read_one()
    assert (record.status, record.duration_s, record.problem) == ("DONE", None, "")


def test_numbers_that_are_none_and_long_texts_are_kept_as_they_can_be(tree: Tree) -> None:
    tree.make(result='{"a": NaN, "b": [1], "c": -Infinity, "d": null, "e": true, "f": "' + "x" * 2000 + '"}')
    result = tree.read_one().result
    assert result["a"] != result["a"]
    assert {name: value for name, value in result.items() if name != "a"} == {
        "c": float("-inf"),
        "e": True,
        "f": "x" * 997 + "...",
    }


def test_a_huge_result_is_cut_and_said(tree: Tree) -> None:
    tree.make(result=json.dumps({str(number): number for number in range(5000)}))
    record = tree.read_one()
    assert len(record.result) == 1000
    assert record.problem == "result.json: 5000 scalars; here are 1000"


def test_a_metric_that_is_nan_as_in_the_result_is_not_told_twice(tree: Tree) -> None:
    tree.make(result='{"a": NaN, "b": NaN}', metrics='{"a": NaN, "b": 1, "c": NaN}')
    assert list(tree.read_one().metrics) == ["b", "c"]


def test_of_a_long_file_of_metrics_the_end_is_read_and_a_torn_line_left_out(tree: Tree) -> None:
    lines = "".join(f'{{"step": {number}, "pad": "{"x" * 90}"}}\n' for number in range(20_000))
    tree.make(metrics=lines + '7\n{"step": 99, "lo')
    assert tree.read_one().metrics == {"step": 19_999, "pad": "x" * 90}


# ---- RecordCache from call to call ---------------------------------------------------------------------


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    original = records._load

    def load(path: str, *how: str) -> tuple[Any, str]:
        read.append(path)
        return original(path, *how)

    monkeypatch.setattr(records, "_load", load)
    return read


CHANGES: dict[str, Callable[[Path], object]] = {
    "result": lambda f: (f / "result.json").write_text('{"loss": 22}'),
    "provenance": lambda f: os.replace(f / "new.json", f / "heyhi.json"),
    "metrics": lambda f: (f / "metrics.jsonl").write_text('{"loss": 22}'),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_did_not_change_is_not_read_again(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    folder = tree.make()
    (folder / "new.json").write_text(json.dumps({**PROVENANCE, "config": {"lr": 22}}))
    tree.make("p/b")
    before = tree.read()
    read = count_reads(monkeypatch)
    assert (tree.read(), read) == (before, [])
    change(folder)
    changed, same = tree.read()
    assert {Path(path).parent for path in read} == {folder}
    assert "22" in str([*changed.result.values(), *changed.metrics.values(), *changed.config.values()])
    assert same == before[1]


def test_the_state_of_a_run_that_is_not_done_is_asked_each_time(tree: Tree) -> None:
    folder = tree.make()
    (folder / "result.json").unlink()
    (folder / "heyhi.jobid").write_text("local:elsewhere:7")
    assert tree.read_one().status == "UNKNOWN"
    (folder / "heyhi.jobid").write_text(f"local:{this_host()}:7")
    assert tree.read_one().status == "DEAD"


def cache_of(tree: Tree) -> Path:
    return tree.exp / ".heyhi" / "records.json"


def kept_ids(tree: Tree) -> list[str]:
    tables = json.loads(cache_of(tree).read_bytes().partition(b"\n")[2])
    return sorted(run_id for table in tables for run_id in table["id"])


def with_head(body: bytes, version: str = "heyhi records 3") -> bytes:
    """A file that says of itself that it is whole."""
    return f"{version} {hashlib.sha256(body).hexdigest()}\n".encode() + body


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half a file": lambda data: data[: len(data) // 2],
    "the head alone": lambda data: data.partition(b"\n")[0],
    "no head": lambda data: data.partition(b"\n")[2],
    "one byte more": lambda data: data + b" ",
    "another value": lambda data: data.replace(b'"loss":[1]', b'"loss":[2]'),
    "two writers": lambda data: data[:200] + data,
    "no text": lambda data: b"\xff\x00\n" + data,
    "another version": lambda data: with_head(data.partition(b"\n")[2], "heyhi records 99"),
    "lines of an older version": lambda data: b'"p/a"\t2 8544ec90f413875a 1.2.3 1.2.3 -\t["DONE", "grow"]',
    "other fields": lambda data: with_head(data.partition(b"\n")[2].replace(b'"drift"', b'"draft"')),
    "fewer fields": lambda data: with_head(data.partition(b"\n")[2].replace(b'"conf":', b'"config":')),
    "columns of other lengths": lambda data: with_head(
        data.partition(b"\n")[2].replace(b'"loss":[1]', b'"loss":[2,3,4]')
    ),
    "no JSON": lambda data: with_head(b"[{"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_cache_that_is_damaged_is_as_good_as_none(tree: Tree, damage: Callable[[bytes], bytes]) -> None:
    tree.make()
    tree.make("p/b")
    before = tree.read()
    whole = cache_of(tree).read_bytes()
    broken = damage(whole)
    assert broken != whole, "it is damaged"
    cache_of(tree).write_bytes(broken)
    assert tree.read() == before
    assert cache_of(tree).read_bytes() == whole, "and is written anew"


def test_a_cache_that_cannot_be_read_or_written_is_done_without(tree: Tree) -> None:
    tree.make()
    before = tree.read()
    cache_of(tree).unlink()
    cache_of(tree).mkdir()
    assert tree.read() == before
    cache_of(tree).rmdir()
    cache_of(tree).parent.rmdir()
    cache_of(tree).parent.write_text("")
    assert tree.read() == before


@pytest.mark.processes
def test_several_who_write_the_cache_at_once_do_not_harm_it(tree: Tree) -> None:
    """Each has looked at other runs; the last one's file counts, and is whole."""
    for number in range(20):
        tree.make(f"p/{number}")
    before = tree.read()
    told = (
        "import sys; from pathlib import Path; from heyhi.runs.find import find_runs;"
        "from heyhi.project import Project; from heyhi.look.records import read_records;"
        "project = Project(Path(sys.argv[1]));"
        "cache = project.experiment_root / '.heyhi/records.json'\n"
        "for number in range(20):\n"
        "    cache.unlink(missing_ok=True)\n"
        "    read_records(find_runs(project.experiment_root, project)[int(sys.argv[2])::3], project)\n"
    )
    command = [sys.executable, "-c", told, str(tree.project.root)]
    several = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [one.wait() for one in several] == [0, 0, 0]
    assert tree.read() == before
    assert kept_ids(tree) == sorted(record.id for record in before)


TWINS: dict[str, list[Any]] = {
    "equal, and not the same": [1, True, 1.0, "1"],
    "zeros": [0.0, -0.0, 0, False],
    "no numbers": [float("nan"), float("inf"), -float("inf"), None],
    "all one": [float("nan")] * 4,
    "texts": ["a", "a\n", "a\tb", "\u2028"],
    "large": [2**70, 10**400, 1e300, 0.1],
}


@pytest.mark.parametrize("values", TWINS.values(), ids=TWINS)
def test_what_is_kept_is_just_what_was_read(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, values: list[Any]
) -> None:
    for number, value in enumerate(values):
        config = {"lr": value, "soil": {}, "n": number}
        tree.make(f"p/{number}", heyhi=json.dumps({**PROVENANCE, "config": config}), result=json.dumps(value))
    first = tree.read()
    read = count_reads(monkeypatch)
    assert (repr(tree.read()), read) == (repr(first), [])


def test_runs_of_other_names_are_kept_beside_each_other(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.make("p/a", result='{"loss": 1, "won": true}', metrics='{"step": 1}')
    tree.make("p/b", result='{"loss": 1}')
    tree.make("p/c", result="7", heyhi=json.dumps({**PROVENANCE, "task": "pick", "config": {}}))
    tree.make("p/d", result='{"won": true, "loss": 1}')
    before = tree.read()
    read = count_reads(monkeypatch)
    assert (repr(tree.read()), read) == (repr(before), [])


def test_runs_that_were_deleted_are_forgotten_and_others_cached(tree: Tree) -> None:
    for name in ("p/a", "p/b", "q/c"):
        tree.make(name)
    tree.read()
    for file in (tree.exp / "p/b").iterdir():
        file.unlink()
    (tree.exp / "p/b").rmdir()
    tree.make("p/d")
    read_records(find_runs(tree.exp / "p", tree.project), tree.project)
    assert kept_ids(tree) == ["p/a", "p/d", "q/c"]


def test_a_run_with_an_odd_name_is_kept_too(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.make("p/a\tb\nc\udcff")
    before = tree.read()
    assert (tree.read(), count_reads(monkeypatch)) == (before, [])


# ---- Drift, and batches -------------------------------------------------------------------------


def test_drift_says_how_a_config_composes_now_and_follows_each_edit(
    garden: Garden, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert garden("-c", "conf/beds/carrot.prototxt").status == 0
    monkeypatch.setenv("HH_EXP_DIR", str(garden.exp))
    told = "import heyhi; print(*heyhi.summary()['drift'].fillna('-'))"
    config = garden.root / "conf/beds/carrot.prototxt"
    assert garden.python("-c", told).out == "-\n"
    config.write_text(config.read_text().replace("0.5", "0.25"))
    assert garden.python("-c", told).out == "lr 0.5 -> 0.25\n"
    config.unlink()
    assert garden.python("-c", told).out == (
        "not known: conf/beds/carrot.prototxt: cannot be read: No such file or directory\n"
    )
    config.with_name("carrot.prototxt").write_text(
        'includes { path: "deep" mount: "soil" }\ngrow { lr: 0.5 note: "carrot" }'
    )
    assert garden.python("-c", told).out == "-\n"
    (garden.root / "pyproject.toml").write_text('[tool.heyhi]\nproject = "park"\n')
    assert garden.python("-c", told).out == "not known: its project is 'garden', not 'park'\n"


IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "NUL in a base config": (
        {"base_config": "conf/a\0b"},
        "not known: conf/a\0b: cannot be read: embedded null byte",
    ),
    "half a character in one": ({"base_config": "conf/\ud800"}, "not known: conf/\\ud800: cannot be read: "),
    "NUL in a root": (
        {"experiment_root": "a\0b", "project_root": "\ud800", "config": {"note": "x"}},
        "note 'x' -> unset",
    ),
}


@pytest.mark.parametrize(("odd", "drift"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_place_that_no_file_system_can_have_is_no_error(
    batch_of: BatchOf, demo: Any, monkeypatch: pytest.MonkeyPatch, odd: dict[str, Any], drift: str
) -> None:
    monkeypatch.setattr("heyhi.runs.drift.read_schemas", lambda project: Schemas(demo.MetaCfg, ()))
    batch_of.write("conf/conf.proto", "")
    run = batch_of.run("")
    run.folder.mkdir(parents=True)
    origin = {"project": batch_of.project.name, "base_config": "conf/it.prototxt", "overrides": []}
    run.provenance.write_text(json.dumps({"task": "grow", "fingerprint": "of then", **origin, **odd}))
    (record,) = read_records([run], batch_of.project)
    assert drift in record.drift
    json.dumps(record, ensure_ascii=False).encode()


def test_drift_follows_edits_of_files_that_are_not_below_conf(
    garden: Garden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HH_EXP_DIR", str(garden.exp))
    shared, apart = tmp_path / "shared", tmp_path / "apart.prototxt"
    shared.mkdir()
    (shared / "wet.prototxt").write_text("depth: 0.5")
    apart.write_text('includes { path: "linked/wet" mount: "soil" }\ngrow { lr: 0.5 }')
    (garden.root / "conf/common/linked").symlink_to(shared)
    (garden.root / "conf/common/circle").symlink_to(garden.root / "conf")
    for words in (["-c", str(apart)], ["-c", "conf/beds/carrot.prototxt", "Isoil=linked/wet"]):
        done = garden(*words)
        assert done.status == 0, done.err
    told = "import heyhi; print(*sorted(heyhi.summary()['drift'].fillna('-')))"
    assert garden.python("-c", told).out == "- -\n"
    apart.write_text(apart.read_text().replace("0.5", "0.25"))
    assert garden.python("-c", told).out == "- lr 0.5 -> 0.25\n"
    (shared / "wet.prototxt").write_text("depth: 0.75")
    assert garden.python("-c", told).out == "lr 0.5 -> 0.25; soil.depth 0.5 -> 0.75 soil.depth 0.5 -> 0.75\n"


def test_runs_of_a_batch_have_records_before_they_start(batch_of: BatchOf) -> None:
    batch = batch_of("seed=1 watering.can=SELECT", "seed=2")
    end_as(batch.entries[1].run, Status.DEAD)
    first, second = batch_records(of_batch(batch))
    assert (first.status, first.task, first.problem) == ("NOT_STARTED", "grow", "")
    assert (first.config["seed"], first.config["watering.can"]) == (1, "SELECT")
    assert (second.status, second.config["seed"]) == ("DEAD", 2)
    assert second.problem == "ValueError: too dry"
