import io
import json
import os
from pathlib import Path

import pytest

from heyhi.batch.entries import BatchError, Entry, compose_lines, lines_of_stdin, read_batch
from heyhi.errors import UsageError
from heyhi.runs.draft import make_order
from heyhi.runs.status import Status
from tests.conftest import NO_FIELD, BatchOf, end_as


def _needs(batch_of: BatchOf, *texts: str | list[str]) -> dict[str, list[str]]:
    """Line -> the lines that it waits for."""
    batch = batch_of(*texts)
    where = {entry.run.folder: entry.where.removeprefix("it.sh:") for entry in batch.entries}
    return {where[folder]: [where[need] for need in needs] for folder, needs in batch.needs.items()}


def _freeze(entry: Entry, **changes: object) -> None:
    """Leave what a launch leaves that freezes this config."""
    entry.run.folder.mkdir(parents=True)
    entry.run.config.touch()
    content = {**make_order(entry.draft).provenance, **changes}
    entry.run.provenance.write_text(json.dumps(content, indent=1))


# ---- Dependencies -------------------------------------------------------------------------------

# A value of line 2 ({run}: the folder of line 1, {exp}: the experiment root) -> whether it waits for line 1.
VALUES = {
    "name={run}": True,
    "name={run}/": True,
    "name={run}/model.json": True,
    "name={run}/deep/er/model.json": True,
    "name={run}/../x/../{last}/model": True,
    "name={exp}/./p//root/it/{last}": True,
    "name={slow}/p/root/it/{last}/model": True,
    "soil.kind={run}/model": True,
    "tree.left.size=3 helper.next.name={run}": True,
    "tags.-1=a tags.-1={run}/model": True,
    "plants.0.soil.kind={run}": True,
    "labels.model={run}/model": True,
    "beds.north.soil.kind={run}/model": True,
    "watering.note={run}": True,
    "name=model.json": False,
    "name=./p/root/it/{last}": False,
    "name={run}_more": None,  # what no run makes
    "name=see:{run}": False,
    "name={exp}": False,
    "name=/": False,
    "name=~": False,
}


@pytest.mark.parametrize("value", VALUES)
def test_a_value_in_the_folder_of_another_run_is_waited_for(
    value: str, batch_of: BatchOf, tmp_path: Path
) -> None:
    folder = batch_of.run("lr=1").folder
    (tmp_path / "link").symlink_to(tmp_path)
    names = {"run": folder, "exp": batch_of.exp, "last": folder.name, "slow": f"{tmp_path}/x/../exp"}
    words = value.format(**{key: str(name) for key, name in names.items()})
    if VALUES[value] is None:
        assert "no run of this batch makes it" in batch_of.errors("lr=1", words)[0]
    else:
        assert _needs(batch_of, "lr=1", words) == {"1": [], "2": ["1"] if VALUES[value] else []}


def test_a_value_in_the_config_file_counts_too(batch_of: BatchOf) -> None:
    batch_of.write("conf/it.prototxt", f'grow {{ name: "{batch_of.exp}/first/model" }}')
    assert _needs(batch_of, "--out first name=NULL", "lr=2") == {"1": [], "2": ["1"]}


def test_the_own_folder_is_not_waited_for(batch_of: BatchOf) -> None:
    assert _needs(batch_of, f"--out here name={batch_of.exp}/here/model") == {"1": []}


