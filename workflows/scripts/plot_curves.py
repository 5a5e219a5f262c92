"""Learning curves: `plot_curves.py PICTURE RESULT.json...` draws the losses of trainings, a colour each.

The losses are in the metrics.jsonl beside each result. The ending of the picture's name is its format.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

# Texts stay texts in an SVG, so that a reader can search it.
mpl.rcParams["svg.fonttype"] = "none"
STYLES = {"train_loss": "-", "val_loss": "--"}


def main() -> None:
    """Writes the picture."""
    picture, *results = map(Path, sys.argv[1:])
    draw([result.parent for result in results]).savefig(picture)


def draw(folders: list[Path]) -> Figure:
    """Returns the losses over epochs of the trainings in these folders."""
    figure = Figure(figsize=(8, 5 + 0.2 * len(folders)), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss", title="training: lines, validation: dashes")
    for number, folder in enumerate(folders):
        metrics = pd.read_json(folder / "metrics.jsonl", lines=True).set_index("epoch")
        for name in metrics.columns.intersection(list(STYLES)):
            label = folder.name if name == "train_loss" else None
            axes.plot(metrics[name].dropna(), STYLES[name], color=f"C{number}", label=label)
    if folders:
        figure.legend(loc="outside lower left", fontsize="small", frameon=False)
    return figure


if __name__ == "__main__":
    main()
