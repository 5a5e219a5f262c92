"""The bridge to Snakemake: what a Snakefile calls, and what carries its jobs out.

Snakefile ─rules, launch.smk─▶ Snakemake ─executor plugins─▶ local_jobs, child │ slurm_jobs ─▶ run.py --job

A Snakefile names this package: `heyhi.workflow.load(...)`, and `include: heyhi.workflow.RULES`.
"""

from typing import TYPE_CHECKING

from heyhi import hand_on

if TYPE_CHECKING:
    from heyhi.workflow.rules import RULES, load

__getattr__ = hand_on(__name__, {"rules": ["RULES", "load"]})
