"""Compare runs with the present schema and configs: the drift of each, or the reason why it is unknown."""

import os
from typing import Any

from heyhi.config import Composer, read_schemas, views
from heyhi.errors import HeyhiError
from heyhi.project import Project
from heyhi.runs.draft import drift_from, recompose
from heyhi.runs.ids import real_path
from heyhi.texts import as_utf8

__all__ = ["Drift"]


class Drift:
    """Says how runs would compose now; the schema is only loaded if one is asked about.

    `elsewhere` are the ids of runs whose base config is not below conf/: nothing tells of an edit of it.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._root = project.experiment_root
        self._conf = (f"{project.conf}/", f"{real_path(project.conf)}/")
        self._composer: Composer | None = None
        self._name = ""
        self._wrong = ""
        self.elsewhere: set[str] = set()

    def of(self, known: dict[str, Any], run_id: str) -> str:
        """The differences of its config now, or the reason why they are unknown."""
        if not self._composer and not self._wrong:
            self._prepare()
        if self._composer is None:
            return f"not known: {self._wrong}"
        if known.get("project") != self._name:
            return f"not known: its project is {known.get('project')!r}, not {self._name!r}"
        if not self._is_below_conf(known.get("base_config")):
            self.elsewhere.add(run_id)
        try:
            now = recompose(known, self._project, self._composer)
            fingerprint = views.fingerprint(now.task, now.config)
            lines = drift_from(known, now, fingerprint, self._project, self._root)
            return as_utf8("; ".join(lines))
        except HeyhiError as problem:
            return as_utf8(f"not known: {problem}")

    def _is_below_conf(self, typed: Any) -> bool:
        path = os.path.join(self._project.root, typed) if isinstance(typed, str) else ""
        return os.path.normpath(path).startswith(self._conf)

    def _prepare(self) -> None:
        schema = self._project.conf / "conf.proto"
        if not schema.is_file():
            self._wrong = f"{schema}: no such file"
            return
        try:
            self._name = self._project.name
            self._composer = Composer(self._project, read_schemas(self._project).meta)
        except HeyhiError as problem:
            self._wrong = str(problem)
