"""Faults at every file call of a scenario: what is left is whole, tells the truth, and the next call goes on.

    python -m tests.faults start ENOSPC NEWFOLDER      one scenario, one fault, at each of its calls: as JSON

A first pass counts the file calls. Then for each of them the world is put back to how it was, the scenario
is done once more in a forked child, and its parent lets that one call fail, or be the last (see `syscalls`).
A fork of a process that has imported everything takes a few milliseconds. How often a task began and ended is
known from a file outside, in which it leaves a line: every execution has a token, which is in its result too.
"""

import errno
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heyhi.cli import run_py
from heyhi.config import schema
from heyhi.launch import schedulers
from heyhi.project import Project
from heyhi.runs import fingerprints
from heyhi.runs.folder import Run, read_provenance
from heyhi.runs.status import RunState, Status
from tests.syscalls import KILL, TORN, Call, supervise

__all__ = ["FAULTS", "SCENARIOS", "Report", "Said", "World", "alone", "end_children", "last_line", "until"]

DATA = Path(__file__).parent / "data"
HERE = Path(__file__).resolve().parent.parent
CARROT = ("-c", "conf/beds/carrot.prototxt")
PLAIN = ("--checkpoint=",)  # without a copy of the code
_PATIENCE = 30  # seconds that one call of a command may take

#: What is done at a call, by name.
FAULTS: dict[str, int] = {
    "kill": KILL,
    "torn": TORN,
    "ENOSPC": errno.ENOSPC,
    "EIO": errno.EIO,
    "EACCES": errno.EACCES,
    "EMFILE": errno.EMFILE,
}

# Files of no world: Python and its packages, and this code itself. All of it is imported before.
_CODE = tuple(f"{os.path.realpath(folder)}/" for folder in (sys.prefix, sys.base_prefix, HERE))


# ---- The world ----------------------------------------------------------------------------------


class Said(NamedTuple):
    """How a command ended, and what it said. Status: minus a signal's number; None: it hung."""

    status: int | None
    out: str
    err: str


