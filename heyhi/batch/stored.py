"""Batches as they were captured last: what looking knows of a script without running it.

    plan, start ─▶ Batch ─store─▶ <experiment root>/.heyhi/captures/sweep-<hash>.json
    status, ... ◀─ StoredBatch ◀─find_batch─┘

    {"batch": PATH, "captured": SECONDS, "sources": {PATH: HASH}, "root": PATH,
     "meta": "package.MetaCfg", "schemas": DESCRIPTORS,
     "runs": {"id": [...], "task": [...], "needs": [[0, 2], ...], "config": [...]}}

Each user has a file of their own for each script. It holds which runs there are, which needs which, and the
composed configs, with the descriptors of their types: looking composes nothing and imports nothing of the
project. No environment, no command line and no line of the script is kept.
"""

import base64
import hashlib
import json
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heyhi import files
from heyhi.errors import UsageError
from heyhi.project import Project
from heyhi.runs import Run, real_path
from heyhi.texts import from_json

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from heyhi.batch.entries import Batch

__all__ = ["Planned", "StoredBatch", "find_batch", "is_batch", "of_batch", "store"]

_FORMAT = "heyhi capture 1"


class Planned(NamedTuple):
    """A run of a batch: its task, and the task's config as protobuf serializes it."""

    run: Run
    task: str
    config: bytes


class StoredBatch:
    """A batch as it was captured: its runs in the order of their lines, and which needs which, by folders.

    `captured` is when, in seconds since the epoch, `root` the experiment root of then. `changed` are those of
    its files that have changed since.
    """

    def __init__(
        self,
        name: str,
        project: Project,
        entries: Sequence[Planned],
        needs: Mapping[Path, Sequence[Path]],
        schemas: tuple[bytes, str],
        captured: float,
        root: str,
        changed: Sequence[str] = (),
    ) -> None:
        self.name, self.project = name, project
        self.entries, self.needs = entries, needs
        self.captured, self.root, self.changed = captured, root, changed
        self._schemas = schemas

    def config_of(self, entry: Planned) -> "Message":
        """The config of a run as it was composed. Raises ValueError if it cannot be read."""
        from google.protobuf.message import DecodeError

        try:
            return self._types[entry.task].FromString(entry.config)
        except (LookupError, TypeError, DecodeError) as problem:
            raise ValueError(str(problem)) from None

    @cached_property
    def _types(self) -> dict[str, type["Message"]]:
        from google.protobuf.message_factory import GetMessageClass

        from heyhi.config import types_of

        fields: Any = types_of(*self._schemas).meta.DESCRIPTOR.fields
        return {f.name: GetMessageClass(f.message_type) for f in fields if f.message_type is not None}


def of_batch(batch: "Batch") -> StoredBatch:
    """A batch that was just composed, as looking takes it."""
    from heyhi.config import describe

    compositions = [entry.draft.composition for entry in batch.entries]
    entries = [
        Planned(entry.run, one.task, one.config.SerializePartialToString(deterministic=True))
        for entry, one in zip(batch.entries, compositions, strict=True)
    ]
    meta: Any = compositions[0].meta.DESCRIPTOR
    schemas = (describe(meta), meta.full_name)
    root = str(batch.project.experiment_root)
    return StoredBatch(batch.name, batch.project, entries, batch.needs, schemas, time.time(), root)


# ---- Keeping it ---------------------------------------------------------------------------------


def store(batch: "Batch") -> str:
    """Keep a batch for looking at it later; why that cannot be, or an empty text.

    What is kept already and says the same is not written again.
    """
    path = _place(batch.name, batch.project)
    content = _content(batch)
    try:
        if _known(path) == {**content, "captured": None}:
            return ""
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, json.dumps(content, separators=(",", ":")), mode=0o600)
    except OSError as problem:
        return (
            f"{batch.name}: the capture cannot be saved, so `heyhi status` will not know its runs: "
            f"{problem.filename or path}: {problem.strerror}"
        )
    return ""


def _known(path: Path) -> Any:
    """The stored capture of a batch, without the time; None if there is none."""
    try:
        return {**from_json(files.read(path)), "captured": None}
    except (OSError, ValueError, TypeError):
        return None


