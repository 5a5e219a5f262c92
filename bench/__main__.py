"""`python -m bench [--long | --slurm]`: measurements, a table a part. Compare ratios, not milliseconds."""

import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench import batches, completing, composing, looking, on_slurm, running, start_up
from bench.table import Row, render

_SHORT = (start_up.rows, completing.rows, composing.rows, batches.rows, looking.rows, running.rows)
_MORE = {"--long": (batches.long_rows, running.long_rows), "--slurm": (on_slurm.rows,)}


def main() -> int:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="heyhi-bench-") as folder:
        for measurements in next((_MORE[word] for word in sys.argv if word in _MORE), _SHORT):
            print(f"{measurements.__module__} ...", file=sys.stderr)
            found = _alone(measurements, Path(folder))
            print(render(found), flush=True)
            rows += found
    missed = [row for row in rows if row.is_missed]
    for row in missed:
        print(f"missed: {row.what}: {row.ratio:.2f}, at most {row.goal:g}", file=sys.stderr)
    return 1 if missed else 0


_Measurements = Callable[[Path], Iterable[Row]]


def _alone(measurements: _Measurements, folder: Path) -> list[Row]:
    """In a process of its own: each can import the modules of one project only."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(_all, measurements, folder).result()


def _all(measurements: _Measurements, folder: Path) -> list[Row]:
    return list(measurements(folder))


if __name__ == "__main__":
    sys.exit(main())
