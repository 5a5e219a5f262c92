"""Looking at many runs that are done: `heyhi summary`, cold and with nothing changed since."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.idle import environment
from bench.table import Row, medians
from heyhi.batch.capture import Captured, Line
from heyhi.batch.entries import compose_lines
from heyhi.project import Project
from heyhi.runs.draft import make_order

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "conf/c02_sup_train/sl.prototxt"
_FEW, _MANY = 1000, 10_000
_METRICS = {"epoch": 5, "lr": 0.0096, "train_loss": 1.59, "val": {"loss": 1.47, "accuracy": 0.565}}


def rows(folder: Path) -> Iterator[Row]:
    """Cold, and once more; what ten times as many take."""
    few, many = _finished(folder / "few", _FEW), _finished(folder / "many", _MANY)
    (cold_few,) = medians(3, lambda: _summary(few, cold=True))
    (cold,) = medians(3, lambda: _summary(many, cold=True))
    (warm,) = medians(5, lambda: _summary(many))
    yield Row(f"heyhi summary, {_MANY:,} runs, cold, whole process", cold, goal=5000)
    yield Row(
        f"heyhi summary, {_MANY:,} runs", cold, f"{_MANY // _FEW} x that of {_FEW:,}", 10 * cold_few, 1.2
    )
    yield Row(f"heyhi summary, {_MANY:,} runs, nothing changed since", warm, goal=1000)


def _finished(results: Path, number: int) -> Path:
    """An experiment root with that many runs, as their jobs leave them."""
    project = Project(ROOT)
    argv = (("-c", CONFIG, f"seed={seed}", f"lr=0.{seed % 5 + 1}") for seed in range(number))
    lines = tuple(Line(words, str(ROOT / "run.py"), ROOT, "bench") for words in argv)
    for entry in compose_lines("bench", Captured(lines), project).entries:
        order = make_order(entry.draft)
        folder = results / order.id
        folder.mkdir(parents=True)
        (folder / "heyhi.json").write_text(json.dumps(_ended(order.provenance), indent=1))
        (folder / "heyhi.jobid").write_text("local:here:1")
        (folder / "heyhi.lock").write_text("local:here:1\n")
        (folder / "result.json").write_text(json.dumps(_METRICS, indent=1))
    return results


def _ended(provenance: dict[str, object]) -> dict[str, object]:
    times = {"started": "2026-01-01T12:00:00+0000", "ended": "2026-01-01T12:01:00+0000"}
    start = {"job": "local:here:1", "host": "here", "status": "DONE", **times}
    return {**provenance, "git_commit": "0" * 40, "snapshot": "/copies/0", "starts": [start]}


def _summary(results: Path, *, cold: bool = False) -> None:
    if cold:
        (results / ".heyhi" / "records.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "heyhi.commands", "summary"]
    subprocess.run(command, cwd=ROOT, env=environment(results), check=True, stdout=subprocess.DEVNULL)
