import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heyhi.cli.commands import _COMMANDS
from heyhi.cli.completion import NotOurs, answer, complete
from heyhi.cli.shells import split
from heyhi.config.outline import OUTLINE
from tests.conftest import DATA, FULL, ComposeText, Garden

FILES = {
    "run.py": "",
    "conf/full.prototxt": f"grow {{ {FULL} }}",
    "conf/some/a.prototxt": "pick { what: 'x' }",
    "conf/some/b.prototxt": "pick { not yet right",
    "conf/some/deep/c.prototxt": "odd { }",
    "conf/some/deep/tab.prototxt": r"pick { what: 'a\tb' }",
    "conf/common/whole.prototxt": "grow { }",
    "conf/some/chunk.prototxt": "depth: 3",
    "conf/chunks/only.prototxt": "depth: 3",
    "conf/broken.prototxt": "grow { sed: 1 }",
    "conf/common/soil/deep.prototxt": "depth: 2",
    "conf/common/soil/not.prototxt": "litres: 2",
    "conf/common/soil/wrong.prototxt": "depth: 'x'",
    "conf/common/shared.prototxt": "kind: '{{ROOT_DIR}}'",
    "conf/common/trees/big.prototxt": "size: 2",
    "conf/common/sub/soils/rich.prototxt": "# Dark.\nkind: 'peat'",
    "other/poor.prototxt": "kind: 'sand'",
    "sweep.sh": "",
    "runs/more.sh": "",
    "data.csv": "",
    ".hidden/x.sh": "",
    "profiles/local/config.yaml": "",
    "profiles/slurm/config.yaml": "",
}
RUNS = ("p/a/it/seed@1_00000001", "p/a/it/seed@2_00000002", "p/b/it/seed@2_00000002", "adhoc/x")


@pytest.fixture
def completed(
    compose_text: ComposeText, outline_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[str]]:
    """completed("python run.py -c"): what the last word may become."""
    root = compose_text.project.root
    for name, text in FILES.items():
        compose_text.write(name, text)
    shutil.copy(DATA / "demo.proto", root / "conf" / "conf.proto")
    (root / "conf" / OUTLINE).write_text(outline_text)
    for run in RUNS:
        (tmp_path / "exp" / run).mkdir(parents=True)
        (tmp_path / "exp" / run / "heyhi.json").touch()
    monkeypatch.setenv("HH_EXP_DIR", str(tmp_path / "exp"))
    monkeypatch.setenv("HEYHI_PROJECT", str(root))

    def completed(line: str, cwd: Path = root) -> list[str]:
        return [one.text for one in complete(split(line)[0], _COMMANDS, cwd)]

    return completed


