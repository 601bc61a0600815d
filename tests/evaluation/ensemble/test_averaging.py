"""What an ensemble chooses among, and how."""

from __future__ import annotations

import numpy as np
import pytest

from data.types import BadInputError, Message, Sample, Text
from evaluation.answering.predict import Likelihood
from evaluation.answering.reply import reply
from evaluation.ensemble.averaging import answer_of, closed_sets, probabilities


def asked(answer: str, choices: tuple[str, ...] = ()) -> Sample:
    messages = (Message("user", (Text("?"),)), Message("assistant", (Text(answer),)))
    return Sample(answer, messages, choices=choices)


def said(*shares: float) -> Likelihood:
    """Likelihoods of a member that finds other answers too: they sum to less than 1."""
    return Likelihood(("a", "b", "c"), tuple(-np.log(share / 4) for share in shares), (2, 7, 3))


def test_probabilities_are_those_of_whole_answers_and_sum_to_1() -> None:
    np.testing.assert_allclose(probabilities(said(0.5, 0.25, 0.25)), [0.5, 0.25, 0.25])
    far = Likelihood(("a", "b"), (2000.0, 2001.0), (1, 1))
    np.testing.assert_allclose(probabilities(far), [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])


def test_the_mean_of_probabilities_decides_and_not_the_vote_or_the_product() -> None:
    sure, second = said(0.90, 0.06, 0.04), said(0.10, 0.60, 0.30)
    third = said(0.10, 0.60, 0.30)
    assert [answer_of([member]) for member in (sure, second, third)] == ["a", "b", "b"]
    assert answer_of([sure, second]) == "a", "0.50, 0.33, 0.17"
    assert answer_of([sure, second, third]) == "b", "0.367, 0.42, 0.213"
    doubtful = said(0.01, 0.5, 0.49)
    assert answer_of([said(0.9, 0.05, 0.05), doubtful]) == "a", "the product is largest at b"
    assert answer_of([sure, sure]) == answer_of([sure])


def test_the_closed_set_of_a_task_is_what_it_expects_in_an_order_that_tells_nothing() -> None:
    samples = [asked("red"), asked("Blue"), asked("blue "), asked("yes")]
    sets = closed_sets("task", samples)
    assert [[reply(message).strip().lower() for message in own] for own in sets] == [["blue", "red", "yes"]] * 4


def test_a_row_that_names_choices_has_these() -> None:
    long = ["a sentence of several words, and another one", "a second one, as long as the first", "a third, once more"]
    sets = closed_sets("task", [asked(text, ("no", text, "yes")) for text in long])
    assert [[reply(message) for message in own] for own in sets] == [["no", text, "yes"] for text in long]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([f"a sentence that nobody else has said, number {i}" for i in range(9)], "task: expects 9 different answers"),
        ([str(i) for i in range(101)] * 4, "task: expects 101 different answers, which is free text"),
        (["yes"] * 3, "task: expects the same answer everywhere"),
    ],
)
def test_what_is_no_closed_set_is_refused(answers: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        closed_sets("task", [asked(answer) for answer in answers])
