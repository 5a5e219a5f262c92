"""Bad input through run.py itself: one clear message on stderr, the right exit status, nothing changed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import heyhi
from tests.conftest import NO_FIELD, Done, Garden

CARROT = ("-c", "conf/beds/carrot.prototxt")

# What is typed after `-c conf/beds/carrot.prototxt`, and what is said.
OVERRIDES = {
    "--adhok": "unknown flag '--adhok'; did you mean '--adhoc'?",
    "lr": "bad argument 'lr': expected an override key=value, or a flag (see --help)",
    "=1": "override '=1': expected key=value",
    "sead=1": f"override 'sead=1': Grow {NO_FIELD} 'sead'; did you mean 'seed', 'season'?",
    "soil.dept=1": f"override 'soil.dept=1': soil (Soil) {NO_FIELD} 'dept'; did you mean 'soil.depth'?",
    "lr=fast": "override 'lr=fast': lr: expected a number (float), not 'fast'",
    "seed=99999999999": (
        "override 'seed=99999999999': seed: 99999999999 is out of range: "
        "int32 goes from -2147483648 to 2147483647"
    ),
    "lr=1e99": "override 'lr=1e99': lr: 1e99 is too large for a float",
    "season=SUMER": "override 'season=SUMER': season: expected one of SPRING, AUTUMN, not 'SUMER'",
    "tags.7=a": "override 'tags.7=a': tags has 0 elements: bad index '7'; valid are 0 or -1 to append",
    "tags=a": "override 'tags=a': tags is a list: set tags.0=..., append with tags.-1=..., or tags=NULL",
    "soil=1": (
        "override 'soil=1': soil is a message (Soil), it cannot be '1': set its fields (soil.depth=...), "
        "choose it with soil=SELECT, or clear it with soil=NULL"
    ),
    "Isoil=dep": "override 'Isoil=dep': include 'dep': no such config; did you mean 'deep'?",
    "Ilauncher=soil/deep": (
        f"conf/common/soil/deep.prototxt:1:1: Launcher {NO_FIELD} 'depth'; its fields: local, slurm"
    ),
    "Inote=deep": "override 'Inote=deep': note is no message: nothing can be included there",
    "__class__=x": (
        f"override '__class__=x': Grow {NO_FIELD} '__class__'; its fields: seed, lr, note, seconds, fail, "
        "season, tags, soil, launcher"
    ),
    "launcher.local=SELECT launcher.slurm=SELECT": (
        "override 'launcher.slurm=SELECT': chooses 'slurm' of oneof 'launcher', and "
        "'launcher.local=SELECT' chooses 'local'; only one of them can be set"
    ),
}


@pytest.mark.parametrize("words", OVERRIDES)
def test_a_bad_override_is_one_line(garden: Garden, words: str) -> None:
    done = garden(*CARROT, *words.split())
    assert done == Done(2, "", f"error: {OVERRIDES[words]}\n")
    assert not garden.exp.exists()


# What is in conf/bad.prototxt, and what is said of it.
FILES = {
    "": "conf/bad.prototxt: no task in this config; it sets one of grow, pick",
    "grow { lr: 1": 'conf/bad.prototxt:1:12: Expected "}".',
    "grow {\n  lr: 1\n  sead: 2\n}": (
        f"conf/bad.prototxt:3:3: grow (Grow) {NO_FIELD} 'sead'; did you mean 'grow.seed', 'grow.season'?"
    ),
    "grow {\n  lr: fast\n}": "conf/bad.prototxt:2:7: grow.lr: expected a number (float), not 'fast'",
    "grow { lr: 1e99 }": "conf/bad.prototxt:1:12: grow.lr: 1e99 is too large for a float",
    "grow { season: SUMMER }": (
        "conf/bad.prototxt:1:16: grow.season: expected one of SPRING, AUTUMN, not 'SUMMER'"
    ),
    "grow { lr: 1 lr: 2 }": "conf/bad.prototxt:1:18: grow.lr is set twice in this file",
    "grow {} pick { what: 'x' }": (
        "conf/bad.prototxt:1:9: pick: chooses 'pick' of oneof 'task', but 'grow' is set already; "
        "only one of them can be set"
    ),
    "pick {}": "conf/bad.prototxt: required field is not set: what; set it in the config or with what=...",
    "includes { path: 'depe' mount: 'soil' } grow {}": (
        "conf/bad.prototxt:1:10: include 'depe': no such config; did you mean 'deep'?"
    ),
    "includes { path: 'slurm' mount: 'soil' } grow {}": (
        "conf/bad.prototxt:1:10: include 'slurm': no such config; did you mean 'launcher/slurm'?"
    ),
    "includes { path: 'deep' mount: 'sole' } grow {}": (
        f"conf/bad.prototxt:1:10: Grow {NO_FIELD} 'sole'; did you mean 'soil'?"
    ),
    "includes { mount: 'soil' } grow {}": "conf/bad.prototxt:1:10: the include names no path",
}


@pytest.mark.parametrize("text", FILES)
def test_a_bad_file_is_named_with_line_and_column(garden: Garden, text: str) -> None:
    (garden.root / "conf/bad.prototxt").write_text(text)
    done = garden("-c", "conf/bad.prototxt")
    assert done == Done(2, "", f"error: {FILES[text]}\n")
    assert not garden.exp.exists()


def test_no_such_config_names_those_that_are_like_it(garden: Garden) -> None:
    done = garden("-c", "conf/beds/carot.prototxt")
    assert done.err == (
        "error: 'conf/beds/carot.prototxt': no such config; did you mean 'conf/beds/carrot.prototxt'?\n"
    )
    assert done.status == 2
    folder = garden("-c", "conf/beds")
    assert folder.err == (
        "error: conf/beds: is a folder; give one of its configs; configs there: carrot.prototxt\n"
    )


@pytest.mark.parametrize(("path", "kind"), [("fifo", "a fifo"), ("/dev/null", "a device")])
def test_a_config_that_is_no_file_is_said_to_be_what_it_is(garden: Garden, path: str, kind: str) -> None:
    os.mkfifo(garden.root / "fifo")
    done = garden("-c", path)
    assert done == Done(2, "", f"error: {path}: is {kind}; a config is a regular file\n")
    include = f"includes {{ path: '{garden.root / path}' mount: 'soil' }}"
    (garden.root / "conf/bad.prototxt").write_text(f"{include} grow {{}}")
    included = garden("-c", "conf/bad.prototxt")
    told = f"is {kind}; a config is a regular file"
    assert (included.status, included.err.count("\n"), told in included.err) == (2, 1, True), included.err


def test_a_file_that_is_not_utf_8(garden: Garden) -> None:
    (garden.root / "conf/bad.prototxt").write_bytes(b"grow {\n note: 'caf\xe9' }")
    done = garden("-c", "conf/bad.prototxt")
    assert done == Done(2, "", "error: conf/bad.prototxt:2: not UTF-8 text; save it as UTF-8\n")


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root reads everything")
def test_a_file_that_cannot_be_read(garden: Garden) -> None:
    (garden.root / "conf/bad.prototxt").write_text("grow {}")
    (garden.root / "conf/bad.prototxt").chmod(0)
    done = _unprivileged(garden, "-c", "conf/bad.prototxt", "--print")
    assert done == Done(2, "", "error: conf/bad.prototxt: cannot be read: Permission denied\n")


def test_a_root_that_cannot_be_written(garden: Garden) -> None:
    (garden.home / "file").write_text("in the way")
    done = garden(*CARROT, env={"HH_EXP_DIR": str(garden.home / "file" / "exp")})
    assert done.status == 2
    folder = f"{garden.home}/file/exp/p/beds/carrot/default_d7517139"
    assert done.err == f"error: {folder}: {garden.home}/file is no folder\n"


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root writes everywhere")
def test_a_root_of_somebody_else(garden: Garden) -> None:
    garden.exp.mkdir()
    garden.exp.chmod(0o555)
    done = _unprivileged(garden, *CARROT)
    assert done.status == 1
    assert done.err.splitlines()[-1] == f"error: {garden.exp}/p: cannot be written: Permission denied"


def _unprivileged(garden: Garden, *words: str) -> Done:
    """As a user to whom file modes apply."""
    command = garden.command(*words)
    if os.geteuid() == 0:
        # No capabilities: files that belong to root, but with its rights only as their owner.
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
        for folder in (garden.root, garden.home):
            folder.chmod(0o755)
    done = subprocess.run(
        command, cwd=garden.root, env=garden.environment(), capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_project_without_conf(garden: Garden) -> None:
    shutil.rmtree(garden.root / "conf")
    done = garden(*CARROT)
    assert done == Done(
        2, "", f"error: {garden.root}: no conf/conf.proto here; a project keeps its schemas in conf/\n"
    )


def test_a_hand_edited_generated_module(garden: Garden) -> None:
    module = garden.root / "conf/conf_cfgs.py"
    module.write_text(module.read_text() + "\n# mine\n")
    done = garden(*CARROT, "--print")
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert f"error: {module}: edited by hand" in done.err
    assert "heyhi protos" in done.err
    assert module.read_text().endswith("# mine\n")


def test_a_mistake_in_the_schema(garden: Garden) -> None:
    schema = garden.root / "conf/conf.proto"
    schema.write_text(schema.read_text().replace("optional float lr = 2;", "optional flaot lr = 2;"))
    done = garden(*CARROT, "--print")
    assert done == Done(2, "", 'error: conf/conf.proto:28:12: "flaot" is not defined.\n')


def test_a_disk_that_is_full_before_the_start_is_said(
    garden: Garden, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(16)
    done = garden(*CARROT, env={"HH_EXP_DIR": str(disk)})
    assert done.status == 1
    assert "Traceback" not in done.err
    assert "No space left on device" in done.err.splitlines()[-1]
    assert garden.executions() == 0


def test_a_python_without_the_packages_is_named(garden: Garden) -> None:
    library = str(Path(heyhi.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-S", *garden.command(*CARROT)[1:]],
        env=garden.environment(PYTHONPATH=library),
        cwd=garden.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"error: {sys.executable} has no google: it is not the Python of this project."
    )
    assert "`make setup` makes one; then `. .venv/bin/activate`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_output_that_nobody_reads_is_no_error(garden: Garden) -> None:
    command = " ".join(["'" + word + "'" for word in garden.command(*CARROT, "--print-flat-all")])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"],
        cwd=garden.root,
        env=garden.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_print_out_dir_is_what_a_script_can_use(garden: Garden) -> None:
    done = garden(*CARROT, "lr=.1", "--print-out-dir")
    assert done == Done(0, f"{garden.exp}/p/beds/carrot/lr@0.1_966845b0\n", "")
    assert not garden.exp.exists()


def test_a_key_given_twice_is_said(garden: Garden) -> None:
    done = garden(*CARROT, "lr=1", "lr=2", "--print-flat")
    assert done.err == "note: 'lr=1' is given up for 'lr=2': the last one counts\n"
    assert "lr=2.0" in done.out


# Values that a shell, a path or a format string would give a meaning.
ODD_VALUES = [
    "a b",
    "",
    " ",
    "$(touch x)",
    "`touch x`",
    "'q' \"r\"",
    "two\nlines",
    "{lr} %(x)s 100%",
    "ü✓🥕",
    "NULL ",
    "-1",
    "\\n",
]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_a_value_passes_through_untouched(garden: Garden, value: str) -> None:
    done = garden(*CARROT, f"note={value}", "--print-flat")
    line = next(line for line in done.out.split("\n") if line.startswith("note="))
    rest = done.out[done.out.index(line) :].split("\nsoil.")[0]
    said = subprocess.run(["bash", "-c", f"printf %s {rest}"], capture_output=True, text=True, check=True)
    assert said.stdout == f"note={value}"
    assert os.listdir(garden.root).count("x") == 0


# What runs run.py in place of Python itself. RUN is its path.
PROGRAMS = {
    "cProfile": ["-m", "cProfile", "-o", "profile", "RUN"],
    "trace": ["-m", "trace", "-l", "RUN"],
    "pdb": ["-m", "pdb", "-c", "continue", "-c", "quit", "RUN"],
    "runpy": ["-c", "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], {}, '__main__')", "RUN"],
    "exec": ["-c", "import sys; del sys.argv[0]; exec(open(sys.argv[0]).read())", "RUN"],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_project_is_that_of_run_py_whatever_runs_it(garden: Garden, tmp_path: Path, name: str) -> None:
    (garden.root / "task.py").write_text("from conf import conf_cfgs\n")
    run_py = garden.root / "run.py"
    run_py.write_text(
        run_py.read_text().replace("import heyhi\n", "import heyhi\nfrom conf import conf_cfgs\n", 1)
    )
    words = [str(run_py) if word == "RUN" else word for word in PROGRAMS[name]]
    done = garden.python(*words, *CARROT, "lr=1", cwd=tmp_path)
    assert ": DONE" in done.err, done
    assert garden.executions("end") == 1


def test_a_decorated_main_is_still_that_of_run_py(garden: Garden, tmp_path: Path) -> None:
    (garden.root / "decorated.py").write_text(
        "import functools\n\n\ndef decorated(main):\n    @functools.wraps(main)\n"
        "    def wrapper(**given):\n        return main(**given)\n\n    return wrapper\n"
    )
    run_py = garden.root / "run.py"
    text = run_py.read_text().replace(
        "def main(", "from decorated import decorated\n\n\n@decorated\ndef main("
    )
    run_py.write_text(text)
    done = garden.python("-m", "cProfile", "-o", "profile", str(run_py), *CARROT, cwd=tmp_path)
    assert ": DONE" in done.err, done


def test_a_program_that_comes_by_stdin_is_of_the_project_around(garden: Garden) -> None:
    text = (garden.root / "run.py").read_text()
    done = garden.python("-", *CARROT, stdin=text)
    assert ": DONE" in done.err, done
