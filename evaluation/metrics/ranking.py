"""How well queries find their partners among candidates: ranks, recall, median rank.

Shape legend: Q queries, J keys or candidates (candidates), P pairs (pairs that belong together), E width of the
shared space, G groups (clusters), r random draws, N items (numbers of right candidates).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evaluation.metrics.scores import CONFIDENCE, SLICE, Score, bootstrap

RECALL_AT = (1, 5, 10)
# Where a curve of recall has its points, times 1, 10, 100 and so on.
CURVE_STEPS = (1, 2, 5)
MEDIAN_RANK = "median_rank"
# So many queries have their similarities to all candidates held at once.
QUERIES_AT_ONCE = 1024
# One half, but for what rounding adds or takes.
HALF = 0.5 - 1e-9


def ranks(queries_QE: np.ndarray, candidates_JE: np.ndarray, right_P2: np.ndarray) -> np.ndarray:
    """The rank of the best right candidate of each query by inner product, [Q], from 1.

    right_P2: (query, candidate) for all that belong together, sorted; one or more for each query. Right candidates do
    not stand in one another's way. Wrong ones that are exactly as similar as the best right one are placed before it as
    often as in a random order of the equally similar. So a model gains nothing if all look the same to it.
    """
    found = []
    for start in range(0, len(queries_QE), QUERIES_AT_ONCE):
        similarity = queries_QE[start : start + QUERIES_AT_ONCE] @ candidates_JE.T
        low, high = np.searchsorted(right_P2[:, 0], [start, start + len(similarity)])
        is_right = np.zeros(similarity.shape, dtype=bool)
        is_right[right_P2[low:high, 0] - start, right_P2[low:high, 1]] = True
        best = np.where(is_right, similarity, -np.inf).max(axis=1, keepdims=True)
        above = ((similarity > best) & ~is_right).sum(axis=1)
        equal, equal_right = (
            ((similarity == best) & ~is_right).sum(axis=1),
            ((similarity == best) & is_right).sum(axis=1),
        )
        found.append(1 + above + equal / (equal_right + 1))
    return np.concatenate(found)


def best(queries_QE: np.ndarray, candidates_JE: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The candidates that are most similar to each query, best first, and how similar they are, both [Q, count].

    `count` is cut to the number of candidates; of equally similar ones the first comes first.
    """
    count, places, values = min(count, len(candidates_JE)), [], []
    for start in range(0, len(queries_QE), QUERIES_AT_ONCE):
        similarity = queries_QE[start : start + QUERIES_AT_ONCE] @ candidates_JE.T
        least = -np.partition(-similarity, count - 1, axis=1)[:, count - 1 : count]
        # Those below the last that is shown are sorted to the end, without being told apart.
        order = np.argsort(-np.where(similarity >= least, similarity, -np.inf), axis=1, kind="stable")[:, :count]
        places.append(order)
        values.append(np.take_along_axis(similarity, order, axis=1))
    return np.concatenate(places), np.concatenate(values)


def one_to_one(targets_Q: np.ndarray) -> np.ndarray:
    """The pairs [Q, 2] where the only right candidate of query i is `targets_Q[i]`."""
    return np.stack([np.arange(len(targets_Q)), targets_Q], axis=1)


def retrieval_scores(
    ranks_Q: np.ndarray, clusters: Sequence[str], resamples: int = 2000, seed: int = 0
) -> dict[str, Score]:
    """`recall@1`, `@5`, `@10` and `median_rank` with percentile bootstrap intervals that resample clusters."""
    scores = {f"recall@{k}": bootstrap(ranks_Q <= k, clusters, resamples, seed) for k in RECALL_AT}
    return {**scores, MEDIAN_RANK: bootstrap_median(ranks_Q, clusters, resamples, seed)}


