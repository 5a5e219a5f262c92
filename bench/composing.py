"""In a process that has seen the files: composing, a thousand overrides, reading a frozen config."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.table import Row, medians
from heyhi.config.composer import Composer, compose
from heyhi.config.frozen import freeze
from heyhi.config.schema import load_messages
from heyhi.config.views import fingerprint
from heyhi.project import Project

SCHEMA = Path(__file__).resolve().parent.parent / "tests" / "data" / "demo.proto"

_BASE = """\
includes { path: "clay" mount: "soil" }
includes { path: "big" mount: "launcher" }
includes { path: "oak" mount: "tree" }
includes { path: "anna" mount: "helper" }
grow {
  seed: 3
  big: 12345678901
  count: 4
  lr: 0.125
  precise: 1e-3
  wet: true
  name: "a garden"
  colour: GREEN
  tags: "one"
  tags: "two"
  numbers: 1
  numbers: 2
  numbers: 3
  plants {
    name: "rose"
    height: 3
    soil {
      depth: 1.5
      kind: "loam"
    }
  }
  plants {
    name: "fern"
    height: 2
  }
  labels {
    key: "owner"
    value: "me"
  }
  watering {
    drip {
      litres: 4
    }
    hours: 2
  }
}
"""
_CHUNKS = {
    "soil/clay": 'depth: 0.75\nkind: "clay"\n',
    "launcher/big": 'slurm {\n  num_gpus: 8\n  partition: "field"\n}\n',
    "tree/oak": "size: 9\nleft {\n  size: 2\n  branches {\n    size: 3\n  }\n"
    "  branches {\n    size: 4\n  }\n}\n",
    "helper/anna": 'includes { path: "clay" mount: "soil" }\nname: "anna"\nnext {\n  name: "bert"\n}\n',
}


def rows(folder: Path) -> Iterator[Row]:
    project = _project(folder / "garden")
    base, meta_class = project.conf / "base.prototxt", load_messages(project)
    (warm,) = medians(500, lambda: compose(base, (), project, meta_class))
    yield Row(f"compose: 5 includes, {_lines()} lines, warm", warm, goal=0.5)
    overrides = [f"tags.-1=value {number}" for number in range(500)]
    overrides += [f"prices.{number}={number}.5" for number in range(500)]
    (many,) = medians(20, lambda: compose(base, overrides, project, meta_class))
    yield Row("compose with 1,000 overrides on it", many, goal=20)
    composer = Composer(project, meta_class)
    line = ["lr=0.25", "launcher.slurm.num_gpus=4", "helper.name=bob"]
    (one,) = medians(500, lambda: composer.compose(base, line))
    yield Row("a line of a batch: 3 overrides on it", one, goal=0.1)
    config = composer.compose(base, line).config
    (printed,) = medians(500, lambda: fingerprint("grow", config))
    yield Row("its fingerprint", printed, goal=0.05)
    yield _reading(freeze(compose(base, (), project, meta_class).meta))


def _project(root: Path) -> Project:
    (root / "conf" / "common").mkdir(parents=True)
    shutil.copy(SCHEMA, root / "conf" / "conf.proto")
    (root / "conf" / "base.prototxt").write_text(_BASE)
    for name, text in _CHUNKS.items():
        path = root / "conf" / "common" / f"{name}.prototxt"
        path.parent.mkdir()
        path.write_text(text)
    return Project(root)


def _lines() -> int:
    return sum(text.count("\n") for text in (_BASE, *_CHUNKS.values()))


def _reading(frozen: Any) -> Row:
    plain = SimpleNamespace(grow=SimpleNamespace(watering=SimpleNamespace(hours=2)))

    def read(config: Any) -> None:
        for _ in range(1000):
            config.grow.watering.hours  # noqa: B018  (the reading is what is measured)

    ours, theirs = medians(200, lambda: read(frozen), lambda: read(plain))
    return Row("1,000 reads of a three-level field", ours, "plain attributes", theirs, 2.0)
