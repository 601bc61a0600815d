"""The ridge baseline against a slow reference, and its choice of the penalty."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.retrieval.ridge import ridge_predictions, ridge_ranks, unit_length
from fusion.spaces.ridge import PENALTIES, fit_ridge


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


def left_out_errors(x: np.ndarray, y: np.ndarray) -> list[float]:
    """For each penalty, the mean squared error of every row by a regression that was fitted anew without it."""
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    strength = np.linalg.eigvalsh(x.T @ x)[-min(x.shape) :].mean()
    errors = []
    for penalty in PENALTIES:
        found = []
        for n in range(len(x)):
            rest = np.arange(len(x)) != n
            a, b = x[rest] - x[rest].mean(axis=0), y[rest] - y[rest].mean(axis=0)
            weights = np.linalg.solve(a.T @ a + penalty * strength * np.eye(x.shape[1]), a.T @ b)
            found.append(y[n] - y[rest].mean(axis=0) - (x[n] - x[rest].mean(axis=0)) @ weights)
        errors.append(float(np.square(found).mean()))
    return errors


@pytest.mark.parametrize("noise", [0.3, 3.0, 30.0])
def test_a_row_that_was_fitted_is_not_taken_for_one_that_was_left_out(noise: float) -> None:
    """Errors of the rows that were fitted are the least without any penalty; leverage makes up for it."""
    train_a, train_b, _, _ = data(noise, n=25)
    errors = left_out_errors(train_a, train_b)
    assert fit_ridge(train_a, train_b).penalty == PENALTIES[int(np.argmin(errors))]
    if noise > 1:
        assert np.argmin(errors) > 2


@pytest.mark.parametrize("seed", range(6))
def test_every_row_has_its_own_leverage(seed: int) -> None:
    """Rows far from the others pull the regression to themselves, so that a mean leverage would judge them too well."""
    rng = np.random.default_rng(seed)
    first = rng.standard_normal((24, 8)) * rng.choice([0.2, 6.0], (24, 1), p=[0.8, 0.2])
    second = first @ rng.standard_normal((8, 5)) + 4.0 * rng.standard_normal((24, 5)) * np.abs(first[:, :1])
    assert fit_ridge(first, second).penalty == PENALTIES[int(np.argmin(left_out_errors(first, second)))]


def test_features_that_have_nothing_in_common_are_not_fitted() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((40, 30)), rng.standard_normal((40, 10))
    assert fit_ridge(first, second).penalty >= 10
