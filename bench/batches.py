"""A script of 10,000 runs: captured, planned in a process of its own, and handed to Snakemake; beside the
original's way, a process a line."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.idle import Idle, environment
from bench.table import Row, measure, medians
from heyhi.batch.capture import capture
from heyhi.project import Project

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "conf/c02_sup_train/sl.prototxt"
LINES = 10_000
_FEW = 50
_PENDING = 10

_SCRIPT = """\
set -euo pipefail
for lr in 0.1 0.01 0.001 0.0001 0.00001; do
    for seed in $(seq {each}); do
        python run.py -c {config} lr=$lr batch_size=$seed dataset_params.games_path=games_$seed.gz
    done
done
"""


def rows(folder: Path) -> Iterator[Row]:
    """Capture and plan, cold; nothing has run."""
    script = _script(folder, LINES)
    captured, planned, a_few = medians(
        3,
        lambda: capture(script, Project(ROOT)),
        lambda: _plan(folder, script),
        lambda: _each_line(folder, _FEW),
    )
    yield Row(f"capture of {LINES:,} lines", captured, goal=1000)
    yield Row(f"heyhi plan, {LINES:,} runs, cold, whole process", planned, goal=5000)
    each = a_few * LINES / _FEW
    yield Row(f"heyhi plan, {LINES:,} runs", planned, f"a process a line (from {_FEW})", each, 0.01)
    # The largest process that was waited for, in kilobytes: no other is as large.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    yield Row("its memory", peak, goal=500, unit="MB")
    yield from _dry_runs(folder)


def _dry_runs(folder: Path) -> Iterator[Row]:
    """`snakemake -n` when nearly all is done, beside the plan and two of an empty workflow."""
    idle = Idle(folder / "mostly done")
    script = idle.script(LINES)
    idle.finish(script, LINES - _PENDING)
    dry, plan, empty = medians(
        3,
        lambda: idle.snakemake(script, "-n"),
        lambda: idle.plan(script),
        lambda: idle.empty_workflow("-n"),
    )
    what = f"snakemake -n, {_PENDING} of {LINES:,} runs pending"
    yield Row(what, dry, "heyhi plan + 2 x snakemake -n of nothing", plan + 2 * empty, 1)


def long_rows(folder: Path) -> Iterator[Row]:
    """Ten times as many lines take ten times as long."""
    small, large = _script(folder, LINES), _script(folder, 10 * LINES)
    project = Project(ROOT)
    (one, ten) = medians(1, lambda: capture(small, project), lambda: capture(large, project))
    yield Row(f"capture of {10 * LINES:,} lines", ten, f"10 x that of {LINES:,}", 10 * one, 1.2)
    one, ten = measure(lambda: _plan(folder, small)).wall, measure(lambda: _plan(folder, large)).wall
    yield Row(f"heyhi plan, {10 * LINES:,} runs", ten, f"10 x that of {LINES:,}", 10 * one, 1.2)


def _script(folder: Path, lines: int) -> Path:
    script = folder / f"sweep_{lines}.sh"
    script.write_text(_SCRIPT.format(each=lines // 5, config=CONFIG))
    return script


def _plan(folder: Path, script: Path) -> None:
    _in_project(folder, sys.executable, "-m", "heyhi.commands", "plan", str(script))


def _each_line(folder: Path, number: int) -> None:
    each = f'for i in $(seq {number}); do "$0" run.py -c {CONFIG} lr=0.$i --print-out-dir; done'
    _in_project(folder, "bash", "-c", each, sys.executable)


def _in_project(folder: Path, *words: str) -> None:
    env = environment(folder / "results")
    subprocess.run(list(words), cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
