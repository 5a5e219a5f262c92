"""A whole process: `run.py --print`, beside a bare protobuf import and beside Hydra."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.table import Row, medians

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "conf/c01_ag_cmp/cmp.prototxt"

_HYDRA_APP = """\
import hydra

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    pass

main()
"""


def rows(folder: Path) -> Iterator[Row]:
    app = _write_hydra_app(folder / "hydra")
    bare, ours, hydra = medians(
        15,
        _process("-c", "import google.protobuf.text_format"),
        _process("run.py", "-c", CONFIG, "--print"),
        _process(str(app), "--cfg", "job"),
    )
    yield Row("run.py -c CFG --print, whole process", ours, "import google.protobuf.text_format", bare, 2.5)
    yield Row("run.py -c CFG --print, whole process", ours, "the same size with Hydra, --cfg job", hydra, 0.4)


def _process(*words: str) -> Any:
    # Bytecode is cached, as it is for users.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, *words]
    return lambda: subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)


def _write_hydra_app(folder: Path) -> Path:
    """The fields of CONFIG as a Hydra app: its includes as entries of a defaults list."""
    config = _composed()
    (folder / "conf").mkdir(parents=True)
    defaults = ["_self_"]
    for name in [key for key, value in config.items() if isinstance(value, dict)]:
        (folder / "conf" / name).mkdir()
        _write_yaml(folder / "conf" / name / "chosen.yaml", config.pop(name))
        defaults.append(f"{name}: chosen")
    head = "defaults:\n" + "".join(f"  - {entry}\n" for entry in defaults)
    _write_yaml(folder / "conf" / "config.yaml", config, head)
    app = folder / "app.py"
    app.write_text(_HYDRA_APP)
    return app


def _composed() -> dict[str, Any]:
    # In a process of its own: this one measures another project's configs later.
    code = f"import heyhi, json; print(json.dumps(heyhi.load_root_config({CONFIG!r}).task.to_dict()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    config: dict[str, Any] = json.loads(done.stdout)
    return config


def _write_yaml(path: Path, content: dict[str, Any], head: str = "") -> None:
    import yaml

    path.write_text(head + yaml.safe_dump(content))