# What may stand at the end of `python run.py -c conf/full ...`; of grow, with all its fields set.
OVERRIDES = {
    # keys, step by step
    "see": "seed=",
    "w": "wet= weights. watering.",
    "--se": "--seed=",
    "soil": "soil. soil=",
    "so": "soil.",
    "soil.": "soil.depth= soil.kind=",
    "--soil.k": "--soil.kind=",
    "watering.": "watering.drip. watering.drip= watering.can= watering.rain= watering.note= watering.hours=",
    "watering.drip.": "watering.drip.litres=",
    "launcher.slurm.p": "launcher.slurm.partition=",
    "tree.left.left.si": "tree.left.left.size=",
    "helper.": "helper.name= helper.soil. helper.next.",
    "nosuch": "",
    "nosuch.": "",
    "seed.": "",
    "seed": "seed=",
    # elements
    "ta": "tags.",
    "tags": "tags. tags=",
    "tags.": "tags.0= tags.1= tags.-1=",
    "tags.-": "tags.-1=",
    "plants.": "plants.0. plants.1. plants.-1.",
    "plants.0": "plants.0. plants.0=",
    "plants.0.": "plants.0.name= plants.0.height= plants.0.soil.",
    "plants.7.soil.": "plants.7.soil.depth= plants.7.soil.kind=",
    "labels.": 'labels."a.b"=',
    "labels.new": "labels.new=",
    "prices.": "prices.-3= prices.10=",
    "beds.": "beds.n.",
    "beds.n.he": "beds.n.height=",
    "beds.new.he": "beds.new.height=",
    "lights.": "lights.true=",
    # values
    "wet=": "wet=true wet=false wet=NULL",
    "wet=t": "wet=true",
    "--wet=f": "--wet=false",
    "colour=": "colour=NONE colour=RED colour=GREEN colour=ODD colour=NULL",
    "colour=G": "colour=GREEN",
    "colours.0=R": "colours.0=RED",
    "lights.true=G": "lights.true=GREEN",
    "lr=": "lr=0.1 lr=NULL",
    "blob=": "blob=\\377 blob=NULL",
    "soil=": "soil=SELECT soil=NULL",
    "watering.can=S": "watering.can=SELECT",
    "plants.0=": "plants.0=SELECT",
    "tags=": "tags=NULL",
    "tags.0=": "tags.0=a",
    "tags.1=": "tags.1=\\NULL",
    'labels."a.b"=': 'labels."a.b"=\\SELECT labels."a.b"=NULL',
    "labels.new=": "labels.new=NULL",
    "name=da": "",
    "name=run": "",
    "name=./r": "name=./run.py name=./runs/",
    "seed=x": "",
    "seed=./": "",
    "nosuch=": "",
    "lr={0.1,": "",
    # includes
    "Iso": "Isoil=",
    "Isoil": "Isoil. Isoil=",
    "I.so": "I.soil=",
    "Itree": "Itree. Itree=",
    "Itree.l": "Itree.left=",
    "Iplants.": "Iplants.0= Iplants.1= Iplants.-1=",
    "Iplants.0.": "Iplants.0.soil=",
    "It": "Iterations= Itree=",
    "Itags": "",
    "Isoil=": "Isoil=shared Isoil=deep Isoil=sub/",
    "I.soil=d": "I.soil=deep",
    "Isoil=soil/": "Isoil=soil/deep",
    "Isoil=sub/soils/": "Isoil=sub/soils/rich",
    "Isoil=other/": "Isoil=other/poor",
    "Iplants.0.soil=": "Iplants.0.soil=shared Iplants.0.soil=soil/ Iplants.0.soil=sub/",
    "Itree=": "Itree=trees/",
    "Itree=trees/": "Itree=trees/big",
    "Iseed=": "",
    "I=": "",
    # after flags
    "--grid see": "seed=",
    "--grid seed=1 wet=t": "wet=true",
    "--explain se": "seed",
    "--explain soil.": "soil.depth soil.kind",
    "--explain Iso": "",
    "--help-cfg see": "seed seed=",
    "--mode dryrun see": "seed=",
}


@pytest.mark.parametrize(("typed", "texts"), OVERRIDES.items(), ids=OVERRIDES)
def test_overrides_by_the_schema(completed: Callable[[str], list[str]], typed: str, texts: str) -> None:
    line = "python run.py -c conf/full " + typed.replace('"', '\\"')
    assert completed(line) == texts.split()