def _content(batch: "Batch") -> dict[str, Any]:
    now = of_batch(batch)
    numbers = {entry.run.folder: number for number, entry in enumerate(now.entries)}
    described, meta = now._schemas
    return {
        "format": _FORMAT,
        "batch": _script(batch.name),
        "captured": now.captured,
        "sources": dict(batch.sources),
        "root": now.root,
        "meta": meta,
        "schemas": base64.b64encode(described).decode(),
        "runs": {
            "id": [entry.run.id for entry in now.entries],
            "task": [entry.task for entry in now.entries],
            "needs": [[numbers[need] for need in now.needs[entry.run.folder]] for entry in now.entries],
            "config": [base64.b64encode(entry.config).decode() for entry in now.entries],
        },
    }


def _script(place: str) -> str:
    """The one path of a script, from wherever it is named."""
    folder, name = os.path.split(os.path.abspath(place))
    return os.path.join(real_path(folder), name)


def _place(batch: str, project: Project) -> Path:
    """The file of a batch's capture, by the script's path (several may share a name) and the user."""
    script = _script(batch)
    digest = hashlib.sha256(os.fsencode(f"{os.getuid()} {script}")).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", os.path.basename(script)).removesuffix(".sh").lstrip(".")[:80]
    return project.experiment_root / ".heyhi" / "captures" / f"{name or 'batch'}-{digest}.json"


# ---- Finding it ---------------------------------------------------------------------------------


def is_batch(place: str, project: Project) -> bool:
    """True if a place that a user names is to be taken for a batch: a file, `-`, or a script that is gone.

    A file of a run is none: who names a log means the run.
    """
    path = Path(place)
    if path.is_dir():
        return False
    is_known = place == "-" or files.is_file(_place(place, project))
    return is_known or (path.exists() and not Run("", path.parent).provenance.exists())


def find_batch(place: str, project: Project, tell: Callable[[str], None]) -> StoredBatch:
    """The batch of a script as it was captured last; `-`: of the lines on stdin. No script is run.

    `tell` is called with a line if the script has changed since. Raises UsageError if none was captured.
    """
    if place == "-":
        return _of_stdin(project)
    try:
        batch = _read(place, project)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise UsageError(f"{place}: {_why_none(place)}") from None
    if batch.changed:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(batch.captured))
        tell(
            f"{place}: as captured at {when}; since then {batch.changed[0]} has changed: "
            f"heyhi plan {shlex.quote(place)}"
        )
    return batch


def _of_stdin(project: Project) -> StoredBatch:
    from heyhi.batch.entries import compose_lines, lines_of_stdin
    from heyhi.config import read_schemas

    lines = lines_of_stdin(project)
    return of_batch(compose_lines("stdin", lines, project, read_schemas(project).meta))


def _why_none(place: str) -> str:
    try:
        is_script = place.endswith((".sh", ".bash")) or b"run.py" in files.read(place)
    except OSError as problem:
        return f"is not a batch that has been planned: {problem.strerror}"
    if is_script:
        return (
            f"has not been planned yet, and this command runs no script; run heyhi plan {shlex.quote(place)}"
        )
    return "is not a batch; this command runs no file"


def _read(place: str, project: Project) -> StoredBatch:
    from heyhi.batch.capture import hash_of

    known = from_json(files.read(_place(place, project)))
    if known["format"] != _FORMAT or known["batch"] != _script(place):
        raise ValueError("of another version, or of another script")
    root, runs = project.experiment_root, known["runs"]
    entries = [
        Planned(
            Run(run_id, Path(os.path.abspath(os.path.join(root, run_id)))), task, base64.b64decode(config)
        )
        for run_id, task, config in zip(runs["id"], runs["task"], runs["config"], strict=True)
    ]
    folders = [entry.run.folder for entry in entries]
    needs = {
        folder: tuple(folders[number] for number in numbers)
        for folder, numbers in zip(folders, runs["needs"], strict=True)
    }
    changed = [path for path, hash_then in known["sources"].items() if hash_of(path) != hash_then]
    schemas = (base64.b64decode(known["schemas"]), str(known["meta"]))
    return StoredBatch(
        place, project, entries, needs, schemas, float(known["captured"]), str(known["root"]), changed
    )
