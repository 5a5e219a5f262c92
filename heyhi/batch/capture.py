"""An ordinary bash script -> the `run.py` command lines in it, with their line numbers; nothing is launched.

The script is run, with two things changed. Every bash of it sources `capture.bash` (through BASH_ENV), where
each Python interpreter is a function that writes `python run.py ...` down in place of running it: so loops,
variables, functions and quotes mean what they mean. What does not pass through such a function (env, exec,
xargs, sh) reaches run.py itself, which writes itself down (intercept.py).

The script's other commands do run, as the values of its loops come from them; `Captured.commands` names them.
"""

import bisect
import fcntl
import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files
from heyhi.batch.intercept import VARIABLE
from heyhi.errors import LaunchError, UsageError
from heyhi.launch import those_copied
from heyhi.project import Project, display
from heyhi.runs import Secrets, places
from heyhi.texts import cut, first_line

__all__ = ["Captured", "Line", "Remark", "capture", "hash_of"]

_PRELUDE = Path(__file__).with_name("capture.bash")


class Line(NamedTuple):
    """A `run.py` command line of a script: its arguments, place, working directory and environment."""

    argv: tuple[str, ...]
    run_py: str
    cwd: Path
    where: str = ""
    #: What differs from the environment that the script began with; None: unset.
    environment: Mapping[str, str | None] = {}


class Remark(NamedTuple):
    """A note on a line of a script: something that a batch cannot do, or that its author should know."""

    where: str
    problem: str


class Captured(NamedTuple):
    """The command lines of a script in their order, the other commands that it ran, and notes on it.

    `sources` maps the absolute paths of the script and of the files that it sources to their hashes.
    """

    lines: tuple[Line, ...]
    commands: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    sources: Mapping[str, str] = {}


class Limits(NamedTuple):
    """Limits for scripts that loop forever: the most runs, and the most seconds."""

    runs: int = 200_000
    seconds: float = 600

    @classmethod
    def of_environment(cls) -> "Limits":
        """The usual ones, or what HEYHI_CAPTURE_RUNS and HEYHI_CAPTURE_SECONDS say. Raises UsageError."""
        usual = cls()
        try:
            runs = int(os.environ.get(f"{VARIABLE}_RUNS") or usual.runs)
            seconds = float(os.environ.get(f"{VARIABLE}_SECONDS") or usual.seconds)
        except ValueError as problem:
            raise UsageError(f"{VARIABLE}_RUNS or {VARIABLE}_SECONDS: {problem}") from None
        return cls(runs, seconds)


# ---- Running the script -------------------------------------------------------------------------


def capture(script: Path, project: Project, limits: Limits | None = None) -> Captured:
    """Run a script with `run.py` intercepted, and return what it would have run.

    The script runs in the current folder if that is in the project, else in the project's root, so that
    `python run.py` means the same from anywhere. Raises UsageError if it is no bash script, fails, or does
    not end.
    """
    text, secrets = _read(script), Secrets.of(project)
    own = {str(script.absolute()): hash_of(script)}  # as it is before it runs
    limits = limits or Limits.of_environment()
    cwd = Path.cwd() if Path.cwd().is_relative_to(os.path.realpath(project.root)) else project.root
    with _folder() as (folder, ends_with_us):
        status = _run(
            script.absolute(), cwd, _environment(text, folder, project, limits), limits, ends_with_us
        )
        if not folder.is_dir():
            raise LaunchError(f"{script}: {folder} was removed while the script was captured: try again")
        trace = list(_read_trace(folder, cwd))
        last = _Last(trace, secrets)
        _refuse_unfinished(script, status, last, limits, too_many=(folder / "too_many").exists())
        lines = _read_lines(folder, trace)
    remarks = [*_hints(lines, trace), *_uses_of_runs(trace, project.experiment_root)]
    sources = {**{path: hash_of(path) for path in _sources(trace, lines, cwd)}, **own}
    texts = {**{path: _text_of(path) for path in sources}, str(script.absolute()): text}
    remarks += _written_secrets(texts, lines, secrets, project)
    return Captured(tuple(lines), tuple(_other_commands(trace)), tuple(remarks), sources)


