"""Nothing is lost on the way past the bar, a log has lines with rate and time left, and standard output stays clean."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from data import progress
from data.progress import Progress, clock, with_progress


class Clock:
    """A clock that goes on by so many seconds whenever an item is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_redirected_run_prints_a_line_every_few_seconds(time: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    passed = []
    for item in with_progress(range(1000), "clips"):
        passed.append(item)
        time.now += 0.0625
    out, err = capfd.readouterr()
    assert passed == list(range(1000))
    assert out == ""
    assert err.splitlines() == [
        "clips: 160/1,000  16/s  0:52 left",
        "clips: 320/1,000  16/s  0:42 left",
        "clips: 480/1,000  16/s  0:32 left",
        "clips: 640/1,000  16/s  0:22 left",
        "clips: 800/1,000  16/s  0:12 left",
        "clips: 960/1,000  16/s  0:02 left",
    ]


@pytest.mark.parametrize("count", [0, 3])
def test_what_is_soon_done_says_nothing(count: int, time: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress(range(count), "clips")) == list(range(count))
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_with_the_same(time: Clock) -> None:
    shown = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress("questions", 40, done=10, console=shown) as bar:
        time.now += 60
        bar.stage("typed")
        bar.advance(15)
        bar._bar.refresh()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.file.getvalue())  # type: ignore[attr-defined]
    assert "typed 25/40  0.25/s  1:00 left" in text
    assert "━" in text
    assert not re.search(r"0\.25/s.*\n.*0\.25/s.*\n.*0\.25/s", text)  # in its place, not line by line


def test_the_limit_of_time_counts_where_it_is_nearer(time: Clock) -> None:
    bar = Progress("step", 100, max_seconds=30.0, shown=False)
    time.now += 10
    bar.reach(2)
    assert bar.seconds_left() == 20.0
    assert str(bar) == "step 2/100  0.2/s  0:20 left"


def test_nothing_is_shown_unless_it_may_be(time: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with Progress("questions", 2, shown=False) as bar:
        time.now += 60
        bar.advance()
    assert capfd.readouterr() == ("", "")


def test_a_clock_reads_as_a_clock() -> None:
    assert [clock(seconds) for seconds in (5, 65, 7384)] == ["0:05", "1:05", "2:03:04"]
