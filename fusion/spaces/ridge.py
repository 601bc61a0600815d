"""Ridge regression with its penalty chosen by leave-one-out error, in closed form.

Shape legend: N items (training samples), I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PENALTIES = tuple(10.0**power for power in range(-4, 5))


@dataclass(frozen=True)
class Ridge:
    """Features A to centred features B: x -> x @ weights + bias. weights: [I, O]; bias: [O]; mean: of B, [O]."""

    weights: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    penalty: float

    def __call__(self, features_NI: np.ndarray) -> np.ndarray:
        """The prediction [N, O] of features B without their mean."""
        return features_NI @ self.weights + self.bias


def fit_ridge(train_NI: np.ndarray, train_NO: np.ndarray, penalties: Sequence[float] = PENALTIES) -> Ridge:
    """The regression from features A to features B.

    Both sides are centred by their training mean, which predictions keep out, and features A are scaled to a standard
    deviation of 1. The penalty, relative to the mean eigenvalue of the covariance, is the one of `penalties` with the
    least leave-one-out error (Golub, Heath and Wahba 1979; in closed form from one eigendecomposition).

    Raises:
        ValueError: features of unequal numbers, or fewer than two training samples.
    """
    if len(train_NI) != len(train_NO) or len(train_NI) < 2:
        raise ValueError(f"train has {len(train_NI)} and {len(train_NO)} rows; both need the same number, at least 2")
    x, y = train_NI.astype(np.float64), train_NO.astype(np.float64)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    x, mean_O = (x - mean) / deviation, y.mean(axis=0)
    y = y - mean_O
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
    weights = right.T @ ((singular / (singular**2 + best * unit))[:, None] * projected) / deviation[:, None]
    return Ridge(weights, -mean @ weights, mean_O, best)
