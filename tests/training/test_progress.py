"""What a training says on the terminal: whatever names and reasons hold, one line that can be shown."""

import io
import sys

import pytest

from training.progress import Progress


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
