"""Files of run folders put out of shape in every way, against every command that looks.

    python -m tests.mutated DONE 0/4 NEWFOLDER     a fourth of the files of a run that is DONE; prints JSON

A good run folder of a kind is made. Then each of its files in turn, and each that a run may have, is cut,
replaced by a fifo, a link to /dev/zero, ..., and every command looks: it ends within seconds, with exit
status 0, 1 or 2 and no traceback, shows the run, prints no control character, and changes nothing.
"""

import json
import os
import random
import re
import resource
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heyhi.runs.folder import Run
from tests.faults import CARROT, ONCE, PLAIN, Said, World, freeze, last_line, until, write_orders

__all__ = ["KINDS", "Findings", "examine"]

_SECONDS = 30  # that a command may take; far more than it needs, also beside other work
_MEMORY = 4 << 30  # bytes of addresses: who reads all of /dev/zero ends by it, and not the machine
_STRANGER = 65534  # nobody's number

#: The files that a run folder may have.
NAMES = (
    *("heyhi.json", "heyhi.jobid", "heyhi.lock", "config.prototxt", "config_meta.prototxt", "result.json"),
    *("result.pkl", "run.log", "error.txt", "metrics.jsonl", "ckpt.link", "heyhi.owner"),
)


class Findings(NamedTuple):
    """What came of a kind of run folders."""

    kind: str
    looks: int  # commands that looked at a folder with a broken file
    left_out: dict[str, int]  # why -> how many
    problems: list[str]
    seconds: float  # of processor time


# ---- Good run folders ---------------------------------------------------------------------------

RICH = ("fail=rich",)
SLOW = (*PLAIN, "seconds=1000")


def _frozen(world: World) -> None:
    """Freeze a config, and start nothing, as a batch does for a run that waits."""
    write_orders(world, *PLAIN, "lr=3")
    world.call(freeze(world))


def _run_to_its_end(world: World, *words: str) -> None:
    world.call(world.run_py(*CARROT, *words))


def _live(world: World) -> None:
    world.start(world.run_py(*CARROT, *SLOW))
    until(lambda: len(world.executions().begun) > len(world.executions().ended))


class Kind(NamedTuple):
    """A status: how a run of it is made, and the words of its command line."""

    make: Callable[[World], object]
    words: tuple[str, ...]


KINDS: dict[str, Kind] = {
    "DONE": Kind(lambda world: _run_to_its_end(world, *RICH), RICH),
    "DEAD": Kind(lambda world: _run_to_its_end(world, *ONCE), ONCE),
    "NOT_STARTED": Kind(_frozen, (*PLAIN, "lr=3")),
    "RUNNING": Kind(_live, SLOW),
}


# ---- What is done to a file ---------------------------------------------------------------------


def _half(path: Path, old: bytes) -> None:
    path.write_bytes(old[: len(old) // 2])


def _binary(path: Path, old: bytes) -> None:
    path.write_bytes(random.Random(1).randbytes(5000))


_STREAMED = ("run.log", "metrics.jsonl")  # read to their end, however far that is


def _sparse(path: Path, old: bytes) -> None:
    path.touch()
    os.truncate(path, 100_000_000 if path.name in _STREAMED else 1 << 40)


def _unreadable(path: Path, old: bytes) -> None:
    path.write_bytes(old)
    path.chmod(0)


def _escapes(path: Path, old: bytes) -> None:
    """What a terminal would carry out: a title, colours, C1; in JSON and in plain text."""
    bad = "\x1b]0;title\x07\x1b[31mred\x9b2J\r"
    try:
        content = json.loads(old)
        path.write_text(json.dumps(dict.fromkeys(content, bad) | {bad: bad}))
    except (ValueError, TypeError):
        path.write_text(f"{bad}\n{old.decode(errors='replace')}\n{bad}\n")


MUTATIONS: dict[str, Callable[[Path, bytes], object]] = {
    "cut in half": _half,
    "empty": lambda path, old: path.write_bytes(b""),
    "a folder": lambda path, old: path.mkdir(),
    "a fifo": lambda path, old: os.mkfifo(path),
    "a link to itself": lambda path, old: path.symlink_to(path.name),
    "a link to /dev/zero": lambda path, old: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path, old: path.symlink_to("nothing"),
    "a device": lambda path, old: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5)),
    "binary": _binary,
    "deep": lambda path, old: path.write_bytes(b"[" * 200_000 + b"]" * 200_000),
    "long and full of nothing": _sparse,
    "another user's": _unreadable,
    "full of control characters": _escapes,
}


# ---- Who looks ----------------------------------------------------------------------------------


class Look(NamedTuple):
    """A command, for a child; and a text of what it says in which the run's id has to be."""

    do: Callable[[], int]
    shows: Callable[[Said], str | None] = lambda said: None
    is_data: bool = False  # for programs: it holds what there is, as it is


def _looks(world: World, run: Run, other: Run, kind: str, words: Sequence[str]) -> dict[str, Look]:
    """Every command that looks, by its name."""
    own = os.fspath(run.folder)
    page, batch = str(world.outside / "page.html"), str(world.home / "batch.sh")

    def out(said: Said) -> str:
        return said.out

    return {
        "status": Look(world.heyhi("status"), out if kind != "DONE" else lambda said: None),
        "status RUN": Look(world.heyhi("status", own), out if kind != "DONE" else lambda said: None),
        "summary": Look(world.heyhi("summary", "--csv", "-"), out, is_data=True),
        "summary RUN": Look(world.heyhi("summary", own)),
        "report": Look(world.heyhi("report", own, "-o", page)),
        "logs": Look(world.heyhi("logs", own)),
        "logs -n": Look(world.heyhi("logs", own, "-n", "5")),
        "diff": Look(world.heyhi("diff", own, str(other.folder))),
        "replay": Look(world.heyhi("replay", own)),
        "migrate": Look(world.heyhi("migrate", "--check")),
        "plan": Look(world.heyhi("plan", "--all", batch), lambda said: said.err + said.out),
        "dryrun": Look(world.run_py(*CARROT, *words, "--mode", "dryrun"), lambda said: said.err + said.out),
        "completion": Look(world.child(_complete, ["heyhi"])),
    }


