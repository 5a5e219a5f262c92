"""`python -m bench [--long]`: every measurement, as one table. Medians; compare ratios, not milliseconds."""

import sys
import tempfile
from pathlib import Path

from bench import batches, composing, running, start_up
from bench.table import Row, render

_SHORT = (start_up.rows, composing.rows, batches.rows, running.rows)
_LONG = (batches.long_rows, running.long_rows)


def main() -> int:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="heyhi-bench-") as folder:
        for measurements in _LONG if "--long" in sys.argv else _SHORT:
            print(f"{measurements.__module__} ...", file=sys.stderr)
            rows += measurements(Path(folder))
    print(render(rows))
    missed = [row for row in rows if row.is_missed]
    for row in missed:
        print(f"missed: {row.what}: {row.ratio:.2f}, at most {row.goal:g}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
