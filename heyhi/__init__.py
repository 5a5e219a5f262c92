"""HeyHi takes the arguments given to `run.py`, and at the end launches something.

What is listed in `__all__` is public; everything else may change. A name is imported from its module
when it is first used: `import heyhi` costs nothing.
"""

import heyhi.interrupts  # noqa: F401, I001  (first: what follows may be interrupted)
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from pathlib import Path

    from heyhi.api import (
        MODES,
        Batch,
        conf_get,
        conf_is_set,
        conf_set,
        conf_to_dict,
        conf_with_overrides,
        flatten_cfg,
        get_default_exp_dir,
        load_config,
        load_proto_message,
        load_root_config,
        maybe_launch,
        reset_slurm_cache,
        save_config,
    )
    from heyhi.cli import parse_args_and_maybe_launch
    from heyhi.errors import ConfigError, HeyhiError
    from heyhi.launch import (
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
    from heyhi.look import summary

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


def hand_on(package: str, whole: str = "", **names: str) -> Callable[[str], Any]:
    """A `__getattr__` for a package (PEP 562): what it gives is imported when it is first used.

    `names` says, module by module, which names it gives; `whole` are modules that it gives as they are, as
    `claim.take` reads better than a name of its own. All are words in one text.
    """
    home_of = {name: module for module, given in names.items() for name in given.split()}
    modules = frozenset(whole.split())

    def load(module: str) -> Any:
        __import__(f"{package}.{module}")  # not importlib's: `python -X importtime` does not see that one
        return sys.modules[f"{package}.{module}"]

    def get(name: str) -> Any:
        if name in modules:
            return load(name)
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = load(home_of[name])
        value = getattr(home, name)
        if name in vars(home):  # else it is made anew each time, as CONF_ROOT is
            vars(sys.modules[package])[name] = value
        return value

    return get


# fmt: off
__getattr__ = hand_on(
    __name__,
    whole="conf run util",
    api=(
        "Batch MODES conf_get conf_is_set conf_set conf_to_dict conf_with_overrides flatten_cfg "
        "get_default_exp_dir load_config load_proto_message load_root_config maybe_launch "
        "reset_slurm_cache save_config"
    ),
    cli="parse_args_and_maybe_launch",
    conf="CONF_ROOT PROJ_ROOT",
    errors="ConfigError HeyhiError",
    launch=(
        "get_job_env get_slurm_job_id get_slurm_master is_adhoc is_master is_on_slurm log_git_status "
        "maybe_init_requeue_handler save_result_in_cwd"
    ),
    log="setup_logging",
    look="summary",
)
# fmt: on


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _ConfFinder:
    """Let `import conf` find fresh modules of the project, even before a config is loaded."""

    @staticmethod
    def find_spec(name: str, *_: object) -> "ModuleSpec | None":
        if name != "conf":
            return None
        from heyhi.config import conf_spec

        return conf_spec()


if _ConfFinder not in sys.meta_path:
    sys.meta_path.insert(0, _ConfFinder)
