"""Carry one run out, here or on a cluster.

    draft, mode ─start─▶ order ─┬─here─────────────────────────────────▶ job ─▶ task(cfg) ─▶ result.json
                                └─submission─▶ scheduler ─ranks──────▶ job

snapshot, git: the copy of the code; environment: a task's questions about its job; gpus: one job per GPU;
disk_room: a full disk; scheduler: HeyHi's questions to one; schedulers: the table of them, and what their
answers mean for runs; slurm, slurm_options: Slurm.
"""

from typing import TYPE_CHECKING

from heyhi import hand_on

# fmt: off
# isort: off
if TYPE_CHECKING:
    from heyhi.launch.environment import (
        get_job_env,
        is_adhoc,
        is_master,
        log_git_status,
        maybe_init_requeue_handler,
        save_result_in_cwd,
    )
    from heyhi.launch.git import GitError, GitState, git_state, run_git
    from heyhi.launch.here import freeze_new, launch_order, user_name, with_code_state
    from heyhi.launch.job import UNSAVED, Main, claimed
    from heyhi.launch.slurm import get_slurm_job_id, get_slurm_master, is_on_slurm
    from heyhi.launch.slurm_options import resources_from_defaults
    from heyhi.launch.submission import Submission
    from heyhi.launch.snapshot import (
        find_snapshot,
        is_as_its_name_says,
        noted_git_state,
        root_of,
        those_copied,
        top_of,
    )
    from heyhi.launch.start import Report, start_run

__getattr__ = hand_on(
    __name__,
    whole="gpus here ranks schedulers submission",
    environment=(
        "get_job_env is_adhoc is_master log_git_status maybe_init_requeue_handler save_result_in_cwd"
    ),
    git="GitError GitState git_state run_git",
    here="freeze_new launch_order user_name with_code_state",
    job="Main UNSAVED claimed",
    slurm="get_slurm_job_id get_slurm_master is_on_slurm",
    slurm_options="resources_from_defaults",
    submission="Submission",
    snapshot="find_snapshot is_as_its_name_says noted_git_state root_of those_copied top_of",
    start="Report start_run",
)
# fmt: on
