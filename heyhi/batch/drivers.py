"""Drivers: the Snakemake processes that carry batches out: their command line, starting, finding, stopping.

<experiment root>/.heyhi/orders/<time>-<pid>.jsonl     what the jobs of a driver read; gone when it ends well
                                <time>-<pid>.<n>.code  links to the copies of the code that they start from
                                <time>-<pid>.lock      a claim that the driver holds as long as it lives
                                <time>-<pid>.json      which batch, since when, its log, who starts its jobs
                                <time>-<pid>.dead      when it was found to have been killed
"""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from heyhi import files
from heyhi.batch.snakemake_files import work_folder
from heyhi.errors import LaunchError, UsageError, did_you_mean
from heyhi.files import write_whole
from heyhi.log import say, show
from heyhi.project import Project
from heyhi.runs import JobId, claim, places, processes, this_host, this_process
from heyhi.texts import NOT_UTF8, line_of, quoted

__all__ = [
    "PAGE",
    "SUMMARY",
    "Driver",
    "alive",
    "batches_place",
    "become",
    "command",
    "file_about",
    "forget",
    "orders_place",
    "record",
    "start",
    "stop",
    "sweep",
    "write_script",
]

# Ends a driver as Ctrl-C does; SIGINT itself is ignored in what a script starts with `&`.
_STOP = signal.SIGUSR1
_WAKE = signal.SIGUSR2  # makes the main thread look whether a signal is to be handled
# Days after finding a driver killed until HeyHi removes its orders, if it is unknown whether one of
# its jobs has yet to read them.
_KEEP_DAYS = 30
_END_OF_TIME = 1e11  # seconds; the calendar of Python ends some years later
# Executors whose jobs read orders as processes of the driver's machine, or not at all.
_WITHOUT_A_QUEUE = ("heyhi", "heyhi-slurm", "local")

#: What a batch leaves besides its runs, as `file_about` takes it.
SUMMARY, PAGE = ("summaries", ".csv"), ("reports", ".html")


class Driver(NamedTuple):
    """A driver: the common path of its files, and its process as its claim says."""

    path: Path
    owner: str
    batch: str
    log: str
    started: float = 0.0  # seconds since the epoch

    @property
    def host_and_pid(self) -> tuple[str, int]:
        """The host where it runs, and its pid."""
        return JobId(self.owner).local or ("?", 0)

    @property
    def lock(self) -> Path:
        """The lock that it holds until it ends."""
        return self.path.with_suffix(".lock")


def orders_place(project: Project) -> Path:
    """The folder of the files that drivers write for their jobs."""
    return project.experiment_root / ".heyhi" / "orders"


def batches_place(project: Project) -> Path:
    """The folder of scripts that HeyHi writes for batches that are no scripts of the user."""
    return project.experiment_root / ".heyhi" / "batches"


def file_about(project: Project, batch: str, folder: str, suffix: str) -> Path:
    """The path of a file about a batch or other runs, by the path of its script: several scripts may share
    a name."""
    script = Path(batch)
    path = os.path.relpath(script, project.root) if script.is_absolute() else batch
    path = script.name if script.parent == batches_place(project) else path
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", path.removesuffix(".sh")).lstrip(".")[:150]
    return project.experiment_root / ".heyhi" / folder / f"{name or 'runs'}{suffix}"


def write_script(project: Project, text: str) -> str:
    """Write a batch that has no script as one, named by its content. Returns its path."""
    name = hashlib.sha256(os.fsencode(text)).hexdigest()[:16]
    path = batches_place(project) / f"{name}.sh"
    _make(path.parent)
    write_whole(path, text)
    return str(path)


def _make(folder: Path) -> None:
    """Make a folder in `.heyhi` of an experiment root. Raises LaunchError if another user has made it."""
    folder.mkdir(parents=True, exist_ok=True)
    places.refuse_foreign(folder, folder.parent.parent)


# ---- Inside a driver ----------------------------------------------------------------------------


