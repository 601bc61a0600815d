"""Nothing is lost on the way past the bar, and standard output stays clean."""

import pytest

from data.progress import MANY, with_progress


@pytest.mark.parametrize("count", [0, 3, MANY])
def test_items_pass_in_order_and_only_many_leave_a_line(count: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress(range(count), "work")) == list(range(count))
    out, err = capfd.readouterr()
    assert out == ""
    assert err == (f"work: {count} items\n" if count >= MANY else "")