def curve_points(num_candidates: int) -> list[int]:
    """Where a curve of recall has its points: 1, 2, 5, 10, 20 and so on, up to the number of candidates."""
    powers = range(len(str(num_candidates)))
    return [step * 10**power for power in powers for step in CURVE_STEPS if step * 10**power <= num_candidates]


def recall_curve(
    ranks_Q: np.ndarray, points: Sequence[int], clusters: Sequence[str], resamples: int = 2000, seed: int = 0
) -> list[Score]:
    """Recall at each of `points`, with intervals as `retrieval_scores` has them."""
    return [bootstrap(ranks_Q <= k, clusters, resamples, seed) for k in points]


def chance_curve(num_candidates: int, num_right_Q: np.ndarray | Sequence[int], points: Sequence[int]) -> list[float]:
    """What `chance` gives, at each of `points`."""
    sizes, counts = np.unique(np.asarray(num_right_Q), return_counts=True)
    shares = counts / counts.sum()
    return [float(shares @ [_found(num_candidates, int(m), k) for m in sizes]) for k in points]


def chance(num_candidates: int, num_right_Q: np.ndarray | Sequence[int] = (1,)) -> dict[str, float]:
    """What random orders of the candidates reach on average, over queries with so many right candidates each.

    The best of m right ones among n comes after the first k with a probability of C(n - m, k) / C(n, k).
    """
    sizes, counts = np.unique(np.asarray(num_right_Q), return_counts=True)
    shares = counts / counts.sum()
    reached = chance_curve(num_candidates, num_right_Q, RECALL_AT)
    recalls = {f"recall@{k}": recall for k, recall in zip(RECALL_AT, reached, strict=True)}
    return {**recalls, MEDIAN_RANK: _median_rank(num_candidates, sizes.tolist(), shares)}


def _found(num_candidates: int, num_right: int, k: int) -> float:
    """The probability that one of `num_right` is among the first `k` in a random order."""
    wrong = num_candidates - num_right
    return 1.0 - math.comb(wrong, k) / math.comb(num_candidates, k) if k < num_candidates else 1.0


def _median_rank(num_candidates: int, sizes: Sequence[int], shares_N: np.ndarray) -> float:
    """The middle of the random ranks; between two ranks if one half lies below and one above."""
    low, high = 1, num_candidates
    while low < high:  # the first rank that half of all queries reach
        middle = (low + high) // 2
        reached = float(shares_N @ [_found(num_candidates, m, middle) for m in sizes])
        low, high = (low, middle) if reached >= HALF else (middle + 1, high)
    reached = float(shares_N @ [_found(num_candidates, m, low) for m in sizes])
    return low + 0.5 if abs(reached - 0.5) < 1 - 2 * HALF and low < num_candidates else float(low)


def bootstrap_median(
    values_Q: np.ndarray, clusters: Sequence[str] | None = None, resamples: int = 2000, seed: int = 0
) -> Score:
    """The median with a percentile bootstrap interval, as `evaluation.metrics.scores.bootstrap` has it for the mean.

    Of an even number of values it is the lower one of the two in the middle, in every draw as in the data.
    """
    order = np.argsort(values_Q, kind="stable")
    names = np.arange(len(values_Q)).astype(str) if clusters is None else np.asarray(clusters, dtype=str)
    cluster_Q = np.unique(names, return_inverse=True)[1][order]
    num_clusters, sorted_Q = int(cluster_Q.max()) + 1, values_Q[order]
    rng, medians = np.random.default_rng(seed), []
    rows = max(1, SLICE // len(values_Q))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn_rG = rng.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), size=size)
        counts_rQ = drawn_rG[:, cluster_Q].cumsum(axis=1)
        middle_r = (counts_rQ < (counts_rQ[:, -1:] + 1) // 2).sum(axis=1)
        medians.append(sorted_Q[middle_r])
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(medians), [tail, 100 - tail])
    return Score(float(sorted_Q[(len(sorted_Q) - 1) // 2]), float(low), float(high), len(values_Q))
