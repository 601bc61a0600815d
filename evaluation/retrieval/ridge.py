"""Ridge regression from the features of one modality to those of another: a baseline for trained alignment.

Shape legend: N items (training samples), Q queries, J keys or candidates (candidates), I inputs, O outputs, P pairs
(pairs that belong together).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.metrics.ranking import one_to_one, ranks
from fusion.spaces.ridge import PENALTIES, fit_ridge


def ridge_predictions(
    train_NI: np.ndarray,
    train_NO: np.ndarray,
    queries_QI: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
) -> np.ndarray:
    """What a ridge regression from features A to features B predicts of the queries, [Q, O], each of length 1.

    See `fusion.spaces.ridge.fit_ridge`. Compare predictions with candidates through `centred`.

    Raises:
        ValueError: features of unequal numbers or widths, or fewer than two training samples.
    """
    if train_NI.shape[1] != queries_QI.shape[1]:
        raise ValueError(f"queries have {queries_QI.shape[1]} features, training has {train_NI.shape[1]}")
    return unit_length(fit_ridge(train_NI, train_NO, penalties)(queries_QI))


def ridge_ranks(
    train_NI: np.ndarray,
    train_NO: np.ndarray,
    queries_QI: np.ndarray,
    candidates_JO: np.ndarray,
    right_P2: np.ndarray | None = None,
) -> np.ndarray:
    """The rank of each query's best right candidate, [Q]; see `evaluation.metrics.ranking.ranks`.

    right_P2: which candidates are right for which queries; None where candidate i alone is right for query i.
    """
    predicted_QO = ridge_predictions(train_NI, train_NO, queries_QI)
    right_P2 = one_to_one(np.arange(len(queries_QI))) if right_P2 is None else right_P2
    return ranks(predicted_QO, centred(candidates_JO, train_NO), right_P2)


def centred(x: np.ndarray, train_NO: np.ndarray) -> np.ndarray:
    """Features minus the mean of the training features, each of length 1: what predictions are compared with."""
    return unit_length(x - train_NO.mean(axis=0))


def unit_length(x: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays."""
    return x / np.linalg.norm(x, axis=1, keepdims=True).clip(min=1e-12)
