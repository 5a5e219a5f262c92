"""Configs for Python: load one by its path, and ask, change or save what was loaded.

cfg = heyhi.load_config("conf/c02_sup_train/sl.prototxt", ["lr=0.1"])
cfg.train.lr                    0.1, typed and read-only
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from heyhi import files, runs
from heyhi.config import (
    NULL,
    Composer,
    Frozen,
    editable,
    fields,
    fields_of,
    find_base,
    freeze,
    inner_type,
    load_message_types,
    load_messages,
    parse_override,
    prototxt,
    split_key,
    type_of,
    views,
    write_bytes,
)
from heyhi.errors import ConfigError
from heyhi.log import warn
from heyhi.project import Project, display, find_project
from heyhi.runs import Run

__all__ = [
    "conf_get",
    "conf_is_set",
    "conf_set",
    "conf_to_dict",
    "conf_with_overrides",
    "flatten_cfg",
    "load_config",
    "load_proto_message",
    "load_root_config",
    "load_root_proto_message",
    "overrides_to_dict",
    "save_config",
]

_AnyPath = str | os.PathLike[str]


def load_proto_message(
    config_path: _AnyPath,
    overrides: Sequence[str] = (),
    *,
    msg_class: type[Any] | None = None,
    extra_include_dirs: Sequence[_AnyPath] = (),
) -> Any:
    """Compose the config at a path, as an editable message.

    `msg_class` is its type, editable or frozen; without it the file is a MetaCfg, or else of the one
    type of the project's schemas that it fits. Overrides of a MetaCfg are relative to its task, as on
    the command line. Includes are also looked up in `extra_include_dirs`. Of a frozen config in a run folder
    fields are left out that the schema has no more, with a warning that names them; not if there are
    overrides. Raises ConfigError.
    """
    try:
        return _load(config_path, overrides, msg_class, extra_include_dirs)
    except ConfigError:
        old = None if overrides else _load_old(Path(os.path.abspath(config_path)), msg_class)
        if old is None:
            raise
        return old


def _load(
    config_path: _AnyPath,
    overrides: Sequence[str],
    msg_class: type[Any] | None,
    extra_include_dirs: Sequence[_AnyPath],
) -> Any:
    project = find_project()
    meta_class = load_messages(project)
    path = find_base(os.fspath(config_path), project)
    dirs = [Path(os.path.abspath(folder)) for folder in extra_include_dirs]
    cls = _editable_class(msg_class) if msg_class is not None else _class_of_file(path, project, meta_class)
    composer = Composer(project, meta_class, extra_dirs=dirs)
    if cls is meta_class:
        return composer.compose(path, overrides).meta
    return composer.compose_message(path, overrides, cls)


def _load_old(path: Path, msg_class: type[Any] | None) -> Any:
    """A frozen config of an older schema, without what the schema has no more; None if it is no such one."""
    run = Run("", path.parent)
    if path not in (run.config, run.config_meta) or not run.provenance.exists():
        return None
    cls = load_messages(find_project())
    task = fields_of(type_of(cls())).get(str(runs.read_provenance(run).get("task")))
    if msg_class is not None:
        cls = _editable_class(msg_class)
    elif path == run.config and task is not None and task.kind == "message":
        cls = GetMessageClass(inner_type(task.descriptor))
    message, unknown = prototxt.parse_old(files.read_text(path), cls, display(path))
    if not unknown:
        return None  # something else is wrong with it
    told = ", ".join(f"{name} ({text})" for name, text in unknown.items())
    warn(f"{display(path)}: left out, as the schema has them no more: {told}")
    return message


def load_config(
    config_path: _AnyPath,
    overrides: Sequence[str] = (),
    *,
    msg_class: type[Any] | None = None,
    extra_include_dirs: Sequence[_AnyPath] = (),
) -> Any:
    """Compose the config at a path: a frozen config of the type that the file has.

    `msg_class` is its type, editable or frozen; without it the file is a MetaCfg, or else of the one
    type of the project's schemas that it fits. Includes are also looked up in `extra_include_dirs`.
    A frozen config of an older schema is read as by `load_proto_message`. Raises ConfigError.
    """
    return freeze(
        load_proto_message(config_path, overrides, msg_class=msg_class, extra_include_dirs=extra_include_dirs)
    )


def load_root_config(
    config_path: _AnyPath,
    overrides: Sequence[str] = (),
    *,
    extra_include_dirs: Sequence[_AnyPath] = (),
) -> Any:
    """Compose a base config, as `run.py -c` does: a frozen MetaCfg. Raises ConfigError."""
    return load_config(
        config_path,
        overrides,
        msg_class=load_messages(find_project()),
        extra_include_dirs=extra_include_dirs,
    )


def load_root_proto_message(
    config_path: _AnyPath,
    overrides: Sequence[str],
    extra_include_dirs: Sequence[_AnyPath] = (),
) -> tuple[str, Any]:
    """Compose a base config: the name of its task, and the editable MetaCfg. Raises ConfigError."""
    meta = load_proto_message(
        config_path,
        overrides,
        msg_class=load_messages(find_project()),
        extra_include_dirs=extra_include_dirs,
    )
    return meta.WhichOneof("task"), meta


def _editable_class(cls: type[Any]) -> type[Message]:
    return cast(type[Message], cls._editable_class if issubclass(cls, Frozen) else cls)


def _class_of_file(path: Path, project: Project, meta_class: type[Message]) -> type[Message]:
    """MetaCfg if the file is one; else the only type that it fits. Raises ConfigError."""
    try:
        prototxt.read(path, meta_class, project.root)
        return meta_class
    except ConfigError as problem:
        fitting = prototxt.types_that_fit(path, load_message_types(project), project.root)
        if not fitting:
            raise problem
    if len(fitting) > 1:
        names = ", ".join(cls.DESCRIPTOR.name for cls in fitting)
        raise ConfigError(display(path), f"fits several types ({names}): give msg_class")
    return fitting[0]


# ---- What was loaded ----------------------------------------------------------------------------


def flatten_cfg(cfg: Any, *, with_all: bool = True) -> dict[str, Any]:
    """Dotted path -> value of a config, frozen or not; elements of lists and maps one by one.

    with_all: also what is unset (its default, None, False or []); else only what is set.
    """
    return views.flatten(editable(cfg), with_all=with_all)


def save_config(cfg: Any, path: _AnyPath) -> None:
    """Write a config, frozen or not, as text that `load_config` reads; the file is whole at any moment.

    Raises OSError if it cannot be written.
    """
    files.write_whole(Path(path), prototxt.write_text(editable(cfg)))


def conf_to_dict(cfg: Any, include_defaults: bool = False) -> dict[str, Any]:
    """The config in protobuf's JSON mapping, with the names of the schema.

    In this mapping 64-bit integers are strings and bytes are base64; `cfg.to_dict()` has them as they
    are. include_defaults fills in the explicit defaults of the schema.
    """
    from google.protobuf import json_format

    message = editable(cfg)
    if include_defaults:
        message = views.with_defaults(message)
    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=include_defaults,
    )


def conf_is_set(cfg: Any, path: str) -> bool:
    """True if the scalar at a dotted path is set. Raises ConfigError if there is no such scalar."""
    message: Any = editable(cfg)
    try:
        names = split_key(path)
        for depth, name in enumerate(names[:-1]):
            if fields.find(message, name, names[:depth]).kind != "message":
                raise ValueError(f"{name} is no message")
            message = getattr(message, name)
        field = fields.find(message, names[-1], names[:-1])
    except ValueError as problem:
        raise ConfigError(path, str(problem)) from None
    if field.kind != "scalar":
        raise ConfigError(path, f"is a {field.kind}: only of a scalar it can be said that it is set")
    return bool(message.HasField(names[-1]))


def conf_get(cfg: Any, path: str) -> Any:
    """The value at a dotted path, read attribute by attribute; nothing is changed by it.

    Raises AttributeError if there is no such field.
    """
    for name in path.split("."):
        cfg = getattr(cfg, name)
    return cfg


def conf_set(cfg: Any, path: str, value: Any) -> None:
    """Set a field of an editable message, as the override `path=value` does; None clears it.

    Raises ConfigError if it cannot be so, RuntimeError if the config is frozen.
    """
    if isinstance(cfg, Frozen):
        raise RuntimeError(f"Attempt to set {path}={value} on read-only config")
    text = write_bytes(value) if isinstance(value, bytes) else str(value)
    try:
        fields.set_text(cfg, split_key(path), NULL if value is None else text)
    except ValueError as problem:
        raise ConfigError(path, str(problem)) from None


def conf_with_overrides(cfg: Any, overrides: Sequence[str]) -> Any:
    """A frozen copy of a config with scalar overrides done to it, in the order given.

    Their paths are those of `cfg` itself: of a MetaCfg they begin with the task. Raises ConfigError.
    """
    message = freeze(editable(cfg)).to_editable()
    for typed in overrides:
        override = parse_override(typed)
        try:
            fields.set_text(message, split_key(override.key), override.text)
        except ValueError as problem:
            raise ConfigError(override.where, str(problem)) from None
    return freeze(message)


def overrides_to_dict(overrides: Sequence[str]) -> dict[str, str]:
    """Key -> text of each override; of a key given twice the last one. Raises ConfigError."""
    parsed = [parse_override(typed) for typed in overrides]
    return {override.key: override.text for override in parsed}