def _read(script: Path) -> str:
    """The text of a script that bash can read."""
    try:
        data = files.read_typed(script)
    except files.NotAFileError as problem:
        raise UsageError(f"{script}: {problem.strerror}; a batch is a bash script") from None
    except OSError as problem:
        raise UsageError(f"{script}: cannot be read: {problem.strerror}") from None
    first = data.split(b"\n", 1)[0].decode(errors="replace")
    if b"\0" in data:
        raise UsageError(f"{script}: is not a bash script, but binary")
    if first.startswith("#!") and not re.search(r"\b(ba|da)?sh\b", first):
        raise UsageError(f"{script}: is not a bash script ({first[:60]})")
    if first.endswith("\r"):
        raise UsageError(
            f"{script}: has Windows line endings, which bash cannot read; remove them with sed -i 's/\\r$//'"
        )
    done = subprocess.run(["bash", "-n", str(script.absolute())], capture_output=True, check=False)
    if done.returncode:
        complaint = first_line(done.stderr.decode(errors="replace"))
        raise UsageError(
            f"{script}: is not a bash script: {complaint.removeprefix(f'{script.absolute()}: ')}"
        )
    return data.decode(errors="replace")


def _environment(text: str, folder: Path, project: Project, limits: Limits) -> dict[str, str]:
    """The environment of the script."""
    return {
        **os.environ,
        VARIABLE: str(folder),
        "BASH_ENV": str(_PRELUDE),
        f"{VARIABLE}_BASH_ENV": os.environ.get("BASH_ENV", ""),
        f"{VARIABLE}_ENVIRONMENT": "1" if _may_change_environment(text) else "",
        f"{VARIABLE}_INTERPRETERS": "\n".join(_interpreters()),
        f"{VARIABLE}_MOST": str(limits.runs),
        f"{VARIABLE}_PYTHON": sys.executable,
        f"{VARIABLE}_RUN_PY": str(project.root / "run.py"),
    }


_INTERPRETER = re.compile(r"python(3(\.\d+)?)?")


def _interpreters() -> list[str]:
    """The names and the paths of the Python interpreters on the PATH."""
    names = {"python", "python3"}
    paths = {sys.executable}
    for folder in os.get_exec_path():
        try:
            found = [name for name in os.listdir(folder) if _INTERPRETER.fullmatch(name)]
        except OSError:
            continue
        names.update(found)
        paths.update(os.path.join(folder, name) for name in found)
    return [word for word in sorted(names | paths) if re.fullmatch(r"[\w./+@-]+", word)]


# What can change the environment of a later line. Recording it with each line doubles the time of a capture.
_CHANGES_ENVIRONMENT = re.compile(
    r"\b(export|declare|typeset|local|readonly|source|eval|module|conda|mamba|bash|sh)\b"
    r"|\bset\s+-\w*(a|o\s+allexport)"
    r"|^\s*\.\s"
    r"|(^|[;&|({]|\b(do|then|else|time|!)\s)\s*\w+\+?=\S*\s+[^\s#;&|]",
    re.MULTILINE,
)


def _may_change_environment(text: str) -> bool:
    code = re.sub(r"^\s*#.*", "", text, flags=re.MULTILINE)
    if _CHANGES_ENVIRONMENT.search(code):
        return True
    return any(word in os.environ for word in re.findall(r"(?<![$\w{.])[A-Za-z_]\w*", code))


# Ends what is left of a script and its files when the process that captures it does, however it ends.
_GUARD = 'read -r pid; read -r _; kill -s KILL -- "-$pid" 2> /dev/null; rm -rf -- "$1"'


_PREFIX = "heyhi-captured-"


