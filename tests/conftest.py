"""What tests share: a schema with one of everything, and a small project of its own.

compose_text    compose texts given in the test, with the schema of tests/data/demo.proto
run             a Run in tmp_path
garden          a project in tmp_path, driven through its own run.py in a process of its own
"""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from heyhi.compose import Composition, compose
from heyhi.project import Project
from heyhi.protos import generate
from heyhi.runs import Run

DATA = Path(__file__).parent / "data"


# ---- The config language ------------------------------------------------------------------------


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The editable messages of demo.proto, as a module."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{DATA}", f"--python_out={folder}"]
    subprocess.run([*command, "demo.proto"], check=True)
    sys.path.insert(0, str(folder))
    module = importlib.import_module("demo_pb2")
    from heyhi.config import add_methods

    add_methods(module.DESCRIPTOR)
    return module


class ComposeText:
    """Composes a base config from its text. Chunks are written by their name below conf/common."""

    def __init__(self, root: Path, demo: Any) -> None:
        self.project = Project(root)
        self.demo = demo
        self.base = root / "conf" / "base.prototxt"
        (root / "conf" / "common").mkdir(parents=True)

    def write(self, name: str, text: str) -> Path:
        """Write a file below the project's root."""
        path = self.project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def __call__(self, text: str, *overrides: str, **chunks: str) -> Composition:
        for name, chunk in chunks.items():
            self.write(f"conf/common/{name.replace('__', '/')}.prototxt", chunk)
        self.write("conf/base.prototxt", text)
        return compose(self.base, overrides, self.project, self.demo.MetaCfg)


@pytest.fixture
def compose_text(tmp_path: Path, demo: Any) -> ComposeText:
    """compose_text("grow { lr: 1 }", "lr=2", soil__deep="depth: 2") -> Composition."""
    return ComposeText(tmp_path, demo)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that was not started; its folder is there."""
    folder = tmp_path / "p" / "it"
    folder.mkdir(parents=True)
    return Run("p/it", folder)


# ---- A project of its own -----------------------------------------------------------------------


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


class Garden:
    """A project in a temporary folder, with its own run.py and its own experiment root."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root = root
        self.home = home
        self.exp = home / "exp"
        self.count_file = home / "executions.txt"

    def environment(self, **more: str) -> dict[str, str]:
        """What its processes see; nothing of the tests' own project."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HH_", "HEYHI", "SLURM"))}
        own = {"HH_EXP_DIR": str(self.exp), "HOME": str(self.home), "GARDEN_COUNT": str(self.count_file)}
        return {**kept, **own, **more}

    def command(self, *words: str) -> list[str]:
        """The command line of its run.py."""
        return [sys.executable, str(self.root / "run.py"), *words]

    def __call__(
        self, *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, stdin: str = ""
    ) -> Done:
        """Run its run.py to the end."""
        done = subprocess.run(
            self.command(*words),
            cwd=cwd or self.root,
            env=self.environment(**(env or {})),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def popen(self, *words: str, **options: Any) -> "subprocess.Popen[str]":
        """Start its run.py, and go on."""
        return subprocess.Popen(
            self.command(*words),
            cwd=options.pop("cwd", self.root),
            env=self.environment(**options.pop("env", {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def executions(self, word: str = "start") -> int:
        """How often a task began (or came to its end)."""
        if not self.count_file.exists():
            return 0
        return sum(line.startswith(word) for line in self.count_file.read_text().splitlines())

    def folder(self, *words: str) -> Path:
        """The run folder of a command line."""
        done = self(*words, "--print-out-dir")
        assert done.status == 0, done.err
        return Path(done.out.strip())


@pytest.fixture(scope="session")
def garden_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its generated modules, made once."""
    root = tmp_path_factory.mktemp("template") / "garden"
    shutil.copytree(DATA / "project", root)
    generate(Project(root))
    return root


@pytest.fixture
def make_garden(tmp_path: Path, garden_template: Path) -> Callable[[str], Garden]:
    """make_garden("a name"): the project in a folder of that name."""

    def make(name: str) -> Garden:
        root = tmp_path / name
        shutil.copytree(garden_template, root)
        home = tmp_path / f"home of {name}"
        home.mkdir()
        return Garden(root, home)

    return make


@pytest.fixture
def garden(make_garden: Callable[[str], Garden]) -> Garden:
    """The project in a folder of its own."""
    return make_garden("garden")
