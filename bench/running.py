"""Runs that do nothing, carried out: by a batch, by the same run.py calls under xargs, by a process a line,
and by `hydra --multirun`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.idle import Idle
from bench.table import Row, measure

_HYDRA_APP = """\
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    pass

main()
"""


def rows(folder: Path) -> Iterator[Row]:
    """What a run costs more in a batch; what nothing to do costs; beside Hydra's sweep."""
    runs = 1000
    ours, theirs = Idle(folder / "snakemake"), Idle(folder / "xargs")
    script = ours.script(runs)
    batch, alone = measure(lambda: ours.snakemake(script)), measure(lambda: theirs.xargs(runs))
    more = (batch.cpu - alone.cpu) / runs
    yield Row(f"CPU of a run more than by xargs -P2 ({runs:,} runs)", more, goal=60)
    yield Row(f"{runs:,} runs, profile local", batch.wall, "xargs -P2 run.py", alone.wall)
    again, by_line = measure(lambda: ours.snakemake(script)), measure(lambda: ours.one_by_one(script))
    yield Row(f"nothing pending of {runs:,}", again.wall, "a process a line", by_line.wall)
    yield from _beside_hydra(folder, 100)


def _beside_hydra(folder: Path, runs: int) -> Iterator[Row]:
    idle = Idle(folder / "beside hydra")
    (idle.root / "app.py").write_text(_HYDRA_APP)
    values = ",".join(map(str, range(runs)))
    script = idle.script(runs)
    batch = measure(lambda: idle.snakemake(script))
    hydra = measure(lambda: idle.call(sys.executable, "app.py", "--multirun", f"+seed={values}"))
    yield Row(f"{runs} runs, profile local", batch.wall, "hydra --multirun, all in one process", hydra.wall)
    again = measure(lambda: idle.snakemake(script))
    yield Row(f"the same {runs} once more", again.wall, "hydra --multirun once more", hydra.wall)


def long_rows(folder: Path) -> Iterator[Row]:
    """Five times as many runs take five times as much."""
    few, many = 1000, 5000
    costs = []
    for runs in (few, many):
        idle = Idle(folder / f"{runs} runs")
        script = idle.script(runs)
        costs.append(measure(lambda idle=idle, script=script: idle.snakemake(script)).cpu)  # type: ignore[misc]
    yield Row(
        f"CPU of {many:,} runs", costs[1], f"{many // few} x that of {few:,}", costs[0] * many / few, 1.2
    )
