"""`snakemake --lint`, but for two lints that do not fit here.

A log file is no rule's: Snakemake deletes those before a job, and a run keeps its own, of all its starts.
The software of a run is its project's environment and the copy of its code, not one of Snakemake's.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNFIT = {"No log directive defined", "Specify a conda environment or container for each rule."}


def main() -> None:
    """Leave with status 1, and all that was said, if there is anything else."""
    with tempfile.TemporaryDirectory() as exp:
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--lint"],
            cwd=ROOT,
            env={**os.environ, "HH_EXP_DIR": exp},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    titles = set(re.findall(r"^    \* (.*):$", done.stdout, re.MULTILINE))
    if done.returncode and (not titles or titles - UNFIT):
        sys.exit(done.stdout)


if __name__ == "__main__":
    main()
