"""The command that makes a run again: the same code, the same id, the same config.

heyhi.json ─▶ (cd COPY OF THE CODE && HH_EXP_DIR=... python run.py -c CFG ... OVERRIDES)
           └▶ problems: what is known to be otherwise

The command is printed, and nothing is run: heyhi.json may name any folder and any variable. What it composes
to is known to the run.py of the copy alone: `check` asks it, if the run and the copy are the user's own.
"""

import os
import pwd
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files, runs
from heyhi.errors import UsageError
from heyhi.launch import (
    GitError,
    GitState,
    find_snapshot,
    git_state,
    is_as_its_name_says,
    noted_git_state,
    root_of,
    run_git,
)
from heyhi.project import Project, moved
from heyhi.runs import Run, Secrets, parse_argv
from heyhi.texts import on_one_line, quoted

__all__ = ["Replay", "replay_of"]


class Replay(NamedTuple):
    """A command line for a shell; what it does not make as it was, and why; and what is to be known."""

    command: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]


class _Command(NamedTuple):
    """The command's folder, its changes of the environment (None: unset), and the arguments of run.py."""

    folder: Path
    environment: dict[str, str | None]
    words: list[str]
    secrets: tuple[str, ...] = ()  # variables that have to be set where it is given

    def line(self) -> str:
        """The command line for a shell."""
        unset = [f"-u {quoted(name)}" for name, value in self.environment.items() if value is None]
        given = [f"{n}={quoted(v)}" for n, v in self.environment.items() if v is not None]
        before = " ".join(["env", *unset, *given] if unset else given)
        needed = "".join(
            f': "${{{name}:?is a secret, which no file has: set it}}" && ' for name in self.secrets
        )
        words = " ".join(map(quoted, self.words))
        return f"({needed}cd {quoted(str(self.folder))} && {before} python run.py {words})"

    def ask(self) -> "subprocess.CompletedProcess[bytes]":
        """The run folder and the config that the command would use."""
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


def replay_of(run: Run, out: Path | None = None, *, check: bool = False) -> Replay:
    """The command that makes a run again, in its own folder or in `out`. Runs nothing, unless to `check`.

    Raises UsageError if the command is unknown, if its code is missing, or if the check would run another
    user's code.
    """
    known = runs.read_provenance(run)
    if not all(isinstance(known.get(name), kind) for name, kind in _NEEDED.items()):
        raise UsageError(f"{run.id}: {run.provenance} does not say what it was made of")
    place, why = _code(run, known)
    if check:
        _refuse_others_code(run, place)
    problems, notes = _state_of_code(place, known, why, with_changes=check)
    root = root_of(run, known)
    own = Path(
        moved(os.path.join(known["experiment_root"], known["id"]), known["experiment_root"], str(root))
    )
    if str(root) != known["experiment_root"]:
        notes.append(f"its experiment root was {known['experiment_root']}: it is made in {root}")
    elif runs.real_path(own) != runs.real_path(run.folder):
        notes.append(f"it was made in {own}, and is made there again")
    more = ["--out", _literal(str(out))] if out else []
    if not more and _was_named(known, place):
        more = ["--out", _literal(moved(known["id"], known["experiment_root"], str(root)))]
    command = _command(run, known, place, root, more, notes)
    notes += [f"{name} has to be set: its value is a secret, which no file has" for name in command.secrets]
    if check:
        problems += _differences(run, command.ask(), out or own, (known["experiment_root"], str(root)))
    else:
        notes += _not_verified(run, place)
    return Replay(command.line(), tuple(problems), tuple(notes))


_NEEDED = {"base_config": str, "overrides": list, "experiment_root": str, "id": str}


def _literal(folder: str) -> str:
    """A folder as --out takes it, which is a pattern."""
    return folder.replace("%", "%%")


def _was_named(known: dict[str, Any], place: Path) -> bool:
    """True if its folder does not follow from its overrides: it was started with --out or --adhoc."""
    canonical = known.get("canonical_overrides")
    if not isinstance(canonical, list):
        return False
    base = place / known["base_config"]
    return bool(known["id"] != runs.make_id(base, list(map(str, canonical)), Project(place)))


# ---- The command --------------------------------------------------------------------------------

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _command(
    run: Run, known: dict[str, Any], place: Path, root: Path, more: list[str], notes: list[str]
) -> _Command:
    project_root, old_root = str(known.get("project_root")), known["experiment_root"]
    environment: dict[str, str | None] = {"HH_EXP_DIR": str(root)}
    if str(place) != project_root:
        environment["HEYHI_COPY_OF"] = project_root
    of_its_batch = known.get("environment")
    secrets: tuple[str, ...] = ()
    if isinstance(of_its_batch, dict) and of_its_batch:
        fitting = {name: value for name, value in of_its_batch.items() if _NAME.fullmatch(name)}
        notes += [
            f"a variable is left out, as no shell takes its name: {on_one_line(name)!r}"
            for name in of_its_batch
            if name not in fitting
        ]
        kept = Secrets.tolerant(Project(place)).kept(fitting)
        secrets = tuple(name for name, value in kept.items() if value is True)
        environment["HEYHI_EXPORTED"] = shlex.join(kept)
        given = {n: None if v is None else str(v) for n, v in kept.items() if not isinstance(v, bool)}
        environment = {**environment, **given, **environment}  # what is said here counts, in this order
    overrides = [_moved_override(str(text), old_root, str(root)) for text in known["overrides"]]
    words = ["-c", moved(known["base_config"], old_root, str(root)), *_log_level(known), *more, *overrides]
    if any("\0" in word for word in (*words, *environment.values(), str(place)) if word is not None):
        raise UsageError(f"{run.id}: {run.provenance} has a NUL, which no command line can have")
    return _Command(place, environment, words, secrets)


