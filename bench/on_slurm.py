"""Jobs that do nothing, on a test cluster: ours, submitit's arrays, Snakemake's own Slurm executor."""

import json
import shlex
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.idle import Idle
from bench.table import Row, measure
from tests.cluster import Cluster, why_not

_SUBMITIT = """\
import os, submitit

def rest(seed):
    return seed

executor = submitit.AutoExecutor(folder="submitit")
executor.update_parameters(slurm_array_parallelism=1000, timeout_min=10, mem_gb=1)
jobs = executor.map_array(rest, range({runs}))
assert [job.result() for job in jobs] == list(range({runs}))
"""


def rows(folder: Path) -> Iterator[Row]:
    """One job and a hundred, from the command to the last result."""
    if reason := why_not():
        print(f"no rows for Slurm: {reason}", file=sys.stderr)
        return
    cluster = Cluster(Path("/tmp/heyhi-bench-slurm"))
    cluster.up()
    try:
        yield from _rows(folder, cluster)
    finally:
        cluster.down()


_ROUNDS = 3


def _rows(folder: Path, cluster: Cluster) -> Iterator[Row]:
    for runs in (1, 100):
        told = "1 job, profile slurm" if runs == 1 else f"{runs} jobs, profile slurm"
        ours, theirs = [], []
        for number in range(_ROUNDS):  # in turns, so that noise meets both
            ours.append(_ours(folder / f"slurm {runs} {number}", cluster, runs))
            theirs.append(_submitit(folder / f"submitit {runs} {number}", cluster, runs))
        wall, cpu = (statistics.median(part) for part in zip(*ours, strict=True))
        goal = 1.5 if runs > 1 else None
        yield Row(told, wall, "submitit, map_array", statistics.median(theirs), goal)
        official, official_cpu = _ours(folder / f"official {runs}", cluster, runs, "--executor", "slurm")
        goal = 0.2 if runs > 1 else None
        yield Row(told, wall, "Snakemake's own executor", official, goal)
    what = "CPU on the node until the task begins (100 jobs)"
    yield Row(what, 1000 * cpu, goal=500)
    yield Row(what, 1000 * cpu, "Snakemake's own executor", 1000 * official_cpu)


def _ours(folder: Path, cluster: Cluster, runs: int, *words: str) -> tuple[float, float]:
    """What a batch takes, in milliseconds, and the median of what its jobs had used when their task began, in
    CPU seconds."""
    idle = Idle(folder, _programs(folder, cluster), **cluster.environment())
    script = idle.script(runs)
    cost = measure(lambda: idle.snakemake(script, *words, profile="slurm"))
    results = [json.loads(path.read_text()) for path in idle.results.rglob("result.json")]
    assert len(results) == runs
    return cost.wall, statistics.median(result["cpu"] for result in results)


def _submitit(folder: Path, cluster: Cluster, runs: int) -> float:
    idle = Idle(folder, _programs(folder, cluster), **cluster.environment())
    return measure(lambda: idle.call(sys.executable, "-c", _SUBMITIT.format(runs=runs))).wall


def _programs(folder: Path, cluster: Cluster) -> str:
    """Snakemake's own executor drops SLURM_CONF on the node; an srun first on the PATH puts it back."""
    programs = folder / "programs"
    programs.mkdir(parents=True)
    conf = shlex.quote(cluster.environment()["SLURM_CONF"])
    (programs / "srun").write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec /usr/bin/srun "$@"\n')
    (programs / "srun").chmod(0o755)
    return str(programs)
