"""Scores of a corpus that are no mean of its answers: functions of sums, with intervals over clusters.

A loss is a sum of losses over a sum of tokens, a word error rate errors over words, chrF a function of eighteen counts.
A resample of clusters adds up the counts of the drawn ones and computes the score anew, as one of the whole corpus is
computed.

Shape legend: N items (answers), G groups (clusters), x sums of a metric, r random draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import t

from evaluation.metrics.proportions import CONFIDENCE, FEW, exact_interval, failures
from evaluation.metrics.scores import SLICE, Score

# In logarithms; of two clusters that differ, a t interval reaches as far as numbers go.
LARGEST_REACH = 100.0
# Sums [..., x] -> scores [...].
Value = Callable[[np.ndarray], np.ndarray]


def bootstrap_corpus(
    statistics_Nx: np.ndarray,
    value: Value,
    clusters: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    is_share: bool = False,
) -> Score:
    """The score of all answers with a 95 % interval over clusters.

    Percentile interval (Efron and Tibshirani, 1993, chapter 13), which is too narrow where clusters are few: of five it
    held the truth in 82 % of simulated draws. So it is widened to a t interval with the standard error of the
    resamples, of their logarithms where all are above 0 (94 %). A score from 0 to 1 (`is_share`) may be 0, or 1, in
    most clusters, and in fewer than 30 not. Then its interval is widened to what the exact one leaves open (see
    `evaluation.metrics.proportions`): so many captions without a hit do not exclude one. A single cluster says nothing
    of others: the interval is then the range of its answers.
    """
    if statistics_Nx.ndim != 2 or len(statistics_Nx) == 0:
        raise ValueError(f"statistics have shape {statistics_Nx.shape}; they must be [answers, statistics], not empty")
    totals_Gx, sizes_G = cluster_totals(statistics_Nx, clusters)
    found = float(value(statistics_Nx.sum(axis=0)))
    if len(totals_Gx) == 1:
        values_N = value(statistics_Nx)
        return Score(found, min(found, float(values_N.min())), max(found, float(values_N.max())), len(statistics_Nx))
    values_r = value(resampled_totals(totals_Gx, resamples, np.random.default_rng(seed)))
    low, high = spread_interval(found, values_r, len(totals_Gx))
    if is_share:
        # A word error rate may be above 1.
        low, high = max(low, 0.0), min(high, max(1.0, float(values_r.max())))
        least, most = rare(value(totals_Gx).clip(0, 1) * sizes_G, sizes_G)
        low, high = min(low, least), max(high, most)
    return Score(found, min(low, found), max(high, found), len(statistics_Nx))


def corpus_ratio(
    above: Sequence[np.ndarray],
    below: Sequence[np.ndarray],
    floors: Sequence[np.ndarray] | None,
    value: Value,
    clusters: Sequence[str],
    resamples: int = 2000,
    seed: int = 0,
) -> Score | None:
    """The ratio of two mean scores, each over corpora `[N, x]` of the same N answers, over the same draws of clusters.

    Each of `above` and of `below` is a corpus, with zeros where an answer is not part of it; with `floors` the mean
    score of these is taken from both. None if what is below is not above 0; draws where it is not are left out.
    """

    def mean_scores(corpora: Sequence[np.ndarray]) -> np.ndarray:
        scores = []
        for statistics_Nx in corpora:
            totals_Gx, _ = cluster_totals(statistics_Nx, clusters)
            drawn_rx = resampled_totals(totals_Gx, resamples, np.random.default_rng(seed))
            scores.append(value(np.concatenate([statistics_Nx.sum(axis=0)[None], drawn_rx])))
        return np.mean(scores, axis=0)

    floor_r = 0.0 if floors is None else mean_scores(floors)
    above_r, below_r = mean_scores(above) - floor_r, mean_scores(below) - floor_r  # the first is that of all answers
    if below_r[0] <= 0:
        return None
    ratios_r = (above_r[1:] / np.where(below_r[1:] > 0, below_r[1:], 1.0))[below_r[1:] > 0]
    found = float(above_r[0] / below_r[0])
    if not len(ratios_r):
        return None
    if (count := len(set(clusters))) < 2:
        return Score(found, float(ratios_r.min()), float(ratios_r.max()), len(above[0]))
    low, high = spread_interval(found, ratios_r, count)
    return Score(found, min(low, found), max(high, found), len(above[0]))


def cluster_totals(statistics_Nx: np.ndarray, clusters: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Per cluster, the sums of its answers [G, x] and their number [G]."""
    if clusters is None:
        return statistics_Nx, np.ones(len(statistics_Nx))
    places_N = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1]
    sizes_G = np.bincount(places_N)
    totals_Gx = np.zeros((len(sizes_G), statistics_Nx.shape[1]))
    np.add.at(totals_Gx, places_N, statistics_Nx)
    return totals_Gx, sizes_G.astype(np.float64)


def resampled_totals(totals_Gx: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Sums [r, x] over draws of C clusters with replacement; the same draws for the same `rng` and numbers."""
    num_clusters = len(totals_Gx)
    rows = max(1, SLICE // num_clusters)
    found = []
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn_rG = rng.integers(num_clusters, size=(count, num_clusters), dtype=np.int64)
        drawn_rG += num_clusters * np.arange(count)[:, None]
        times_rG = np.bincount(drawn_rG.ravel(), minlength=count * num_clusters).reshape(count, num_clusters)
        found.append(times_rG @ totals_Gx)
    return np.concatenate(found)


def spread_interval(found: float, values_r: np.ndarray, num_clusters: int) -> tuple[float, float]:
    """The percentiles of resampled scores, widened to a t interval with their standard error.

    The t interval is made of logarithms where all are above 0, because what is spread out there is skewed.
    """
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values_r, [tail, 100 - tail])
    # Resamples of few clusters vary less than new clusters would, by this much.
    quantile = t.ppf(1 - tail / 100, num_clusters - 1) * np.sqrt(num_clusters / (num_clusters - 1))
    if found > 0 and (values_r > 0).all():
        reach = min(quantile * float(np.log(values_r).std()), LARGEST_REACH)
        least, most = found * np.exp(-reach), found * np.exp(reach)
    else:
        least, most = found - quantile * values_r.std(), found + quantile * values_r.std()
    return float(min(low, least)), float(max(high, most))


def rare(sums_G: np.ndarray, sizes_G: np.ndarray) -> tuple[float, float]:
    """The exact interval where few clusters are not all 0, or not all 1; a range that widens nothing elsewhere."""
    few = failures(sums_G, sizes_G)
    if few >= FEW or 2 * few >= len(sizes_G):
        return np.inf, -np.inf
    return exact_interval(sums_G, sizes_G)
