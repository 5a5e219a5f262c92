"""The command that makes a run again: the same code, the same id, the same config.

heyhi.json ─▶ (cd COPY OF THE CODE && HH_EXP_DIR=... python run.py -c CFG ... OVERRIDES) ─ask─▶ problems

What the command composes to is asked of the run.py that it calls: it alone knows its schema.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files, runs
from heyhi.errors import UsageError
from heyhi.git import git_state
from heyhi.invocation import parse_argv
from heyhi.project import Project
from heyhi.runs import Run
from heyhi.secret_names import Secrets

__all__ = ["Replay", "replay"]


class Replay(NamedTuple):
    """A command line for a shell; what it does not make as it was, and why; and what is to be known."""

    command: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]


class _Command(NamedTuple):
    """Where it is given, what differs from the environment (None: unset), and the arguments of run.py."""

    folder: Path
    environment: dict[str, str | None]
    words: list[str]
    secrets: tuple[str, ...] = ()  # variables that have to be set where it is given

    def line(self) -> str:
        """For a shell."""
        unset = [f"-u {shlex.quote(name)}" for name, value in self.environment.items() if value is None]
        given = [f"{n}={shlex.quote(v)}" for n, v in self.environment.items() if v is not None]
        before = " ".join(["env", *unset, *given] if unset else given)
        needed = "".join(
            f': "${{{name}:?is a secret, which no file has: set it}}" && ' for name in self.secrets
        )
        folder = shlex.quote(str(self.folder))
        return f"({needed}cd {folder} && {before} python run.py {shlex.join(self.words)})"

    def ask(self) -> "subprocess.CompletedProcess[bytes]":
        """What it would do, and with which config."""
        kept = {name: value for name, value in os.environ.items() if name not in self.environment}
        given = {name: value for name, value in self.environment.items() if value is not None}
        words = [sys.executable, "run.py", "--print-out-dir", "--print", *self.words]
        return subprocess.run(
            words,
            cwd=self.folder,
            env={**kept, **given},
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def replay(run: Run, out: Path | None = None) -> Replay:
    """The command that makes a run again, in its own folder or in `out`.

    Raises UsageError if nobody knows what it was, or if its code is nowhere.
    """
    known = runs.read_provenance(run)
    if not all(isinstance(known.get(name), kind) for name, kind in _NEEDED.items()):
        raise UsageError(f"{run.id}: {run.provenance} does not say what it was made of")
    place, problems, notes = _code(run, known)
    own = Path(known["experiment_root"], known["id"])
    folder = out or own
    if folder == own and not _are_same(own, run.folder):
        notes.append(f"it was made in {own}, and is made there again")
    command = _command(known, place, [] if out is None else ["--out", _literal(str(out))])
    answer = command.ask()
    if out is None and not answer.returncode and not _tells(answer.stdout, folder):
        command = _command(known, place, ["--out", _literal(known["id"])])  # as it was given one, or --adhoc
        answer = command.ask()
    notes += [f"{name} has to be set: its value is a secret, which no file has" for name in command.secrets]
    return Replay(command.line(), (*problems, *_differences(run, answer, folder)), tuple(notes))


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEEDED = {"base_config": str, "overrides": list, "experiment_root": str, "id": str}


def _are_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _literal(folder: str) -> str:
    """A folder as --out takes it, which is a pattern."""
    return folder.replace("%", "%%")


def _command(known: dict[str, Any], place: Path, more: list[str]) -> _Command:
    root = str(known.get("project_root"))
    environment: dict[str, str | None] = {"HH_EXP_DIR": known["experiment_root"]}
    if str(place) != root:
        environment["HH_COPY_OF"] = root
    of_its_batch = known.get("environment")
    kept = Secrets.tolerant(Project(place)).kept(of_its_batch) if isinstance(of_its_batch, dict) else {}
    if kept:
        environment["HH_EXPORTED"] = shlex.join(kept)
        environment.update({n: value for n, value in kept.items() if not isinstance(value, bool)})
    secrets = tuple(name for name, value in kept.items() if value is True and _NAME.fullmatch(name))
    words = [*_log_level(known), *more, *map(str, known["overrides"])]
    return _Command(place, environment, ["-c", known["base_config"], *words], secrets)


def _log_level(known: dict[str, Any]) -> list[str]:
    try:
        level = parse_argv([str(word) for word in known.get("argv") or ()]).log_level
    except (UsageError, TypeError):
        return []  # it was started from Python, or somebody has edited it
    return [] if level == "INFO" else ["--log-level", level]


# ---- The code -----------------------------------------------------------------------------------


def _code(run: Run, known: dict[str, Any]) -> tuple[Path, list[str], list[str]]:
    """Where the code is, what of it is not as it was, and what is to be known."""
    copy, root = known.get("snapshot"), Path(str(known.get("project_root")))
    if isinstance(copy, str) and (Path(copy) / "run.py").is_file():
        return Path(copy), [], []
    if not (root / "run.py").is_file():
        gone = f"its copy of the code is gone ({copy}), and" if copy else "it has no copy of the code, and"
        raise UsageError(f"{run.id}: {gone} there is no run.py in {root}")
    why = f"its copy of the code is gone: {copy}" if copy else "no copy of the code was made for it"
    return root, *_working_tree(root, known, why)


def _working_tree(root: Path, known: dict[str, Any], why: str) -> tuple[list[str], list[str]]:
    """Whether the code in the working tree is that of the run, as far as git can tell."""
    now, commit = git_state(root), known.get("git_commit")
    told = f"{why}; {root} is taken as it is now"
    if commit and commit == now.commit and not now.dirty and not known.get("git_dirty"):
        return [], [f"{told}, at the same commit"]
    if not commit:
        return [f"{told}, and no commit is known of it"], []
    edited = ", with changes that nobody has kept" if known.get("git_dirty") else ""
    at = f"{now.commit or 'no commit'}{', with changes' if now.dirty else ''}"
    return [f"{told}: it ran at commit {commit}{edited}, and there is {at}"], []


# ---- What comes of it ---------------------------------------------------------------------------


def _tells(printed: bytes, folder: Path) -> bool:
    return printed.startswith(os.fsencode(f"{folder}\n"))


def _differences(run: Run, answer: "subprocess.CompletedProcess[bytes]", folder: Path) -> list[str]:
    """How what it makes differs from the run."""
    if answer.returncode:
        said = os.fsdecode(answer.stderr).strip().splitlines() or [f"exit status {answer.returncode}"]
        return [f"it composes no more: {said[-1].removeprefix('error: ')}"]
    if not _tells(answer.stdout, folder):
        return [f"it would be another run: {os.fsdecode(answer.stdout.partition(chr(10).encode())[0])}"]
    config = answer.stdout[len(os.fsencode(f"{folder}\n")) :]
    try:
        frozen = files.read(run.config)
    except OSError as problem:
        return [f"whether its config is the same is not known: {run.config}: {problem.strerror}"]
    return [] if config == frozen + b"\n" else [_changed(os.fsdecode(frozen), os.fsdecode(config))]


def _changed(frozen: str, now: str) -> str:
    old, new = frozen.splitlines(), now.splitlines()
    gone = [line.strip() for line in old if line not in new]
    come = [line.strip() for line in new if line not in old]
    return f"its config was edited since: {', '.join(gone) or 'nothing'} -> {', '.join(come) or 'nothing'}"
