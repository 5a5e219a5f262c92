import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from heyhi.config.descriptors import SCHEMAS, are_kept
from heyhi.config.outline import OUTLINE
from heyhi.config.schema import ensure_fresh, generate
from heyhi.errors import ConfigError, ProjectError
from heyhi.project import Project
from tests import check_protos
from tests.conftest import Done, Garden, wait_until

pytestmark = pytest.mark.processes

SCHEMA = """\
syntax = "proto2";
package some.where;
// A base config.
message MetaCfg {
  oneof task {
    Grow grow = 1;
  }
}
// What a task needs.
message Grow {
  optional int32 seed = 1 [default = 7];
  optional string name = 2;  // How it is called.
}
"""
PARTS = """\
syntax = "proto2";
package some.where;
message Part { optional int32 size = 1; }
"""
RUN = """\
import heyhi
def main(cfg, task, log_level):
    return {}
heyhi.parse_args_and_maybe_launch(main)
"""
MODULES = ["conf_cfgs.py", "conf_cfgs.pyi", "conf_pb2.py", "conf_pb2.pyi"]
KEPT = [OUTLINE, SCHEMAS, ".heyhi_protos.lock", "__pycache__", "base.prototxt", "conf.proto"]


@pytest.fixture
def fresh(tmp_path: Path) -> Garden:
    """A project as it is cloned: no module was generated yet."""
    root = tmp_path / "clone"
    (root / "conf").mkdir(parents=True)
    (root / "conf" / "conf.proto").write_text(SCHEMA)
    (root / "conf" / "base.prototxt").write_text('grow { name: "carrot" }\n')
    (root / "run.py").write_text(RUN)
    return Garden(root, tmp_path)


def modules(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "conf").glob("*.py*") if path.is_file()}


def show(project: Garden, *words: str) -> Done:
    return project("-c", "conf/base.prototxt", "--print", *words)


SHOWN = Done(0, 'name: "carrot"\n\n', "")


# ---- What is made, and when ---------------------------------------------------------------------


def test_each_schema_becomes_four_modules(fresh: Garden) -> None:
    (fresh.root / "conf" / "parts.proto").write_text(PARTS)
    assert generate(Project(fresh.root))
    assert sorted(modules(fresh.root)) == MODULES + [m.replace("conf", "parts") for m in MODULES]


def test_what_is_up_to_date_is_not_written_again(fresh: Garden) -> None:
    generate(Project(fresh.root))
    before = {name: (fresh.root / "conf" / name).stat().st_ino for name in MODULES}
    os.utime(fresh.root / "conf" / "conf.proto")
    assert not ensure_fresh(Project(fresh.root))
    assert not generate(Project(fresh.root))
    assert {name: (fresh.root / "conf" / name).stat().st_ino for name in MODULES} == before


