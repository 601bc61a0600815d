"""Agreement corrected for chance (kappa), and how well a number tells two groups apart (AUROC), with intervals.

kappa is (observed - chance) / (1 - chance): 1 where two always agree, 0 where they agree as often as two that know
nothing of each other would. Chance is by the shares of the answers of each side (Cohen, Educational and Psychological
Measurement 20, 1960). With any number of sides it is by the shares over all of them, and agreement is that of pairs of
sides (Fleiss, Psychological Bulletin 76, 1971).

Shape legend: N items (answers), G groups (clusters), J keys or candidates (different answers), S segments (sides), x
sums of a metric, r random draws, n those of N that have it (of one kind).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from evaluation.metrics.corpus_scores import Value, cluster_totals, rare, resampled_totals, spread_interval
from evaluation.metrics.proportions import FEW, exact_interval, failures
from evaluation.metrics.scores import Score, bootstrap

# A chance of agreement above this leaves nothing to correct.
CERTAIN = 1 - 1e-9
# Chance takes so many answers apart, so that the memory is bounded.
MOST_ANSWERS = 500


@dataclass(frozen=True)
class Agreement:
    """How often sides agree, how often they would by chance, and what is left of it; None where chance is 1."""

    observed: Score
    chance: float
    kappa: Score | None

    def to_json(self) -> dict[str, Any]:
        """The form that `report.json` holds."""
        kappa = None if self.kappa is None else self.kappa.to_json()
        return {"observed": self.observed.to_json(), "chance": self.chance, "kappa": kappa}


def cohen(
    first: Sequence[str], second: Sequence[str], clusters: Sequence[str], resamples: int = 2000, seed: int = 0
) -> Agreement:
    """Agreement of two sides over the same N items, with Cohen's kappa."""
    counts_SNJ = one_hot([first, second])
    width = counts_SNJ.shape[2]

    def chance(sums: np.ndarray) -> np.ndarray:
        one, other = sums[..., :width], sums[..., width:]
        return (one * other).sum(-1) / (one.sum(-1) * other.sum(-1))

    given_Nx = np.concatenate(list(counts_SNJ), axis=1)
    return corrected(agreeing([first, second]), given_Nx, chance, clusters, resamples, seed)


def fleiss(sides: Sequence[Sequence[str]], clusters: Sequence[str], resamples: int = 2000, seed: int = 0) -> Agreement:
    """Agreement of several sides over the same N items, with Fleiss' kappa.

    Raises:
        ValueError: fewer than two sides.
    """
    if len(sides) < 2:
        raise ValueError(f"sides has {len(sides)}; agreement needs at least 2")

    def chance(sums: np.ndarray) -> np.ndarray:
        return np.square(sums / sums.sum(-1, keepdims=True)).sum(-1)

    return corrected(agreeing(sides), one_hot(sides).sum(axis=0), chance, clusters, resamples, seed)


def agreeing(sides: Sequence[Sequence[str]]) -> np.ndarray:
    """The share of the pairs of sides that agree, of each item [N]."""
    answers_SN = np.array([list(side) for side in sides], dtype=object)
    return np.mean([one == other for one, other in combinations(answers_SN, 2)], axis=0)


def one_hot(sides: Sequence[Sequence[str]]) -> np.ndarray:
    """[S, N, J]: 1 where a side gives an answer to an item. The rarest of very many answers share the last place."""
    frequent = Counter(answer for side in sides for answer in side).most_common(MOST_ANSWERS)
    numbers = {answer: place for place, (answer, _) in enumerate(frequent)}
    places_SN = np.array([[numbers.get(answer, MOST_ANSWERS) for answer in side] for side in sides])
    return np.eye(min(MOST_ANSWERS, int(places_SN.max())) + 1)[places_SN]


