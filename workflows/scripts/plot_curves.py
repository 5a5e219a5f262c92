"""Learning curves: `plot_curves.py PICTURE.svg RESULT.json...` draws the losses, a colour a training.

The losses are in the metrics.jsonl beside each result.
"""

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, MARGIN, LINE = 640, 360, 50, 16
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")

Curve = list[tuple[float, float]]


def main() -> None:
    """Writes the picture."""
    picture, *results = map(Path, sys.argv[1:])
    picture.write_text(draw({result.parent.name: read_losses(result.parent) for result in results}))


def read_losses(folder: Path) -> dict[str, Curve]:
    """Returns the curves of a training: train_loss and, if it was validated, val_loss, over epochs."""
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    curves = {
        name: [(line["epoch"], line[name]) for line in lines if line.get(name) is not None]
        for name in ("train_loss", "val_loss")
    }
    return {name: curve for name, curve in curves.items() if curve}


def draw(trainings: dict[str, dict[str, Curve]]) -> str:
    """Returns the picture as SVG: losses for training as lines, for validation as dashes."""
    points = [point for curves in trainings.values() for curve in curves.values() for point in curve]
    if not points:
        return _svg(HEIGHT, [_text(MARGIN, MARGIN, "no trainings")])
    last, top = max(x for x, _ in points), max(y for _, y in points)

    def place(point: tuple[float, float]) -> str:
        x = MARGIN + (point[0] - 1) / max(last - 1, 1) * (WIDTH - 2 * MARGIN)
        y = HEIGHT - MARGIN - point[1] / (top or 1) * (HEIGHT - 2 * MARGIN)
        return f"{x:.1f},{y:.1f}"

    parts = [_axes(last, top)]
    for number, (name, curves) in enumerate(trainings.items()):
        colour = COLOURS[number % len(COLOURS)]
        for kind, curve in curves.items():
            dashes = "" if kind == "train_loss" else ' stroke-dasharray="5 3"'
            path = " ".join(map(place, curve))
            style = f'fill="none" stroke="{colour}" stroke-width="2"{dashes}'
            parts.append(f'<polyline points="{path}" {style}/>')
        parts.append(_text(MARGIN, HEIGHT + LINE * number, name, colour))
    return _svg(HEIGHT + LINE * len(trainings), parts)


def _axes(last: float, top: float) -> str:
    left, bottom, right = MARGIN, HEIGHT - MARGIN, WIDTH - MARGIN
    lines = f'<path d="M{left},{MARGIN} V{bottom} H{right}" fill="none" stroke="black"/>'
    labels = [
        _text(left, bottom + LINE, "1"),
        _text(right, bottom + LINE, f"{last:g} epochs"),
        _text(5, MARGIN, f"{top:.3g}"),
        _text(5, bottom, "0"),
        _text(left, MARGIN - LINE, "loss: lines for training, dashes for validation"),
    ]
    return lines + "".join(labels)


def _text(x: float, y: float, text: str, colour: str = "black") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}">{escape(text)}</text>'


def _svg(height: int, parts: list[str]) -> str:
    size = f'width="{WIDTH + 100}" height="{height}" font-family="sans-serif" font-size="11"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n' + "\n".join(parts) + "\n</svg>\n"


if __name__ == "__main__":
    main()