def record(path: Path, batch: str, on_stop: Callable[[], None], executor: str = "") -> None:
    """Register this process as a driver; `path` is the common path of its files.

    From now on `stop` ends it as Ctrl-C does, after a call of `on_stop`. `executor` is Snakemake's name of
    what starts its jobs.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        on_stop()
        signal.default_int_handler(number, frame)

    _make(path.parent)
    log = os.environ.get("HEYHI_DRIVER_LOG", "")
    content = {"batch": batch, "started": time.time(), "log": log}
    content |= {"executor": executor, "process": processes.this_process()._asdict()}
    write_whole(path.with_suffix(".json"), json.dumps(content) + "\n")
    signal.signal(_STOP, interrupt)
    _handle_in_a_thread(signal.SIGTERM)
    _wake_main_thread_by_signals()
    claim.take(path.with_suffix(".lock"), this_process().text)


def _handle_in_a_thread(number: signal.Signals) -> None:
    """Let Snakemake's handler wait for its scheduler's lock while the main thread, its holder, goes on.

    It is called in the main thread, and would wait for itself for ever: a driver that SIGTERM meets while a
    job's end is noted would never end.
    """
    handler = signal.getsignal(number)
    if callable(handler):
        signal.signal(number, lambda *args: threading.Thread(target=handler, args=args, daemon=True).start())


def _wake_main_thread_by_signals() -> None:
    """Let no signal wait until the main thread wakes by itself, which in Snakemake may be in hours.

    Python handles signals in its main thread alone, but the kernel may give one to any thread; on a busy
    machine often to one that is just starting a process. A main thread that waits for a lock then does not
    notice (docs.python.org/3/library/signal.html, "Signals and threads"), unless a signal is sent to itself.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.signal(_WAKE, lambda *_: None)
    signal.set_wakeup_fd(theirs.detach(), warn_on_full_buffer=False)

    def wake() -> None:
        main_thread = threading.main_thread().ident
        while numbers := ours.recv(4096):
            if main_thread is not None and set(numbers) != {_WAKE}:
                signal.pthread_kill(main_thread, _WAKE)

    threading.Thread(target=wake, daemon=True).start()


def forget(path: Path) -> None:
    """Remove a driver's files, the lock last. Call it once none of its jobs will start any more."""
    for file in path.parent.glob(f"{path.name}.*"):
        if file.suffix != ".lock":
            file.unlink(missing_ok=True)
    path.with_suffix(".lock").unlink(missing_ok=True)


def sweep(place: Path) -> None:
    """Remove the files of this user's killed drivers, once no job of theirs will read them any more.

    If jobs are processes of the driver's machine, their command lines show it: they name the orders. A job
    of Snakemake's own Slurm executor may wait for days unseen; its files, and those of a driver of another
    host, are removed after a month.
    """
    for lock in place.glob("*.lock"):
        try:
            if os.lstat(lock).st_uid != os.geteuid():
                continue
            is_alive = claim.holder(lock) is not None
        except (OSError, LaunchError):
            continue  # it may be alive
        dead = lock.with_suffix(".dead")
        if is_alive:
            dead.unlink(missing_ok=True)
        elif _are_all_jobs_gone(lock):
            forget(lock.with_suffix(""))
        elif not dead.exists():
            dead.touch()
            with suppress(OSError):  # the version before has them readable for all, with secrets
                lock.with_suffix(".jsonl").chmod(0o600)
        elif time.time() - dead.stat().st_mtime > _KEEP_DAYS * 86_400:
            forget(lock.with_suffix(""))


def _are_all_jobs_gone(lock: Path) -> bool:
    """True if certainly no job of a dead driver will read its orders any more.

    A child that it had forked holds its lock until it is a program of its own, with its command line.
    """
    known = files.read_object(lock.with_suffix(".json"))
    process = processes.Process.of(known.get("process"))
    if process is None or processes.lives(process) is not False:
        return False  # of another host, or a container: its jobs cannot be seen from here
    if known.get("executor") not in _WITHOUT_A_QUEUE:
        return False
    orders = os.fsencode(lock.with_suffix(".jsonl").name)
    return not any(orders in words for words in _command_lines())


def _command_lines() -> Iterator[bytes]:
    """The command lines of all processes of this machine."""
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                yield Path(entry.path, "cmdline").read_bytes()
            except OSError:
                pass  # it has ended


# ---- Starting -----------------------------------------------------------------------------------


def command(project: Project, batch: str, profile: str, mode: str, *, force: bool) -> list[str]:
    """The command line of a driver of a batch. Raises UsageError if the project has no such profile."""
    snakefile = project.root / "Snakefile"
    if not os.path.isfile(snakefile):
        raise UsageError(f"{project.root}: no Snakefile; copy the one that `heyhi init DIR` creates")
    try:
        files.read_text(snakefile)
    except UnicodeDecodeError as problem:
        raise UsageError(f"{snakefile}:{line_of(problem)}: {NOT_UTF8}") from None
    words = [sys.executable, "-m", "heyhi.workflow.snakemake_main", "--snakefile", str(snakefile)]
    words += ["--profile", str(_profile(project, profile)), "--directory", str(work_folder(project))]
    words += ["--config", f"batch={_as_yaml(batch)}", f"mode={mode}"]
    return [*words, "force=1"] if force else words