CHANGES = {
    "a schema is edited": "sed -i 's/default = 7/default = 8/' conf.proto",
    "a schema is new": "cp parts more.proto",
    "a schema is gone": "rm old.proto",
    "a schema has another name": "mv old.proto new.proto",
    "a module is gone": "rm conf_cfgs.pyi",
    "all modules are gone": "rm conf_* old_*",
    "the outline is gone": f"rm {OUTLINE}",
    "the schemas as data are gone": f"rm {SCHEMAS}",
    "the schemas as data are damaged": f"truncate -s -1 {SCHEMAS}",
    "the schemas as data are of other schemas": f"sed -i 's/^heyhi schemas ./heyhi schemas x/' {SCHEMAS}",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_stale_modules_are_noticed_and_made_anew(fresh: Garden, change: str) -> None:
    conf, project = fresh.root / "conf", Project(fresh.root)
    (conf / "old.proto").write_text(PARTS.replace("Part", "Old"))
    (conf / "parts").write_text(PARTS)
    (conf / "mine_cfgs.py").write_text("# not made by heyhi\n")
    generate(project)
    subprocess.run(change, shell=True, cwd=conf, check=True)
    assert ensure_fresh(project)
    assert not ensure_fresh(project)
    stems = [path.stem for path in conf.glob("*.proto")]
    expected = [
        f"{stem}{suffix}" for stem in stems for suffix in ("_cfgs.py", "_cfgs.pyi", "_pb2.py", "_pb2.pyi")
    ]
    assert sorted(modules(fresh.root)) == sorted([*expected, "mine_cfgs.py"])
    assert (conf / OUTLINE).exists()
    assert are_kept(project)


def test_another_protobuf_makes_modules_stale(fresh: Garden, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(Project(fresh.root))
    monkeypatch.setattr("google.protobuf.__version__", "99.0")
    assert ensure_fresh(Project(fresh.root))


def test_a_clone_makes_its_modules_at_the_first_command(fresh: Garden) -> None:
    assert show(fresh) == SHOWN
    assert sorted(modules(fresh.root)) == MODULES


def test_an_edited_schema_counts_at_once_even_within_a_second(fresh: Garden) -> None:
    module = fresh.root / "conf" / "conf_pb2.py"
    for number in (1, 2, 3):  # of one length and time: Python's own cache could not tell
        (fresh.root / "conf" / "conf.proto").write_text(SCHEMA.replace("= 7]", f"= {number}]"))
        ensure_fresh(Project(fresh.root))
        os.utime(module, (1e9, 1e9))
        words = ("-c", "conf/base.prototxt", "--print-flat-all")
        done = fresh(*words, env={"PYTHONDONTWRITEBYTECODE": ""})
        assert (done.out, done.err) == (f"name=carrot\nseed={number}\n", "")


@pytest.mark.parametrize("package", ["", "package a;", "package a.b.c;", "package conf;"])
def test_a_schema_is_in_any_package(fresh: Garden, package: str) -> None:
    (fresh.root / "conf" / "conf.proto").write_text(SCHEMA.replace("package some.where;", package))
    assert show(fresh) == SHOWN


@pytest.mark.parametrize("name", ["with space", "a:b", "-dash", "quo'te", "ü"])
def test_a_project_is_in_any_folder(fresh: Garden, name: str) -> None:
    root = fresh.root.rename(fresh.root.with_name(name))
    assert show(Garden(root, fresh.home)) == SHOWN


def test_modules_of_the_project_do_not_stand_in_for_those_that_protoc_needs(fresh: Garden) -> None:
    for name in ("random.py", "google.py", "grpc_tools.py"):
        (fresh.root / name).write_text("raise SystemExit('imported by protoc')\n")
    generate(Project(fresh.root))
    assert sorted(modules(fresh.root)) == MODULES


def test_fresh_modules_cost_no_process_and_no_import_of_what_makes_them(fresh: Garden) -> None:
    generate(Project(fresh.root))
    code = (
        "import sys; from heyhi import project; from heyhi.config import schema;"
        "schema.load_messages(project.find_project());"
        "heavy = {'json', 'subprocess', 'tempfile', 'shutil', 'grpc', 'grpc_tools', 'heyhi.config.stubs'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert fresh.python("-c", code) == Done(0, "[]\n", "")


def test_whoever_imports_conf_before_heyhi_loads_anything_finds_it_fresh(fresh: Garden) -> None:
    (fresh.root / "run.py").write_text("import heyhi\nfrom conf import conf_cfgs\n" + RUN)
    assert show(fresh) == SHOWN
    (fresh.root / "conf" / "conf.proto").write_text(SCHEMA.replace("name = 2", "title = 2"))
    (fresh.root / "conf" / "base.prototxt").write_text('grow { title: "carrot" }\n')
    assert show(fresh).out == SHOWN.out.replace("name", "title")
    code = "import heyhi; from conf.conf_cfgs import Grow; print(Grow(title='x').title)"
    assert fresh.python("-c", code) == Done(0, "x\n", "")


def test_stale_modules_imported_before_heyhi_are_refused_once(fresh: Garden) -> None:
    generate(Project(fresh.root))
    (fresh.root / "conf" / "conf.proto").write_text(SCHEMA.replace("= 7", "= 8"))
    (fresh.root / "run.py").write_text("from conf import conf_pb2\n" + RUN)
    problem = (
        f"error: {fresh.root}/conf: a schema has changed, and stale modules were imported before heyhi; "
        "they are fresh now: start again (and import heyhi first)\n"
    )
    assert show(fresh) == Done(2, "", problem)
    assert show(fresh) == SHOWN


def test_two_projects_in_one_process_are_refused(fresh: Garden, garden: Garden) -> None:
    code = (
        "import sys; from pathlib import Path; from heyhi import project\n"
        "from heyhi.config import schema\n"
        "for root in sys.argv[1:]: schema.load_messages(project.Project(Path(root)))"
    )
    done = fresh.python("-c", code, str(fresh.root), str(garden.root))
    assert done.err.splitlines()[-1] == (
        f"heyhi.errors.ProjectError: {garden.root}/conf: another conf is already imported "
        f"({fresh.root}/conf); use one process for each project"
    )


# ---- Schemas that are wrong ---------------------------------------------------------------------

GROW = "message Grow { optional int32 seed = 1; "
META = 'syntax = "proto2"; message MetaCfg { oneof task { Grow grow = 1; } }\n'
BAD_SCHEMAS = {
    META + "message Grow { optional int32 seed = ; }": '2:38: Expected field number.',
    META + "message Grow { optional Sed seed = 1; }": '2:25: "Sed" is not defined.',
    META + GROW + "optional int32 x = 1; }": (
        '2:60: Field number 1 has already been used in "Grow" by field "seed". Next available field '
        "number is 2."
    ),
    META.replace("; m", '; import "conf/nope.proto"; m') + GROW + "}": (
        "1:20: Import \"conf/nope.proto\" was not found or had errors."
    ),
    META.replace("; m", '; import "other/far.proto"; m') + GROW + "}": (
        "1:20: imports other/far.proto: a schema imports those in conf/ itself (and google/protobuf) only"
    ),
    'syntax = "proto2"; message Meta {}': "no message MetaCfg: a base config is one",
    'syntax = "proto2";\n  message MetaCfg { optional int32 x = 1; }': (
        "2:3: MetaCfg has no oneof 'task': its members are the tasks"
    ),
    'syntax = "proto2"; message MetaCfg { oneof task { int32 grow = 1; } }': (
        "1:51: a task is a message, not 'grow'"
    ),
    META + GROW + "optional int32 to_dict = 2; }": (
        "2:41: Grow cannot have a field 'to_dict': the name is taken by HeyHi"
    ),
    META + GROW + "optional int32 which_x = 2; oneof x { int32 y = 3; } }": (
        "2:41: Grow cannot have a field 'which_x': the name is taken by HeyHi"
    ),
    META + GROW + "optional int32 __class__ = 2; }": (
        "2:41: Grow cannot have a field '__class__': the name is taken by HeyHi"
    ),
    META + GROW + "message None {} }": "2:41: no message can be called 'None': it is a word of Python",
}  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), BAD_SCHEMAS.items(), ids=range(len(BAD_SCHEMAS)))
def test_a_wrong_schema_is_reported_with_its_place(
    fresh: Garden, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    (fresh.root / "other").mkdir()
    (fresh.root / "other" / "far.proto").write_text(PARTS)
    generate(Project(fresh.root))
    before = modules(fresh.root)
    (fresh.root / "conf" / "conf.proto").write_text(text)
    monkeypatch.chdir(fresh.root)
    with pytest.raises(ConfigError) as caught:
        ensure_fresh(Project(fresh.root))
    at, _, rest = problem.partition(": ") if problem[0].isdigit() else ("", "", problem)
    assert str(caught.value) == f"conf/conf.proto{':' if at else ''}{at}: {rest}"
    assert modules(fresh.root) == before
    assert sorted(os.listdir("conf")) == sorted(KEPT + MODULES)


@pytest.mark.parametrize("name", ["two-words.proto", "lambda.proto", "1.proto"])
def test_a_schema_that_python_could_not_import_is_refused(fresh: Garden, name: str) -> None:
    (fresh.root / "conf" / name).write_text(PARTS)
    with pytest.raises(ConfigError, match=f"conf/{name}: a schema's name must be one that Python can import"):
        generate(Project(fresh.root))


def test_a_wrong_schema_is_one_line_and_exit_status_2(fresh: Garden) -> None:
    (fresh.root / "conf" / "conf.proto").write_text(SCHEMA.replace("int32", "int31"))
    problem = 'error: conf/conf.proto:11:12: "int31" is not defined.\n'
    assert show(fresh) == Done(2, "", problem)
    elsewhere = fresh.home / "elsewhere"
    elsewhere.mkdir()
    assert fresh("-c", "base", cwd=elsewhere) == Done(
        2, "", problem.replace("conf/conf.proto", f"{fresh.root}/conf/conf.proto")
    )
    (fresh.root / "run.py").write_text("import heyhi\nimport conf.conf_cfgs\n" + RUN)
    assert show(fresh) == Done(2, "", problem)


def test_names_that_python_cannot_speak_are_reached_with_getattr(fresh: Garden) -> None:
    more = "optional int32 from = 3; optional Word word = 4; } enum Word { None = 0; lambda = 1; FINE = 2; }"
    text = SCHEMA.rstrip().removesuffix("}") + more
    (fresh.root / "conf" / "conf.proto").write_text(text)
    code = (
        "import heyhi; from conf import conf_cfgs as c; cfg = c.Grow(**{'from': 3}, word='None');"
        "print(getattr(cfg, 'from'), cfg.word, c.FINE)"
    )
    assert fresh.python("-c", code) == Done(0, "3 None 2\n", "")


# ---- Modules that were edited -------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("stale", [False, True], ids=["schema as it was", "schema edited too"])
def test_a_module_edited_by_hand_is_never_overwritten_unasked(
    fresh: Garden, module: str, stale: bool
) -> None:
    project, path = Project(fresh.root), fresh.root / "conf" / module
    generate(project)
    path.write_bytes(path.read_bytes() + b"# mine\n")
    if stale:
        (fresh.root / "conf" / "conf.proto").write_text(SCHEMA.replace("= 7", "= 8"))
    before = modules(fresh.root)
    with pytest.raises(ProjectError) as caught:
        ensure_fresh(project)
    assert str(caught.value) == (
        f"{path}: edited by hand (or made by another tool), but it is generated from conf.proto: make the "
        "change there, then run `heyhi protos` (or `make protos`), which overwrites it"
    )
    assert modules(fresh.root) == before
    assert generate(project)
    assert b"# mine" not in path.read_bytes()


def test_an_edited_module_is_one_line_and_exit_status_2(fresh: Garden) -> None:
    show(fresh)
    path = fresh.root / "conf" / "conf_pb2.py"
    path.write_text("# made by another tool\n")
    done = show(fresh)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"error: {path}: edited by hand")
    assert len(done.err.splitlines()) == 1
    assert fresh.python("-m", "heyhi.commands", "protos").out == (
        f"{fresh.root}/conf: generated modules written\n"
    )
    assert show(fresh) == SHOWN


def test_an_edited_module_of_a_schema_that_is_gone_stays(fresh: Garden) -> None:
    schema = fresh.root / "conf" / "parts.proto"
    schema.write_text(PARTS)
    generate(Project(fresh.root))
    edited = fresh.root / "conf" / "parts_cfgs.py"
    edited.write_bytes(edited.read_bytes() + b"# mine\n")
    schema.unlink()
    assert ensure_fresh(Project(fresh.root))
    assert sorted(modules(fresh.root)) == [*MODULES, "parts_cfgs.py"]


# ---- Many at once, killed, read-only ------------------------------------------------------------


def test_twenty_processes_start_at_once_in_a_stale_project(fresh: Garden) -> None:
    show(fresh)
    (fresh.root / "conf" / "conf.proto").write_text(SCHEMA.replace("= 7", "= 8"))
    started = [fresh.popen("-c", "conf/base.prototxt", "--print-flat-all") for _ in range(20)]
    done = [(process.communicate(timeout=100), process.returncode) for process in started]
    assert done == [(("name=carrot\nseed=8\n", ""), 0)] * 20
    assert sorted(os.listdir(fresh.root / "conf")) == sorted(KEPT + MODULES)
    assert not ensure_fresh(Project(fresh.root))
    assert sorted(path.name for path in (fresh.root / "conf" / "__pycache__").iterdir()) == [
        f"conf_{kind}.{sys.implementation.cache_tag}.pyc" for kind in ("cfgs", "pb2")
    ]


# Dies as by kill -9 when the n-th of the new modules is to be moved into place; 0: when protoc is called.
KILLED = """\
import os, subprocess, sys
from heyhi import project
from heyhi.config import schema
left = int(sys.argv[1])
def die_at_last(*arguments, real=os.replace, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    return real(*arguments)
os.replace = die_at_last
if left == 0:
    subprocess.run = die_at_last
schema.generate(project.find_project())
"""


@pytest.mark.parametrize("moment", range(5))
def test_what_a_killed_process_leaves_behind_mends_itself(fresh: Garden, moment: int) -> None:
    show(fresh)
    (fresh.root / "conf" / "conf.proto").write_text(SCHEMA.replace("= 7", "= 8"))
    assert fresh.python("-c", KILLED, str(moment)).status == -signal.SIGKILL
    assert (fresh.root / "conf" / ".heyhi_protos").exists()
    done = fresh("-c", "conf/base.prototxt", "--print-flat-all")
    assert done == Done(0, "name=carrot\nseed=8\n", "")
    assert sorted(os.listdir(fresh.root / "conf")) == sorted(KEPT + MODULES)


def test_a_protoc_whose_caller_was_killed_is_waited_for(fresh: Garden) -> None:
    tools = fresh.home / "slow" / "grpc_tools"
    tools.mkdir(parents=True)
    (tools / "__init__.py").touch()
    (tools / "protoc.py").write_text(
        "import sys, time; open('started', 'w').close(); time.sleep(0.5); open('ended', 'w').close()"
    )
    caller = fresh.popen("-c", "conf/base.prototxt", env={"PYTHONPATH": str(tools.parent)})
    wait_until((fresh.root / "started").exists)
    caller.kill()
    caller.communicate()
    with (fresh.root / "conf" / ".heyhi_protos.lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    generate(Project(fresh.root))
    assert (fresh.root / "ended").exists()
    assert sorted(modules(fresh.root)) == MODULES


# Root writes where it may not, unless it gives up that power (CAP_DAC_OVERRIDE, for what it executes).
AS_ANYONE = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def test_a_folder_that_cannot_be_written_does_while_its_modules_are_fresh(fresh: Garden) -> None:
    conf = fresh.root / "conf"
    show(fresh)
    words = (sys.executable, str(fresh.root / "run.py"), "-c", "base", "--print")
    (conf / "base.prototxt").rename(fresh.root / "base.prototxt")
    conf.chmod(0o555)
    (conf / ".heyhi_protos.lock").chmod(0o444)
    assert fresh.python("-c", AS_ANYONE, *words) == SHOWN
    (conf / "conf.proto").write_text(SCHEMA.replace("= 7", "= 8"))
    assert fresh.python("-c", AS_ANYONE, *words) == Done(
        2,
        "",
        f"error: {conf}/.heyhi_protos.lock: Permission denied: the modules made from the schemas are stale "
        "and cannot be made anew here; run `heyhi protos` where they can\n",
    )
    conf.chmod(0o755)


# ---- The same bytes everywhere ------------------------------------------------------------------


def test_generated_modules_are_reproducible(fresh: Garden, capsys: pytest.CaptureFixture[str]) -> None:
    members = "".join(f"int32 a{n} = {n}; Grow b{n} = 1{n}; string c{n} = 2{n}; " for n in range(1, 9))
    (fresh.root / "conf" / "conf.proto").write_text(f"{SCHEMA} message Many {{ oneof one {{ {members} }} }}")
    generate(Project(fresh.root))
    assert check_protos.main(fresh.root) == 0
    assert capsys.readouterr().out == (
        "4 generated modules: the same bytes, whenever and wherever they are made\n"
    )


def test_the_check_of_that_names_the_module_that_differs(
    fresh: Garden, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(Project(fresh.root))
    path = fresh.root / "conf" / "conf_pb2.pyi"
    path.write_text(path.read_text() + "\n")
    assert check_protos.main(fresh.root) == 1
    assert capsys.readouterr().err == f"error: {path} differs from a new one: run `heyhi protos`\n"
    shutil.rmtree(fresh.root / "conf" / "__pycache__")
