"""What the metrics of a report are called, which way they are better, and how a score is written.

In a report every score is `{value, low, high, n}`. Shares, chrF and the word error rate among them, are 0 to 1 there (a
word error rate may be above 1), and a hundred times that in tables.
"""

from __future__ import annotations

from collections.abc import Mapping

ACCURACY, LOSS, PERPLEXITY, CHRF, WER, CHOICE = "accuracy", "loss", "perplexity", "chrf", "wer", "choice"
ANSWER_METRICS = (ACCURACY, CHRF, WER, LOSS, PERPLEXITY, CHOICE)
# Retrievals are compared by this metric.
MAIN_RECALL = "recall@10"
MEDIAN_RANK = "median_rank"

TITLES = {
    ACCURACY: "accuracy",
    LOSS: "loss",
    PERPLEXITY: "perplexity",
    CHRF: "chrF",
    WER: "word error rate",
    CHOICE: "choice",
    MEDIAN_RANK: "median rank",
}
WORDS = {
    ACCURACY: "Accuracy (exact match but for case and white space) in percent",
    LOSS: "Loss of the expected answer, in nats a token (lower is better)",
    PERPLEXITY: "Perplexity of the expected answer, by token (lower is better)",
    CHRF: "chrF (overlap of the answer with the expected one in pieces of 1 to 6 characters), 0 to 100",
    WER: "Word error rate (words but for case and white space) in percent (lower is better)",
    CHOICE: "Choice of the expected answer among candidates, by likelihood a token, in percent",
}
# Titles of the tables on the terminal.
SHORT_WORDS = {
    ACCURACY: "accuracy in percent",
    LOSS: "loss in nats a token (lower is better)",
    PERPLEXITY: "perplexity by token (lower is better)",
    CHRF: "chrF, 0 to 100",
    WER: "word error rate in percent (lower is better)",
    CHOICE: "choice by likelihood in percent",
}
LOWER_IS_BETTER = (LOSS, PERPLEXITY, WER, MEDIAN_RANK)
# Digits of those that are not shares.
DIGITS = {LOSS: 3, PERPLEXITY: 2, MEDIAN_RANK: 1}


def title(metric: str) -> str:
    """How heads of tables and axes call a metric."""
    return TITLES.get(metric, metric)


def is_share(metric: str) -> bool:
    """Whether a metric is written times a hundred."""
    return metric not in DIGITS


def unit(metric: str) -> str:
    """What follows a number on an axis."""
    return "%" if is_share(metric) and metric != CHRF else ""


def number(metric: str, value: float, digits: int = 1) -> str:
    """A value as tables write it; `digits` are those of a share."""
    return f"{100 * value:.{digits}f}" if is_share(metric) else f"{value:,.{DIGITS[metric]}f}"


def with_interval(metric: str, score: Mapping[str, float]) -> str:
    """A score with its interval."""
    value, low, high = (number(metric, score[key]) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
