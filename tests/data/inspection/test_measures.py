"""The numbers of a manifest, by hand."""

from __future__ import annotations

import math

import pytest

from data.inspection.measures import Measures, Turn, quantiles, script_counts
from data.inspection.pages.wording import markdown, shown
from data.inspection.scan import turns
from data.types import Media, Message, Sample, Text, ToolCall


def counted(*asked: tuple[str | None, str]) -> Measures:
    measures = Measures()
    for question, answer in asked:
        measures.add_turn(Turn("messages[1]", answer, question, calls=False))
    return measures


def test_what_a_blind_model_reaches() -> None:
    """Six of eight ask alike: four of them are blue. Of the two rare questions the most frequent answer gets one."""
    often = [("what colour?", "blue")] * 4 + [("What  colour", "red")] * 2
    measures = counted(*often, ("which shape?", "circle"), (None, "blue"))
    assert measures.most_frequent_share() == 5 / 8
    assert measures.guessed_share() == (4 + 1) / 8
    assert math.isnan(counted(*often[:4]).guessed_share()), "a question that is asked four times says nothing"
    assert math.isnan(Measures().most_frequent_share())


def test_each_answer_belongs_to_what_was_asked_last() -> None:
    said = [
        Message("system", (Text("be short"),)),
        Message("user", (Media("image", b"x"), Text("what"), Text("is it?"))),
        Message("assistant", (Text("a cat"),)),
        Message("user", (Media("audio", b"x"),)),
        Message("assistant", (), (ToolCall("look", {}),)),
        Message("tool", (Text("21"),)),
        Message("assistant", (Text("21"),)),
    ]
    found = list(turns(Sample("1", tuple(said), metadata={"question": "how warm is it?"})))
    assert found == [
        Turn("messages[2]", "a cat", "what is it?", calls=False),
        Turn("messages[4]", "", None, calls=True),
        Turn("messages[6]", "21", "how warm is it?", calls=False),
    ]
    assert [turn.answer for turn in turns(Sample("1", tuple(said[:-1])))] == ["a cat", "", None]


def test_a_call_without_words_is_no_empty_answer() -> None:
    measures = Measures()
    assert measures.add_turn(Turn("messages[1]", "", "?", calls=True)) is None
    assert measures.add_turn(Turn("messages[1]", " ", "?", calls=False)) == "empty_answer"
    assert measures.add_turn(Turn("messages[1]", None, "?", calls=False)) == "no_answer"


def test_letters_are_counted_by_script() -> None:
    assert script_counts("Wie? Как 那是 12 🎉") == {"latin": 3, "cyrillic": 3, "cjk": 2}


def test_quantiles_are_values_that_occur() -> None:
    assert quantiles([3, 1, 2, 100, 1]) == {"min": 1, "5 %": 1, "median": 2, "95 %": 100, "max": 100}
    assert quantiles([]) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[31m\nb\u202ec", "a [31m b c"),
        ("\ud83d half", "half"),
        ("x" * 400, "x" * 78 + " … " + "x" * 78),
    ],
)
def test_text_of_data_is_shown_on_one_short_line(text: str, expected: str) -> None:
    assert shown(text).strip() == expected
    assert len(shown(text)) <= 160


def test_text_of_data_is_no_markdown() -> None:
    assert markdown("| `a` <b> $x$ *y*") == "\\| \\`a\\` &lt;b&gt; \\$x\\$ \\*y\\*"
