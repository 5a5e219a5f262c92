"""`python -m bench`: every measurement, as one table. Medians; compare ratios, not milliseconds."""

import sys
import tempfile
from pathlib import Path

from bench import batches, composing, start_up
from bench.table import Row, render


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="heyhi-bench-") as folder:
        rows: list[Row] = [
            *start_up.rows(Path(folder)),
            *composing.rows(Path(folder)),
            *batches.rows(Path(folder)),
        ]
    print(render(rows))
    missed = [row for row in rows if row.is_missed]
    for row in missed:
        print(f"missed: {row.what}: {row.ratio:.2f}, at most {row.goal:g}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
