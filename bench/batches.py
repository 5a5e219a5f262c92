"""A script of 10,000 runs: captured, and planned in a process of its own; beside the original's way, a
process a line (taken for a few lines, and multiplied)."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.table import Row, medians
from heyhi.capture import capture
from heyhi.project import Project

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "conf/c02_sup_train/sl.prototxt"
LINES = 10_000
_FEW = 50
_MEGABYTES = 500

_SCRIPT = """\
set -euo pipefail
for lr in 0.1 0.01 0.001 0.0001 0.00001; do
    for seed in $(seq {each}); do
        python run.py -c {config} lr=$lr batch_size=$seed dataset_params.games_path=games_$seed.gz
    done
done
"""


def rows(folder: Path) -> Iterator[Row]:
    script = folder / "sweep.sh"
    script.write_text(_SCRIPT.format(each=LINES // 5, config=CONFIG))
    plan = _in_project(folder, sys.executable, "-m", "heyhi.commands", "plan", str(script))
    one = f'for i in $(seq {_FEW}); do "$0" run.py -c {CONFIG} lr=0.$i --print-out-dir; done'
    few = _in_project(folder, "bash", "-c", one, sys.executable)
    captured, planned, a_few = medians(3, lambda: capture(script, Project(ROOT)), plan, few)
    yield Row(f"capture of {LINES:,} lines", captured, goal=1000)
    yield Row(f"heyhi plan, {LINES:,} runs, cold, whole process", planned, goal=5000)
    each = a_few * LINES / _FEW
    yield Row(f"heyhi plan, {LINES:,} runs", planned, "a process a line (from 50)", each, 0.01)
    # The largest process that was waited for, in kilobytes: no other is as large.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    yield Row("its memory, in MB (not ms)", peak, goal=_MEGABYTES)


def _in_project(folder: Path, *words: str) -> Any:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["HH_EXP_DIR"] = str(folder / "results")
    return lambda: subprocess.run(list(words), cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
