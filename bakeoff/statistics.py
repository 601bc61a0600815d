"""Intervals over questions and seeds, paired differences, and the correction for many tests.

Shape legend: S seeds, N questions, C clusters (images), R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.metrics import CONFIDENCE, cluster_sums


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A method's score minus a baseline's, its 95 % interval, and the chance of as large a difference if there is none.

    `p` is two-sided and as it is; `corrected` takes the number of comparisons into account (see `holm`).
    """

    method: str
    baseline: str
    task: str
    difference: Estimate
    p: float
    corrected: float = 1.0


class Resampler:
    """Draws seeds and clusters with replacement, both at once and the same for everything that is compared.

    Seeds are a random sample of the trainings that a method could have had, and images one of the questions that it
    could have been asked, so both must vary. As everywhere with few seeds, three say little about the
    spread between trainings: a bootstrap over three values underestimates it.
    """

    def __init__(self, clusters: Sequence[str], num_seeds: int, resamples: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.clusters = clusters
        num_clusters = len(set(clusters))
        self.counts_RC = rng.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), size=resamples)
        self.seeds_RS = rng.integers(num_seeds, size=(resamples, num_seeds))

    def means(self, correct_SN: np.ndarray) -> np.ndarray:
        """Means [R] of the resamples."""
        sums_SC, sizes_C = [], np.zeros(0)
        for correct_N in correct_SN:
            sums_C, sizes_C = cluster_sums(correct_N.astype(np.float64), self.clusters)
            sums_SC.append(sums_C)
        means_RS = (self.counts_RC @ np.stack(sums_SC).T) / (self.counts_RC @ sizes_C)[:, None]
        return np.take_along_axis(means_RS, self.seeds_RS, axis=1).mean(axis=1)

    def estimate(self, correct_SN: np.ndarray) -> Estimate:
        """The mean over seeds and questions, with a percentile interval."""
        return interval(float(correct_SN.mean()), self.means(correct_SN))

    def compare(self, method_SN: np.ndarray, baseline_SN: np.ndarray) -> tuple[Estimate, float]:
        """Difference of two methods that had the same seeds and questions, and its p.

        A resample draws the same seeds and images for both, so what is common to them cancels.
        """
        differences_R = self.means(method_SN) - self.means(baseline_SN)
        fewer = min((differences_R <= 0).sum(), (differences_R >= 0).sum())
        p = min(1.0, 2 * (fewer + 1) / (len(differences_R) + 1))
        return interval(float(method_SN.mean() - baseline_SN.mean()), differences_R), float(p)


def interval(value: float, resampled_R: np.ndarray) -> Estimate:
    """The percentile interval of resampled values."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled_R, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979): the chance of any false alarm.

    In the order of the input; the smallest is multiplied by the number of tests, the next by one less, and so on, and
    none is smaller than one before it.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def compare_all(
    correct: Mapping[str, Mapping[str, np.ndarray]],
    clusters: Mapping[str, Sequence[str]],
    baselines: Sequence[str],
    resamples: int,
) -> tuple[dict[str, dict[str, Estimate]], list[Comparison]]:
    """Scores of every method in every task, and every method against every baseline.

    correct: task -> method -> [S, N]; clusters: task -> [N]. All comparisons are corrected together.
    """
    scores: dict[str, dict[str, Estimate]] = {}
    found: list[Comparison] = []
    for task, methods in correct.items():
        num_seeds = len(next(iter(methods.values())))
        resampler = Resampler(clusters[task], num_seeds, resamples)
        scores[task] = {method: resampler.estimate(values) for method, values in methods.items()}
        tested: set[frozenset[str]] = set()
        for baseline in baselines:
            for method in methods:
                pair = frozenset((method, baseline))
                if method != baseline and pair not in tested:
                    tested.add(pair)
                    difference, p = resampler.compare(methods[method], methods[baseline])
                    found.append(Comparison(method, baseline, task, difference, p))
    corrected = holm([item.p for item in found])
    return scores, [
        Comparison(item.method, item.baseline, item.task, item.difference, item.p, value)
        for item, value in zip(found, corrected, strict=True)
    ]
