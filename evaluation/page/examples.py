"""Examples of right and of wrong answers, with the media that were asked about, for a page.

Shape legend: N items (answers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from data.batching.interleave import Interleaver
from data.types import Message, Sample, Segment, Text
from evaluation.answering.answer_metrics import AnswerMetric
from evaluation.answering.context import question_words, roles, words_in
from evaluation.answering.likelihood import likelihoods
from evaluation.answering.predict import Prediction
from evaluation.answering.reply import may_call
from evaluation.metrics.metric_names import LOWER_IS_BETTER, number, title
from fusion.model import FusionModel

# Of each kind (right and wrong) of a task.
EACH = 3
PROBABILITY = "its probability"
T = TypeVar("T")


@dataclass(frozen=True)
class Example:
    """What was asked and what came of it.

    verdict: "right", "wrong", or a score. given: media and words by what they are called. facts: name -> words.
    answered: the sample and its given answer, where a probability can be asked for.
    """

    task: str
    verdict: str
    given: Mapping[str, Sequence[Segment]]
    facts: Mapping[str, str]
    answered: tuple[Sample, str] | None = field(default=None, repr=False)


def examples_of(task: str, predictions: Sequence[Prediction], metrics: Sequence[AnswerMetric]) -> list[Example]:
    """Some right and some wrong answers of a task, or its worst and best ones if the main metric is a score of text."""
    main = metrics[0]
    known = main.measurable(predictions)
    scores_N = main.of_each(known)
    if main.is_mean_of_hits:
        right = [item for item, score in zip(known, scores_N, strict=True) if score >= 1]
        wrong = [item for item, score in zip(known, scores_N, strict=True) if score < 1]
        chosen = [(item, "right") for item in spread(right)] + [(item, "wrong") for item in spread(wrong)]
    else:
        order = np.argsort(-scores_N if main.name in LOWER_IS_BETTER else scores_N, kind="stable").tolist()
        ends = order[:EACH] + order[max(EACH, len(order) - EACH) :]
        chosen = [(known[place], f"{title(main.name)} {number(main.name, scores_N[place])}") for place in ends]
    return [_example(task, item, verdict, main) for item, verdict in chosen]


def spread(items: Sequence[T], count: int = EACH) -> list[T]:
    """So many of the items, spread evenly over all of them."""
    places = dict.fromkeys(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int).tolist())
    return [items[place] for place in places]


def _example(task: str, item: Prediction, verdict: str, metric: AnswerMetric) -> Example:
    sample = item.sample
    chosen = metric.uses_candidates and item.likelihood is not None
    answer = item.likelihood.chosen if chosen and item.likelihood is not None else item.answer
    facts = {
        "question": question_words(sample) or "(no words)",
        "expected answer": item.expected,
        "given answer": answer or "(nothing)",
    }
    asked = answer if answer and not may_call(sample) else None
    return Example(task, verdict, {"given": _given(sample)}, facts, None if asked is None else (sample, asked))


def _given(sample: Sample) -> list[Segment]:
    """What a person gives, in reading order, without the typed question."""
    typed = roles(sample).question
    return [
        segment
        for number, message in enumerate(sample.messages[:-1])
        for place, segment in enumerate(message.content)
        if (number, place) not in typed or words_in(segment) is None
    ]


def with_probabilities(model: FusionModel, interleaver: Interleaver, examples: Sequence[Example]) -> list[Example]:
    """The same, with the probability of each given answer among its facts, where it can be computed."""
    asked = [(place, item.answered) for place, item in enumerate(examples) if item.answered is not None]
    samples = [sample for _, (sample, _) in asked]
    answers = [[Message("assistant", (Text(answer),))] for _, (_, answer) in asked]
    found = likelihoods(model, interleaver, samples, answers, batch_size=16, on_bad_sample="skip")
    result = list(examples)
    for (place, _), likelihood in zip(asked, found, strict=True):
        if likelihood is not None:
            share = f"{100 * math.exp(-likelihood.losses[0]):.3g} %"
            result[place] = replace(result[place], facts={**result[place].facts, PROBABILITY: share})
    return result