def _moved_override(text: str, old_root: str, root: str) -> str:
    """An override whose value, if it lies in the experiment root of then, lies in that of now."""
    key, equals, value = text.partition("=")
    return f"{key}{equals}{moved(value, old_root, root)}"


def _log_level(known: dict[str, Any]) -> list[str]:
    try:
        level = parse_argv([str(word) for word in known.get("argv") or ()]).log_level
    except (UsageError, TypeError):
        return []  # it was started from Python, or somebody has edited it
    return [] if level == "INFO" else ["--log-level", level]


# ---- The code -----------------------------------------------------------------------------------


def _code(run: Run, known: dict[str, Any]) -> tuple[Path, str]:
    """The folder of the code, and the reason why it is no snapshot, or an empty text."""
    copy, root = known.get("snapshot"), Path(str(known.get("project_root")))
    found = find_snapshot(run, known)
    if found is not None and files.is_file(found / "run.py"):
        return found, ""
    if not files.is_file(root / "run.py"):
        gone = f"its copy of the code is gone ({copy}), and" if copy else "it has no copy of the code, and"
        raise UsageError(on_one_line(f"{run.id}: {gone} there is no run.py in {root}"))
    why = f"its copy of the code is gone: {copy}" if copy else "no copy of the code was made for it"
    return root, why


def _state_of_code(
    place: Path, known: dict[str, Any], why: str, *, with_changes: bool
) -> tuple[list[str], list[str]]:
    """The changes of the code since the run, and notes."""
    if not why:
        return _state_of_copy(place, known)
    return _state_of_working_tree(place, known, why, with_changes=with_changes)


def _state_of_copy(copy: Path, known: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The changes of a snapshot, and notes; files that a run left in it change no code."""
    if is_as_its_name_says(copy):
        return [], []  # also if the run is of a later commit: what it ran was copied before it was committed
    notes = [f"files were added to its copy of the code, or changed, since it was made: {copy}"]
    commit, noted = known.get("git_commit"), noted_git_state(copy).commit
    if not commit or not noted or commit == noted:
        return [], notes
    return [f"its copy of the code is of commit {noted}, and it ran at commit {commit}"], notes


def _state_of_working_tree(
    root: Path, known: dict[str, Any], why: str, *, with_changes: bool
) -> tuple[list[str], list[str]]:
    """The changes of the working tree since the run, as far as git can tell, and notes.

    To look for changes, git may run what the settings of the repository name: only if that is asked for.
    """
    now = git_state(root) if with_changes else GitState(_commit_of(root), dirty=False)
    commit = known.get("git_commit")
    told = f"{why}; {root} is taken as it is now"
    if not commit:
        return [f"{told}, and no commit is known of it"], []
    if commit == now.commit and not now.dirty and not known.get("git_dirty"):
        return [], [f"{told}, at the same commit{'' if with_changes else '; its changes are not verified'}"]
    edited = ", with uncommitted changes that are not recorded" if known.get("git_dirty") else ""
    at = f"{now.commit or 'no commit'}{', with changes' if now.dirty else ''}"
    return [f"{told}: it ran at commit {commit}{edited}, and there is {at}"], []


def _commit_of(root: Path) -> str | None:
    try:
        return run_git(root, "rev-parse", "--verify", "HEAD").strip()
    except GitError:
        return None


# ---- What comes of it ---------------------------------------------------------------------------


def _not_verified(run: Run, place: Path) -> list[str]:
    what = "whether it composes to the same config and folder is not verified"
    if (kind := files.kind_of(run.config)) != "file":
        return [f"{what}, and cannot be: {run.config} is {kind or 'not there'}"]
    return [f"{what}; `heyhi replay --check` runs {place}/run.py to see"]


def _refuse_others_code(run: Run, place: Path) -> None:
    """Refuse to check a run, which runs its code, unless its files belong to the user or to root."""
    for path in (run.folder, run.provenance, place, place / "run.py"):
        for known in (os.lstat(path), os.stat(path)):
            if known.st_uid not in (os.geteuid(), 0):
                raise UsageError(
                    f"{path} belongs to {_user(known.st_uid)}: --check runs only what is yours, or root's"
                )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _differences(
    run: Run, answer: "subprocess.CompletedProcess[bytes]", folder: Path, roots: Sequence[str]
) -> list[str]:
    """The differences of the command's config from the run's, which has the first of the roots."""
    if answer.returncode:
        said = os.fsdecode(answer.stderr).strip().splitlines() or [f"exit status {answer.returncode}"]
        return [f"it composes no more: {said[-1].removeprefix('error: ')}"]
    told, _, config = answer.stdout.partition(b"\n")
    if not told:
        return ["its run.py names no folder: whether it would be the same run is not known"]
    if told != os.fsencode(folder):
        return [f"it would be another run: {os.fsdecode(told)}"]
    try:
        frozen = files.read(run.config)
    except OSError as problem:
        return [f"whether its config is the same is not known: {run.config}: {problem.strerror}"]
    old, new = (os.fsencode(root) for root in roots)
    if old != new:
        frozen = re.sub(b'(?<=: ")' + re.escape(old) + b'(?=["/])', new.replace(b"\\", b"\\\\"), frozen)
    return [] if config == frozen + b"\n" else [_changed(os.fsdecode(frozen), os.fsdecode(config))]


def _changed(frozen: str, now: str) -> str:
    old, new = frozen.splitlines(), now.splitlines()
    gone = [line.strip() for line in old if line not in new]
    come = [line.strip() for line in new if line not in old]
    return f"its config was edited since: {', '.join(gone) or 'nothing'} -> {', '.join(come) or 'nothing'}"