@pytest.mark.parametrize("value_root", ["link", "real"])
@pytest.mark.parametrize("root", ["link", "real"])
def test_the_experiment_root_may_be_a_link(
    root: str, value_root: str, batch_of: BatchOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("HH_EXP_DIR", str(tmp_path / root))
    expected = {"1": [], "2": ["1"]} if root == "link" or value_root == "real" else {"1": [], "2": []}
    assert _needs(batch_of, "--out a", f"name={tmp_path / value_root}/a/model") == expected


# `--after` of line 2, line 1 being --out first.
AFTER = ["first", "first/", "./first", "{exp}/first", "{exp}/first/model.json", "{exp}/x/../first"]


@pytest.mark.parametrize("after", AFTER)
def test_after_names_a_run_by_its_folder(after: str, batch_of: BatchOf) -> None:
    words = ["--after", after.format(exp=batch_of.exp)]
    assert _needs(batch_of, "--out first", words) == {"1": [], "2": ["1"]}


def test_needs_are_found_whatever_the_order_of_the_lines(batch_of: BatchOf) -> None:
    assert _needs(batch_of, "lr=1 --after b", "--out b --after c", "--out c") == {
        "1": ["2"],
        "2": ["3"],
        "3": [],
    }


# ---- What is in no batch ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.DONE, Status.DEAD, Status.UNKNOWN])
def test_a_run_outside_the_batch_is_relied_on_once_it_is_done(status: Status, batch_of: BatchOf) -> None:
    run = batch_of.run("--out other")
    end_as(run, status)
    line = f"name={run.folder}/model"
    if status is Status.DONE:
        assert _needs(batch_of, line) == {"1": []}
    else:
        said = f"it.sh:1: EXP/other/model: its run is not in this batch, and it is {status.value}"
        assert batch_of.errors(line) == [said]


def test_a_file_that_is_there_may_be_of_no_run(batch_of: BatchOf) -> None:
    (batch_of.exp / "data").mkdir(parents=True)
    assert _needs(batch_of, f"name={batch_of.exp}/data") == {"1": []}
    assert batch_of.errors(f"name={batch_of.exp}/date", "--after nowhere") == [
        "it.sh:1: EXP/date: no run of this batch makes it, and it is not there",
        "it.sh:2: --after nowhere: no run of this batch makes it, and it is not there",
    ]


# ---- Errors -------------------------------------------------------------------------------------

# Lines -> all that is said.
ERRORS: dict[tuple[str, ...], list[str]] = {
    ("lrr=1", "lr=1", "lr=x", "bad", "--mode x", "--adhoc"): [
        f"it.sh:1: override 'lrr=1': Grow {NO_FIELD} 'lrr'; did you mean 'lr'?",
        "it.sh:3: override 'lr=x': lr: expected a number (float), not 'x'",
        "it.sh:4: bad argument 'bad': expected an override key=value, or a flag (see --help)",
        "it.sh:5: no such mode 'x'; one of gentle_start, start_restart, start_continue, restart, dryrun",
        "it.sh:6: --adhoc: its folder would be new at each call; in a batch, name one with --out",
    ],
    ("lrr=1", "lrr=2 seed=3", "lr=2 lrr=2"): [
        f"it.sh:1: override 'lrr=1': Grow {NO_FIELD} 'lrr'; did you mean 'lr'? (also at it.sh:2, it.sh:3)"
    ],
    ("--grid lrr=1 lrr=2", "--grid lr", "--zip lr=1 lr=2 seed=1"): [
        f"it.sh:1: override 'lrr=1': Grow {NO_FIELD} 'lrr'; did you mean 'lr'?",
        "it.sh:2: --grid 'lr': expected key=value, as in --grid lr={0.1,0.01}",
        "it.sh:3: --zip: each key needs as many values as the others: lr has 2, seed has 1",
    ],
    ("--out a --after b", "--out b --after c", "--out c --after a", "--out d --after d"): [
        "it.sh:1: waits for itself: a -> it.sh:2 (b) -> it.sh:3 (c) -> it.sh:1 (a)"
    ],
    ("--out a --after b", "--out b --after a", "--out c --after d", "--out d --after c", "lrr=1"): [
        f"it.sh:5: override 'lrr=1': Grow {NO_FIELD} 'lrr'; did you mean 'lr'?",
        "it.sh:1: waits for itself: a -> it.sh:2 (b) -> it.sh:1 (a)",
        "it.sh:3: waits for itself: c -> it.sh:4 (d) -> it.sh:3 (c)",
    ],
    ("--out a lr=1", "--out a lr=2"): ["it.sh:2: meets the folder of it.sh:1, which is another run: EXP/a"],
    ("--out a lr=1", "--out a/b lr=2"): ["it.sh:2: its folder is in that of it.sh:1: EXP/a/b"],
    ("--out .",): ["it.sh:1: --out '.': a run needs a folder of its own below EXP"],
    ("--out ../conf/..",): ["it.sh:1: --out '../conf/..': a run needs a folder of its own below EXP"],
    ("--out ../conf/.. ", "--out full"): [
        "it.sh:1: --out '../conf/..': a run needs a folder of its own below EXP",
        "it.sh:2: EXP/full: result.json is in it, and HeyHi did not write it; name a folder that is "
        "new or empty; --out names another folder",
    ],
}


@pytest.mark.parametrize("lines", ERRORS, ids=[" | ".join(lines) for lines in ERRORS])
def test_all_errors_come_at_once_with_their_lines(lines: tuple[str, ...], batch_of: BatchOf) -> None:
    (batch_of.exp / "full").mkdir(parents=True)
    (batch_of.exp / "full" / "result.json").touch()
    assert batch_of.errors(*lines) == ERRORS[lines]


def test_a_broken_config_is_one_error_of_all_its_lines(batch_of: BatchOf) -> None:
    batch_of.write("conf/it.prototxt", "grow { lrr: 1 }")
    (told,) = batch_of.errors(*[f"seed={seed}" for seed in range(100)])
    assert told.startswith(f"it.sh:1: conf/it.prototxt:1:8: grow (Grow) {NO_FIELD} 'lrr'")
    assert told.endswith("(also at it.sh:2, it.sh:3, it.sh:4, it.sh:5, it.sh:6 and 94 more)")


def test_the_run_py_of_another_project_is_refused(batch_of: BatchOf) -> None:
    captured = batch_of.lines("lr=1")
    elsewhere = captured._replace(lines=(captured.lines[0]._replace(run_py="/else/run.py"),))
    with pytest.raises(BatchError, match=r"it.sh:1: /else/run.py: is not the run.py of this project"):
        compose_lines("it.sh", elsewhere, batch_of.project)


def test_an_empty_batch_is_an_error(batch_of: BatchOf) -> None:
    with pytest.raises(UsageError, match=r"it.sh: no `python run.py ...` line in it"):
        batch_of()


def test_a_folder_that_another_config_was_frozen_in_is_refused(batch_of: BatchOf) -> None:
    entry = batch_of("lr=1").entries[0]
    _freeze(entry, fingerprint="x", canonical_overrides=["lr=3.0"])
    (told,) = batch_of.errors("lr=1")
    assert told.startswith(f"it.sh:1: EXP/{entry.run.id}: [")
    assert "lr=3.0" in told


# ---- The same run twice -------------------------------------------------------------------------


def test_the_same_run_twice_is_one_with_a_note(batch_of: BatchOf) -> None:
    batch = batch_of("lr=0.1", "lr=1e-1", "lr=.1 --mode restart")
    assert [entry.where for entry in batch.entries] == ["it.sh:1"]
    assert [remark.where for remark in batch.remarks] == ["it.sh:2", "it.sh:3"]
    assert all("is the same run as it.sh:1" in remark.problem for remark in batch.remarks)


def test_two_ids_with_one_config_are_pointed_out(batch_of: BatchOf) -> None:
    batch = batch_of("lr=1", "lr=1 seed=7", "lr=1 launcher.slurm=SELECT", "lr=2")
    assert len(batch.entries) == 4
    assert [remark.where for remark in batch.remarks] == ["it.sh:2", "it.sh:3"]
    assert batch.entries[2].run.id in batch.remarks[1].problem


def test_what_an_override_gave_up_is_noted(batch_of: BatchOf) -> None:
    (remark,) = batch_of("lr=1 lr=2").remarks
    assert remark == ("it.sh:1", "'lr=1' is given up for 'lr=2': the last one counts")


def test_drift_is_told(batch_of: BatchOf) -> None:
    entry = batch_of("lr=1").entries[0]
    _freeze(entry)
    assert batch_of("lr=1").entries[0].drift == ()
    batch_of.write("conf/it.prototxt", "grow { seed: 3 }")
    os.utime(batch_of.project.root / "conf/it.prototxt", (1, 1))
    assert batch_of("lr=1").entries[0].drift == ("seed 7 -> 3",)


# ---- Where lines come from ----------------------------------------------------------------------


def test_lines_on_stdin(batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """# a comment

-c conf/it.prototxt lr=1 'name=a b;$x'
python -u ./run.py -c conf/it.prototxt lr=2  # more
"""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    batch = read_batch("-", batch_of.project)
    assert [(entry.where, entry.invocation.overrides) for entry in batch.entries] == [
        ("stdin:3", ("lr=1", "name=a b;$x")),
        ("stdin:4", ("lr=2",)),
    ]


def test_bad_lines_on_stdin(batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sys.stdin", io.StringIO("-c it 'x\nA=1 python run.py -c it\nls; python run.py -c it\n")
    )
    with pytest.raises(UsageError) as caught:
        lines_of_stdin(batch_of.project)
    assert str(caught.value).splitlines() == [
        "stdin: 3 errors; nothing was started",
        "  stdin:1: No closing quotation",
        "  stdin:2: 'A=1': expected `python run.py -c CFG ...`; a bash script may hold more",
        "  stdin:3: 'ls;': expected `python run.py -c CFG ...`; a bash script may hold more",
    ]


def test_a_grid_is_as_many_runs_of_one_line(batch_of: BatchOf) -> None:
    batch = batch_of("--grid lr=1 lr=2 --zip seed=1 seed=2 name=a name=b")
    assert [entry.where for entry in batch.entries] == ["it.sh:1"] * 4
    assert [entry.draft.canonical for entry in batch.entries][1] == ("lr=1.0", "name=b", "seed=2")


def test_rows_of_a_table_are_named(batch_of: BatchOf) -> None:
    batch_of.write("runs.csv", "lr,seed\n1,2\n\n3,\n")
    batch = batch_of("--table runs.csv")
    assert [entry.where for entry in batch.entries] == ["it.sh:1 (runs.csv:2)", "it.sh:1 (runs.csv:4)"]
    batch_of.write("runs.csv", "lrr,seed\n1,2\n3,x\n")
    assert batch_of.errors("--table runs.csv") == [
        f"it.sh:1 (runs.csv:2): override 'lrr=1': Grow {NO_FIELD} 'lrr'; did you mean 'lr'? "
        "(also at it.sh:1 (runs.csv:3))"
    ]


def test_a_config_is_found_from_the_folder_of_its_line(batch_of: BatchOf) -> None:
    captured = batch_of.lines("lr=1")
    line = captured.lines[0]._replace(cwd=batch_of.project.conf, argv=("-c", "it", "lr=1"))
    batch = compose_lines("it.sh", captured._replace(lines=(*captured.lines, line)), batch_of.project)
    assert len(batch.entries) == 1


def test_what_no_cluster_can_give_is_told_with_its_line(batch_of: BatchOf) -> None:
    errors = batch_of.errors("lr=1", "launcher.slurm.num_gpus=12", "launcher.slurm.num_gpus=-1")
    assert [text.partition(": ")[0] for text in errors] == ["it.sh:2", "it.sh:3"]
    assert "launcher.slurm.num_gpus: 12 GPUs are more than a node has" in errors[0]
