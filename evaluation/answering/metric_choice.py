"""Which metrics a task has where the configuration does not say: by the answers that it expects."""

from __future__ import annotations

from collections.abc import Sequence

from data.tokenizer import TOOL_CALL
from data.types import Sample
from evaluation.answering.audit import expected_answer
from evaluation.answering.reply import canonical
from evaluation.metrics.metric_names import ACCURACY, CHOICE, CHRF, LOSS, PERPLEXITY

FREE_TEXT = (CHRF, LOSS, PERPLEXITY, CHOICE)
CLASSES = (ACCURACY,)
# Expected answers are free text if more than this share of them are distinct, and they are longer than so many
# characters on average (words are not told apart in every script).
DISTINCT, LONG = 1 / 3, 10


def default_metrics(samples: Sequence[Sample]) -> tuple[str, ...]:
    """chrF, loss, perplexity and choice where free text is expected, else accuracy; the first is the main one."""
    return FREE_TEXT if is_free_text([canonical(expected_answer(sample)) for sample in samples]) else CLASSES


def is_free_text(answers: Sequence[str]) -> bool:
    """Whether an exact match says little: hardly any answer is expected again, and answers are long.

    Tool calls are right or wrong, however long.
    """
    words = [answer for answer in answers if TOOL_CALL not in answer]
    distinct = len(set(words))
    if 2 * len(words) < len(answers) or distinct < 2 or distinct <= DISTINCT * len(words):
        return False
    return sum(map(len, words)) > LONG * len(words)
