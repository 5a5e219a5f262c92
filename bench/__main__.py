"""`python -m bench [--long | --slurm]`: measurements, as a table. Compare ratios, not milliseconds."""

import sys
import tempfile
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
            rows += measurements(Path(folder))
    print(render(rows))
    missed = [row for row in rows if row.is_missed]
    for row in missed:
        print(f"missed: {row.what}: {row.ratio:.2f}, at most {row.goal:g}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
