"""The bridge to Snakemake: the functions that a Snakefile calls, and the executors of its jobs.

    Snakefile ─rules, launch.smk─▶ snakemake_main ─executor plugins─▶ local_jobs, child │ slurm_jobs ─▶ run.py

aliases: folders under names that Snakemake takes as they are.
A Snakefile names this package: `heyhi.workflow.load(...)`, and `include: heyhi.workflow.RULES`.
"""

from typing import TYPE_CHECKING

from heyhi import hand_on

# fmt: off
# isort: off
if TYPE_CHECKING:
    from heyhi.workflow.local_jobs import JobEnd, Jobs
    from heyhi.workflow.rules import RULES, load
    from heyhi.workflow.slurm_jobs import Submitter, cancel_stopped

__getattr__ = hand_on(
    __name__,
    local_jobs="JobEnd Jobs",
    rules="RULES load",
    slurm_jobs="Submitter cancel_stopped",
)
# fmt: on
