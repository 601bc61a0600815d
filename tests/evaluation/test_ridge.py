"""The ridge baseline against a slow reference, and its choice of the penalty."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.ridge import ridge_predictions, ridge_ranks, unit_length


def data(noise: float, n: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features of two modalities of one hidden meaning: training and test of each."""
    rng = np.random.default_rng(0)
    meaning = rng.standard_normal((n + 40, 6))
    first = meaning @ rng.standard_normal((6, 20)) * 3 + 5 + noise * rng.standard_normal((n + 40, 20))
    second = meaning @ rng.standard_normal((6, 15)) - 2 + noise * rng.standard_normal((n + 40, 15))
    return first[:n], second[:n], first[n:], second[n:]


def slow_ridge(x: np.ndarray, y: np.ndarray, queries: np.ndarray, penalty: float) -> np.ndarray:
    """Normal equations on standardised features; the penalty is relative to the mean eigenvalue."""
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    x, queries = (x - mean) / deviation, (queries - mean) / deviation
    strength = penalty * np.linalg.eigvalsh(x.T @ x)[-min(x.shape) :].mean()
    return queries @ np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_predictions_are_those_of_the_normal_equations(penalty: float) -> None:
    train_a, train_b, test_a, _ = data(0.5)
    found = ridge_predictions(train_a, train_b, test_a, penalties=[penalty])
    assert np.allclose(found, unit_length(slow_ridge(train_a, train_b, test_a, penalty)), atol=1e-9)


def test_the_penalty_is_that_of_the_least_leave_one_out_error() -> None:
    train_a, train_b, test_a, _ = data(3.0, n=30)
    penalties = [1e-3, 1e-1, 10.0]
    errors = []
    for penalty in penalties:
        left_out = []
        mean, deviation = train_a.mean(axis=0), train_a.std(axis=0)
        x = (train_a - mean) / deviation
        strength = penalty * np.linalg.eigvalsh(x.T @ x).mean()
        for n in range(30):
            rest = np.arange(30) != n
            # The scale of features and the strength are those of all; the means are fitted anew.
            a, b = x[rest] - x[rest].mean(axis=0), train_b[rest] - train_b[rest].mean(axis=0)
            weights = np.linalg.solve(a.T @ a + strength * np.eye(20), a.T @ b)
            left_out.append(train_b[n] - train_b[rest].mean(axis=0) - (x[n] - x[rest].mean(axis=0)) @ weights)
        errors.append(np.square(left_out).mean())
    chosen = ridge_predictions(train_a, train_b, test_a, penalties)
    best = ridge_predictions(train_a, train_b, test_a, [penalties[int(np.argmin(errors))]])
    assert np.allclose(chosen, best)
    assert not np.allclose(chosen, ridge_predictions(train_a, train_b, test_a, [penalties[int(np.argmax(errors))]]))


def test_it_finds_partners_that_a_linear_map_can_find() -> None:
    train_a, train_b, test_a, test_b = data(0.3)
    assert np.mean(ridge_ranks(train_a, train_b, test_a, test_b) <= 10) > 0.95
    shuffled = np.random.default_rng(1).permutation(train_b)
    assert np.mean(ridge_ranks(train_a, shuffled, test_a, test_b) <= 10) < 0.6


def test_sizes_are_checked() -> None:
    train_a, train_b, test_a, _ = data(0.3)
    with pytest.raises(ValueError, match="80 and 79 rows"):
        ridge_predictions(train_a, train_b[:-1], test_a)
    with pytest.raises(ValueError, match="19 features, training has 20"):
        ridge_predictions(train_a, train_b, test_a[:, :-1])
