"""Message types made of descriptors: as good as the generated ones, without an import of the project."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from heyhi.config import prototxt, views
from heyhi.config.descriptors import SCHEMAS, are_kept, read_schemas
from heyhi.config.schema import generate
from heyhi.errors import ConfigError, ProjectError
from heyhi.project import Project
from tests.config.test_schema import PARTS, SCHEMA
from tests.conftest import DATA, FULL


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "clone" / "conf").mkdir(parents=True)
    (tmp_path / "clone" / "conf" / "conf.proto").write_text(SCHEMA)
    return Project(tmp_path / "clone")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.processes
def test_configs_read_as_with_the_generated_types(project: Project, demo: Any) -> None:
    shutil.copy(DATA / "demo.proto", project.conf / "conf.proto")
    config = project.root / "full.prototxt"
    config.write_text(f"grow {{ {FULL} }}")
    ours = prototxt.read(config, read_schemas(project).meta, project.root)
    theirs = prototxt.read(config, demo.MetaCfg, project.root)
    assert type(ours) is not type(theirs)
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)
    assert views.to_dict(ours, with_defaults=True) == views.to_dict(theirs, with_defaults=True)


@pytest.mark.processes
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "not kept"])
def test_all_types_of_conf_are_there(project: Project, is_kept: bool) -> None:
    (project.conf / "parts.proto").write_text(PARTS)
    if is_kept:
        generate(project)
    assert are_kept(project) == is_kept
    schemas = read_schemas(project)
    assert schemas.meta.DESCRIPTOR.full_name == "some.where.MetaCfg"
    assert {cls.DESCRIPTOR.name for cls in schemas.types} == {"MetaCfg", "Grow", "Part"}


DAMAGE: dict[str, Any] = {
    "gone": lambda data: None,
    "empty": lambda data: b"",
    "cut": lambda data: data[:-1],
    "of other schemas": lambda data: data.replace(b"heyhi schemas ", b"heyhi schemas 0"),
    "no descriptors": lambda data: b"\xff" * 100,
}


@pytest.mark.processes
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_kept_of_them_counts_only_if_it_is_whole(project: Project, damage: Any) -> None:
    generate(project)
    path = project.conf / SCHEMAS
    damaged = damage(path.read_bytes())
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    before = everything(project.root)
    assert not are_kept(project)
    assert {cls.DESCRIPTOR.name for cls in read_schemas(project).types} == {"MetaCfg", "Grow"}
    assert everything(project.root) == before, "and nothing is written"


@pytest.mark.processes
def test_an_edited_schema_counts_at_once(project: Project) -> None:
    generate(project)
    assert "seed" in read_schemas(project).types[1].DESCRIPTOR.fields_by_name
    (project.conf / "conf.proto").write_text(SCHEMA.replace(" seed ", " grain "))
    assert "grain" in read_schemas(project).types[1].DESCRIPTOR.fields_by_name


WRONG = {
    "syntax": (SCHEMA.replace("oneof", "oneoff"), "conf/conf.proto:5:"),
    "no MetaCfg": (PARTS, "conf/conf.proto: no message MetaCfg"),
    "no task": (
        SCHEMA.replace("oneof task", "oneof job"),
        "conf/conf.proto:4:1: MetaCfg has no oneof 'task'",
    ),
}


@pytest.mark.processes
@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_schema_is_an_error_with_its_place(project: Project, text: str, told: str) -> None:
    (project.conf / "conf.proto").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_schemas(project)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_schema_that_is_a_fifo_is_an_error(project: Project) -> None:
    os.mkfifo(project.conf / "more.proto")
    with pytest.raises(ProjectError, match="is a fifo"):
        read_schemas(project)


@pytest.mark.processes
def test_a_comment_that_is_no_utf8_is_let_be(project: Project) -> None:
    text = SCHEMA.replace("A base config.", "\xe9").encode("latin-1")
    (project.conf / "conf.proto").write_bytes(text)
    assert read_schemas(project).meta.DESCRIPTOR.full_name == "some.where.MetaCfg"
