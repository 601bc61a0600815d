"""Which answers a page shows, with which media and probabilities."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.batching.collate import collate
from data.batching.interleave import Interleaver
from data.randomness import generator
from data.tokenizer import Tokenizer
from data.types import Media, Message, Sample, Text
from evaluation.answering.answer_metrics import METRICS
from evaluation.answering.likelihood import documents_of
from evaluation.answering.predict import Prediction
from evaluation.page.examples import EACH, PROBABILITY, examples_of, spread, with_probabilities
from fusion.model import FusionModel
from tests.evaluation.colours import Colours, parts

Parts = tuple[FusionModel, Tokenizer, Interleaver]


@pytest.fixture(scope="module")
def untrained() -> Parts:
    model, tokenizer, interleaver = parts()
    return model.eval(), tokenizer, interleaver


def samples(kind: str, count: int = 12) -> list[Sample]:
    source = Colours(kind, num_images=count)
    return [source.sample(place, generator(0, "x")) for place in range(len(source))]


def answered(wrong: int) -> list[Prediction]:
    """Answers to spoken questions; the first ones are wrong."""
    found = [Prediction(sample, sample.messages[-1].content[0].text, "") for sample in samples("spoken")]  # type: ignore[union-attr]
    return [
        replace(item, answer="a cat" if place < wrong else item.expected, cluster=str(place))
        for place, item in enumerate(found)
    ]


@pytest.mark.parametrize(("wrong", "shown"), [(0, 0), (1, 1), (10, EACH), (24, EACH)])
def test_right_and_wrong_answers_are_shown(wrong: int, shown: int) -> None:
    examples = examples_of("spoken", answered(wrong), [METRICS["accuracy"]])
    verdicts = [example.verdict for example in examples]
    assert verdicts == ["right"] * min(EACH, 24 - wrong) + ["wrong"] * shown
    for example in examples:
        assert (example.facts["expected answer"] == example.facts["given answer"]) == (example.verdict == "right")
        assert example.facts["question"] in ("what color is it?", "is it red?"), "the words of the clip"
        assert [item.modality for item in example.given["given"]] == ["image", "audio"]
    assert len({id(example.given["given"][0]) for example in examples}) == len(examples)


def test_free_text_shows_the_worst_and_the_best() -> None:
    predictions = answered(0)
    predictions[3] = replace(predictions[3], answer="zzz")
    examples = examples_of("spoken", predictions, [METRICS["chrf"]])
    assert [example.verdict for example in examples] == ["chrF 0.0", *["chrF 100.0"] * (2 * EACH - 1)]
    worst = examples_of("spoken", predictions, [METRICS["wer"]])[0]
    assert worst.facts["given answer"] == "zzz", "of an error the largest is the worst"


def test_few_answers_are_shown_once() -> None:
    assert spread([]) == []
    assert spread([1, 2]) == [1, 2]
    assert spread(list(range(101))) == [0, 50, 100]
    examples = examples_of("spoken", answered(0)[:4], [METRICS["chrf"]])
    assert len(examples) == 4


def test_the_question_is_not_said_twice_and_the_rest_of_the_prompt_is_there() -> None:
    sample = samples("typed")[0]
    more = replace(sample, messages=(Message("system", (Text("be brief"),)), *sample.messages), metadata={})
    (example,) = examples_of("typed", [Prediction(more, "red", "red")], [METRICS["accuracy"]])
    given = example.given["given"]
    assert [item.text if isinstance(item, Text) else item.modality for item in given] == ["be brief", "image"]
    assert example.facts["question"] == "what color is it?"


def test_a_probability_is_that_of_the_given_answer(untrained: Parts) -> None:
    model, _, interleaver = untrained
    given = [replace(item, answer=answer) for item, answer in zip(answered(0), ("red", "no", "blue"), strict=False)]
    examples = with_probabilities(model, interleaver, examples_of("spoken", given, [METRICS["accuracy"]]))
    assert {example.verdict for example in examples} == {"right", "wrong"}
    for example in examples:
        assert example.answered is not None
        sample, answer = example.answered
        assert answer == example.facts["given answer"]
        assert example.facts[PROBABILITY] == f"{100 * by_hand(model, interleaver, sample, answer):.3g} %"


def by_hand(model: FusionModel, interleaver: Interleaver, sample: Sample, answer: str) -> float:
    """The product of the probabilities of an answer's tokens and its end."""
    (document,) = documents_of(interleaver, sample, [Message("assistant", (Text(answer),))])
    batch = collate([[document]])
    with torch.inference_mode():
        scores = model.logits(model(batch).states).log_softmax(-1)[0]
    labels = batch.labels[0]
    return math.exp(sum(float(scores[place, labels[place]]) for place in (labels >= 0).nonzero()[:, 0].tolist()))


def test_what_cannot_be_asked_has_no_probability(untrained: Parts) -> None:
    model, _, interleaver = untrained
    sample = samples("typed")[0]
    silent, broken = Prediction(sample, "red", ""), Media("image", Path("gone.png"))
    lost = replace(sample, messages=(Message("user", (broken, Text("what is it?"))), sample.messages[-1]))
    examples = examples_of("t", [silent, Prediction(lost, "red", "blue")], [METRICS["accuracy"]])
    assert [PROBABILITY in item.facts for item in with_probabilities(model, interleaver, examples)] == [False, False]
    assert examples[0].facts["given answer"] == "(nothing)"
