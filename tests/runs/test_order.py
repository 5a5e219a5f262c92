from pathlib import Path

import pytest

from heyhi.runs.order import Order, read_order, write_orders


def order(number: int, note: str = "") -> Order:
    return Order(
        id=f"p/it_{number}",
        folder=f"/exp/p/it_{number}",
        project_root="/code",
        experiment_root="/exp",
        config=f'note: "{note}"\n',
        config_meta=f'grow {{ note: "{note}" }}\n',
        provenance={"overrides": [f"note={note}"], "lr": 0.1, "none": None},
        snapshot_place=None if number % 2 else "/exp/checkpoints",
        environment={"A": note, "B": None},
    )


# Texts that a line of JSON, a position in bytes or an encoding could stumble over.
NOTES = ["", "two\nlines", "ü✓🥕", "\u2028", '"quotes" \\ {}', "x" * 100_000, "\udcff"]


@pytest.mark.parametrize("note", NOTES, ids=range(len(NOTES)))
def test_what_is_written_is_read(tmp_path: Path, note: str) -> None:
    orders = [order(number, note * number) for number in range(3)]
    write_orders(tmp_path / "new" / "orders.jsonl", orders)
    assert [read_order(tmp_path / "new" / "orders.jsonl", number) for number in range(3)] == orders


def test_any_of_many_is_found(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    write_orders(path, (order(number) for number in range(12_000)))
    for number in (0, 1, 9_999, 10_000, 11_999):
        assert read_order(path, number).id == f"p/it_{number}"


def test_its_run_is_in_its_folder() -> None:
    assert order(7).run.result == Path("/exp/p/it_7/result.json")


def test_what_is_no_order_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "no.jsonl").write_text("nothing of the kind\n")
    with pytest.raises(ValueError, match="invalid literal"):
        read_order(tmp_path / "no.jsonl", 0)
    with pytest.raises(FileNotFoundError):
        read_order(tmp_path / "absent.jsonl", 0)
