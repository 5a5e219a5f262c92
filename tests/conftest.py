"""What tests share: a schema with one of everything, and a small project of its own.

compose_text    compose texts given in the test, with the schema of tests/data/demo.proto
run             a Run in tmp_path
batch_of        a Batch of command lines given in the test
garden          a project in tmp_path, driven through its own run.py in a process of its own
demo_project    the same with the schema of tests/data/demo.proto, and no configs
"""

import hashlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from google.protobuf.descriptor import FieldDescriptor
from grpc_tools import protoc

from heyhi.batch.capture import Captured, Line
from heyhi.batch.entries import Batch, BatchError, compose_lines
from heyhi.config.composer import Composition, compose
from heyhi.config.fields import fields_of, key_text, map_value
from heyhi.config.outline import OUTLINE
from heyhi.config.scalars import scalar_of
from heyhi.config.schema import generate
from heyhi.errors import ConfigError
from heyhi.project import Project
from heyhi.runs.folder import Run
from heyhi.runs.processes import this_host
from heyhi.runs.status import Status

if TYPE_CHECKING:
    from tests.cluster import Cluster

# Whoever starts the tests by nohup, or behind &, has these ignored; so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

#: What all errors say of a name that is no field.
NO_FIELD = "has no field"
DATA = Path(__file__).parent / "data"
HERE = Path(__file__).resolve().parent.parent


# ---- The config language ------------------------------------------------------------------------

# A Grow with one of everything.
FULL = """
seed: 1 big: -5 count: 3 total: 18446744073709551615 lr: 0.1 precise: 0.1 wet: true dry: false
name: "it's" blob: "\\377" colour: ODD tags: ["a", "NULL"] numbers: [1, -2] weights: [0.1, inf]
colours: [RED, ODD] plants { name: "x" } plants { } labels { key: "a.b" value: "SELECT" }
prices { key: -3 value: 0.5 } prices { key: 10 value: 2 } beds { key: "n" value { height: 2 } }
lights { key: true value: GREEN } watering { drip { } hours: 2 } tree { left { } } launcher { local { } }
"""


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The editable messages of demo.proto, as a module."""
    folder = tmp_path_factory.mktemp("demo")
    assert protoc.main(["protoc", f"-I{DATA}", f"--python_out={folder}", "demo.proto"]) == 0
    sys.path.insert(0, str(folder))
    module = importlib.import_module("demo_pb2")
    from heyhi.config.frozen import add_methods

    add_methods(module.DESCRIPTOR)
    return module


@pytest.fixture(scope="session")
def outline_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is written beside the modules of demo.proto."""
    conf = tmp_path_factory.mktemp("outline") / "conf"
    conf.mkdir()
    shutil.copy(DATA / "demo.proto", conf / "conf.proto")
    generate_here(conf.parent)
    return (conf / OUTLINE).read_text()


