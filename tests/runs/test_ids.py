from pathlib import Path

import pytest

from heyhi.errors import UsageError
from heyhi.project import Project
from heyhi.runs.ids import JobId, _md5, make_id, relative_to_root

PROJECT = Project(Path("/code/project"))
SL = PROJECT.conf / "c02_sup_train" / "sl.prototxt"

# ---- Ids ----------------------------------------------------------------------------------------

# Canonical overrides, and the id that they give; the first two are the original's own.
IDS = [
    ([], "p/c02_sup_train/sl/default_d7517139"),
    (
        ["lr=0.1", "dataset_params.value_decay_alpha=1.0"],
        "p/c02_sup_train/sl/lr@0.1@dat.val@1.0_ac094496",
    ),
    (["batch_size=NULL"], "p/c02_sup_train/sl/bat@NULL_10870928"),
    (["Ilauncher=slurm_8gpus"], "p/c02_sup_train/sl/Ila@slurm_8gpus_3785e38d"),
    (["out=/a/b/c/d.json"], "p/c02_sup_train/sl/out@c_d.json_3b5b0ee2"),
    (["note=a b;{c},$(d)\n%ü"], "p/c02_sup_train/sl/note@a_b__c____d_____1e0f6171"),
]


@pytest.mark.parametrize(("overrides", "expected"), IDS, ids=[expected for _, expected in IDS])
def test_id(overrides: list[str], expected: str) -> None:
    assert make_id(SL, overrides, PROJECT) == expected


def test_the_tag_is_cut_but_the_hash_tells_apart() -> None:
    long = [f"note={'x' * 3000}{end}" for end in "ab"]
    first, second = (make_id(SL, [text], PROJECT) for text in long)
    assert first != second
    assert first[:-8] == second[:-8]
    assert len(first.split("/")[-1]) == 100 + len("_12345678")


# Base config -> folder and name in the id.
FOLDERS = {
    "/code/project/conf/c01/cmp.prototxt": "p/c01/cmp/",
    "/code/project/conf/c01/deep/er/cmp.prototxt": "p/c01_deep_er/cmp/",
    "/code/project/conf/cmp.prototxt": "p/root/cmp/",
    "/code/project/conf/c01/../c02/v1.2.prototxt": "p/c02/v1.2/",
    "/code/project/conf/c01/no_suffix": "p/c01/no_suffix/",
    "/code/project/conf/c 1/a;b.prototxt": "p/c_1/a_b/",
    "/code/project/conf_old/cmp.prototxt": "p/fee72aed/cmp/",
}


@pytest.mark.parametrize("base", FOLDERS)
def test_the_config_names_the_folder(base: str) -> None:
    assert make_id(Path(base), [], PROJECT) == FOLDERS[base] + "default_d7517139"


# --out -> the id of an adhoc run of sl.prototxt with lr=0.1
PATTERNS = {
    "here": "here",
    "/abs/olute": "/abs/olute",
    "%(cfg)s-%(redefines)s": "sl-lr@0.1",
    "%(prefix)s/%(cfg_folder)s": "adhoc/now/c02_sup_train",
    "100%%/%(redefines_hash)s/%(date)s": "100%/e7b0a4ba/now",
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_replaces_the_id(pattern: str) -> None:
    made = make_id(SL, ["lr=0.1"], PROJECT, is_adhoc=True, date="now", pattern=pattern)
    assert made == PATTERNS[pattern].replace("e7b0a4ba", _md5(repr(["lr=0.1"])))


@pytest.mark.parametrize("pattern", ["%(user)s", "50%", "%d", "%(cfg)d"])
def test_a_bad_pattern_is_refused_with_those_that_may_be_used(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"bad pattern .*%\(redefines_hash\)s, and %% for a percent sign"):
        make_id(SL, [], PROJECT, pattern=pattern)


RELATIVE = {
    "path=/exp/p/a/model.json": "path={{EXP_DIR}}/p/a/model.json",
    "path=/exp": "path={{EXP_DIR}}",
    "path=/expo/p": "path=/expo/p",
    "path=p/a": "path=p/a",
    # A text that reads like it is another text, with another id.
    "path={{EXP_DIR}}/p/a/model.json": "path=\\{{EXP_DIR}}/p/a/model.json",
    "path=\\{{EXP_DIR}}/p": "path=\\\\{{EXP_DIR}}/p",
}


@pytest.mark.parametrize("override", RELATIVE)
def test_a_value_in_the_experiment_root_is_relative_to_it(override: str) -> None:
    assert relative_to_root(override, Path("/exp")) == RELATIVE[override]


def test_a_root_behind_a_link_is_the_same_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name in ("real", "link"):
        text = relative_to_root(f"path={tmp_path / name}/p", tmp_path / "link")
        assert text == "path={{EXP_DIR}}/p"


JOBS = {"local:a:1": ("a", 1), "local:a:b:12": ("a:b", 12), "123": None, "123_4": None, "local:": None}


@pytest.mark.parametrize("text", JOBS)
def test_a_local_job_has_a_host_and_a_pid(text: str) -> None:
    assert JobId(text).local == JOBS[text]
