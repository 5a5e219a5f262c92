"""Find the runs that a change of the schema or of configs would alter, by composing their command lines.

its frozen config   has fields that the schema has no more, or cannot be read
its command line    composes no more, to another id, or to another config
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heyhi import files
from heyhi.config import Composer, prototxt, read_schemas, views
from heyhi.errors import HeyhiError
from heyhi.project import Project
from heyhi.runs.draft import drift_from, recompose
from heyhi.runs.folder import Run, read_provenance
from heyhi.runs.ids import make_id, relative_to_root
from heyhi.texts import some_of

__all__ = ["Checked", "check"]

_MOST = 5  # fields that are named of one run


class Checked(NamedTuple):
    """The number of checked runs, why some would change, and the number of other projects' runs."""

    total: int
    changes: dict[Run, list[str]]
    others: int


def check(several: Sequence[Run], project: Project) -> Checked:
    """Look at all runs that have a heyhi.json. Raises ProjectError if the schema cannot be read."""
    checker = _Checker(project)
    started = [run for run in several if _was_started(run)]
    found = {run: checker.reasons(run) for run in started}
    others = sum(reasons is None for reasons in found.values())
    return Checked(len(started) - others, {run: why for run, why in found.items() if why}, others)


def _was_started(run: Run) -> bool:
    """True if it has a heyhi.json, also an unreadable one, which HeyHi reports."""
    try:
        run.provenance.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


class _Checker:
    def __init__(self, project: Project) -> None:
        self._project = project
        self._name = project.name
        self._meta_class = read_schemas(project).meta
        self._composer = Composer(project, self._meta_class)

    def reasons(self, run: Run) -> list[str] | None:
        """The reason why a run would change; None if the run is of another project."""
        known = read_provenance(run)
        if not known:
            return ["heyhi.json cannot be read"]
        if known.get("project") != self._name:
            return None
        return [*self._of_frozen(run), *self._of_command_line(known)]

    def _of_frozen(self, run: Run) -> list[str]:
        try:
            text = files.read_text(run.config_meta)
            _, unknown = prototxt.parse_old(text, self._meta_class, run.config_meta.name)
        except (OSError, ValueError) as problem:
            return [f"its frozen config cannot be read: {_told(problem)}"]
        named = [f"{name} ({value})" for name, value in unknown.items()]
        return [f"frozen with what the schema has no more: {some_of(named, _MOST)}"] if named else []

    def _of_command_line(self, known: dict[str, Any]) -> list[str]:
        project = self._project
        try:
            now = recompose(known, project, self._composer)
        except HeyhiError as problem:
            return [f"composes no more: {problem}"]
        fingerprint = views.fingerprint(now.task, now.config)
        drift = drift_from(known, now, fingerprint, project, project.experiment_root)
        drift_is = [f"composes to another config: {some_of(drift, _MOST)}"] if drift else []
        return [*self._of_id(known, now.overrides), *drift_is]

    def _of_id(self, known: dict[str, Any], overrides: Sequence[str]) -> list[str]:
        base = self._project.root / known["base_config"]
        before = known.get("canonical_overrides")
        if not isinstance(before, list):
            return []
        if known.get("id") != make_id(base, list(map(str, before)), self._project):
            return []  # its folder was named by hand
        root = Path(str(known.get("experiment_root")))
        after = make_id(base, [relative_to_root(text, root) for text in overrides], self._project)
        return [f"its id would be {after}"] if after != known["id"] else []


def _told(problem: Exception) -> str:
    return problem.strerror or str(problem) if isinstance(problem, OSError) else str(problem)
