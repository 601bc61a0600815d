"""Intervals of a share near 0 and 1, where a bootstrap is too sure: it has seen few failures, or none.

Clopper and Pearson's exact interval (Biometrika 26, 1934) for answers that are not independent, after Korn and Graubard
(Survey Methodology 24, 1998). The number of answers is divided by the design effect, that is by how much their clusters
inflate the variance of the share. It is also reduced, because this was measured with few degrees of freedom.

Differs from them in the design effect. Where all answers are right, or all wrong, it cannot be measured, and the
answers of a cluster count as one: C clusters that are all right give the interval [(alpha / 2)^(1/C), 1]. With k
clusters that hold a failure it is the mean of what was measured, with weight k, and of its largest possible value, with
weight 1. So it does not jump from one to the other at the first failure.

Shape legend: N items (answers), G groups (clusters).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, t

CONFIDENCE = 0.95
# With fewer clusters that hold a wrong answer, or a right one, the bootstrap is not used.
FEW = 30


def failures(sums_G: np.ndarray, sizes_G: np.ndarray) -> int:
    """How many clusters hold a wrong answer, or how many hold a right one, whichever is less."""
    return int(min((sums_G < sizes_G).sum(), (sums_G > 0).sum()))


def exact_interval(sums_G: np.ndarray, sizes_G: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of a share, from the sum of each cluster's hits, each 0 to 1, and the number of its answers."""
    answers = effective_answers(sums_G, sizes_G, confidence)
    hits = answers * float(sums_G.sum() / sizes_G.sum())
    tail = (1 - confidence) / 2
    low = 0.0 if hits <= 0 else beta.ppf(tail, hits, answers - hits + 1)
    high = 1.0 if hits >= answers else beta.ppf(1 - tail, hits + 1, answers - hits)
    return float(low), float(high)


def effective_answers(sums_G: np.ndarray, sizes_G: np.ndarray, confidence: float = CONFIDENCE) -> float:
    """How many independent answers say as much as these do."""
    clusters, answers = len(sizes_G), float(sizes_G.sum())
    share, failing = float(sums_G.sum()) / answers, failures(sums_G, sizes_G)
    if failing == 0 or clusters == 1:
        return float(clusters)
    residual_G = sums_G - share * sizes_G
    variance = clusters / (clusters - 1) * float(np.square(residual_G).sum()) / answers**2
    measured = max(1.0, variance / (share * (1 - share) / answers))
    largest = float(np.square(sizes_G).sum()) / answers
    effect = (failing * measured + largest) / (failing + 1)
    tail = (1 + confidence) / 2
    # As if the variance had been measured in as many degrees of freedom as there are answers.
    return answers / effect * float(t.ppf(tail, answers - 1) / t.ppf(tail, clusters - 1)) ** 2