def generate_here(root: Path) -> None:
    """Make a project's generated modules, by a protoc in this very process: all tests may have them."""

    def run(command: list[str], cwd: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
        with chdir(cwd):
            status = protoc.main(command[command.index("grpc_tools.protoc") :])
        return subprocess.CompletedProcess(command, status, "", "protoc says it on stderr")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("subprocess.run", run)
        generate(Project(root))


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


def sketch_of(message: Any) -> dict[str, Any]:
    """A message as heyhi.cli.complete_config says it: scalars are texts of overrides."""
    found: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        kind = fields_of(message.DESCRIPTOR)[descriptor.name].kind
        if kind == "map":
            write = _sketched(map_value(descriptor))
            found[descriptor.name] = {key_text(descriptor, key): write(value[key]) for key in value}
        elif kind == "list":
            found[descriptor.name] = [_sketched(descriptor)(one) for one in value]
        else:
            found[descriptor.name] = _sketched(descriptor)(value)
    return found


def _sketched(field: FieldDescriptor) -> Callable[[Any], Any]:
    return sketch_of if field.message_type is not None else scalar_of(field).write


def show(message: Any) -> str:
    """A message on one line."""
    return " ".join(str(message.to_frozen()).split())


def problem(call: Callable[[], object], root: Path) -> str:
    """What the error of a call says, the project's folder left out; it is one line."""
    with pytest.raises(ConfigError) as caught:
        call()
    text = str(caught.value).replace(f"{root}/", "")
    assert "\n" not in text
    return text


class BatchOf:
    """Makes a batch of command lines, each after `-c conf/it.prototxt`, numbered from 1."""

    def __init__(self, compose_text: ComposeText) -> None:
        self.project = compose_text.project
        self.write = compose_text.write
        self.exp = self.project.experiment_root
        self.write("conf/it.prototxt", "grow { }")

    def lines(self, *texts: str | list[str]) -> Captured:
        """The lines, as they are captured of a script."""
        root = self.project.root
        return Captured(
            tuple(
                Line(("-c", "conf/it.prototxt", *words), str(root / "run.py"), root, f"it.sh:{number}")
                for number, text in enumerate(texts, 1)
                for words in [text.split() if isinstance(text, str) else text]
            )
        )

    def __call__(self, *texts: str | list[str]) -> Batch:
        return compose_lines("it.sh", self.lines(*texts), self.project)

    def run(self, text: str | list[str]) -> Run:
        """The run of a line."""
        return self(text).entries[0].run

    def errors(self, *texts: str | list[str]) -> list[str]:
        """What is wrong with lines, the experiment root called EXP."""
        with pytest.raises(BatchError) as caught:
            self(*texts)
        told = [f"{problem.where}: {problem.problem}" for problem in caught.value.problems]
        return [text.replace(str(self.exp), "EXP").replace(f"{self.project.root}/", "") for text in told]


@pytest.fixture
def batch_of(
    compose_text: ComposeText, demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> BatchOf:
    """batch_of("lr=1", "lr=2 --after it"): a Batch, with the schema of tests/data/demo.proto."""
    monkeypatch.setenv("HH_EXP_DIR", str(tmp_path / "exp"))
    monkeypatch.setattr("heyhi.batch.entries.load_messages", lambda project: demo.MetaCfg)
    monkeypatch.chdir(tmp_path)
    return BatchOf(compose_text)


def end_as(run: Run, status: Status) -> None:
    """Leave in a run's folder what a run leaves that is DONE, DEAD or (elsewhere) UNKNOWN."""
    run.folder.mkdir(parents=True, exist_ok=True)
    if not run.provenance.exists():
        run.provenance.write_text("{}\n")
    host = "elsewhere" if status is Status.UNKNOWN else this_host()
    run.jobid.write_text(f"local:{host}:123")
    if status is Status.DONE:
        run.result.write_text("null")
    if status is Status.DEAD:
        run.error.write_text("Traceback\nValueError: too dry\n")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that was not started; its folder is there, and HeyHi's."""
    run = Run("p/it", tmp_path / "p" / "it")
    run.folder.mkdir(parents=True)
    run.provenance.write_text("{}\n")
    return run


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Return once the condition holds; fail if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


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
        self.more: dict[str, str] = {}  # of the environment
        self.started: list[subprocess.Popen[str]] = []

    def environment(self, **more: str) -> dict[str, str]:
        """What its processes see; nothing of the tests' own project."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HH_", "HEYHI", "SLURM"))}
        own = {"HH_EXP_DIR": str(self.exp), "HOME": str(self.home), "GARDEN_COUNT": str(self.count_file)}
        return {**kept, **own, **self.more, **more}

    def command(self, *words: str) -> list[str]:
        """The command line of its run.py."""
        return [sys.executable, str(self.root / "run.py"), *words]

    def __call__(
        self, *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, stdin: str = ""
    ) -> Done:
        """Run its run.py to the end."""
        return self.python(str(self.root / "run.py"), *words, cwd=cwd, env=env, stdin=stdin)

    def python(
        self, *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, stdin: str = ""
    ) -> Done:
        """Run Python in it: `-m heyhi.commands pp`, `-c CODE`."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=cwd or self.root,
            env=self.environment(**(env or {})),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def popen(self, *words: str, **options: Any) -> "subprocess.Popen[str]":
        """Start its run.py, and go on."""
        process = subprocess.Popen(
            self.command(*words),
            cwd=options.pop("cwd", self.root),
            env=self.environment(**options.pop("env", {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kill what a test that failed left running, so that only this test fails."""
        for process in self.started:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()

    def executions(self, word: str = "start") -> int:
        """How often a task began (or came to its end)."""
        if not self.count_file.exists():
            return 0
        return sum(line.startswith(word) for line in self.count_file.read_text(errors="replace").splitlines())

    def folder(self, *words: str) -> Path:
        """The run folder of a command line. Asked once for the same words in a project of the same files."""
        asked = (self.root.name, words, tuple(self.more.items()), self._sources())
        if asked not in _FOLDERS:
            done = self(*words, "--print-out-dir")
            assert done.status == 0, done.err
            folder = Path(done.out.strip())
            if not folder.is_relative_to(self.exp) or str(self.root.parent) in str(words):
                return folder
            _FOLDERS[asked] = folder.relative_to(self.exp)
        return self.exp / _FOLDERS[asked]

    def _sources(self) -> str:
        """A hash of all that may have a say in which folder a run has."""
        digest = hashlib.sha256()
        for path in sorted(self.root.rglob("*.*")):
            if path.suffix in {".prototxt", ".proto", ".py", ".toml"} and path.is_file():
                digest.update(b"%s\0%s\0" % (os.fsencode(path.relative_to(self.root)), path.read_bytes()))
        return digest.hexdigest()


_FOLDERS: dict[Any, Path] = {}  # what is asked for a run's folder -> that folder, below the experiment root


@pytest.fixture(scope="session")
def garden_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its generated modules, made once."""
    root = tmp_path_factory.mktemp("template") / "garden"
    shutil.copytree(DATA / "project", root)
    # As a user's project is made.
    shutil.copy(HERE / "Snakefile", root)
    shutil.copytree(HERE / "profiles", root / "profiles")
    (root / "workflows").mkdir()
    generate_here(root)
    return root


@pytest.fixture
def make_garden(processes: None, tmp_path: Path, garden_template: Path) -> Iterator[Callable[[str], Garden]]:
    """make_garden("a name"): the project in a folder of that name."""
    made: list[Garden] = []

    def make(name: str) -> Garden:
        root = tmp_path / name
        shutil.copytree(garden_template, root)
        home = tmp_path / f"home of {name}"
        home.mkdir()
        made.append(Garden(root, home))
        return made[-1]

    yield make
    for garden in made:
        garden.end()


@pytest.fixture
def garden(make_garden: Callable[[str], Garden]) -> Garden:
    """The project in a folder of its own."""
    return make_garden("garden")


@pytest.fixture(scope="session")
def cluster(processes: None) -> "Cluster":
    """A real Slurm on this machine, which stays up; skips where there can be none."""
    from tests.cluster import Cluster, why_not

    if reason := why_not():
        pytest.skip(reason)
    cluster = Cluster()
    cluster.up()
    return cluster


@pytest.fixture
def slurm_garden(garden: Garden, cluster: "Cluster") -> Garden:
    """The garden on a machine of the cluster."""
    garden.more.update(cluster.environment())
    return garden


@pytest.fixture(scope="session")
def demo_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with demo.proto as its schema, its generated modules made once."""
    root = tmp_path_factory.mktemp("template") / "demo"
    shutil.copytree(DATA / "project", root, ignore=shutil.ignore_patterns("*.prototxt", "conf.proto"))
    shutil.copy(DATA / "demo.proto", root / "conf" / "conf.proto")
    generate_here(root)
    return root


@pytest.fixture
def demo_project(processes: None, tmp_path: Path, demo_template: Path) -> Garden:
    """The project with one of everything in its schema, and no configs."""
    root = tmp_path / "demo"
    shutil.copytree(demo_template, root)
    return Garden(root, tmp_path)


@pytest.fixture
def small_disk(processes: None, tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """small_disk(64): a folder on a disk of 64 KB of its own. Skips where none can be mounted."""
    mounted: list[Path] = []

    def make(kilobytes: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


# ---- What starts processes, and what does not ---------------------------------------------------

_STARTS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "pty.spawn", "subprocess.Popen"}
_started: list[str] = []  # how, by the test that runs


def _note_start(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _STARTS:
        _started.append(event)


sys.addaudithook(_note_start)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what has processes by its fixtures or its suite, before tests are chosen by their marks."""
    for item in items:
        has_suite = any(item.get_closest_marker(suite) for suite in ("faults", "pages", "slurm"))
        if has_suite or "processes" in getattr(item, "fixturenames", ()):
            item.add_marker("processes")


@pytest.fixture(scope="session")
def processes() -> None:
    """What a fixture asks for that starts processes: it marks all tests that use it."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test of `make test-fast` starts no process, nor do its fixtures."""
    yield
    if _started and item.get_closest_marker("processes") is None:
        pytest.fail(f"{_started[0]}: a test that starts processes has the mark `processes`", pytrace=False)


def pytest_runtest_logstart() -> None:
    _started.clear()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """For `-n auto`, return twice the number of cores, as half of the time tests wait.

    For `-n logical` (suites that compute all the time), the number of cores. None: xdist decides itself.
    """
    cores = len(os.sched_getaffinity(0))
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return cores if config.option.numprocesses == "logical" else 2 * cores


# ---- The last line ------------------------------------------------------------------------------

_skipped: dict[str, int] = {}  # reason -> how many tests
_tried: list[str] = []  # by the tests of faults, a line each


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        _skipped[reason] = _skipped.get(reason, 0) + 1
    if report.when == "call":
        _tried.extend(str(value) for name, value in report.user_properties if name == "tried")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """At how many points faults were tried, and what was left out."""
    for line in sorted(_tried):
        terminalreporter.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """What was skipped and why, as the very last line: a gap must not hide in a wall of dots."""
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        said = "; ".join(f"{count} tests ({reason})" for reason, count in _skipped.items())
        others = (
            "; not run here: make test-pages, test-slurm, test-kill, test-faults"
            if "not " in config.option.markexpr
            else ""
        )
        print(f"skipped: {said or 'nothing'}{others}")