LINES = {
    # flags of run.py, and their values
    "python run.py ": "-c",
    "python run.py --print-": "--print-flat --print-flat-all --print-out-dir",
    "python run.py --c": "--cfg --checkpoint",
    "python run.py --mode ": "gentle_start start_restart start_continue restart dryrun",
    "python run.py --mode=re": "--mode=restart",
    "python run.py --log-level D": "DEBUG",
    "python run.py --table ./d": "./data.csv",
    "python run.py --table=d": "--table=data.csv",
    "python run.py --checkpoint r": "runs/",
    "python run.py --snapshot r": "runs/",
    "python run.py --out p/": "p/a/ p/b/",
    "python run.py --force --wa": "--wait",
    "python run.py --explain s": "",
    # configs: those that set a task
    "python run.py -c ": "conf/",
    "python run.py -c conf/": "conf/broken.prototxt conf/full.prototxt conf/some/",
    "python run.py -c conf/some/": "conf/some/a.prototxt conf/some/b.prototxt conf/some/deep/",
    "python run.py -c ./conf/f": "./conf/full.prototxt",
    "python run.py --cfg=conf/f": "--cfg=conf/full.prototxt",
    "python run.py -c conf/full.prototxt --cfg conf/so": "conf/some/",
    "python run.py -c conf/some/a wh": "what=",
    "python run.py --cfg=conf/some/a wh": "what=",
    "python run.py -c conf/some/deep/c word=": r"word=\NULL word=\SELECT word=NULL",
    "python run.py -c conf/some/deep/tab what=": "what=NULL",
    "python run.py -c conf/some/deep/c I": "I= Isoil=",
    # of a config that is wrong, or not there, there are no overrides
    "python run.py -c conf/broken se": "",
    "python run.py -c conf/broken --mode=g": "--mode=gentle_start",
    "python run.py -c conf/some/chunk de": "",
    "python run.py -c nosuch se": "",
    # how run.py is called
    "python3.12 -u ./run.py --wa": "--wait",
    "/usr/bin/python run.py --wa": "--wait",
    "./run.py --wa": "--wait",
    "uv run run.py --wa": "--wait",
    "uv run --offline python run.py --wa": "--wait",
    # heyhi
    "heyhi pl": "plan",
    "heyhi nosuch ": "",
    "heyhi pp conf/so": "conf/some/",
    "heyhi pp conf/full wet=t": "wet=true",
    "heyhi pp conf/full wet=t see": "seed=",
    "heyhi plan ": "conf/ exp/ other/ profiles/ runs/ sweep.sh",
    "heyhi plan sweep.sh ": "",
    "heyhi plan sweep.sh --m": "--mode",
    "heyhi plan --mode dryrun runs/": "runs/more.sh",
    "heyhi start --profile ": "local slurm",
    "heyhi start --all": "",
    "heyhi kill ": "adhoc/ p/",
    "heyhi kill p/": "p/a/ p/b/",
    "heyhi kill p/a/it/s": "p/a/it/seed@1_00000001 p/a/it/seed@2_00000002",
    "heyhi kill seed": "seed@1_00000001",
    "heyhi kill adhoc/x p/b": "p/b/",
    "heyhi summary sw": "sweep.sh",
    "heyhi summary sweep.sh p/": "p/a/ p/b/",
    "heyhi summary sweep.sh --o": "--over",
    "heyhi migrate --": "--check --help",
    "heyhi completion ": "bash zsh fish",
    "heyhi completion --": "--distrust --help --install --trust",
    "heyhi validate ": "",
}


@pytest.mark.parametrize(("line", "texts"), LINES.items(), ids=LINES)
def test_lines(completed: Callable[[str], list[str]], line: str, texts: str) -> None:
    assert sorted(completed(line)) == sorted(texts.split())


NOT_OURS = [
    "python ",
    "python run.py",
    "python other.py run.py ",
    "python -m pytest run.py ",
    "python -c 'pass' run.py ",
    "python some/run.py ",  # of no project
    "cat run.py ",
    "uv add run.py ",
    "ls ",
    # what is a file's name, whatever the command, or is for the shell to expand
    "python run.py -c conf/full > wet",
    "python run.py -c conf/full 2>>wet",
    "python run.py -c conf/full &>",
    "python run.py < ",
    "heyhi plan sweep.sh > ",
    "heyhi plan $HOME/",
    "python run.py -c $PWD/conf/",
]


@pytest.mark.parametrize("line", NOT_OURS)
def test_other_lines_are_left_to_the_shell(completed: Callable[[str], list[str]], line: str) -> None:
    with pytest.raises(NotOurs):
        completed(line)


def test_configs_count_from_the_cwd_and_from_the_project(
    completed: Any, compose_text: ComposeText, tmp_path: Path
) -> None:
    root = compose_text.project.root
    assert completed(f"python {root}/run.py -c ", root / "conf" / "some") == [
        "conf/",
        "a.prototxt",
        "b.prototxt",
        "deep/",
    ]
    assert completed(f"python {root}/run.py -c ", root.parent) == [f"{root.name}/", "conf/"]


TOLD = {
    ("bash", "lr", "lr"): ["lr="],
    ("zsh", "lr", ""): ["lr=\tfloat"],
    ("fish", "lr", ""): ["lr=\tfloat"],
    ("bash", "colour=GR", "GR"): ["GREEN "],
    ("bash", "'colour=GR", "colour=GR"): ["colour=GREEN"],
    ("bash", "'colour=GR", "'colour=GR"): ["colour=GREEN"],
    ("zsh", "colour=GR", ""): ["colour=GREEN \t"],
    ("fish", "colour=GR", ""): ["colour=GREEN\t"],
    ("zsh", "colour=O", ""): ["colour=ODD \tas it is"],
    ("zsh", "--wai", ""): ["--wait \twait for the end of the run and return its exit status"],
    ("zsh", "soi", ""): ["soil.\tSoil"],
}