@contextmanager
def _folder() -> "Iterator[tuple[Path, int]]":
    """A temporary folder, and a descriptor: the process whose pid is written to it is killed when we die.

    The folder holds all that the script exports, secrets too, so it is in memory if there is room.
    """
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=places.in_memory()) as name, _locked(name):
        _remove_what_was_killed(Path(name).parent)
        guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "heyhi-capture", name], stdin=subprocess.PIPE, start_new_session=True
        )
        assert guard.stdin is not None
        try:
            yield Path(name), guard.stdin.fileno()
        except KeyboardInterrupt:
            guard.communicate()  # it knows the script, however far we were in starting it
            raise
        finally:
            guard.kill()
            guard.communicate()


@contextmanager
def _locked(folder: str) -> Iterator[bool]:
    """Lock a folder. Yields False if another process holds the lock, or if the folder cannot be locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    is_ours = False
    try:
        with suppress(OSError):  # held; or there are no locks on this file system
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        yield is_ours
    finally:
        os.close(descriptor)


def _remove_what_was_killed(place: Path) -> None:
    """Remove folders of captures that were killed together with their guard."""
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            known = os.lstat(folder)
            if known.st_uid == os.geteuid() and time.time() - known.st_mtime > _JUST_MADE:
                with _locked(str(folder)) as is_free:
                    if is_free:
                        shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # gone meanwhile, or no folder


_JUST_MADE = 60  # seconds in which a folder may not be locked yet


def _run(
    script: Path, cwd: Path, environment: Mapping[str, str], limits: Limits, ends_with_us: int
) -> int | None:
    """The exit status of the script; None if it has not ended in time."""
    # What it prints goes to stderr: stdout is for the plan. In a session of its own, to end all of it.
    process = subprocess.Popen(
        ["bash", str(script)],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=2,
        start_new_session=True,
        # Before its first command: if we wrote it, a kill in between would leave the script running.
        preexec_fn=lambda: os.write(ends_with_us, b"%d\n" % os.getpid()),
    )
    try:
        status = process.wait(timeout=limits.seconds)
        _wait_for_background(process.pid, min(limits.seconds, _PATIENCE))
        return status
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            for pid in _session(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()


_PATIENCE = 10.0  # seconds for what a script left in the background: runs, or something that stays


def _wait_for_background(session: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while _session(session) and time.monotonic() < end:
        time.sleep(0.02)


def _session(session: int) -> list[int]:
    """The living processes of a session."""
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return []
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def _refuse_unfinished(
    script: Path, status: int | None, steps: "_Last", limits: Limits, *, too_many: bool
) -> None:
    """Raise UsageError unless the script came to its end."""
    if too_many:
        raise UsageError(
            f"{script}: has more than {limits.runs:,} runs; if it does not loop forever, "
            f"raise the limit: {VARIABLE}_RUNS=..."
        )
    if status is None:
        last = steps.told(steps.trace[-1] if steps.trace else None)
        raise UsageError(
            f"{script}: has not ended after {limits.seconds:g} s; if it does not loop forever, "
            f"raise the limit: {VARIABLE}_SECONDS=...{last}"
        )
    if status:
        last = steps.told(_failed_step(steps.trace, status))
        raise UsageError(f"{script}: failed with status {status}; nothing was started{last}")


# ---- Reading the trace -------------------------------------------------------------------


class _Step(NamedTuple):
    """A traced command: its time, the exit status before it, its place, and its words after expansion."""

    time: float
    status_before: int
    where: str
    command: str

    @property
    def runs(self) -> bool:
        """True if it names a run.py."""
        return "run.py" in self.command


class _Last(NamedTuple):
    """Shows the last command of a script, without the secrets in it."""

    trace: Sequence[_Step]
    secrets: Secrets

    def told(self, step: _Step | None) -> str:
        """Its place and the command, in one line."""
        if step is None:
            return ""
        known = [*self.secrets.values(os.environ).values()]
        known += [value for one in self.trace for value in self.secrets.assigned(one.command)]
        command = " ".join(self.secrets.hide(step.command, known).split())
        return f"; its last command: {step.where}: {cut(command, 200)}"


_STEP = re.compile(r"^\++\x01([^\x01]*)\x01(\d+)\x01([^\x01]*)\x01(\d+)\x01(.*)\Z", re.DOTALL)


def _read_trace(folder: Path, cwd: Path) -> Iterator[_Step]:
    try:
        text = (folder / "trace").read_text(errors="surrogateescape")
    except FileNotFoundError:
        return
    own = f"\x01{_PRELUDE}\x01"
    for entry in re.split(r"\n(?=\++\x01)", text.rstrip("\n")):
        if own not in entry and (match := _STEP.match(entry)):
            when, status, source, line, command = match.groups()
            yield _Step(_seconds(when), int(status), _place(source, line, cwd), command)


def _seconds(text: str) -> float:
    return float(text.replace(",", ".") or 0)  # as the locale of the script writes it


@cache
def _place(source: str, line: str, cwd: Path) -> str:
    return f"{_shown(source, cwd)}:{line}" if source else ""


@cache
def _shown(source: str, cwd: Path) -> str:
    path = os.path.join(cwd, source)
    return display(path) if os.path.exists(path) else source


def _failed_step(trace: Sequence[_Step], status: int) -> _Step | None:
    """The command that most likely ended a script: those of a trap on EXIT come after it."""
    if any(re.match(r"trap .* (EXIT|0)$", step.command, re.DOTALL) for step in trace):
        for step, following in itertools.pairwise(trace):
            if following.status_before == status and not following.runs:
                return step
    return trace[-1] if trace else None


_Environment = Mapping[str, str | None]


# ---- Reading the lines -------------------------------------------------------------------


def _read_lines(folder: Path, trace: Sequence[_Step]) -> list[Line]:
    """All command lines, in the order of their times."""
    found: list[tuple[float, Line]] = []
    for path in folder.glob("records.*"):
        environments = path.with_name(path.name.replace("records", "environments"))
        found += _records(path.read_bytes(), _environments(environments))
    found += [_process(json.loads(path.read_text())) for path in folder.glob("run.*")]
    found.sort(key=lambda entry: entry[0])
    if not all(line.where for _, line in found):
        places = _Places(trace)
        found = [(when, line) if line.where else places.fill_in(line, when) for when, line in found]
        # Processes of one command keep the order of their own times.
        found.sort(key=lambda entry: entry[0])
    return [line for _, line in found]


def _records(data: bytes, environments: Iterator[_Environment]) -> Iterator[tuple[float, Line]]:
    """The lines that the functions in capture.bash recorded, with their times."""
    parts = [os.fsdecode(part) for part in data.split(b"\0")]
    position = 0
    while position < len(parts) - 1:
        when, source, number, folder, count, run_py = parts[position : position + 6]
        start = position + 6
        position += 5 + int(count)
        argv = tuple(parts[start:position])
        cwd = _path(folder)
        where = _place(source, number, cwd)
        yield _seconds(when), Line(argv, os.path.join(folder, run_py), cwd, where, next(environments))


def _environments(path: Path) -> Iterator[_Environment]:
    """The changes of the environment for each record of a process; endless if none were recorded."""
    last = b""
    changes: _Environment = {}
    for text in path.read_bytes().split(b"\0") if path.exists() else ():
        if text != last:
            last, changes = text, _changes(_parse_exports(text))
        yield changes
    yield from itertools.repeat({})


_path = cache(Path)


def _process(content: Mapping[str, Any]) -> tuple[float, Line]:
    """The line that a run.py recorded itself, as no function intercepted it, with its time."""
    run_py, *argv = content["words"]
    cwd, changes = content["cwd"], _changes(content["environment"])
    return content["time"], Line(tuple(argv), os.path.join(cwd, run_py), Path(cwd), "", changes)


class _Places:
    """Finds the traced command of a process: the last one that names run.py and its first arguments."""

    def __init__(self, trace: Sequence[_Step]) -> None:
        self._steps = [step for step in trace if step.where]
        self._times = [step.time for step in self._steps]
        self._named: dict[tuple[str, ...], list[_Step]] = {}
        for step in self._steps:
            if step.runs:
                self._named.setdefault(_arguments(step.command), []).append(step)

    def fill_in(self, line: Line, when: float) -> tuple[float, Line]:
        """The line with its place, and the time of its command: a process records itself some time later."""
        step = self._find(line.argv, when)
        return (step.time, line._replace(where=step.where)) if step else (when, line)

    def _find(self, argv: tuple[str, ...], when: float) -> _Step | None:
        for length in range(len(argv), -1, -1):
            for step in reversed(self._named.get(argv[:length], ())):
                if step.time <= when:
                    return step
        index = bisect.bisect_right(self._times, when) - 1
        return self._steps[index] if index >= 0 else None


def _arguments(command: str) -> tuple[str, ...]:
    """The words after run.py in a traced command."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ("",)  # of no process
    start = next((i + 1 for i, word in enumerate(words) if word.endswith("run.py")), len(words))
    return tuple(words[start:])


