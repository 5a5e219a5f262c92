"""Runs beside the schema and the configs of now: how each would compose otherwise, or why nobody knows.

Most runs are one of a sweep: a base config, and other values for the same fields. Once one of them composes
to what it was frozen as, so do all that differ from it in these values alone, if theirs are as frozen, too.
"""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from heyhi import runs, views
from heyhi.compose import Composer, read_key
from heyhi.draft import drift_from, recompose
from heyhi.errors import HeyhiError
from heyhi.fields import fields_of, inner_type, type_of
from heyhi.overrides import NULL, parse_override
from heyhi.project import Project
from heyhi.protos import load_messages
from heyhi.scalars import Scalar, python_value, scalar_of
from heyhi.texts import as_utf8

__all__ = ["Drift"]


class Drift:
    """Says how runs would compose now; the schema is only loaded if one is asked about.

    `elsewhere` are the ids of runs whose base config is not below conf/: nothing tells of an edit of it.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._root = project.experiment_root
        self._conf = (f"{project.conf}/", f"{runs.real_path(project.conf)}/")
        self._composer: Composer | None = None
        self._tasks: dict[str, Descriptor] = {}
        self._name = ""
        self._wrong = ""
        self._same: dict[tuple[Any, ...], str] = {}  # a sweep -> what is frozen besides its values
        self.elsewhere: set[str] = set()

    def of(self, known: dict[str, Any], run_id: str, config: dict[str, Any]) -> str:
        """How its config differs now, or why that is not known; `config` is the frozen one, flat."""
        if not self._composer and not self._wrong:
            self._prepare()
        if self._composer is None:
            return f"not known: {self._wrong}"
        if known.get("project") != self._name:
            return f"not known: its project is {known.get('project')!r}, not {self._name!r}"
        if not self._is_below_conf(known.get("base_config")):
            self.elsewhere.add(run_id)
        one = self._one_of_sweep(known)
        rest = one.rest(config) if one else ""
        if one and self._same.get(one.sweep) == rest and one.has_its_values(config):
            return ""
        try:
            now = recompose(known, self._project, self._composer)
            fingerprint = views.fingerprint(now.task, now.config)
            lines = drift_from(known, now, fingerprint, self._project, self._root)
        except HeyhiError as problem:
            return as_utf8(f"not known: {problem}")
        if one and fingerprint == known.get("fingerprint"):
            self._same[one.sweep] = rest
        return as_utf8("; ".join(lines))

    def _is_below_conf(self, typed: Any) -> bool:
        path = os.path.join(self._project.root, typed) if isinstance(typed, str) else ""
        return os.path.normpath(path).startswith(self._conf)

    def _one_of_sweep(self, known: dict[str, Any]) -> "_OneOfSweep | None":
        base, task, overrides = known.get("base_config"), known.get("task"), known.get("overrides")
        if not (isinstance(base, str) and isinstance(task, str) and isinstance(overrides, list)):
            return None
        if task not in self._tasks:
            return None
        try:
            return _sort_out((base, task), [str(typed) for typed in overrides], self._tasks[task])
        except (HeyhiError, ValueError):
            return None  # to compose it tells what is wrong

    def _prepare(self) -> None:
        schema = self._project.conf / "conf.proto"
        if not schema.is_file():
            self._wrong = f"{schema}: no such file"
            return
        try:
            self._name = self._project.name
            meta_class = load_messages(self._project)
        except HeyhiError as problem:
            self._wrong = str(problem)
            return
        self._composer = Composer(self._project, meta_class)
        fields = fields_of(type_of(meta_class)).values()
        self._tasks = {name: inner_type(field) for name, kind, field in fields if kind == "message"}


# ---- Sweeps -------------------------------------------------------------------------------------


class _OneOfSweep(NamedTuple):
    """A run by what it has in common with others, and its own values by dotted paths."""

    sweep: tuple[str, ...]
    values: dict[str, Any]

    def rest(self, config: dict[str, Any]) -> str:
        """What is frozen besides its values. As text: 1, 1.0 and True are equal, and not the same."""
        return repr({**config, **dict.fromkeys(self.values)})

    def has_its_values(self, config: dict[str, Any]) -> bool:
        """Whether its overrides say now what is frozen."""
        return all(repr(config.get(path)) == repr(value) for path, value in self.values.items())


def _sort_out(start: tuple[str, str], overrides: Sequence[str], task: Descriptor) -> _OneOfSweep | None:
    """None if there is more than includes, and values of some scalars: these come last, and count."""
    sweep: list[str] = [*start]
    values: dict[str, Any] = {}
    for typed in overrides:
        override = parse_override(typed)
        is_include, key, _ = read_key(task, override.key)
        if is_include:
            sweep.append(typed)
            continue
        path, found = ".".join(key), _scalar_at(task, key)
        if found is None or override.text == NULL:
            return None
        field, scalar = found
        sweep.append(path)
        values[path] = python_value(field, scalar.read(override.text))
    return _OneOfSweep(tuple(sweep), values)


@cache
def _scalar_at(descriptor: Descriptor, key: tuple[str, ...]) -> tuple[FieldDescriptor, Scalar] | None:
    """The scalar that a key leads to through messages; None if it goes elsewhere, as to a list's element."""
    field = fields_of(descriptor).get(key[0])
    if field is None or field.kind != ("message" if key[1:] else "scalar"):
        return None
    if key[1:]:
        return _scalar_at(inner_type(field.descriptor), key[1:])
    return field.descriptor, scalar_of(field.descriptor)
