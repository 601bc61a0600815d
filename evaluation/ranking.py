"""How well queries find their partners among candidates: ranks, recall, median rank.

Shape legend: Q queries, C candidates, E width of the embeddings, K clusters, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.metrics import CONFIDENCE, SLICE, Score, bootstrap

RECALL_AT = (1, 5, 10)
MEDIAN_RANK = "median_rank"
# Queries whose similarities to all candidates are held at once.
QUERIES_AT_ONCE = 1024


def ranks(queries_QE: np.ndarray, candidates_CE: np.ndarray, targets_Q: np.ndarray) -> np.ndarray:
    """The rank of each query's partner by inner product, [Q], from 1.

    Candidates that are exactly as similar as the partner count half, so that a model to which all look the same gains
    nothing from their order.
    """
    found = []
    for start in range(0, len(queries_QE), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        similarity = queries_QE[part] @ candidates_CE.T
        own = np.take_along_axis(similarity, targets_Q[part, None], axis=1)
        found.append(1 + (similarity > own).sum(axis=1) + ((similarity == own).sum(axis=1) - 1) / 2)
    return np.concatenate(found)


def retrieval_scores(
    ranks_Q: np.ndarray, clusters: Sequence[str], resamples: int = 2000, seed: int = 0
) -> dict[str, Score]:
    """`recall@1`, `@5`, `@10` and `median_rank` with percentile bootstrap intervals that resample clusters."""
    scores = {f"recall@{k}": bootstrap(ranks_Q <= k, clusters, resamples, seed) for k in RECALL_AT}
    return {**scores, MEDIAN_RANK: bootstrap_median(ranks_Q, clusters, resamples, seed)}


def chance(num_candidates: int) -> dict[str, float]:
    """What random ranks reach on average."""
    recalls = {f"recall@{k}": min(1.0, k / num_candidates) for k in RECALL_AT}
    return {**recalls, MEDIAN_RANK: (num_candidates + 1) / 2}


def bootstrap_median(
    values_Q: np.ndarray, clusters: Sequence[str] | None = None, resamples: int = 2000, seed: int = 0
) -> Score:
    """The median with a percentile bootstrap interval, as `evaluation.metrics.bootstrap` has it for the mean.

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
        drawn_RK = rng.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), size=size)
        counts_RQ = drawn_RK[:, cluster_Q].cumsum(axis=1)
        middle_R = (counts_RQ < (counts_RQ[:, -1:] + 1) // 2).sum(axis=1)
        medians.append(sorted_Q[middle_R])
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(medians), [tail, 100 - tail])
    return Score(float(sorted_Q[(len(sorted_Q) - 1) // 2]), float(low), float(high), len(values_Q))
