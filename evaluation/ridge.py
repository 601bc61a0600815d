"""Ridge regression from the features of one modality to those of another: a baseline for trained alignment.

Shape legend: N training samples, Q queries, C candidates, A and B widths of the features of two modalities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.ranking import ranks

PENALTIES = tuple(10.0**power for power in range(-4, 5))


def ridge_predictions(
    train_NA: np.ndarray,
    train_NB: np.ndarray,
    queries_QA: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
) -> np.ndarray:
    """What a ridge regression from features A to features B predicts of the queries, [Q, B], each of length 1.

    Both sides are centred by their training mean, which predictions keep out, and features A are scaled to a standard
    deviation of 1. The penalty, relative to the mean eigenvalue of the covariance, is the one of `penalties` with the
    least leave-one-out error (Golub, Heath and Wahba 1979; in closed form from one eigendecomposition).
    Compare predictions with candidates through `centred`.

    Raises:
        ValueError: features of unequal numbers or widths, or fewer than two training samples.
    """
    if len(train_NA) != len(train_NB) or len(train_NA) < 2:
        raise ValueError(f"train has {len(train_NA)} and {len(train_NB)} rows; both need the same number, at least 2")
    if train_NA.shape[1] != queries_QA.shape[1]:
        raise ValueError(f"queries have {queries_QA.shape[1]} features, training has {train_NA.shape[1]}")
    x, y = train_NA.astype(np.float64), train_NB.astype(np.float64)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    x, queries, y = (x - mean) / deviation, (queries_QA - mean) / deviation, y - y.mean(axis=0)
    left, singular, right = np.linalg.svd(x, full_matrices=False)
    projected = left.T @ y
    unit = np.square(singular).mean()

    def left_out_error(penalty: float) -> float:
        shrink = singular**2 / (singular**2 + penalty * unit)
        residual = y - (left * shrink) @ projected
        # The mean is fitted as well, which takes another 1 / N of every sample's own influence.
        leverage = (np.square(left) * shrink).sum(axis=1) + 1 / len(x)
        return float(np.square(residual / (1 - leverage).clip(min=1e-6)[:, None]).mean())

    best = min(penalties, key=left_out_error)
    weights = right.T @ ((singular / (singular**2 + best * unit))[:, None] * projected)
    return unit_length(queries @ weights)


def ridge_ranks(
    train_NA: np.ndarray,
    train_NB: np.ndarray,
    queries_QA: np.ndarray,
    candidates_CB: np.ndarray,
    targets_Q: np.ndarray | None = None,
) -> np.ndarray:
    """The rank of each query's partner, [Q]; see `evaluation.ranking.ranks`.

    targets_Q: the place of each partner among the candidates; None where candidate i belongs to query i.
    """
    predicted_QB = ridge_predictions(train_NA, train_NB, queries_QA)
    targets_Q = np.arange(len(queries_QA)) if targets_Q is None else targets_Q
    return ranks(predicted_QB, centred(candidates_CB, train_NB), targets_Q)


def centred(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Features minus the mean of the training features, each of length 1: what predictions are compared with."""
    return unit_length(features - train.mean(axis=0))


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-12)
