"""Ridge regression from the features of one modality to those of another: a baseline for trained alignment.

Shape legend: N training samples, Q queries, C candidates, A and B widths of the features of two modalities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.metrics.ranking import one_to_one, ranks
from fusion.spaces.ridge import PENALTIES, fit_ridge


def ridge_predictions(
    train_NA: np.ndarray,
    train_NB: np.ndarray,
    queries_QA: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
) -> np.ndarray:
    """What a ridge regression from features A to features B predicts of the queries, [Q, B], each of length 1.

    See `fusion.spaces.ridge.fit_ridge`. Compare predictions with candidates through `centred`.

    Raises:
        ValueError: features of unequal numbers or widths, or fewer than two training samples.
    """
    if train_NA.shape[1] != queries_QA.shape[1]:
        raise ValueError(f"queries have {queries_QA.shape[1]} features, training has {train_NA.shape[1]}")
    return unit_length(fit_ridge(train_NA, train_NB, penalties)(queries_QA))


def ridge_ranks(
    train_NA: np.ndarray,
    train_NB: np.ndarray,
    queries_QA: np.ndarray,
    candidates_CB: np.ndarray,
    right_P2: np.ndarray | None = None,
) -> np.ndarray:
    """The rank of each query's best right candidate, [Q]; see `evaluation.metrics.ranking.ranks`.

    right_P2: which candidates are right for which queries; None where candidate i alone is right for query i.
    """
    predicted_QB = ridge_predictions(train_NA, train_NB, queries_QA)
    right_P2 = one_to_one(np.arange(len(queries_QA))) if right_P2 is None else right_P2
    return ranks(predicted_QB, centred(candidates_CB, train_NB), right_P2)


def centred(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Features minus the mean of the training features, each of length 1: what predictions are compared with."""
    return unit_length(features - train.mean(axis=0))


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-12)
