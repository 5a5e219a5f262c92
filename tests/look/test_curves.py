"""Files of metrics as curves."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from heyhi.look.curves import Curve, read_curves


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "metrics.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


FILES: dict[str, tuple[list[Any], dict[str, Curve]]] = {
    "over epochs": (
        [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.25}],
        {"loss": Curve("epoch", [1, 2], [2.5, 1.25])},
    ),
    "over lines": ([{"loss": 3}, {}, {"loss": 2}], {"loss": Curve("line", [1, 3], [3, 2])}),
    "each over what it has": (
        [
            {"step": 10, "epoch": 1, "loss": 3},
            {"step": 20, "epoch": 1, "loss": 2},
            {"epoch": 1, "val": 5},
            {"epoch": 2, "val": 4},
        ],
        {"loss": Curve("step", [10, 20], [3, 2]), "val": Curve("epoch", [1, 2], [5, 4])},
    ),
    "a step that stays is none": (
        [{"epoch": 1, "loss": 3}, {"epoch": 1, "loss": 2}],
        {"loss": Curve("line", [1, 2], [3, 2])},
    ),
    "nested": ([{"val": {"loss": 3}}, {"val": {"loss": 2}}], {"val.loss": Curve("line", [1, 2], [3, 2])}),
    "not finite": (
        ['{"loss": NaN}', '{"loss": 2}', '{"loss": -Infinity}'],
        {"loss": Curve("line", [1, 2, 3], [None, 2, None])},
    ),
    "a step that is not finite": (
        ['{"epoch": 1, "loss": 3}', '{"epoch": Infinity, "loss": 2}'],
        {"loss": Curve("line", [1, 2], [3, 2])},
    ),
    "one value is no curve": ([{"loss": 1}, {"other": 2}], {}),
    "texts and truth values are no numbers": ([{"a": "1", "b": True}, {"a": "2", "b": False}], {}),
    "broken lines": (
        [{"loss": 3}, '{"loss": ', "[1]", "nothing", '{"loss": 1' + "0" * 400 + "}", {"loss": 2}],
        {"loss": Curve("line", [1, 6], [3, 2])},
    ),
}


@pytest.mark.parametrize(("rows", "expected"), FILES.values(), ids=FILES)
def test_curves_are(rows: list[Any], expected: dict[str, Curve], tmp_path: Path) -> None:
    assert read_curves(write(tmp_path, *rows)) == expected


def test_no_file_has_no_curves(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "metrics.jsonl") == {}


def test_a_curve_is_thinned_and_keeps_its_ends(tmp_path: Path) -> None:
    path = write(tmp_path, *({"epoch": number, "loss": 1 / 3} for number in range(5000)))
    curve = read_curves(path)["loss"]
    assert (len(curve.x), curve.x[0], curve.x[-1], curve.y[0]) == (200, 0, 4999, 0.333333)


def test_of_a_long_file_some_lines_are_read_evenly(tmp_path: Path) -> None:
    path = write(tmp_path, *({"loss": number, "pad": "x" * 500} for number in range(20_000)))
    curve = read_curves(path)["loss"]
    assert 190 <= len(curve.x) <= 200
    assert curve.x == sorted(curve.x)
    assert all(abs(line - number) < 200 for line, number in zip(curve.x, curve.y, strict=True) if number)


def test_a_long_file_without_lines_is_not_read_a_thousand_times_over(tmp_path: Path) -> None:
    path = write(tmp_path, {"loss": 1}, {"loss": 2})
    os.truncate(path, 300_000_000)  # a hole of zeros
    before = Path("/proc/self/io").read_text()
    assert read_curves(path) == {}
    read = [int(text.split()[1]) for text in (before, Path("/proc/self/io").read_text())]
    assert read[1] - read[0] < 300_000_000, "bytes"