# ---- The environment ----------------------------------------------------------------------------

_EXPORT = re.compile(
    rb"""declare -\w*x\w* (\w+)(?:=(?:"((?:[^"\\]|\\.)*)"|\$'((?:[^'\\]|\\.)*)'))?\n?""", re.DOTALL
)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_NAMED = dict(zip(b"abeEfnrtv", b"\a\b\x1b\x1b\f\n\r\t\v", strict=True))
# Set by bash itself, by Python, or by us.
_NOT_OF_THE_SCRIPT = {"_", "SHLVL", "PWD", "OLDPWD", "BASH_ENV", "COLUMNS", "LINES", "LC_CTYPE"}


def _parse_exports(text: bytes) -> dict[str, str]:
    """The variables in the output of `declare -x`."""
    found = {}
    for name, plain, ansi in _EXPORT.findall(text):
        value = _ESCAPE.sub(_unescaped, ansi) if ansi else re.sub(rb"\\(.)", rb"\1", plain, flags=re.DOTALL)
        found[os.fsdecode(name)] = os.fsdecode(value)
    return found


def _unescaped(match: re.Match[bytes]) -> bytes:
    text = match[1]
    return bytes([int(text, 8)]) if len(text) == 3 else bytes([_NAMED.get(text[0], text[0])])


