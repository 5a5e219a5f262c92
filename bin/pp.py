#!/usr/bin/env python
"""Show a composed config: bin/pp.py CFG [overrides]; the same as `run.py -c CFG --print`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from heyhi.commands import main

if __name__ == "__main__":
    sys.exit(main(["pp", *sys.argv[1:]]))
