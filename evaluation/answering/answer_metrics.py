"""The metrics of answers: what is summed over the answers of a corpus, and the score that the sums give.

Accuracy and choice are means of hits. Loss, perplexity, chrF and the word error rate are no means of answers, but
functions of sums (see `evaluation.metrics.corpus_scores`).

Shape legend: N items (answers), x sums of a metric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np
from sacrebleu.metrics import chrf as sacrebleu_chrf

from evaluation.answering.predict import Prediction, clusters
from evaluation.metrics.corpus_scores import Value, bootstrap_corpus
from evaluation.metrics.metric_names import ACCURACY, CHOICE, CHRF, LOSS, PERPLEXITY, WER
from evaluation.metrics.scores import bootstrap, normalise
from evaluation.settings import Bootstrap

# Of a perplexity, so that it stays a number.
LARGEST_EXPONENT = 700.0
CHRF_SCORER = sacrebleu_chrf.CHRF()  # characters of order 1 to 6, beta 2, as `sacrebleu.corpus_chrf`


@dataclass(frozen=True)
class AnswerMetric:
    """A metric of answers.

    name: its key in reports. uses_answer: whether it reads what the model answers. Otherwise it reads the likelihood of
    the expected answer, and of others too if `uses_candidates`. statistics: [x] of one answer, zeros of one that cannot
    be measured. value: the score of their sums, [..., x] -> [...]. is_share: whether it goes from 0 to 1.
    """

    name: str
    uses_answer: bool
    statistics: Callable[[Prediction], Sequence[float]]
    value: Value
    is_share: bool = True
    is_mean_of_hits: bool = False
    uses_candidates: bool = False

    def table(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """The statistics of answers, [N, x]."""
        return np.array([self.statistics(item) for item in predictions], dtype=np.float64)

    def of_each(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """The score of each answer alone, [N]."""
        return self.value(self.table(predictions))

    def measurable(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Those that the metric says something about."""
        return [item for item in predictions if self.uses_answer or self.statistics(item)[-1] > 0]


def score(predictions: Sequence[Prediction], metric: AnswerMetric, boot: Bootstrap) -> dict[str, Any] | None:
    """The score of answers with its 95 % interval over clusters; None if the metric says nothing of any of them."""
    if not (known := metric.measurable(predictions)):
        return None
    return interval(metric.table(known), clusters(known), metric, boot)


def interval(statistics_Nx: np.ndarray, drawn: Sequence[str], metric: AnswerMetric, boot: Bootstrap) -> dict[str, Any]:
    """The score of statistics with its 95 % interval over clusters."""
    if metric.is_mean_of_hits:
        return bootstrap(statistics_Nx[:, 0], drawn, boot.resamples, boot.seed).to_json()
    found = bootstrap_corpus(statistics_Nx, metric.value, drawn, boot.resamples, boot.seed, metric.is_share)
    return found.to_json()


def ratio(sums: np.ndarray) -> np.ndarray:
    """The first statistic by the second; 0 of nothing."""
    return sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], 1.0)


def perplexity(sums: np.ndarray) -> np.ndarray:
    """The exponential of the mean loss of a token."""
    return np.exp(np.minimum(ratio(sums), LARGEST_EXPONENT))


def chrf(sums: np.ndarray) -> np.ndarray:
    """chrF (Popović, W15-3049) as sacrebleu computes it, 0 to 1, of sums [..., 18]."""
    scores = [CHRF_SCORER._compute_f_score(row) for row in sums.reshape(-1, sums.shape[-1]).tolist()]
    return np.array(scores).reshape(sums.shape[:-1]) / 100


def hits(prediction: Prediction) -> tuple[float, float]:
    """1 for a right answer, else 0."""
    return float(prediction.correct), 1.0


def loss(prediction: Prediction) -> tuple[float, float]:
    """Negative log-likelihood of the expected answer, and its tokens."""
    found = prediction.likelihood
    return (0.0, 0.0) if found is None else (found.losses[0], float(found.tokens[0]))


def choice(prediction: Prediction) -> tuple[float, float]:
    """1 where the expected answer is the likeliest candidate, else 0; and whether there was a choice."""
    found = None if prediction.likelihood is None else prediction.likelihood.choice
    return (0.0, 0.0) if found is None else (found, 1.0)


def character_pieces(prediction: Prediction) -> Sequence[float]:
    """Pieces of 1 to 6 characters: of each length, those that are given, expected and in both."""
    return CHRF_SCORER._extract_corpus_statistics([prediction.answer], [[prediction.expected]])[0]


def word_errors(prediction: Prediction) -> tuple[float, float]:
    """Words substituted, left out and added, and the words of the expected answer, as `normalise` writes both."""
    found = jiwer.process_words(normalise(prediction.expected), normalise(prediction.answer))
    errors = found.substitutions + found.deletions + found.insertions
    return float(errors), float(found.hits + found.substitutions + found.deletions)


METRICS = {
    metric.name: metric
    for metric in (
        AnswerMetric(ACCURACY, True, hits, ratio, is_mean_of_hits=True),
        AnswerMetric(CHRF, True, character_pieces, chrf),
        AnswerMetric(WER, True, word_errors, ratio),
        AnswerMetric(LOSS, False, loss, ratio, is_share=False),
        AnswerMetric(PERPLEXITY, False, loss, perplexity, is_share=False),
        AnswerMetric(CHOICE, False, choice, ratio, is_mean_of_hits=True, uses_candidates=True),
    )
}
