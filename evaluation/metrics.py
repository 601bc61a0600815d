"""Exact match, and scores with bootstrap intervals.

Shape legend: N answers, C clusters, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
# Resampled counts are drawn in slices of about this many numbers, so that memory stays flat.
SLICE = 4_000_000
# The metric by which retrievals are compared.
MAIN_RECALL = "recall@10"


@dataclass(frozen=True)
class Score:
    """A mean of answers, or a ratio of two, with its 95 % interval over `n` answers; a mean of hits is 0 to 1."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | int]:
        """The form that `report.json` holds."""
        return asdict(self)


def normalise(answer: str) -> str:
    """Case folded, white space collapsed and stripped; nothing else (punctuation counts)."""
    return " ".join(answer.casefold().split())


def exact_match(answer: str, expected: str) -> bool:
    """Whether two answers are equal but for case and white space (see `normalise`)."""
    return normalise(answer) == normalise(expected)


def bootstrap(
    correct: Sequence[bool] | np.ndarray,
    clusters: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Score:
    """The mean of `correct` [N] with a percentile bootstrap interval that resamples clusters.

    Questions about one image stand or fall together, so answers that share an entry of `clusters` [N] are
    drawn together: C clusters are drawn with replacement, R times, and the mean is taken over all answers
    in the draw. Without `clusters` every answer is its own. Percentile interval after Efron and Tibshirani
    (1993), chapter 13; as there, it has no width where all answers are right or all are wrong.

    Raises:
        ValueError: no answers, an unequal number of clusters, or fewer than 1,000 resamples.
    """
    hits_N = np.asarray(correct, dtype=np.float64)
    if hits_N.ndim != 1 or len(hits_N) == 0:
        raise ValueError(f"correct has shape {hits_N.shape}; it must be a non-empty list of answers")
    if clusters is not None and len(clusters) != len(hits_N):
        raise ValueError(f"clusters has {len(clusters)} entries; it must have one per answer, {len(hits_N)}")
    if resamples < 1000:
        raise ValueError(f"resamples={resamples} must be at least 1000 for an interval of 95 %")
    means_R = resampled_means(*cluster_sums(hits_N, clusters), resamples, np.random.default_rng(seed))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means_R, [tail, 100 - tail])
    return Score(float(hits_N.mean()), float(low), float(high), len(hits_N))


def bootstrap_ratio(
    above: Sequence[float] | np.ndarray,
    below: Sequence[float] | np.ndarray,
    clusters: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Score | None:
    """The ratio of two means over the same N answers, `above` and `below`, with an interval as `bootstrap` has it.

    Both means are taken over the same draws, so that what is common to them cancels. None if the mean `below` is not
    above 0, where a ratio says nothing; draws in which it is not are left out.
    """
    above_N, below_N = (np.asarray(values, dtype=np.float64) for values in (above, below))
    if len(above_N) != len(below_N) or not len(below_N):
        raise ValueError(f"above has {len(above_N)} and below {len(below_N)} entries; they must have one per answer")
    if below_N.mean() <= 0:
        return None
    above_R, below_R = (
        resampled_means(*cluster_sums(values_N, clusters), resamples, np.random.default_rng(seed))
        for values_N in (above_N, below_N)
    )
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(above_R[below_R > 0] / below_R[below_R > 0], [tail, 100 - tail])
    return Score(float(above_N.mean() / below_N.mean()), float(low), float(high), len(above_N))


def cluster_sums(hits_N: np.ndarray, clusters: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Per cluster, the sum of its answers and their number: two arrays [C]."""
    if clusters is None:
        return hits_N, np.ones(len(hits_N))
    places_N = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1]
    return np.bincount(places_N, weights=hits_N), np.bincount(places_N).astype(np.float64)


def resampled_means(sums_C: np.ndarray, sizes_C: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means [R] over draws of C clusters with replacement."""
    num_clusters = len(sums_C)
    rows = max(1, SLICE // num_clusters)
    means = []
    for start in range(0, resamples, rows):
        shape = (min(rows, resamples - start), num_clusters)
        drawn_RC = rng.integers(num_clusters, size=shape, dtype=np.int32)
        means.append(sums_C[drawn_RC].sum(axis=1) / sizes_C[drawn_RC].sum(axis=1))
    return np.concatenate(means)


def with_metric(report: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    """The tasks of a report that have a metric, with their scores."""
    return {task: scores for task, scores in report["tasks"].items() if name in scores}


def main_metric(scores: Mapping[str, Any]) -> str:
    """By what runs are compared in a task: accuracy, or recall of a retrieval."""
    return "accuracy" if "accuracy" in scores else MAIN_RECALL


def main_score(scores: Mapping[str, Any]) -> Mapping[str, Any]:
    """The score of the main metric."""
    return scores[main_metric(scores)]
