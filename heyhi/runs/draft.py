"""A draft: a run as its command line composes it now. Beside it, what is frozen on disk already.

Invocation + Composition  ─▶  Draft(run id, folder, fingerprint)
drift       the same run was frozen with another config: someone edited a file since
collision   another command line has the same id (8 hex digits)
alias       another run has the same config
"""

import os
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files
from heyhi.config import Composer, Composition, prototxt, views
from heyhi.errors import UsageError
from heyhi.project import Project
from heyhi.runs import claim, fingerprints, ownership
from heyhi.runs.folder import Run, read_provenance
from heyhi.runs.ids import make_id, real_path, relative_to_root
from heyhi.runs.invocation import Invocation, Mode
from heyhi.runs.order import Order
from heyhi.runs.status import result_place

__all__ = [
    "Draft",
    "drift_from",
    "find_aliases",
    "find_collision",
    "find_drift",
    "find_obstacle",
    "make_draft",
    "make_order",
    "recompose",
]


class Draft(NamedTuple):
    """All that is known of a run before it is frozen.

    Its id is made of the `canonical` overrides; runs that compute the same share a `fingerprint`.
    """

    run: Run
    project: Project
    experiment_root: Path
    composition: Composition
    fingerprint: str
    base: Path
    overrides: tuple[str, ...]
    canonical: tuple[str, ...]
    argv: tuple[str, ...]
    snapshot_place: Path | None
    log_level: str = "INFO"

    @property
    def base_name(self) -> str:
        """The base config, relative to the project if it is in it."""
        base = Path(real_path(self.base.parent)) / self.base.name
        root = real_path(self.project.root)
        return str(base.relative_to(root) if base.is_relative_to(root) else base)


def make_draft(
    invocation: Invocation, project: Project, composition: Composition, base: Path, root: Path
) -> Draft:
    """The draft of an invocation, below the experiment root `root`.

    Raises UsageError if its --out is no folder for a run.
    """
    canonical = tuple(relative_to_root(text, root) for text in composition.overrides)
    date = _date() if invocation.adhoc or invocation.pattern is not None else ""
    run_id = make_id(
        base,
        canonical,
        project,
        is_adhoc=invocation.adhoc,
        date=date,
        pattern=None if invocation.pattern is None else os.path.expanduser(invocation.pattern),
    )
    folder = Path(os.path.abspath(os.path.join(root, run_id)))
    if not invocation.pattern and invocation.pattern is not None:
        raise UsageError("--out needs a folder, not an empty text")
    if invocation.pattern is not None and root.is_relative_to(folder):
        raise UsageError(f"--out {invocation.pattern!r}: a run needs a folder of its own below {root}")
    return Draft(
        run=Run(run_id, folder),
        project=project,
        experiment_root=root,
        composition=composition,
        fingerprint=views.fingerprint(composition.task, composition.config),
        base=base,
        overrides=invocation.overrides,
        canonical=canonical,
        argv=invocation.argv,
        snapshot_place=invocation.snapshot_place(root),
        log_level=invocation.log_level,
    )