_PLAIN = re.compile(r"/[\w/.@+-]+")


def _as_yaml(text: str) -> str:
    """A text as a value of Snakemake's --config, which is read as YAML: `: ` makes a map, ` #` a comment."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f' "{"".join(escaped)}" '  # Snakemake takes quotes away from the ends


def _profile(project: Project, name: str) -> Path:
    folder = Path(name) if "/" in name else project.root / "profiles" / name
    if (folder / "config.yaml").is_file():
        return folder.absolute()
    known = sorted(path.parent.name for path in project.root.glob("profiles/*/config.yaml"))
    hint = did_you_mean(name, known) or (f"; there are {', '.join(known)}" if known else "")
    raise UsageError(f"profile {name!r}: no such profile{hint}")


def become(words: Sequence[str]) -> int:
    """Replace this process by the driver, which gets its signals and sets its status. Does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    # A Python that is just starting would answer Ctrl-C by a traceback: `driver` lets it come in again.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execv(words[0], list(words))


def start(project: Project, words: Sequence[str], *, detach: bool) -> int:
    """Run the command line of a driver to its end, or detached with its output in a log.

    Returns its exit status; 0 for a detached driver that lives.
    """
    sys.stdout.flush()  # what was said before stands before what the driver says, also in a file
    if detach:
        return _leave_behind(project, words)
    if sys.stdout is sys.__stdout__:
        return _wait_for(subprocess.Popen(words), lambda: None)
    # A notebook does not show the process's own stdout.
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return _wait_for(process, lambda: _hand_on(process))


def _wait_for(process: "subprocess.Popen[Any]", meanwhile: Callable[[], None]) -> int:
    while True:
        try:
            meanwhile()
            return process.wait()
        except KeyboardInterrupt:
            pass  # the driver got it too, and ends its jobs


def _hand_on(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None, "it is a pipe"
    for line in process.stdout:
        print(line, end="", flush=True)


def _leave_behind(project: Project, words: Sequence[str]) -> int:
    log = orders_place(project).parent / "logs" / f"{time.strftime('%Y-%m-%dT%H%M%S')}-{os.getpid()}.log"
    _make(log.parent)
    # O_EXCL: never through a link that somebody else has put there.
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with open(descriptor, "ab") as file:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "HEYHI_DRIVER_LOG": str(log)},
        )
    # Errors of the batch are printed here, where the user reads them.
    while process.poll() is None:
        if any(driver.log == str(log) for driver in alive(project)):
            show(f"started process {process.pid}, detached from this terminal\n  tail -F {quoted(str(log))}")
            print("  heyhi stop ends it")
            return 0
        time.sleep(0.05)
    say(log.read_text(errors="replace").removesuffix("\n"))
    return process.returncode


# ---- Finding and stopping -----------------------------------------------------------------------


def alive(project: Project) -> list[Driver]:
    """The living drivers of this experiment root, the oldest first."""
    found = []
    for lock in sorted(orders_place(project).glob("*.lock")):
        owner = claim.holder(lock)
        if owner is not None:
            known = files.read_object(lock.with_suffix(".json"))
            batch, log, started = (known.get(name) or "" for name in ("batch", "log", "started"))
            since = started if isinstance(started, float) and 0 < started < _END_OF_TIME else 0.0
            found.append(Driver(lock.with_suffix(""), owner, str(batch or "?"), str(log), since))
    return found


def stop(driver: Driver, *, patience: float = 90) -> None:
    """End a driver and the jobs that it started here, as Ctrl-C does. Raises LaunchError if it lives on."""
    host, pid = driver.host_and_pid
    if host != this_host():
        raise LaunchError(f"the driver of {driver.batch} is process {pid} on {host}; run `heyhi stop` there")
    try:
        claim.signal_holder(driver.lock, pid, _STOP)
    except PermissionError:
        raise LaunchError(f"the driver of {driver.batch}, process {pid}, belongs to another user") from None
    end = time.monotonic() + patience
    while claim.holder(driver.lock) == driver.owner:
        if time.monotonic() > end:
            raise LaunchError(
                f"the driver of {driver.batch}, process {pid}, has not ended after {patience:g} s"
            )
        time.sleep(0.05)
