"""The original's module of this name: names handed on from where they live."""

from pathlib import Path
from typing import Any

from heyhi.api import (
    conf_get,
    conf_is_set,
    conf_set,
    conf_to_dict,
    conf_with_overrides,
    flatten_cfg,
    load_config,
    load_proto_message,
    load_root_config,
    load_root_proto_message,
    overrides_to_dict,
    save_config,
)

__all__ = [
    "CONF_ROOT",
    "PROJ_ROOT",
    "ROOT_CFG_CLASS",
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

CONF_ROOT: Path
PROJ_ROOT: Path
ROOT_CFG_CLASS: type[Any]


def __getattr__(name: str) -> Any:
    # Properties of the project, which is looked for when they are asked for.
    if name in ("CONF_ROOT", "PROJ_ROOT"):
        from heyhi.project import find_project

        project = find_project()
        return project.conf if name == "CONF_ROOT" else project.root
    if name == "ROOT_CFG_CLASS":
        from heyhi.config import frozen_class, load_messages
        from heyhi.project import find_project

        return frozen_class(load_messages(find_project()))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
