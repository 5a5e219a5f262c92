"""The original's module of this name: names handed on from where they live."""

from heyhi.api import (
    EXP_ID_PATTERN,
    MODES,
    ExperimentDir,
    Status,
    get_all_runing_job_ids,
    get_exp_id,
    handle_dst,
    reset_slurm_cache,
)
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
from heyhi.log import also_log_to_file, setup_logging

__all__ = [
    "EXP_ID_PATTERN",
    "MODES",
    "ExperimentDir",
    "Status",
    "also_log_to_file",
    "get_all_runing_job_ids",
    "get_exp_id",
    "get_job_env",
    "get_slurm_job_id",
    "get_slurm_master",
    "handle_dst",
    "is_adhoc",
    "is_master",
    "is_on_slurm",
    "log_git_status",
    "maybe_init_requeue_handler",
    "reset_slurm_cache",
    "save_result_in_cwd",
    "setup_logging",
]
