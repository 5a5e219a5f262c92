"""Which run needs which, as boxes and lines."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from heyhi.look.graph import HEIGHT, WIDTH, Graph, make_graph
from heyhi.look.records import Record

Needs = dict[Path, Sequence[Path]]


def graph_of(needs: dict[str, str]) -> Graph | None:
    """The graph of runs by their ids: {"b": "a c"}: b needs a and c."""
    ids = dict.fromkeys([name for need in needs.values() for name in need.split()] + list(needs))
    records = [Record(name, f"/exp/{name}", "DONE") for name in ids]
    paths: Needs = {Path(f"/exp/{k}"): [Path(f"/exp/{n}") for n in v.split()] for k, v in needs.items()}
    return make_graph(records, paths)


def columns(graph: Graph | None) -> list[list[str]]:
    """The runs of each column, from above."""
    assert graph is not None
    boxes = sorted(graph.boxes, key=lambda box: box.y)
    return [[box.runs[0].id for box in boxes if box.x == x] for x in sorted({box.x for box in boxes})]


COLUMNS: dict[str, tuple[dict[str, str], list[list[str]]]] = {
    "a chain": ({"b": "a", "c": "b"}, [["a"], ["b"], ["c"]]),
    "as far right as what it needs": ({"b": "a", "c": "a b"}, [["a"], ["b"], ["c"]]),
    "few lines cross": ({"x": "b", "y": "a"}, [["b", "a"], ["x", "y"]]),
    "few lines cross, whatever their order": (
        {"z": "a b", "x": "b", "y": "a"},
        [["a", "b"], ["y", "z", "x"]],
    ),
}


@pytest.mark.parametrize(("needs", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_columns_are(needs: dict[str, str], expected: list[list[str]]) -> None:
    assert columns(graph_of(needs)) == expected


def test_lines_go_from_what_is_needed_to_what_needs_it() -> None:
    graph = graph_of({"c": "a b"})
    assert graph is not None
    assert [(one.runs[0].id, other.runs[0].id) for one, other in graph.edges] == [("a", "c"), ("b", "c")]


def test_boxes_do_not_touch_and_are_inside() -> None:
    graph = graph_of({f"x{number}": f"y{number % 7} z" for number in range(20)})
    assert graph is not None
    for box in graph.boxes:
        assert 0 <= box.x <= graph.width - WIDTH
        assert 0 <= box.y <= graph.height - HEIGHT
        assert all(abs(o.y - box.y) > HEIGHT for o in graph.boxes if o is not box and o.x == box.x)


def test_many_runs_are_a_box_a_config_with_counts() -> None:
    graph = graph_of({f"p/fine/{number}": f"p/pre/{number % 9}" for number in range(1000)})
    assert graph is not None
    assert [(len(box.runs), dict(box.counts)) for box in graph.boxes] == [
        (9, {"DONE": 9}),
        (1000, {"DONE": 1000}),
    ]
    assert len(graph.edges) == 1


def test_boxes_are_as_many_as_one_can_look_at() -> None:
    graph = graph_of({f"p/{number}/x": "p/pre/x" for number in range(1000)})
    assert graph is not None
    assert (len(graph.boxes), graph.left_out) == (80, 921)


@pytest.mark.parametrize("needs", [{}, {"a": ""}, {"a": "b", "b": "a"}], ids=["nothing", "none", "a circle"])
def test_there_is_no_graph(needs: dict[str, str]) -> None:
    assert graph_of(needs) is None
