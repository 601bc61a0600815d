"""How an ensemble answers: each member has probabilities over a closed set of answers, and the largest mean wins.

Shape legend: J keys or candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.types import BadInputError, Message, Sample, Text
from evaluation.answering.audit import expected_answer
from evaluation.answering.metric_choice import is_free_text
from evaluation.answering.predict import Likelihood
from evaluation.answering.reply import canonical

# A task that expects more distinct answers is no closed set.
MOST_ANSWERS = 100
RULE = (
    "the candidate with the largest mean probability. A member's probability of a candidate is the likelihood of all "
    "its tokens, the end among them, divided by the sum over the candidates. These are the answers that a row names, "
    "or all that its task expects"
)


def closed_sets(task: str, samples: Sequence[Sample]) -> list[tuple[Message, ...]]:
    """The candidates of each sample: those that its row names, or all answers that such rows expect, sorted.

    The order does not depend on which of them is right.

    Raises:
        BadInputError: rows without candidates expect free text, or all the same answer.
    """
    expected = {canonical(expected_answer(item)): item.messages[-1] for item in samples if not item.choices}
    texts = [canonical(expected_answer(item)) for item in samples if not item.choices]
    if len(expected) == 1:
        raise BadInputError(f"{task}: expects the same answer everywhere, so an ensemble has nothing to choose from")
    if is_free_text(texts) or len(expected) > MOST_ANSWERS:
        raise BadInputError(
            f"{task}: expects {len(expected):,} different answers, which is free text; an ensemble averages over a "
            f"closed set of at most {MOST_ANSWERS}, or over the choices that a row names"
        )
    of_task = tuple(expected[text] for text in sorted(expected))
    return [_named(item) if item.choices else of_task for item in samples]


def _named(sample: Sample) -> tuple[Message, ...]:
    """The candidates of a row in its order; the expected one as it is expected."""
    own = sample.messages[-1]
    right = canonical(expected_answer(sample))
    return tuple(own if canonical(text) == right else Message("assistant", (Text(text),)) for text in sample.choices)


def probabilities(likelihood: Likelihood) -> np.ndarray:
    """A member's probabilities [J] of the candidates, which sum to 1."""
    logs_J = -np.array(likelihood.losses, dtype=np.float64)
    weights_J = np.exp(logs_J - logs_J.max())
    return weights_J / weights_J.sum()


def answer_of(likelihoods: Sequence[Likelihood]) -> str:
    """The candidate with the largest mean of the members' probabilities, the first of several."""
    mean_J = np.mean([probabilities(likelihood) for likelihood in likelihoods], axis=0)
    return likelihoods[0].answers[int(mean_J.argmax())]