def corrected(
    agree_N: np.ndarray, given_Nx: np.ndarray, chance: Value, clusters: Sequence[str], resamples: int, seed: int
) -> Agreement:
    """Agreement of each item, 0 to 1, corrected for the chance that follows from the answers that were given.

    A resample of clusters computes both anew. 1 - kappa is disagreement over what chance would have, which is skewed
    near 0: its interval is that of `spread_interval`. Where fewer than 30 clusters hold a disagreement, or an
    agreement, it is widened to the exact interval of agreement, corrected for the chance as measured. One cluster
    says nothing of others.
    """
    observed = bootstrap(agree_N, clusters, resamples, seed)
    expected = float(chance(given_Nx.sum(axis=0)))
    if expected > CERTAIN:
        return Agreement(observed, expected, None)
    totals_Gx, sizes_G = cluster_totals(np.column_stack([agree_N, np.ones(len(agree_N)), given_Nx]), clusters)
    found = (observed.value - expected) / (1 - expected)
    if len(totals_Gx) < 2:
        return Agreement(observed, expected, Score(found, -1.0, 1.0, len(agree_N)))
    drawn_rx = resampled_totals(totals_Gx, resamples, np.random.default_rng(seed))
    left_r = 1 - chance(drawn_rx[:, 2:])
    known_r = left_r > 1 - CERTAIN
    apart_r = (1 - drawn_rx[:, 0] / drawn_rx[:, 1])[known_r] / left_r[known_r]
    least, most = spread_interval(1 - found, apart_r, len(totals_Gx))
    low, high = 1 - most, 1 - least
    if failures(totals_Gx[:, 0], sizes_G) < FEW:
        widest = [(share - expected) / (1 - expected) for share in exact_interval(totals_Gx[:, 0], sizes_G)]
        low, high = min(low, widest[0]), max(high, widest[1])
    return Agreement(observed, expected, Score(found, max(low, -1.0), min(high, 1.0), len(agree_N)))


def auroc(
    values: Sequence[float] | np.ndarray,
    positive: Sequence[bool] | np.ndarray,
    clusters: Sequence[str],
    resamples: int = 2000,
    seed: int = 0,
) -> Score | None:
    """How often a positive item has a larger value than one that is not, ties half; None without both kinds.

    The interval resamples clusters. Where few clusters overlap at all, it is widened to what so few leave open.
    """
    values_N, positive_N = np.asarray(values, dtype=np.float64), np.asarray(positive, dtype=bool)
    if positive_N.all() or not positive_N.any():
        return None
    groups_N = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1]
    number = int(groups_N.max()) + 1
    found = float(weighted_auroc(values_N, positive_N, np.ones((1, len(values_N))))[0])
    if number < 2:
        return Score(found, 0.0, 1.0, len(values_N))
    times_rG = resampled_totals(np.eye(number), resamples, np.random.default_rng(seed))
    drawn_r = weighted_auroc(values_N, positive_N, times_rG[:, groups_N])
    low, high = spread_interval(found, drawn_r[np.isfinite(drawn_r)], number)
    won_n, kept_n = placements(values_N, positive_N), 1 - placements(values_N, ~positive_N)
    for chosen_N, hits_n in ((positive_N, won_n), (~positive_N, kept_n)):
        totals_Gx, sizes_G = cluster_totals(hits_n[:, None], [str(group) for group in groups_N[chosen_N]])
        least, most = rare(totals_Gx[:, 0], sizes_G)
        low, high = min(low, least), max(high, most)
    return Score(found, max(low, 0.0), min(high, 1.0), len(values_N))


def weighted_auroc(values_N: np.ndarray, positive_N: np.ndarray, weights_rN: np.ndarray) -> np.ndarray:
    """The AUROC [r] where items count as often as the weights say; not a number where one kind counts nothing."""
    order_N = np.argsort(values_N, kind="stable")
    starts = np.flatnonzero(np.diff(values_N[order_N], prepend=-np.inf))
    above, below = (
        np.add.reduceat(weights_rN[:, order_N] * kind_N[order_N], starts, axis=1)
        for kind_N in (positive_N, ~positive_N)
    )
    lower = below.cumsum(axis=1) - below / 2
    pairs_r = above.sum(axis=1) * below.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return (above * lower).sum(axis=1) / pairs_r


def placements(values_N: np.ndarray, chosen_N: np.ndarray) -> np.ndarray:
    """Of each chosen item, the share of the others below it, ties half."""
    others = np.sort(values_N[~chosen_N])
    below, to = (np.searchsorted(others, values_N[chosen_N], side) for side in ("left", "right"))
    return (below + to) / (2 * len(others))
