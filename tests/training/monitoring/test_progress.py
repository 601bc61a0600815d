"""What a training says on the terminal: whatever names and reasons hold, one line that can be shown."""

import io
import sys

import pytest

from data import progress as data_progress
from training.monitoring.progress import Progress


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("skipped: half \ud83d a pair", r"skipped: half \ud83d a pair"),
        ("skipped: \x1b[2J\x07 two\nlines", r"skipped: \x1b[2J\x07 two\nlines"),
        ("skipped: été 日本語 [red]a[/nothing] :smile:", "skipped: été 日本語 [red]a[/nothing] :smile:"),
    ],
)
def test_a_line_is_shown_as_it_is(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a strict stream, which half a surrogate pair would end."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    progress = Progress(0, 1)
    progress.say(text)
    stream.flush()
    assert stream.buffer.getvalue().decode() == shown + "\n"


def test_between_two_lines_of_the_log_a_slow_training_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(data_progress.time, "monotonic", lambda: now[0])
    with Progress(0, 100) as progress:
        for step in range(1, 7):
            now[0] += 5.0
            progress.reach(step)
            if step == 3:
                progress.report(step, 0.5, 1234.0)
    assert capsys.readouterr().out.splitlines() == [
        "step 2/100  0.2/s  8:10 left",
        "step 3/100  loss 0.5000  1,234 tokens/s  8:05 left",
        "step 5/100  loss 0.5000  1,234 tokens/s  7:55 left",
    ]