@pytest.mark.parametrize(("shell", "typed", "tail"), TOLD)
def test_what_a_shell_is_told(
    completed: Any, compose_text: ComposeText, shell: str, typed: str, tail: str
) -> None:
    line = f"python run.py -c conf/full {typed}"
    assert answer(shell, line, tail, _COMMANDS, compose_text.project.root) == TOLD[shell, typed, tail]


def test_every_command_says_in_a_line_what_it_does() -> None:
    assert all((command.do.__doc__ or "").partition("\n")[0] for command in _COMMANDS.values())


# ---- In a process ---------------------------------------------------------------------------------


def press(garden: Garden, line: str, code: str = "") -> tuple[int, list[str], str]:
    """What a shell's script is told: the exit status, the words, and what is on stderr."""
    call = f"import sys; from heyhi.commands import main{code}; main(['--complete', 'fish', {line!r}, ''])"
    done = garden.python("-c", call)
    return done.status, [text.partition("\t")[0] for text in done.out.splitlines()], done.err


BROKEN: dict[str, Callable[[Garden], object]] = {
    "a schema": lambda garden: (garden.root / "conf/conf.proto").write_text("message {"),
    "an outline": lambda garden: (garden.root / "conf" / OUTLINE).write_text('{"root": "x", "types": {'),
    "no outline": lambda garden: (garden.root / "conf" / OUTLINE).unlink(),
    "a config": lambda garden: (garden.root / "conf/beds/carrot.prototxt").write_text("grow {"),
    "an include": lambda garden: (garden.root / "conf/common/soil/deep.prototxt").write_text("dept: 1"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_no_candidate_and_no_word(garden: Garden, what: str) -> None:
    BROKEN[what](garden)
    before = sorted(garden.root.rglob("*.py*"))
    status, _, told = press(garden, "python run.py -c conf/beds/carrot se")
    assert (status, told) == (0, "")
    assert press(garden, "python run.py -c conf/beds/carrot --wa") == (0, ["--wait"], "")
    assert press(garden, "python run.py -c conf/b") == (0, ["conf/beds/"], "")
    made = set(garden.root.rglob("*.py*")) - set(before)
    assert not [path for path in made if "__pycache__" not in path.parts]  # nothing was made


def test_a_line_of_something_else_has_status_1(garden: Garden) -> None:
    assert press(garden, "python other.py run.py ") == (1, [], "")


def test_a_key_press_loads_little(garden: Garden) -> None:
    code = "; import atexit, os; os._exit = sys.exit; "
    code += "atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    status, words, err = press(garden, "python run.py -c conf/beds/carrot seas", code)
    assert (status, words) == (0, ["season="])
    loaded = {name.partition(".")[0] for name in err.split()} | set(err.split())
    heavy = {
        "snakemake",
        "pandas",
        "grpc_tools",
        "numpy",
        "submitit",
        "psutil",
        "subprocess",
        "google",
        "run",
    }
    ours = {"heyhi.config.composer", "heyhi.config.schema", "heyhi.cli.run_py"}
    ours |= {"heyhi.runs.folder", "heyhi.runs.ids", "heyhi.runs.status"}
    assert "heyhi.cli.complete_config" in loaded
    assert not loaded & (heavy | ours)
    status, words, err = press(garden, "python run.py --wa", code)
    assert (status, words) == (0, ["--wait"])
    assert "heyhi.cli.complete_config" not in err.split()


def test_a_fifo_among_the_files_that_are_read_holds_up_no_key_press(garden: Garden) -> None:
    for name in ("conf/.heyhi_protos.json", "conf/beds/fifo.prototxt"):
        path = garden.root / name
        kept = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        status, words, _ = press(garden, "python run.py -c conf/beds/")
        assert (status, "conf/beds/carrot.prototxt" in words) == (0, True)
        path.unlink()
        if kept is not None:
            path.write_bytes(kept)