def _changes(now: Mapping[str, str]) -> _Environment:
    """The variables that differ from the environment that the script began with; None: unset."""
    names = sorted({*now, *os.environ} - _NOT_OF_THE_SCRIPT)
    return {
        name: now.get(name)
        for name in names
        if now.get(name) != os.environ.get(name) and name.isidentifier() and not name.startswith(VARIABLE)
    }


# ---- The files it was read from ---------------------------------------------------------------


def hash_of(path: str | Path) -> str:
    """The hash of a file's content; empty if the file is missing or cannot be read."""
    try:
        return hashlib.sha256(files.read(path)).hexdigest()[:16]
    except (OSError, ValueError):
        return ""


_SOURCES = re.compile(r"(?:source|\.) (\S+)")


def _sources(trace: Sequence[_Step], lines: Sequence[Line], cwd: Path) -> Iterator[str]:
    """The absolute paths of the files that the script sources, also of those that only define functions."""
    named = dict.fromkeys(step.where.rpartition(":")[0] for step in trace)
    named.update(dict.fromkeys(match[1] for step in trace if (match := _SOURCES.match(step.command))))
    folders = dict.fromkeys([Path.cwd(), cwd, *(line.cwd for line in lines)])  # one that is not absolute
    for name in filter(None, named):
        paths = (os.path.normpath(os.path.join(folder, name.strip("'"))) for folder in folders)
        if path := next(filter(os.path.isfile, paths), None):
            yield path


# ---- Notes -------------------------------------------------------------------

_RUN = r"run\.py\b[^#\n]*?"
_START = r"(.*([;&|({]|\b(do|then|else)\s))?\s*"  # of a command in a line
_HINTS = [
    (
        rf"{_START}(if|while|until|elif|!)\s.*{_RUN}|.*{_RUN}\n?[^#\n]*\$\{{?(\?|PIPESTATUS)",
        "the script reads the exit status of this run, which is always 0 during the capture",
    ),
    (
        rf".*{_RUN}(&&|\|\|(?!\s*(true|:)\b))",
        "the next command depends on the exit status of this run, which is always 0 during the capture; "
        "to make a run wait for another one, give it --after DIR",
    ),
    (
        rf".*(\$\(|`|<\().*{_RUN}[)`]",
        "the script reads the output of this run, which is empty during the capture",
    ),
    (
        rf".*{_RUN}(?<![<&|])(&?>>?|\|(?!\|))(?!\s*(&\d|/dev/null))",
        "the output of a run goes to run.log in its folder, not where the script redirects it",
    ),
]


