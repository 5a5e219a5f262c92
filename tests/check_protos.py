"""`python -m tests.check_protos`: are the generated modules reproducible, and those in conf/ the right ones?

They are made twice, in other folders and with other hash seeds, and all bytes compared.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(root: Path = ROOT) -> int:
    """Print one line; 1 if a file differs."""
    with tempfile.TemporaryDirectory() as folder:
        made = [_make(root, Path(folder) / f"copy {seed}", seed) for seed in ("1", "2")]
    here = _generated(root / "conf")
    if name := _first_that_differs(*made):
        print(f"error: {name} differs between two makings from the same schemas", file=sys.stderr)
        return 1
    if name := _first_that_differs(here, made[0]):
        print(f"error: {root / 'conf' / name} differs from a new one: run `heyhi protos`", file=sys.stderr)
        return 1
    print(f"{len(here)} generated modules: the same bytes, whenever and wherever they are made")
    return 0


def _make(root: Path, copy: Path, seed: str) -> dict[str, bytes]:
    """The generated modules of a project, made anew in a copy of it."""
    (copy / "conf").mkdir(parents=True)
    for schema in (root / "conf").glob("*.proto"):
        shutil.copy(schema, copy / "conf")
    command = [sys.executable, "-m", "heyhi.commands", "protos"]
    env = {**os.environ, "HEYHI_PROJECT": str(copy), "PYTHONHASHSEED": seed, "TZ": f"UTC{seed}"}
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return _generated(copy / "conf")


def _first_that_differs(one: dict[str, bytes], other: dict[str, bytes]) -> str | None:
    return next((name for name in sorted({**one, **other}) if one.get(name) != other.get(name)), None)


def _generated(conf: Path) -> dict[str, bytes]:
    paths = [
        path for kind in ("*_pb2.py", "*_cfgs.py") for path in (*conf.glob(kind), *conf.glob(kind + "i"))
    ]
    return {path.name: path.read_bytes() for path in paths}


if __name__ == "__main__":
    sys.exit(main())
