"""A training between two epochs, and its checkpoint: everything that the next epoch starts from."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tasks.files import write_whole
from tasks.model import Architecture, Weights
from tasks.optimizer import AdamState

#: What an epoch tells; None where there was nothing to measure.
Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Progress:
    """How far a training is. Its random numbers follow from the seed and the number of epochs done."""

    arch: Architecture
    weights: Weights
    adam: AdamState
    #: One for each epoch done.
    metrics: tuple[Metrics, ...] = ()


def save_progress(progress: Progress, path: Path) -> None:
    """Writes a checkpoint, whole."""
    facts = {
        "architecture": asdict(progress.arch),
        "steps": progress.adam.steps,
        "metrics": progress.metrics,
    }
    groups = {
        "weights": progress.weights,
        "mean": progress.adam.mean,
        "square": progress.adam.square,
    }
    arrays = {
        f"{group}/{name}": array for group, members in groups.items() for name, array in members.items()
    }
    arrays["facts"] = np.array(json.dumps(facts))
    write_whole(path, lambda stream: np.savez(stream, allow_pickle=False, **arrays))


def load_progress(path: Path) -> Progress:
    """Returns what `save_progress` wrote; raises ValueError if the file is no checkpoint."""
    groups: dict[str, Weights] = {"weights": {}, "mean": {}, "square": {}}
    try:
        with np.load(path) as content:
            facts = json.loads(str(content["facts"]))
            for key in content.files:
                group, _, name = key.partition("/")
                if name:
                    groups[group][name] = content[key]
        adam = AdamState(groups["mean"], groups["square"], facts["steps"])
        arch = Architecture(**facts["architecture"])
        return Progress(arch, groups["weights"], adam, tuple(facts["metrics"]))
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"checkpoint: {path} is not one that train wrote ({error!r})") from None
