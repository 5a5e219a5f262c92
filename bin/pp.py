#!/usr/bin/env python3
"""Show a composed config: bin/pp.py CFG [overrides]; the same as `run.py -c CFG --print`, from anywhere."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Become run.py, under an interpreter that has what it needs."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: bin/pp.py CFG [overrides]", file=sys.stderr)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    python = ROOT / ".venv" / "bin" / "python"
    if find_spec("heyhi") or not python.exists():
        python = Path(sys.executable)
    os.execv(python, [str(python), str(ROOT / "run.py"), "-c", *sys.argv[1:], "--print"])


if __name__ == "__main__":
    main()
