"""How sure a mean over trainings and questions is: for new seeds and new clusters of questions, both at once.

Every seed is asked the same questions, so the two effects are crossed: y[s, c] = mean + seed[s] + cluster[c] + rest.
Shape legend: s seeds, G groups (clusters, such as images), N items (questions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize.elementwise import find_root
from scipy.special import stdtrit

from evaluation.metrics.scores import CONFIDENCE, cluster_sums

SMALLEST_P = 1e-12
# Variances of a mean of numbers between -1 and 1 that only rounding makes.
ROUNDING = 1e-24


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval, which does not exist (None) for one seed or one cluster."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Crossed:
    """A mean [...] over S seeds and C clusters, and the variance of it that each of the two is seen to cause, [...].

    mean: over all questions, so that a cluster weighs as many as it has. seeds: variance of the mean as seeds alone
    show it; clusters: as clusters alone show it; extra: what clusters add to the variance of the seeds.
    """

    mean: np.ndarray
    seeds: np.ndarray
    clusters: np.ndarray
    extra: np.ndarray
    num_seeds: int
    num_clusters: int

    @staticmethod
    def of(sums_sG: np.ndarray, sizes_G: np.ndarray) -> Crossed:
        """From sums [..., s, G] over the questions of each cluster, of answers or differences, and their numbers [G].

        The variance is that of a two-way table with random effects, (MS_seed + MS_cluster - MS_rest) / SC: the rest is
        in both of the others. It is the two-way cluster-robust one of Cameron, Gelbach and Miller (Journal of Business
        & Economic Statistics 29, 2011). Clusters may differ in size: the mean is a ratio, and its residuals stand for
        the sums.

        Raises:
            ValueError: fewer than two seeds or clusters; these show no spread.
        """
        num_seeds, num_clusters = sums_sG.shape[-2:]
        if min(num_seeds, num_clusters) < 2:
            raise ValueError(f"{num_seeds} seeds and {num_clusters} clusters: must be at least 2 of each")
        mean = sums_sG.sum((-2, -1)) / (num_seeds * sizes_G.sum())
        residual_sG = (sums_sG - sizes_G * mean[..., None, None]) / sizes_G.mean()
        seed_s, cluster_G = residual_sG.mean(-1), residual_sG.mean(-2)
        rest_sG = residual_sG - seed_s[..., None] - cluster_G[..., None, :]
        seeds = (seed_s**2).sum(-1) / (num_seeds - 1) / num_seeds
        clusters = (cluster_G**2).sum(-1) / (num_clusters - 1) / num_clusters
        freedom = (num_seeds - 1) * (num_clusters - 1)
        rest = (rest_sG**2).sum((-2, -1)) / freedom / (num_seeds * num_clusters)
        return Crossed(mean, seeds, clusters, np.maximum(clusters - rest, 0), num_seeds, num_clusters)

    @property
    def is_constant(self) -> np.ndarray:
        """Whether nothing varies [...]: every seed has the same mean in every cluster."""
        return self.seeds + self.clusters <= ROUNDING

    def half_width(self, error: float | np.ndarray = 1 - CONFIDENCE) -> np.ndarray:
        """Half the interval [...] that misses the truth with a probability of `error`.

        Each variance has degrees of freedom of its own, so the quantile of t is their mean, weighted by the variances
        (Cochran and Cox, Experimental Designs, 1957). Never less than seeds or clusters alone would give. Where nothing
        varies, clusters that do may still be as frequent as 1 - (error / 2)^(1 / C) (Clopper and Pearson, 1934).
        """
        error = np.asarray(error)
        t_seeds, t_clusters = stdtrit(self.num_seeds - 1, 1 - error / 2), stdtrit(self.num_clusters - 1, 1 - error / 2)
        total = self.seeds + self.extra
        both = (self.seeds * t_seeds + self.extra * t_clusters) / np.sqrt(np.where(total > 0, total, 1))
        alone = np.maximum(t_seeds * np.sqrt(self.seeds), t_clusters * np.sqrt(self.clusters))
        return np.where(self.is_constant, 1 - (error / 2) ** (1 / self.num_clusters), np.maximum(both, alone))

    def p(self) -> np.ndarray:
        """The two-sided p [...] of a mean of 0: the error at which the interval begins to hold it.

        Where nothing varies it is what signs alone can say (see `sign_flip_p`), and 1 for a mean of 0.
        """
        distance = np.abs(self.mean)

        def excess(
            error: np.ndarray, mean: np.ndarray, seeds: np.ndarray, clusters: np.ndarray, extra: np.ndarray
        ) -> np.ndarray:
            part = Crossed(mean, seeds, clusters, extra, self.num_seeds, self.num_clusters)
            return part.half_width(error) - np.abs(mean)

        parts = (self.mean, self.seeds, self.clusters, self.extra)
        found = find_root(excess, (SMALLEST_P, 1.0), args=parts).x
        found = np.where(self.half_width(SMALLEST_P) <= distance, SMALLEST_P, np.where(distance == 0, 1.0, found))
        return np.where(self.is_constant & (distance > 0), sign_flip_p(self.num_seeds), found)


def sign_flip_p(num_seeds: int) -> float:
    """The smallest two-sided p that the signs of S differences alone could give: all equal, of 2^S equally likely."""
    return 2.0 ** (1 - num_seeds)


def sums_by_cluster(values_sN: np.ndarray, clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sums [s, G] of values (correct, or differences of two methods) over the questions of each cluster; sizes [G]."""
    found = [cluster_sums(values_N.astype(np.float64), clusters) for values_N in values_sN]
    return np.stack([sums_G for sums_G, _ in found]), found[0][1]


def crossed(values_sN: np.ndarray, clusters: Sequence[str]) -> Crossed | None:
    """`Crossed` of the values of each seed and question; None for one seed or one cluster."""
    sums_sG, sizes_G = sums_by_cluster(values_sN, clusters)
    return Crossed.of(sums_sG, sizes_G) if min(sums_sG.shape) > 1 else None


def estimate(values_sN: np.ndarray, clusters: Sequence[str], lowest: float = 0.0, error: float = 0.05) -> Estimate:
    """The mean of values between `lowest` and 1 with its interval, cut to what a mean of them can be."""
    found, value = crossed(values_sN, clusters), float(values_sN.mean())
    if found is None:
        return Estimate(value, None, None)
    half = float(found.half_width(error))
    return Estimate(value, max(value - half, lowest), min(value + half, 1.0))


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
