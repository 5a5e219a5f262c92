# A batch of runs: `snakemake --profile profiles/local --config batch=sweep.sh`. HeyHi decides which runs start, and has the
# rules of runs. This file includes all .smk files of workflows/: put your own rules there.
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

import heyhi.workflow

runs = heyhi.workflow.load(config, workflow, default_batch="workflows/demo.sh")


include: heyhi.workflow.RULES


for rules_file in sorted(Path(workflow.basedir, "workflows").glob("*.smk")):

    include: rules_file


rule all:
    default_target: True
    input:
        runs.targets,
        runs.report_items,
    message:
        "all runs of the batch are done"