class World:
    """A project, its experiment root, a home, and outside of them who watches: all in one folder."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.project, self.exp, self.home = base / "garden", base / "exp", base / "home"
        self.outside = base / "outside"
        self.evidence = self.outside / "evidence.txt"
        self.queue = self.outside / "queue"
        self.saved = base / "saved"
        self.nothing = os.open(os.devnull, os.O_RDONLY)
        self.left: set[object] = set()  # what children that were killed have left
        self.repeated = 0  # points after which the next calls were not tried: it left what another had
        self.folders: dict[tuple[str, ...], Path] = {}  # words of a command line -> its run's
        for folder in (self.exp, self.home, self.home / "tmp", self.queue, self.saved):
            folder.mkdir(parents=True)
        self.evidence.touch()
        for name in ("out.txt", "err.txt"):
            (self.outside / name).touch()
            (self.outside / name).chmod(0o666)  # a child may be another user
        shutil.copytree(DATA / "project", self.project)
        schema.generate(Project(self.project))
        _make_slurm(self.outside / "bin")
        self._have_environment()

    def _have_environment(self) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HH_", "HEYHI", "SLURM", "SBATCH"))}
        own = {"HH_EXP_DIR": str(self.exp), "HOME": str(self.home), "TMPDIR": str(self.home / "tmp")}
        own["HEYHI_KEEP_DIR"] = str(self.home / "kept")
        path = f"{self.outside / 'bin'}:{os.environ['PATH']}"
        os.environ.clear()
        os.environ.update(kept | own | {"PATH": path, "FAULTS_QUEUE": str(self.queue)})
        os.chdir(self.project)

    # -- what it is now

    def save(self) -> None:
        """Remember how it is now."""
        for folder in self._kept():
            shutil.copytree(folder, self.saved / folder.name, symlinks=True)

    def restore(self, *, project: bool) -> None:
        """Put it back to how it was; the project too, if it may have changed."""
        for folder in self._kept():
            if folder != self.project or project:
                shutil.rmtree(folder)
                shutil.copytree(self.saved / folder.name, folder, symlinks=True)
        os.chdir(self.project)

    def _kept(self) -> list[Path]:
        return [self.exp, self.home, self.project, self.outside]

    def executions(self) -> "Executions":
        """What the tasks have said of themselves."""
        begun: list[str] = []
        ended: list[str] = []
        for line in self.evidence.read_text().splitlines():
            word, token = line.split()
            (begun if word == "begin" else ended).append(token)
        return Executions(begun, ended)

    def why_not_counted(self, call: Call) -> str:
        """Of which kind a call is that is not about a file of the world, or of the machine; else empty."""
        if any(path.startswith(_CODE) for path in call.paths):
            return "calls on the code of Python and of HeyHi"
        if any(path.startswith(f"{self.outside}/") for path in call.paths):
            return "calls on what watches"
        other = re.match(r"/proc/(\d+)/", call.paths[0])
        if other and int(other[1]) not in children():
            return "calls on processes that are not the run's"
        return ""

    def is_counted(self, call: Call) -> bool:
        """True if a fault may be tried at it."""
        return self.why_not_counted(call) == ""

    def clear(self) -> None:
        """Leave nothing in it but the project."""
        for folder in (self.exp, self.home, self.queue):
            shutil.rmtree(folder)
            folder.mkdir()
        (self.home / "tmp").mkdir()
        self.evidence.write_text("")

    def is_left_anew(self, changes: int) -> bool:
        """Return False if another child was killed after as many changes, and the same files were there."""
        files = (path for folder in (self.exp, self.home, self.queue) for path in folder.rglob("*"))
        names = ((re.sub(r"\.[0-9a-f]{8}\.partial$", "", str(path)), path.lstat().st_size) for path in files)
        now = (changes, frozenset(names))
        is_new = now not in self.left
        self.left.add(now)
        return is_new

    # -- what is done in it

    def import_all(self, commands: Iterable[Callable[[], int]]) -> None:
        """Do them, and import in this process what they import: so a child does not."""
        import importlib

        schema.load_messages(Project(self.project))
        modules = self.outside / "modules.txt"
        for command in commands:

            def tell(command: Callable[[], int] = command) -> int:
                try:
                    return command()
                finally:
                    modules.write_text("\n".join(sys.modules))

            self.call(tell)
            for name in modules.read_text().splitlines():
                if name not in sys.modules:
                    try:
                        importlib.import_module(name)
                    except ImportError:
                        pass

    def child(self, call: Callable[[], int | None], argv: Sequence[str]) -> Callable[[], int]:
        """What a forked child is to do: call it as a program of its own would be."""

        def be() -> int:
            sys.argv = list(argv)
            for number, name in ((1, "out"), (2, "err")):
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
                file = os.open(self.outside / f"{name}.txt", flags, 0o666)
                os.dup2(file, number)
                os.close(file)
            os.dup2(self.nothing, 0)
            sys.stdin = open(0, closefd=False)  # noqa: SIM115
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
            status = _as_python_does(call)
            sys.stdout.flush()
            return status

        return be

    def run_py(self, *words: str) -> Callable[[], int]:
        """`python run.py WORDS`, for a child."""
        script = str(self.project / "run.py")
        return self.child(lambda: run_py.run(task, list(words), script), [script, *words])

    def run(self, *words: str) -> Run:
        """The run of a command line."""
        if words not in self.folders:
            done = self.call(self.run_py(*CARROT, *words, "--print-out-dir"))
            self.folders[words] = Path(done.out.strip())
        folder = self.folders[words]
        return Run(str(folder.relative_to(self.exp)), folder)

    def heyhi(self, *words: str) -> Callable[[], int]:
        """`heyhi WORDS`, for a child."""
        from heyhi.cli.commands import main

        return self.child(lambda: main(list(words)), ["heyhi", *words])

    def call(self, child: Callable[[], int], seconds: float = _PATIENCE) -> Said:
        """Do it in a forked child, with no fault."""
        pid = self.start(child)
        end = time.monotonic() + seconds
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return self.said(None)
            time.sleep(0.001)
        return self.said(os.waitstatus_to_exitcode(ended[1]))

    def start(self, child: Callable[[], int]) -> int:
        """Start it in a forked child, which is left to itself; its pid."""
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            status = child()
        finally:
            os._exit(status)

    def said(self, status: int | None) -> Said:
        """What the last child has said."""
        texts = [(self.outside / f"{name}.txt").read_text(errors="replace") for name in ("out", "err")]
        return Said(status, *texts)


class Executions(NamedTuple):
    """The tokens of the executions that have begun, and of those that have come to their end."""

    begun: list[str]
    ended: list[str]


def _as_python_does(call: Callable[[], int | None]) -> int:
    """The exit status of a program that is this call."""
    try:
        return call() or 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1


def task(cfg: Any, task: str, log_level: str) -> Any:
    """The task of the project: it leaves a line outside when it begins and when it comes to its end."""
    token = secrets.token_hex(8)
    _witness(f"begin {token}")
    print("growing", cfg.note)
    mine = Path("mine.txt")
    is_first = not mine.exists()
    if is_first:
        mine.write_text("a file of the task\n")
    if cfg.fail == "once" and is_first:
        raise ValueError("too dry")
    if cfg.seconds:
        time.sleep(cfg.seconds)
    _witness(f"end {token}")
    result = {"token": token, "lr": cfg.lr}
    if cfg.fail == "rich":
        Path("metrics.jsonl").write_text('{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.25}\n')
        return result | {"odd": {1, 2}}
    return result


def _witness(line: str) -> None:
    path = Path(os.environ["FAULTS_QUEUE"]).with_name("evidence.txt")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


# What the programs of Slurm tell, from files: a job a file, numbered from 1.
_SBATCH = """#!/bin/sh
cd "$FAULTS_QUEUE" || exit 1
for word; do case $word in --job-name=*) name=${word#--job-name=} ;; esac; done
id=$(($(ls | grep -c '^job') + 1))
cat > "script.$id"
echo "PENDING|None|$name" > "job.$id"
echo "$id"
"""
_SQUEUE = """#!/bin/sh
cd "$FAULTS_QUEUE" || exit 1
for file in job.*; do [ -e "$file" ] && echo "${file#job.}|$(cat "$file")"; done
exit 0
"""
_SCANCEL = """#!/bin/sh
cd "$FAULTS_QUEUE" || exit 1
for word; do [ -e "job.$word" ] && sed -i 's/^[A-Z]*/CANCELLED/' "job.$word"; done
exit 0
"""


def _make_slurm(folder: Path) -> None:
    """An outside world with Slurm's programs in it, whose state is files: no daemon has to be waited for."""
    folder.mkdir()
    for name, text in (("sbatch", _SBATCH), ("squeue", _SQUEUE), ("scancel", _SCANCEL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


# ---- A point ------------------------------------------------------------------------------------


class Point(NamedTuple):
    """One fault at one call: the call's number in its scenario, and how the child ended."""

    number: int
    fault: int
    call: Call
    in_task: bool
    said: Said
    is_repeated: bool = False  # it was killed, and has left what an earlier one of those has left

    @property
    def is_error(self) -> bool:
        """True if the call failed, and the process went on."""
        return self.fault > 0


class Report(NamedTuple):
    """What came of a scenario with one fault."""

    scenario: str
    fault: str
    calls: int  # file calls that were counted
    points: int  # of them tried
    left_out: dict[str, int]  # why -> how many
    problems: list[str]
    seconds: float  # of processor time


def alone(module: str, *words: str) -> list[str]:
    """The command of a module of tests; where root may do so, with a /proc that has few processes in it.

    What asks about all processes would else read those of the whole machine, at each of thousands of points.
    """
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    is_there = shutil.which("unshare") is not None
    works = is_there and subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0
    return [*(unshare if works else []), sys.executable, "-m", module, *words]


class Scenario(NamedTuple):
    """Something that is done in a world, and what must hold after a fault in it."""

    prepare: Callable[[World], object]
    act: Callable[[World], Callable[[], int]]
    check: Callable[[World, Point], Iterator[str]]
    before: Callable[[World], object] = lambda world: None  # for each point, once the world is put back
    every: int = 1  # of the calls that change nothing, each one of so many is tried
    changes_project: bool = False


_FEWER = "numbers above that of the last call, of which there were fewer this time"


def examine(name: str, fault: str, base: Path, *, only_changes: bool = False) -> Report:
    """Try one fault at every call of a scenario; or only at those that change something."""
    scenario = SCENARIOS[name]
    if only_changes:
        scenario = scenario._replace(every=1_000_000)
    world = World(base)
    _import_all(world, scenario)
    scenario.prepare(world)
    world.save()
    calls, ignored = _count(world, scenario)
    chosen, left_out = _choose(calls, scenario, FAULTS[fault])
    left_out.update(ignored)
    problems = []
    for number in chosen:
        found, reached = _try(world, scenario, number, FAULTS[fault])
        problems += [f"{name} {fault} at {number}: {problem}" for problem in found]
        if not reached:
            left_out[_FEWER] = left_out.get(_FEWER, 0) + 1
    if world.repeated:
        left_out["times the next calls, after a kill that left the same files as another"] = world.repeated
    seconds = round(sum(os.times()[:4]), 1)
    return Report(name, fault, len(calls), len(chosen), left_out, problems, seconds)


def _import_all(world: World, scenario: Scenario) -> None:
    scenario.prepare(world)
    world.save()
    scenario.before(world)
    world.import_all([scenario.act(world)])
    end_children()
    shutil.rmtree(world.saved)
    world.clear()


def _count(world: World, scenario: Scenario) -> tuple[list[Call], dict[str, int]]:
    """Do it once: every call that is counted, and how many are not, by reasons."""
    calls: list[Call] = []
    ignored: dict[str, int] = {}

    def note(call: Call) -> None:
        if why := world.why_not_counted(call):
            ignored[why] = ignored.get(why, 0) + 1
        else:
            calls.append(call)

    world.restore(project=scenario.changes_project)
    scenario.before(world)
    ended = supervise(scenario.act(world), note, _PATIENCE)
    end_children()
    said = world.said(ended.status)
    assert said.status == 0, f"without a fault: {said}"
    return calls, ignored


def _why_not_at(call: Call, fault: int) -> str:
    """Why a fault is not tried at a call; empty if it is."""
    if fault == TORN and call.size < 2:
        return "calls that write nothing"
    if fault > 0 and call.name == "close":
        return "errors of close: the kernel closes the file whatever it says"
    return ""


def _choose(calls: Sequence[Call], scenario: Scenario, fault: int) -> tuple[list[int], dict[str, int]]:
    """At which of the calls where a fault can be tried it is, and what is left out, by reasons."""
    chosen, left_out = [], dict[str, int]()
    possible = quiet = 0
    for call in calls:
        why = _why_not_at(call, fault)
        possible += not why
        if not why and not call.changes and scenario.every > 1:
            quiet += 1
            if quiet % scenario.every:
                why = "calls that change nothing"
                why += f", but for one in {scenario.every}" if scenario.every < 1000 else ""
        if why:
            left_out[why] = left_out.get(why, 0) + 1
        else:
            chosen.append(possible)
    return chosen, left_out


def _try(world: World, scenario: Scenario, number: int, fault: int) -> tuple[list[str], bool]:
    """One point: what is wrong after it, and whether it was reached."""
    world.restore(project=scenario.changes_project)
    scenario.before(world)
    seen = changes = 0
    at_start = world.executions()
    hit: list[tuple[Call, bool]] = []

    def decide(call: Call) -> int | None:
        nonlocal seen, changes
        changes += call.changes
        if hit or not world.is_counted(call) or _why_not_at(call, fault):
            return None
        seen += 1
        if seen != number:
            return None
        known = world.executions()
        in_task = len(known.begun) - len(at_start.begun) > len(known.ended) - len(at_start.ended)
        hit.append((call, in_task))
        return fault

    ended = supervise(scenario.act(world), decide, _PATIENCE)
    if not hit:
        end_children()
        return [], False
    call, in_task = hit[0]
    repeated = fault == KILL and not world.is_left_anew(changes - call.changes)
    point = Point(number, fault, call, in_task, world.said(ended.status), repeated)
    try:
        found = [*_of_the_end(world, point), *scenario.check(world, point)]
    finally:
        end_children()
    what = f"{call.name} {' '.join(path.replace(f'{world.base}/', '') for path in call.paths)}"
    return [f"{what}{' (in the task)' if in_task else ''}: {problem}" for problem in found], True


def _of_the_end(world: World, point: Point) -> Iterator[str]:
    """How the process itself ended."""
    status, _, err = point.said
    if status is None:
        yield f"hangs; it said {last_line(err)}"
    elif point.is_error:
        if status not in (0, 1, 2):
            yield f"exit status {status}: {last_line(err)}"
        if "Traceback (most recent call last)" in err and not point.in_task:
            yield f"a traceback: {last_line(err)}"
        said = err.strip() or any(world.exp.rglob("error.txt")) or any(world.exp.rglob("run.log"))
        if status and not said and not point.in_task:
            yield f"exit status {status} without a word"
    elif status != -signal.SIGKILL:
        yield f"exit status {status} of who was killed"


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "nothing"


def end_children() -> None:
    """Reap, and end if need be, what was started and left to itself."""
    for pid in children():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def children() -> set[int]:
    """The processes that this one has forked."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


# ---- A run --------------------------------------------------------------------------------------


class OneRun:
    """What is checked of a run: the words of its command line are `words`."""

    def __init__(self, world: World, *words: str) -> None:
        self.world = world
        self.words = (*CARROT, *words)
        self.run = world.run(*words)

    @property
    def state(self) -> RunState:
        """What it is, as its folder says."""
        return schedulers.read_state(self.run)

    def call(self, mode: str) -> Said:
        """`run.py` in a mode, with no fault."""
        return self.world.call(self.world.run_py(*self.words, "--mode", mode))

    def token(self) -> str | None:
        """The token in its result; None if there is none, or if it is torn."""
        try:
            return str(json.loads(self.run.result.read_text())["token"])
        except (FileNotFoundError, ValueError):
            return None


def _torn_files(run: Run) -> Iterator[str]:
    """Which files of a run's folder are neither whole nor absent."""
    files: tuple[tuple[Path, Callable[[str], object]], ...] = (
        (run.provenance, lambda text: isinstance(json.loads(text), dict)),
        (run.result, lambda text: set(json.loads(text)) == {"token", "lr"}),
        (run.config, _is_whole_config),
        (run.config_meta, _is_whole_config),
        (run.jobid, lambda text: re.fullmatch(r"local:[^:]+:\d+|submitting:\S+|\d+", text.strip())),
        (run.snapshot_link, lambda text: Path(text.strip()).is_dir()),
        *((path, json.loads) for path in (run.folder / "heyhi.owner", *run.folder.glob("ended.*"))),
    )
    for path, what in files:
        try:
            text = path.read_text()
        except FileNotFoundError:
            continue
        try:
            is_whole = bool(what(text))
        except ValueError:
            is_whole = False
        if not is_whole:
            yield f"{path.name} is torn: {text[:80]!r}"


def _is_whole_config(text: str) -> bool:
    return 'note: "carrot"' in text and text.endswith("\n") and text.count("{") == text.count("}")


def _untrue(one: OneRun, state: RunState, known: Executions, before: Executions) -> Iterator[str]:
    """What of a state is not so, after the process has ended that did the run."""
    token = one.token()
    if state.status not in (Status.NOT_STARTED, Status.DEAD, Status.DONE):
        yield f"nobody is at work, and it is {state.text}"
    if state.status is Status.DONE and "result at" not in state.text and token not in known.ended:
        yield f"DONE, but no execution came to its end with the result {token}"
    if state.status is Status.DONE:
        others = (one.run.config, one.run.config_meta, one.run.provenance, one.run.jobid)
        gone = [path.name for path in others if not path.exists()]
        if gone:
            yield f"DONE, but without {' '.join(gone)}"
    if state.status is Status.NOT_STARTED and len(known.begun) > len(before.begun):
        yield "NOT_STARTED, but its task has begun"


def check_run(world: World, point: Point, one: OneRun, before: Executions) -> Iterator[str]:
    """Its files are whole, its state is true, and further calls lead to DONE, with nothing done twice."""
    known, state = world.executions(), one.state
    yield from _torn_files(one.run)
    yield from _untrue(one, state, known, before)
    if point.said.status == 0 and state.status is not Status.DONE:
        yield f"exit status 0, but it is {state.text}: {last_line(point.said.err)}"
    if point.is_error and not point.in_task:
        yield from _lost(world, one, state, known, before)
    if point.is_repeated:
        world.repeated += 1
    else:
        yield from _goes_on(world, one)


def _lost(world: World, one: OneRun, state: RunState, known: Executions, before: Executions) -> Iterator[str]:
    """No error of a file loses what a task has computed."""
    for token in known.ended[len(before.ended) :]:
        if one.token() == token:
            continue
        kept = re.search(r"result at (.*)\)", state.text)
        places = [world.home, *([Path(kept[1])] if kept else [])]
        found = (path.read_text(errors="replace") for place in places for path in place.rglob("result.json"))
        if not any(token in text for text in found):
            yield f"the result of an execution is lost; it is {state.text}"


# Mode by mode, what a call does with a run of a status: whether its task is called once.
_TABLE = {
    "gentle_start": (Status.NOT_STARTED,),
    "start_continue": (Status.NOT_STARTED, Status.DEAD),
}


def _goes_on(world: World, one: OneRun) -> Iterator[str]:
    was_done = one.state.status is Status.DONE
    modes = ["gentle_start", "start_continue"]
    if one.state.status is Status.DEAD:  # else the second call is one after the end
        modes.append("gentle_start")
    for mode in modes:
        status, before = one.state.status, len(world.executions().begun)
        said = one.call(mode)
        after = len(world.executions().begun)
        wanted = before + (status in _TABLE[mode])
        if after != wanted:
            yield f"{mode} of {status.value}: {after - before} executions; it said {last_line(said.err)}"
        right = 1 if one.state.status is Status.DEAD else 0
        if said.status != right or "Traceback" in said.err:
            yield f"{mode} of {status.value}: exit status {said.status}: {last_line(said.err)}"
    if one.state.status is not Status.DONE:
        yield f"at the end it is {one.state.text}"
        return
    if one.token() not in world.executions().ended:
        yield f"the result at the end is of no execution; it is {one.state.text}"
    yield from _torn_files(one.run)
    if not was_done:  # else nobody has taken the claim since, who would have tidied up
        yield from _unclean(world, one)


def _unclean(world: World, one: OneRun) -> Iterator[str]:
    """What a run that has ended well should not look like."""
    left = [path.name for path in one.run.folder.iterdir() if path.name.endswith(".partial")]
    if left:
        yield f"left in its folder: {' '.join(left)}"
    known = read_provenance(one.run)
    if not known or [start["status"] for start in known["starts"]][-1:] != ["DONE"]:
        yield "heyhi.json does not say that it is DONE"
    if known and one.run.id not in fingerprints.ids_of(world.exp, known["fingerprint"]):
        yield "its fingerprint is not noted"


# ---- Scenarios: run.py --------------------------------------------------------------------------


def _nothing(world: World) -> None:
    pass


def _start(world: World) -> Callable[[], int]:
    return world.run_py(*CARROT, *PLAIN)


def _check_start(world: World, point: Point) -> Iterator[str]:
    yield from check_run(world, point, OneRun(world, *PLAIN), Executions([], []))


def _done_before(world: World) -> None:
    world.call(world.run_py(*CARROT, *PLAIN))


def _restart(world: World) -> Callable[[], int]:
    return world.run_py(*CARROT, *PLAIN, "--mode", "restart", "--force")


def _check_restart(world: World, point: Point) -> Iterator[str]:
    one = OneRun(world, *PLAIN)
    before = _executions_saved(world)
    # A result that could not be looked at is left alone, and that is said.
    is_spared = "UNKNOWN" in point.said.err
    if point.said.status == 0 and one.token() == before.ended[0] and not is_spared:
        yield "exit status 0, but it is the old result"
    yield from check_run(world, point, one, before)


def _executions_saved(world: World) -> Executions:
    text = (world.saved / "outside" / "evidence.txt").read_text()
    words = [line.split() for line in text.splitlines()]
    return Executions([t for w, t in words if w == "begin"], [t for w, t in words if w == "end"])


ONCE = (*PLAIN, "fail=once")


def _dead_before(world: World) -> None:
    world.call(world.run_py(*CARROT, *ONCE))


def _continue(world: World) -> Callable[[], int]:
    return world.run_py(*CARROT, *ONCE, "--mode", "start_continue")


def _check_continue(world: World, point: Point) -> Iterator[str]:
    one = OneRun(world, *ONCE)
    if one.state.status is Status.NOT_STARTED:
        yield "NOT_STARTED, though it was DEAD"
    if not (one.run.folder / "mine.txt").exists():
        yield "a file of the task is gone"
    yield from check_run(world, point, one, _executions_saved(world))


# ---- Scenarios: a batch -------------------------------------------------------------------------


def write_orders(world: World, *words: str) -> None:
    """What a driver writes for its jobs: the orders of one run."""

    def write() -> int:
        from heyhi.cli import run_py
        from heyhi.launch.here import with_code_state
        from heyhi.project import find_project
        from heyhi.runs.draft import make_order
        from heyhi.runs.invocation import parse_argv
        from heyhi.runs.order import write_orders

        invocation = parse_argv([*CARROT, *words])
        project = find_project(str(world.project / "run.py"))
        _, composition, base = run_py._compose(invocation, project)
        order = make_order(run_py._draft(invocation, project, composition, base))
        write_orders(world.home / "orders", with_code_state([order], print))
        return 0

    said = world.call(world.child(write, ["run.py"]))
    assert said.status == 0, said


def _ordered_before(world: World) -> None:
    write_orders(world, *PLAIN)


def freeze(world: World) -> Callable[[], int]:
    """The freezing rule of a batch, of the orders that are there."""
    return world.run_py("--freeze", str(world.home / "orders"), "0")


def _check_freeze(world: World, point: Point) -> Iterator[str]:
    one = OneRun(world, *PLAIN)
    yield from _torn_files(one.run)
    if one.state.status is not Status.NOT_STARTED:
        yield f"it was only frozen, and is {one.state.text}"
    said = world.call(freeze(world))
    if said.status or not (one.run.config.exists() and one.run.config_meta.exists()):
        yield f"the next one: exit status {said.status}: {last_line(said.err)}"
    yield from _goes_on(world, one)


def _frozen_before(world: World) -> None:
    _ordered_before(world)
    world.call(freeze(world))


def _job(world: World) -> Callable[[], int]:
    return world.run_py("--job", str(world.home / "orders"), "0", "gentle_start")


# ---- Scenarios: a copy of the code --------------------------------------------------------------


def _with_snapshot(world: World) -> Callable[[], int]:
    return world.run_py(*CARROT)


def _check_snapshot(world: World, point: Point) -> Iterator[str]:
    from heyhi.launch import snapshot

    yield from check_run(world, point, OneRun(world), Executions([], []))
    for folder in (world.exp / "checkpoints").glob("[!.]*"):
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
        if snapshot._hash_tree(snapshot._Tree(folder, names)) != folder.name:
            yield f"the copy of the code {folder.name} is not what its name says"


# ---- Scenarios: heyhi kill ----------------------------------------------------------------------

SLOW = (*PLAIN, "seconds=100")


def _live_run(world: World) -> None:
    world.start(world.run_py(*CARROT, *SLOW))
    until(lambda: len(world.executions().begun) == 1)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


def _kill(world: World) -> Callable[[], int]:
    return world.heyhi("kill", OneRun(world, *SLOW).run.id)


def _check_kill(world: World, point: Point) -> Iterator[str]:
    one = OneRun(world, *SLOW)
    _reap()
    state = one.state
    yield from _torn_files(one.run)
    if state.status not in (Status.RUNNING, Status.DEAD):
        yield f"it was running, and is {state.text}"
    if point.said.status == 0 and state.status is not Status.DEAD:
        yield f"exit status 0, but it is {state.text}"
    said = world.call(world.heyhi("kill", one.run.id))
    _reap()
    if one.state.status is not Status.DEAD or said.status:
        yield f"kill once more: {said.status} {last_line(said.err)}: it is {one.state.text}"
    begun = len(world.executions().begun)
    said = one.call("gentle_start")
    if said.status != 1 or len(world.executions().begun) != begun:
        yield f"gentle_start of DEAD: exit status {said.status}: {last_line(said.err)}"


def _reap() -> None:
    """Who was killed by somebody else is a zombie until its parent asks, which is this process here."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


# ---- Scenarios: Slurm ---------------------------------------------------------------------------

SLURM = (*PLAIN, "Ilauncher=slurm")


def _submit(world: World) -> Callable[[], int]:
    return world.run_py(*CARROT, *SLURM)


def _jobs(world: World) -> list[str]:
    return sorted(path.name.removeprefix("job.") for path in world.queue.glob("job.*"))


def _check_submit(world: World, point: Point) -> Iterator[str]:
    one = OneRun(world, *SLURM)
    until(lambda: not _lives_on(one))
    jobs, state = _jobs(world), one.state
    yield from _torn_files(one.run)
    right = (Status.QUEUED,) if jobs else (Status.NOT_STARTED, Status.DEAD)
    if state.status not in right:
        yield f"{len(jobs)} jobs, and it is {state.text}"
    if point.said.status == 0 and not jobs:
        yield f"exit status 0, but no job: {last_line(point.said.err)}"
    if point.is_repeated:
        world.repeated += 1
        return
    for mode in ("gentle_start", "start_continue"):
        said = one.call(mode)
        if said.status or "Traceback" in said.err:
            yield f"{mode} of {state.text}: exit status {said.status}: {last_line(said.err)}"
    jobs = _jobs(world)
    if len(jobs) != 1:
        yield f"{len(jobs)} jobs after the next calls; it is {one.state.text}"
        return
    yield from _carried_out(world, one, jobs[0])


def _lives_on(one: OneRun) -> bool:
    """Whether sbatch still holds the claim that it was given."""
    from heyhi.runs import claim

    return claim.holder(one.run.lock) is not None


def _carried_out(world: World, one: OneRun, job: str) -> Iterator[str]:
    """Its job does it, once; and it stays done."""
    known = world.queue / f"job.{job}"
    said = world.call(_in_job(world, job, one.run))
    if said.status:
        yield f"the job: exit status {said.status}: {last_line(said.err)}"
    known.write_text(known.read_text().replace("RUNNING", "COMPLETED"))
    executions, jobs = world.executions(), _jobs(world)
    if one.state.status is not Status.DONE or one.token() not in executions.ended:
        yield f"after its job it is {one.state.text}, {len(executions.begun)} executions"
    said = one.call("start_continue")
    if said.status or world.executions() != executions or _jobs(world) != jobs:
        yield f"start_continue of DONE: exit status {said.status}: {last_line(said.err)}"
    yield from _unclean(world, one)


def _in_job(world: World, job: str, run: Run) -> Callable[[], int]:
    """Slurm starts a job of its queue."""
    known = world.queue / f"job.{job}"
    known.write_text(known.read_text().replace("PENDING", "RUNNING"))
    name = known.read_text().strip().rpartition("|")[2]
    child = world.run_py("--on-slurm", str(run.folder))

    def be() -> int:
        own = {"SLURM_JOB_ID": job, "SLURM_JOB_NAME": name, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
        os.environ.update(own)
        return child()

    return be


def _submitted_before(world: World) -> None:
    world.call(world.run_py(*CARROT, *SLURM))


def _rank(world: World) -> Callable[[], int]:
    return _in_job(world, "1", world.run(*SLURM))


def _check_rank(world: World, point: Point) -> Iterator[str]:
    """The job ends as Slurm says; one that came to nothing is submitted anew, and then does it."""
    one = OneRun(world, *SLURM)
    known = world.queue / "job.1"
    known.write_text(
        known.read_text().replace("RUNNING", "COMPLETED" if point.said.status == 0 else "FAILED")
    )
    state, executions = one.state, world.executions()
    yield from _torn_files(one.run)
    if state.status not in (Status.DONE, Status.DEAD):
        yield f"its job has ended, and it is {state.text}"
    if state.status is Status.DONE and "result at" not in state.text and one.token() not in executions.ended:
        yield f"DONE, but no execution came to its end with the result {one.token()}"
    if point.said.status == 0 and state.status is not Status.DONE:
        yield f"exit status 0, but it is {state.text}: {last_line(point.said.err)}"
    if point.is_error and not point.in_task:
        yield from _lost(world, one, state, executions, Executions([], []))
    if state.status is Status.DONE:
        said = one.call("gentle_start")  # what is kept elsewhere is moved in
        if said.status or one.token() not in executions.ended:
            yield f"gentle_start of {state.text}: exit status {said.status}: {last_line(said.err)}"
        return
    said = one.call("gentle_start")
    if said.status != 1 or len(_jobs(world)) != 1:
        yield f"gentle_start of {state.text}: exit status {said.status}: {last_line(said.err)}"
    said = one.call("start_continue")
    if said.status or len(_jobs(world)) != 2:
        yield f"start_continue of {state.text}: exit status {said.status}: {last_line(said.err)}"
        return
    yield from _carried_out(world, one, "2")


# ---- Scenarios: others --------------------------------------------------------------------------


def _some_runs(world: World) -> None:
    world.call(world.run_py(*CARROT, *PLAIN))
    world.call(world.run_py(*CARROT, *PLAIN, "lr=0.25"))
    world.call(world.run_py(*CARROT, *ONCE))


def _summary(world: World) -> Callable[[], int]:
    return world.heyhi("summary", "--csv", str(world.home / "table.csv"))


def _check_summary(world: World, point: Point) -> Iterator[str]:
    yield from _changed(world.saved / "exp" / "p", world.exp / "p")
    table = world.home / "table.csv"
    text = table.read_text() if table.exists() else ""
    # A folder that cannot be listed is a row that says so.
    if text and len(text.splitlines()) != 4 and not (point.is_error and "no run" in text):
        yield f"the table is torn: {text[-80:]!r}"
    table.unlink(missing_ok=True)
    said = world.call(_summary(world))
    if said.status or "Traceback" in said.err or len(table.read_text().splitlines()) != 4:
        yield f"the next one: exit status {said.status}: {last_line(said.err)}"


def _changed(before: Path, now: Path) -> Iterator[str]:
    """Which files of a folder are not as they were."""
    old, new = _contents(before), _contents(now)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} was {'changed' if name in old and name in new else 'made or removed'}"


def _contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _killed_before(world: World) -> None:
    _done_before(world)
    pid = world.start(world.run_py(*CARROT, *SLOW))
    until(lambda: len(world.executions().begun) == 2)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _status(world: World) -> Callable[[], int]:
    return world.heyhi("status")


def _check_status(world: World, point: Point) -> Iterator[str]:
    for change in _changed(world.saved / "exp" / "p", world.exp / "p"):
        if "/ended." not in change and "/.ended." not in change:  # how a job has ended is recorded
            yield change
    one = OneRun(world, *SLOW)
    said = world.call(_status(world))
    if said.status or "Traceback" in said.err or one.run.id not in said.out:
        yield f"the next one: exit status {said.status}: {last_line(said.err)}"
    if one.state.status is not Status.DEAD:
        yield f"it was killed, and is {one.state.text}"


def _stale(world: World) -> None:
    for path in (world.project / "conf").glob("*_*.py*"):
        path.unlink()


def _protos(world: World) -> Callable[[], int]:
    return world.heyhi("protos")


def _check_protos(world: World, point: Point) -> Iterator[str]:
    conf = world.project / "conf"
    made = [path for path in schema._generated(Project(world.project)) if path.exists()]
    torn = [path.name for path in made if not schema._made_from(path)]
    if torn:
        yield f"torn: {' '.join(torn)}"
    said = world.call(_protos(world))
    if said.status or "Traceback" in said.err:
        yield f"the next one: exit status {said.status}: {last_line(said.err)}"
    if not schema._is_fresh(Project(world.project)):
        yield "the next one does not make them fresh"
    left = [path.name for path in conf.iterdir() if path.name == schema._WORK or ".partial" in path.name]
    if left:
        yield f"left: {' '.join(left)}"


def _init(world: World) -> Callable[[], int]:
    return world.heyhi("init", str(world.home / "mine"))


def _check_init(world: World, point: Point) -> Iterator[str]:
    from heyhi.cli import init

    folder, wanted = world.home / "mine", len(init._files(init._TEMPLATE))
    if folder.exists() and point.said.status:
        files = len(_contents(folder))
        if files != wanted:
            yield f"a project of {files} files is there, of {wanted}"
        if point.is_error and point.said.status == 2:
            yield "a project is there, though it was refused"
    left = [path.name for path in world.home.iterdir() if "partial" in path.name]
    if left and point.is_error:
        yield f"left: {' '.join(left)}"
    if not folder.exists():
        said = world.call(_init(world))
        if said.status or len(_contents(folder)) != wanted:
            yield f"the next one: exit status {said.status}: {last_line(said.err)}"


SCENARIOS: dict[str, Scenario] = {
    "start": Scenario(_nothing, _start, _check_start),
    "restart": Scenario(_done_before, _restart, _check_restart),
    "continue": Scenario(_dead_before, _continue, _check_continue, every=4),
    "snapshot": Scenario(_nothing, _with_snapshot, _check_snapshot, every=16),
    "kill": Scenario(_nothing, _kill, _check_kill, before=_live_run),
    "submit": Scenario(_nothing, _submit, _check_submit),
    "rank": Scenario(_submitted_before, _rank, _check_rank, every=3),
    "freeze": Scenario(_ordered_before, freeze, _check_freeze, every=3),
    "job": Scenario(_frozen_before, _job, _check_start, every=4),
    "status": Scenario(_killed_before, _status, _check_status, every=4),
    "summary": Scenario(_some_runs, _summary, _check_summary, every=4),
    "protos": Scenario(_stale, _protos, _check_protos, every=4, changes_project=True),
    "init": Scenario(_nothing, _init, _check_init),
}


def main(argv: Sequence[str]) -> int:
    """Examine one scenario with one fault; prints the report as JSON."""
    name, fault, folder, *more = argv
    report = examine(name, fault, Path(folder), only_changes=more == ["--only-changes"])
    print(json.dumps(report._asdict(), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