def _hints(lines: Sequence[Line], trace: Sequence[_Step]) -> Iterator[Remark]:
    """Notes on what the text of the lines asks for and a batch cannot do."""
    read_lines = cache(_lines_of)
    for where in dict.fromkeys(line.where for line in lines if line.where):
        source, _, number = where.rpartition(":")
        text = _statement(read_lines(source)[int(number) - 1 :])
        problem = next((problem for pattern, problem in _HINTS if re.match(pattern, text)), None)
        if problem:
            yield Remark(where, problem)
    for step in trace:
        if re.match(r"trap .*\bERR$", step.command, re.DOTALL):
            yield Remark(
                step.where, "a run that fails does not run this trap: in a batch, the other runs continue"
            )


def _written_secrets(
    texts: Mapping[str, str], lines: Sequence[Line], secrets: Secrets, project: Project
) -> Iterator[Remark]:
    """A note for each line with a secret, of the script and the files it sources, if they are copied."""
    environments = {id(line.environment): line.environment for line in lines}.values()
    known = {value for one in environments for value in secrets.values(one).values()}
    found = {path: numbers for path, text in texts.items() if (numbers := secrets.written_in(text, known))}
    for path in those_copied(project, found) if found else ():
        for number in found[path]:
            yield Remark(f"{display(path)}:{number}", _WRITTEN)


_WRITTEN = "a secret is in this file, and the snapshot copies it; use $(cat FILE) instead"


def _statement(lines: Sequence[str]) -> str:
    """The first line with those that continue it, and the one after; operators in quotes left out."""
    count = next((number for number, line in enumerate(lines, 1) if not line.endswith("\\")), 0)
    text = (
        "".join(line.removesuffix("\\") for line in lines[:count]) + "\n" + "".join(lines[count : count + 1])
    )
    text = re.sub(r"\$\([^()]*--print-out-dir[^()]*\)", "_", text)  # it answers during a capture too
    return re.sub(r"'[^']*'|\"(\\.|[^\"\\])*\"", lambda quoted: re.sub("[&|<>;#`]", "_", quoted[0]), text)


def _lines_of(source: str) -> list[str]:
    return _text_of(source).splitlines()


def _text_of(source: str) -> str:
    try:
        return files.read_text(source, "replace")
    except OSError:
        return ""


_ONLY_WORDS = {"echo", "printf", ":", "export", "local", "declare", "read", "for", "case", "python"}


def _uses_of_runs(trace: Sequence[_Step], experiment_root: Path) -> Iterator[Remark]:
    """Notes on commands that use the files of runs, which are those of before the batch."""
    root, seen = f"{experiment_root}/", set()
    for step in trace:
        if root not in step.command or step.runs or step.where in seen:
            continue
        word = step.command.split(maxsplit=1)[0].strip("'")
        if word in _ONLY_WORDS or re.match(r"\w+(\+?=|\[.*\]\+?=)", word):
            continue
        seen.add(step.where)
        problem = f"`{word}` uses files of a run as they are during the capture, before the batch starts"
        yield Remark(step.where, problem)


def _other_commands(trace: Sequence[_Step]) -> list[str]:
    """The programs that the script ran itself."""
    words = (step.command.split(maxsplit=1) for step in trace if not step.runs)
    named = dict.fromkeys(word for word, *_ in filter(None, words))
    return [word for word in named if word not in _bash_words() and shutil.which(word)]


@cache
def _bash_words() -> frozenset[str]:
    done = subprocess.run(["bash", "-c", "compgen -bk"], capture_output=True, text=True, check=False)
    return frozenset(done.stdout.split())