# Of runs that are not DONE: each of these goes another way for them, the other commands do not.
_SHORT = ("status", "summary", "summary RUN", "logs -n", "replay", "plan", "dryrun")


def _complete() -> int:
    from heyhi.cli.commands import _COMMANDS
    from heyhi.cli.completion import answer

    print("\n".join(answer("bash", "heyhi logs p", "p", _COMMANDS)))
    return 0


def _as_stranger(look: Look) -> Look:
    """The same by another user. What is imported stays; no program is started anew."""

    def be() -> int:
        os.setgroups([])
        os.setgid(_STRANGER)
        os.setuid(_STRANGER)
        return look.do()

    return look._replace(do=be)


# ---- A kind -------------------------------------------------------------------------------------


def examine(kind: str, part: int, parts: int, base: Path) -> Findings:
    """Put each file of a run of a kind out of shape, in each way, and have every command look."""
    world = World(base)
    base.parent.chmod(0o755)
    made = KINDS[kind]
    _run_to_its_end(world, *PLAIN)
    made.make(world)
    run, other = world.run(*made.words), world.run(*PLAIN)
    line = ["python", "run.py", *CARROT, *made.words]
    (world.home / "batch.sh").write_text(f"cd {world.project}\n{' '.join(line)}\n")
    every = _looks(world, run, other, kind, made.words)
    looks = every if kind == "DONE" else {name: every[name] for name in _SHORT}
    world.import_all(look.do for look in looks.values())
    _limit_memory()
    count, problems, left_out = 0, list[str](), dict[str, int]()
    if kind != "DONE":
        left_out[f"of {len(every)} commands; tried: {', '.join(looks)}"] = len(every) - len(looks)
    for name in NAMES[part::parts]:
        for mutation, mutate in MUTATIONS.items():
            if mutation == "another user's" and os.getuid():
                left_out["files of others: only root can be another user"] = len(NAMES)
                continue
            with _mutated(run.folder / name, mutate) as is_mutated:
                if not is_mutated:
                    continue
                for command, look in looks.items():
                    shown = _as_stranger(look) if mutation == "another user's" else look
                    count += 1
                    found = _look_at(world, run, shown)
                    problems += [f"{kind}, {name} is {mutation}: {command}: {what}" for what in found]
    return Findings(kind, count, left_out, problems, round(sum(os.times()[:4]), 1))


class _mutated:  # noqa: N801  (a context)
    """Have a file out of shape; yields False where it cannot be (a file that is not there has no half)."""

    def __init__(self, path: Path, mutate: Callable[[Path, bytes], object]) -> None:
        self.path, self.mutate = path, mutate
        self.aside = path.parent.parent / f"{path.name}.aside"  # moved, so that a lock on it stays
        self.was_there = path.exists()

    def __enter__(self) -> bool:
        old = self.path.read_bytes() if self.was_there else b""
        if not self.was_there and self.mutate is _half:
            return False
        if self.was_there:
            os.rename(self.path, self.aside)
        self.mutate(self.path, old)
        return True

    def __exit__(self, *_: object) -> None:
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)
        if self.was_there and self.aside.exists():
            os.rename(self.aside, self.path)


def _look_at(world: World, run: Run, look: Look) -> Iterator[str]:
    before = dict(_listing(run.folder))
    said = world.call(look.do, _SECONDS)
    if said.status is None:
        yield "hangs"
        return
    if said.status not in (0, 1, 2):
        yield f"exit status {said.status}: {last_line(said.err)}"
    if "Traceback (most recent call last)" in said.err:  # on stdout a log may have one
        yield f"a traceback: {last_line(said.err)}"
    shown = look.shows(said)
    if shown is not None and run.id not in shown:
        yield f"no row: {last_line(said.err or said.out)}"
    bad = re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", said.err + ("" if look.is_data else said.out))
    if bad:
        yield f"the terminal gets {bad[0]!r}"
    yield from _differences(before, dict(_listing(run.folder)))


def _differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        # How a job has ended may be recorded by whoever learns it first: a new file, and no other change.
        if before.get(name) != after.get(name) and not (name.startswith("ended.") and name not in before):
            yield f"{name} was {'changed' if name in before and name in after else 'made or removed'}"


def _listing(folder: Path) -> Iterator[tuple[str, object]]:
    """Each entry below a folder, with all that may tell a change. Nothing is opened."""
    for path in folder.rglob("*"):
        known = path.lstat()
        yield str(path.relative_to(folder)), (known.st_mode, known.st_size, known.st_mtime_ns, known.st_ino)


def _limit_memory() -> None:
    """For the children: memory that is read without end is to end them soon."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, hard))


def main(argv: Sequence[str]) -> int:
    """Examine a part of the files of a kind; prints the findings as JSON."""
    kind, part, folder = argv
    number, _, parts = part.partition("/")
    try:
        found = examine(kind, int(number), int(parts), Path(folder))
    finally:
        from tests.faults import end_children

        end_children()
    print(json.dumps(found._asdict(), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
