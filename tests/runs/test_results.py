import collections
import enum
import math
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heyhi.runs import claim, elsewhere, results
from heyhi.runs.folder import Run


class Color(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    BIG = 3


class Word(str, enum.Enum):  # noqa: UP042  (its str is not its value)
    YES = "yes"


class Number(int):
    def __repr__(self) -> str:
        return "a number"


class Point(collections.namedtuple("Point", "x y")):
    pass


@dataclass
class Score:
    mean: float
    parts: list[Any]


class Bad:
    """Everything that can be asked of it raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


class BadArray(np.ndarray[Any, Any]):
    def tolist(self) -> Any:
        raise RuntimeError("no list")


class Tensor:
    """Looks as one of torch does."""

    __module__ = "torch"

    def tolist(self) -> list[float]:
        return [1.5, 2.5]


# value, what is read back
WHOLE: dict[str, tuple[Any, Any]] = {
    "none": (None, None),
    "truth": (True, True),
    "text": ("a\nb é \udc80 \0", "a\nb é \udc80 \0"),
    "float": (0.1, 0.1),
    "infinity": (-math.inf, -math.inf),
    "enum of ints": (Size.BIG, 3),
    "enum of texts": ({"a": Word.YES}, {"a": "yes"}),
    "enum of texts as key": ({Word.YES: 1}, {"yes": 1}),
    "subclass of int": (Number(4), 4),
    "nested": ({"a": [1, {"b": (2, None)}], "": {}}, {"a": [1, {"b": [2, None]}], "": {}}),
    "named tuple": (Point(1, 2), [1, 2]),
    "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
    "path": ({"model": Path("/a b/m.pt")}, {"model": "/a b/m.pt"}),
    "numpy float": (np.float64(0.5), 0.5),
    "numpy small float": (np.float32(0.5), 0.5),
    "numpy int": (np.int64(-3), -3),
    "numpy truth": (np.bool_(True), True),
    "numpy text": (np.str_("x"), "x"),
    "numpy array": ({"a": np.arange(4).reshape(2, 2)}, {"a": [[0, 1], [2, 3]]}),
    "numpy array of one": (np.array(1.5), 1.5),
    "numpy empty array": (np.zeros((0, 2)), []),
    "numpy array of objects": (np.array([None, "a"], dtype=object), [None, "a"]),
    "torch tensor": ([Tensor()], [[1.5, 2.5]]),
}

# value, what is read back from the JSON; the value itself is in the pickle
IN_PICKLE: dict[str, tuple[Any, Any]] = {
    "bytes": ({"a": b"\xff", "b": 1}, {"a": "b'\\xff'", "b": 1}),
    "set": ({"a": {2, 1}}, {"a": [1, 2]}),
    "frozen set": (frozenset("b"), ["b"]),
    "complex": ([1j, 2], ["1j", 2]),
    "numpy complex": ({"a": np.complex128(1)}, {"a": "(1+0j)"}),
    "numpy time": (np.datetime64("2020-01-02"), "datetime.date(2020, 1, 2)"),
    "numpy long double": ([np.longdouble(1)], ["np.longdouble('1.0')"]),
    "enum": (Color.RED, "<Color.RED: 1>"),
    "dataclass": (Score(0.5, [np.int32(1)]), {"mean": 0.5, "parts": [1]}),
    "class": ([Score], [repr(Score)]),
    "int key": ({1: "a"}, {"1": "a"}),
    "numpy int key": ({np.int64(1): "a"}, {"1": "a"}),
    "other keys": ({None: 1, True: 2, 0.5: 3, (1,): 4}, {"null": 1, "true": 2, "0.5": 3, "[1]": 4}),
    "keys that meet": ({"1": "text", 1: "number"}, {"1": "number"}),
    "int of too many digits": ({"a": 10**5000, "b": 1}, {"a": "<int without a text: ValueError>", "b": 1}),
}


@pytest.mark.parametrize(("value", "read"), WHOLE.values(), ids=WHOLE)
def test_what_json_holds_is_read_back(run: Run, value: Any, read: Any) -> None:
    run.result_pickle.write_text("of an earlier start")
    results.write(run, value)
    assert repr(results.read(run)) == repr(read)  # of the same types too
    assert not run.result_pickle.exists()


@pytest.mark.parametrize(("value", "read"), IN_PICKLE.values(), ids=IN_PICKLE)
def test_what_json_cannot_hold_is_whole_in_the_pickle(run: Run, value: Any, read: Any) -> None:
    results.write(run, value)
    assert results.read(run) == read
    kept = pickle.loads(run.result_pickle.read_bytes())
    assert type(kept) is type(value)
    assert kept == value


def test_nan_is_written_as_python_writes_it(run: Run) -> None:
    results.write(run, {"a": math.nan, "b": np.float32("nan"), "c": math.inf})
    assert run.result.read_text() == '{\n "a": NaN,\n "b": NaN,\n "c": Infinity\n}\n'
    assert math.isnan(results.read(run)["a"])


# A value, and the text that stands for it: it can neither be written as JSON nor be pickled.
NEITHER: dict[str, tuple[Any, str]] = {
    "lock": (threading.Lock(), "<unlocked _thread.lock"),
    "generator": ((letter for letter in "ab"), "<generator"),
    "object that raises": (Bad(), "<Bad without a text: RuntimeError>"),
}


@pytest.mark.parametrize(("value", "text"), NEITHER.values(), ids=NEITHER)
def test_what_nothing_can_hold_loses_only_itself(
    run: Run, value: Any, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    large = np.zeros(2000, dtype=complex)
    results.write(run, {"loss": 0.5, "parts": [1j, (value, large)]})
    assert results.read(run)["loss"] == 0.5
    assert results.read(run)["parts"][1][0].startswith(text)
    kept = pickle.loads(run.result_pickle.read_bytes())
    assert kept["parts"][0] == 1j
    assert kept["parts"][1][0].startswith(text)
    assert np.array_equal(kept["parts"][1][1], large)
    assert "cannot be pickled" in capsys.readouterr().err


def test_an_array_whose_methods_raise_is_pickled(run: Run) -> None:
    results.write(run, {"a": np.arange(2).view(BadArray), "b": 1})
    assert results.read(run) == {"a": "BadArray([0, 1])", "b": 1}
    assert pickle.loads(run.result_pickle.read_bytes())["a"][1] == 1


def _ring() -> Any:
    ring: list[Any] = [1]
    ring += [ring, ring, {"again": ring}]
    return ring


def _deep() -> Any:
    deep: Any = 1
    for _ in range(50_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize("make", [_ring, _deep])
@pytest.mark.parametrize("beside", [1, threading.Lock()], ids=["fine", "lock"])
def test_a_value_that_holds_itself_or_is_very_deep_loses_only_itself(
    run: Run, make: Any, beside: Any
) -> None:
    results.write(run, {"loss": 0.5, "odd": make(), "bytes": b"x", "beside": beside})
    assert results.read(run)["loss"] == 0.5
    assert pickle.loads(run.result_pickle.read_bytes())["bytes"] == b"x"


def test_a_ring_is_itself_in_the_pickle(run: Run) -> None:
    results.write(run, _ring())
    ring = pickle.loads(run.result_pickle.read_bytes())
    assert ring[3]["again"] is ring
    assert results.read(run)[0] == 1


@pytest.mark.processes
def test_a_class_of_the_main_program_is_unpickled_elsewhere(run: Run) -> None:
    program = (
        "import pathlib\n"
        "from heyhi.runs import claim, elsewhere, results, folder as runs\n"
        "class Mine:\n    x = 5\n"
        f"results.write(runs.Run('', pathlib.Path({str(run.folder)!r})), [Mine(), lambda: 6])\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    mine, six = pickle.loads(run.result_pickle.read_bytes())
    assert (mine.x, six()) == (5, 6)


@pytest.mark.processes
def test_numpy_and_cloudpickle_are_not_imported_for_a_plain_result(run: Run) -> None:
    program = (
        "import pathlib, sys\n"
        "from heyhi.runs import claim, elsewhere, results, folder as runs\n"
        f"results.write(runs.Run('', pathlib.Path({str(run.folder)!r})), {{'a': [1, None]}})\n"
        "assert not {'numpy', 'cloudpickle', 'pickle'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


SCALARS = {
    "nested": ({"a": 1, "b": {"c": 0.5, "d": "x"}, "e": True}, {"a": 1, "b.c": 0.5, "b.d": "x", "e": True}),
    "lists and nothing are none": ({"a": [1], "b": None, "c": {}}, {}),
    "alone": (0.5, {"result": 0.5}),
    "no result": (None, {}),
}


@pytest.mark.parametrize(("value", "found"), SCALARS.values(), ids=SCALARS)
def test_scalars(value: Any, found: dict[str, Any]) -> None:
    assert results.scalars(value) == found


# ---- Whole, last, and never dropped -------------------------------------------------------------


def test_the_result_is_not_there_before_its_pickle(run: Run) -> None:
    run.result_pickle.mkdir()  # so that the pickle cannot be written
    with pytest.raises(OSError, match=r"result\.pkl"):
        results.write(run, {1j})
    assert sorted(os.listdir(run.folder)) == ["heyhi.json", "result.pkl"]


@pytest.mark.processes
def test_a_reader_never_sees_half_a_result(run: Run) -> None:
    results.write(run, [0] * 20_000)
    with _reader_of(run) as reader:
        for number in range(20):
            results.write(run, [number] * 20_000)
        (run.folder / "stop").touch()
        out, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert int(out) > 0


def _reader_of(run: Run) -> "subprocess.Popen[str]":
    program = (
        "import json, os, sys\n"
        "reads = 0\n"
        "while not os.path.exists('stop'):\n"
        "    value = json.load(open('result.json'))\n"
        "    assert len(value) == 20_000 and len(set(value)) == 1\n"
        "    reads += 1\n"
        "print(reads)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.Popen(command, cwd=run.folder, stdout=subprocess.PIPE, text=True)


def test_a_result_that_does_not_fit_leaves_nothing_half_written(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(64)
    with pytest.raises(OSError, match="No space left"):
        results.write(Run("p/a/b", disk), {"text": "x" * 100_000, "bytes": b"y"})
    assert os.listdir(disk) == []


def test_a_result_that_is_kept_elsewhere_is_moved_in_whole(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(elsewhere.SETTING, str(tmp_path / "kept"))
    value = {"text": "x" * 100_000, "bytes": b"y"}
    place = results.keep_elsewhere(run, results.content_of(value), "local:here:1", {})
    assert place.folder.parent == tmp_path / "kept"
    assert results.read(Run("", place.folder)) == {"text": "x" * 100_000, "bytes": "b'y'"}
    assert place.folder.stat().st_mode & 0o077 == 0
    assert claim.take(run.lock, "local:here:2")
    results.move_in(run, place)
    claim.drop(run.lock)
    assert results.read(run) == {"text": "x" * 100_000, "bytes": "b'y'"}
    assert pickle.loads(run.result_pickle.read_bytes()) == value
    assert not place.folder.exists()


def test_a_pickle_of_an_earlier_start_does_not_stay_beside_a_result_that_is_moved_in(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(elsewhere.SETTING, str(tmp_path / "kept"))
    run.result_pickle.write_bytes(b"old")
    place = results.keep_elsewhere(run, results.content_of(1), "local:here:1", {})
    assert claim.take(run.lock, "local:here:2")
    results.move_in(run, place)
    claim.drop(run.lock)
    assert sorted(os.listdir(run.folder)) == ["heyhi.jobid", "heyhi.json", "heyhi.lock", "result.json"]
