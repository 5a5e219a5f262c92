"""HeyHi takes the arguments given to `run.py`, and at the end launches something.

What is listed in `__all__` is public; everything else may change. A name is imported from its module
when it is first used: `import heyhi` costs nothing.
"""

import heyhi.interrupts  # noqa: F401, I001  (first: what follows may be interrupted)
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from pathlib import Path

    from heyhi.api.batch import Batch
    from heyhi.api.configs import (
        conf_get,
        conf_is_set,
        conf_set,
        conf_to_dict,
        conf_with_overrides,
        flatten_cfg,
        load_config,
        load_proto_message,
        load_root_config,
        save_config,
    )
    from heyhi.api.experiments import MODES, get_default_exp_dir, maybe_launch, reset_slurm_cache
    from heyhi.cli.run_py import parse_args_and_maybe_launch
    from heyhi.errors import ConfigError, HeyhiError
    from heyhi.launch.environment import (
        get_job_env,
        get_slurm_job_id,
        get_slurm_master,
        is_adhoc,
        is_master,
        is_on_slurm,
        log_git_status,
        maybe_init_requeue_handler,
        save_result_in_cwd,
    )
    from heyhi.log import setup_logging
    from heyhi.look.tables import summary

    CONF_ROOT: Path
    PROJ_ROOT: Path

__all__ = [
    "CONF_ROOT",
    "MODES",
    "PROJ_ROOT",
    "Batch",
    "ConfigError",
    "HeyhiError",
    "conf_get",
    "conf_is_set",
    "conf_set",
    "conf_to_dict",
    "conf_with_overrides",
    "flatten_cfg",
    "get_default_exp_dir",
    "get_job_env",
    "get_slurm_job_id",
    "get_slurm_master",
    "is_adhoc",
    "is_master",
    "is_on_slurm",
    "load_config",
    "load_proto_message",
    "load_root_config",
    "log_git_status",
    "maybe_init_requeue_handler",
    "maybe_launch",
    "parse_args_and_maybe_launch",
    "reset_slurm_cache",
    "save_config",
    "save_result_in_cwd",
    "setup_logging",
    "summary",
]

_HOMES = {
    "api.batch": ["Batch"],
    "cli.run_py": ["parse_args_and_maybe_launch"],
    "conf": ["CONF_ROOT", "PROJ_ROOT"],
    "launch.environment": [
        "get_job_env", "get_slurm_job_id", "get_slurm_master", "is_adhoc", "is_master", "is_on_slurm",
        "log_git_status", "maybe_init_requeue_handler", "save_result_in_cwd",
    ],
    "errors": ["ConfigError", "HeyhiError"],
    "api.experiments": ["MODES", "get_default_exp_dir", "maybe_launch", "reset_slurm_cache"],
    "api.configs": [
        "conf_get", "conf_is_set", "conf_set", "conf_to_dict", "conf_with_overrides", "flatten_cfg",
        "load_config", "load_proto_message", "load_root_config", "save_config",
    ],
    "log": ["setup_logging"],
    "look.tables": ["summary"],
}  # fmt: skip


def hand_on(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """A `__getattr__` for a package: it imports a name from its module when the name is first used (PEP 562).

    `homes` says which names each module of the package gives.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = importlib.import_module(f"{package}.{home_of[name]}")
        value = getattr(home, name)
        if name in vars(home):  # else it is made anew each time, as CONF_ROOT is
            vars(sys.modules[package])[name] = value
        return value

    return get


__getattr__ = hand_on(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _ConfFinder:
    """Whoever imports `conf`, even before a config is loaded, finds fresh modules of the project."""

    @staticmethod
    def find_spec(name: str, *_: object) -> "ModuleSpec | None":
        if name != "conf":
            return None
        from heyhi.config.schema import conf_spec

        return conf_spec()


if _ConfFinder not in sys.meta_path:
    sys.meta_path.insert(0, _ConfFinder)
