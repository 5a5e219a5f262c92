from tests.conftest import Garden


def test_a_run_is_done_once(garden: Garden) -> None:
    first = garden("-c", "conf/beds/carrot.prototxt")
    assert first.status == 0, first.err
    assert "note: carrot" in first.out
    second = garden("-c", "conf/beds/carrot.prototxt")
    assert second.status == 0
    assert second.out == first.out
    assert garden.executions() == 1
