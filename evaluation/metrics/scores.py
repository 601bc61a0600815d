"""Exact match, and scores with intervals: by bootstrap, near 0 and 1 exact.

Shape legend: N items (answers), G groups (clusters), r random draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evaluation.metrics.metric_names import MAIN_RECALL
from evaluation.metrics.proportions import CONFIDENCE, FEW, exact_interval, failures

# Resampled counts are drawn in slices of about this many numbers, so that memory stays flat.
SLICE = 4_000_000


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
    """The mean of `correct` [N], hits of 0 to 1, with a 95 % interval over clusters.

    Questions about one image stand or fall together. So answers that share an entry of `clusters` [N] are drawn
    together: C clusters are drawn with replacement, R times, and the mean is taken over all answers in the draw.
    Without `clusters` every answer is its own. Percentile interval after Efron and Tibshirani (1993), chapter 13. Such
    an interval takes wrong answers, or right ones, too lightly where fewer than 30 clusters hold one. There it is the
    exact one of `evaluation.metrics.proportions` instead.

    Raises:
        ValueError: no answers, one outside 0 to 1, an unequal number of clusters, or fewer than 1,000 resamples.
    """
    hits_N = _checked(correct, clusters, resamples)
    if hits_N.min() < 0 or hits_N.max() > 1:
        raise ValueError(f"correct goes from {hits_N.min():g} to {hits_N.max():g}; it must lie in [0, 1]")
    sums_G, sizes_G = cluster_sums(hits_N, clusters)
    if failures(sums_G, sizes_G) < FEW:
        return Score(float(hits_N.mean()), *exact_interval(sums_G, sizes_G), len(hits_N))
    return _resampled(hits_N, sums_G, sizes_G, resamples, seed)


def bootstrap_mean(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Score:
    """The mean of `values` [N] of any range with the percentile interval of `bootstrap`; equal values have no width."""
    values_N = _checked(values, clusters, resamples)
    return _resampled(values_N, *cluster_sums(values_N, clusters), resamples, seed)


def _resampled(values_N: np.ndarray, sums_G: np.ndarray, sizes_G: np.ndarray, resamples: int, seed: int) -> Score:
    means_r = resampled_means(sums_G, sizes_G, resamples, np.random.default_rng(seed))
    return Score(float(values_N.mean()), *_percentiles(means_r), len(values_N))


def _checked(values: Sequence[float] | np.ndarray, clusters: Sequence[str] | None, resamples: int) -> np.ndarray:
    values_N = np.asarray(values, dtype=np.float64)
    if values_N.ndim != 1 or len(values_N) == 0:
        raise ValueError(f"correct has shape {values_N.shape}; it must be a non-empty list of answers")
    if clusters is not None and len(clusters) != len(values_N):
        raise ValueError(f"clusters has {len(clusters)} entries; it must have one per answer, {len(values_N)}")
    if resamples < 1000:
        raise ValueError(f"resamples={resamples} must be at least 1000 for an interval of 95 %")
    return values_N


def _percentiles(resampled_r: np.ndarray) -> tuple[float, float]:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled_r, [tail, 100 - tail])
    return float(low), float(high)


def bootstrap_ratio(
    above: Sequence[float] | np.ndarray,
    below: Sequence[float] | np.ndarray,
    clusters: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Score | None:
    """The ratio of two means over the same N answers, `above` and `below`, with a 95 % interval over clusters.

    Both means are taken over the same draws, so that what is common to them cancels. None if the mean `below` is not
    above 0, where a ratio says nothing; draws where it is not are left out. Where few clusters tell the ratio from 1,
    or from 0, the interval is widened to what so few can exclude (see `evaluation.metrics.proportions`).
    """
    above_N, below_N = (np.asarray(values, dtype=np.float64) for values in (above, below))
    if len(above_N) != len(below_N) or not len(below_N):
        raise ValueError(f"above has {len(above_N)} and below {len(below_N)} entries; they must have one per answer")
    if below_N.mean() <= 0:
        return None
    above_r, below_r = (
        resampled_means(*cluster_sums(values_N, clusters), resamples, np.random.default_rng(seed))
        for values_N in (above_N, below_N)
    )
    low, high = _percentiles(above_r[below_r > 0] / below_r[below_r > 0])
    for whole in (0.0, 1.0):
        least, most = _change(above_N - whole * below_N, clusters, resamples, seed)
        low, high = min(low, whole + least / below_N.mean()), max(high, whole + most / below_N.mean())
    return Score(float(above_N.mean() / below_N.mean()), float(low), float(high), len(above_N))


def _change(changes_N: np.ndarray, clusters: Sequence[str] | None, resamples: int, seed: int) -> tuple[float, float]:
    """Bounds of a mean change, each -1 to 1, that few clusters have; a range that widens nothing if many have one."""
    if np.count_nonzero(cluster_sums(np.abs(changes_N), clusters)[0]) >= FEW:
        return np.inf, -np.inf
    gain, loss = (
        bootstrap(part_N, clusters, resamples, seed) for part_N in (changes_N.clip(0), -changes_N.clip(max=0))
    )
    return gain.low - loss.high, gain.high - loss.low


def cluster_sums(hits_N: np.ndarray, clusters: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Per cluster, the sum of its answers and their number: two arrays [G]."""
    if clusters is None:
        return hits_N, np.ones(len(hits_N))
    places_N = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1]
    return np.bincount(places_N, weights=hits_N), np.bincount(places_N).astype(np.float64)


def resampled_means(sums_G: np.ndarray, sizes_G: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means [r] over draws of C clusters with replacement."""
    num_clusters = len(sums_G)
    rows = max(1, SLICE // num_clusters)
    means = []
    for start in range(0, resamples, rows):
        shape = (min(rows, resamples - start), num_clusters)
        drawn_rG = rng.integers(num_clusters, size=shape, dtype=np.int32)
        means.append(sums_G[drawn_rG].sum(axis=1) / sizes_G[drawn_rG].sum(axis=1))
    return np.concatenate(means)


def interval_words(resamples: int) -> str:
    """How intervals are made, for the provenance of a report."""
    exact = f"exact (Clopper-Pearson) where fewer than {FEW} of them hold a wrong answer, or a right one"
    return f"95 % percentile bootstrap, {resamples} resamples of clusters; {exact}"


def with_metric(report: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    """The tasks of a report that have a metric, with their scores."""
    return {task: scores for task, scores in report["tasks"].items() if name in scores}


def main_metric(scores: Mapping[str, Any]) -> str:
    """By what runs are compared in a task: the first of its metrics, or recall@10 of a retrieval."""
    return MAIN_RECALL if MAIN_RECALL in scores else next(iter(scores))


def main_score(scores: Mapping[str, Any]) -> Mapping[str, Any]:
    """The score of the main metric."""
    return scores[main_metric(scores)]


def tasks_by_metric(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """Main metric -> the tasks that have it; no retrievals."""
    found: dict[str, list[str]] = {}
    for task, scores in report["tasks"].items():
        if (metric := main_metric(scores)) != MAIN_RECALL:
            found.setdefault(metric, []).append(task)
    return found