def _date() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H%M%S", time.localtime(seconds)) + f".{nanoseconds // 1000:06d}"


def make_order(draft: Draft) -> Order:
    """The draft as text, ready to be started."""
    place = draft.snapshot_place
    return Order(
        id=draft.run.id,
        folder=str(draft.run.folder),
        project_root=str(draft.project.root),
        experiment_root=str(draft.experiment_root),
        config=prototxt.write_text(draft.composition.config),
        config_meta=prototxt.write_text(draft.composition.meta),
        provenance={**_provenance(draft), "unset": views.unset(draft.composition.config)},
        snapshot_place=None if place is None else str(place),
        log_level=draft.log_level,
    )


def _provenance(draft: Draft) -> dict[str, Any]:
    return {
        "id": draft.run.id,
        "task": draft.composition.task,
        "project": draft.project.name,
        "project_root": str(draft.project.origin),
        "experiment_root": str(draft.experiment_root),
        "argv": list(draft.argv),
        "base_config": draft.base_name,
        "overrides": list(draft.overrides),
        "canonical_overrides": list(draft.canonical),
        "config": views.to_dict(draft.composition.config, with_defaults=True),
        "fingerprint": draft.fingerprint,
    }


# ---- What is on disk already --------------------------------------------------------------------


def find_collision(draft: Draft) -> str | None:
    """The reason why the folder of this id belongs to another config or other overrides, if it does."""
    known = read_provenance(draft.run)
    ours = _provenance(draft)
    same = ("project", "task", "base_config", "canonical_overrides")
    if "base_config" not in known or all(known.get(key) == ours[key] for key in same):
        return None
    return f"{_origin(known)} has it already, and {_origin(ours)} meets it there"


def _origin(known: dict[str, Any]) -> str:
    """The project and the command line that a run comes from."""
    overrides = known.get("canonical_overrides")
    words = ["-c", known.get("base_config"), *(overrides if isinstance(overrides, list) else [])]
    return f"[{known.get('project')}, {known.get('task')}: {' '.join(map(str, words))}]"


def find_obstacle(draft: Draft, mode: Mode | None = None) -> str | None:
    """The reason why a run must not start in this folder: a later restart would wipe it."""
    mode_wipes = mode in (Mode.RESTART, Mode.START_RESTART)
    folder, root = draft.run.folder, draft.project.root
    if Path(real_path(root)).is_relative_to(os.path.realpath(folder)):
        return "the project is in it"
    for above in folder.parents:
        if any(files.is_file(above / path.name) for path in (draft.run.jobid, draft.run.provenance)):
            return f"{above} is a run, and it would be in it"
    if not os.path.lexists(folder):
        return ownership.find_file_above(folder)
    if os.path.lexists(draft.run.jobid) or files.is_file(draft.run.provenance):
        return None  # a run: its state says whose
    if os.path.realpath(draft.run.lock) in claim.holders_of_deleted():
        return None  # its process lives, and its files were deleted
    if result_place(draft.run):
        return None  # its task has emptied it, and its result is elsewhere
    text, text_meta = map(prototxt.write_text, (draft.composition.config, draft.composition.meta))
    return ownership.find_obstacle(draft.run, text, text_meta, mode_wipes=mode_wipes)


def find_drift(draft: Draft) -> list[str]:
    """The differences of the config composed now from the frozen one of the same run, a line per field."""
    known = read_provenance(draft.run)
    return drift_from(known, draft.composition, draft.fingerprint, draft.project, draft.experiment_root)


def recompose(known: dict[str, Any], project: Project, composer: Composer) -> Composition:
    """The present composition of the command line in a run's heyhi.json (`known`).

    Raises ConfigError if it composes no more, UsageError if heyhi.json does not say what it was.
    """
    typed, overrides = known.get("base_config"), known.get("overrides")
    if not isinstance(typed, str) or not isinstance(overrides, list):
        raise UsageError("heyhi.json does not say what it was composed of")
    return composer.compose(_base(project.root, typed), tuple(map(str, overrides)))


@cache
def _base(root: Path, typed: str) -> Path:
    return root / typed


def drift_from(
    known: dict[str, Any], now: Composition, fingerprint: str, project: Project, root: Path
) -> list[str]:
    """The differences of a composition from the frozen config in a heyhi.json (`known`), a line per field.

    A field that the schema has got since, and that has its default, is no difference.
    """
    import json

    if known.get("fingerprint") in (None, fingerprint):
        return []
    config = json.loads(json.dumps(views.to_dict(now.config, with_defaults=True), default=str))
    ours = {"config": config, "project_root": str(project.origin), "experiment_root": str(root)}
    frozen, unset = _without_roots(known), known.get("unset")
    added: set[str] = set()
    if isinstance(unset, list):  # else the fields of then are unknown
        added = views.added_fields([*views.paths(frozen), *map(str, unset)], now.config)
    return views.diff(frozen, _without_roots(ours), added=added)


def _without_roots(known: dict[str, Any]) -> Any:
    """The config of a run, with words for the places that differ between machines."""
    roots = [(known.get("experiment_root"), "EXP_DIR"), (known.get("project_root"), "ROOT_DIR")]

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: told(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [told(inner) for inner in value]
        return _relative(value, roots) if isinstance(value, str) else value

    return told(known.get("config", {}))


def _relative(text: str, roots: list[tuple[Any, str]]) -> str:
    for root, word in roots:
        for start in (root, real_path(root)) if isinstance(root, str) else ():
            if text == start or text.startswith(f"{start}/"):
                return f"{{{{{word}}}}}{text[len(start) :]}"
    return text


def find_aliases(draft: Draft) -> list[Run]:
    """Other runs whose frozen config is the same but for the launcher."""
    found = []
    for run_id in fingerprints.ids_of(draft.experiment_root, draft.fingerprint):
        other = Run(run_id, draft.experiment_root / run_id)
        same = read_provenance(other).get("fingerprint") == draft.fingerprint
        if same and other.folder != draft.run.folder and not run_id.startswith("adhoc/"):
            found.append(other)
    return found
