"""The function that makes the numbers of a report, on thousands of simulated bake-offs whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from bakeoff.results.statistics import Crossed
from tests.bakeoff.simulated import SIZES, answered

DRAWS = 10_000
POINT = 0.01
# The second method's spread over seeds, as a part of the first one's.
EQUAL, UNEQUAL = 1.0, 0.25


@pytest.mark.parametrize("share", [EQUAL, UNEQUAL])
@pytest.mark.parametrize("spread", [1, 5, 15])
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_false_alarms_and_coverage(seeds: int, spread: int, share: float) -> None:
    """Without a difference p is below .05 in at most 6 %; with one of 10 points the interval holds it in 94 % or more.

    The standard error of such a share of 10,000 draws is 0.2 points.
    """
    rng = np.random.default_rng([seeds, spread, int(100 * share)])
    spreads = (spread * POINT, share * spread * POINT)
    one, other = answered(rng, DRAWS, seeds, (0.6, 0.6), spreads)
    same = Crossed.of(one - other, SIZES)
    alarms = np.mean(same.p() < 0.05)
    covered = 1 - np.mean(np.abs(same.mean) > same.half_width())
    assert alarms == pytest.approx(1 - covered, abs=1e-3)
    one, other = answered(rng, DRAWS, seeds, (0.65, 0.55), spreads)
    better = Crossed.of(one - other, SIZES)
    held = np.mean(np.abs(better.mean - 0.1) <= better.half_width())
    print(f"{seeds} seeds, spread {spread} and {share * spread:g} points: alarms {alarms:.1%}, coverage {held:.1%}")
    assert alarms <= 0.06
    assert held >= 0.94
    if seeds >= 5 and spread >= 5:
        assert alarms >= 0.03
        assert held <= 0.97


@pytest.mark.parametrize("spread", [1, 5])
def test_the_score_of_one_method_is_covered_too(spread: int) -> None:
    (right,) = answered(np.random.default_rng(spread), 4000, 5, (0.7,), (spread * POINT,))
    found = Crossed.of(right, SIZES)
    assert 0.94 <= np.mean(np.abs(found.mean - 0.7) <= found.half_width()) <= 0.97


def test_simultaneous_intervals_hold_all_contrasts_at_once() -> None:
    """Of 8 contrasts with the same method, which depend on one another."""
    draws, methods = 4000, 9
    right = answered(np.random.default_rng(0), draws, 5, [0.6] * methods, [0.05] * methods)
    found = [Crossed.of(other - right[0], SIZES) for other in right[1:]]
    any_missed = {
        error: np.mean(np.any([np.abs(item.mean) > item.half_width(error) for item in found], axis=0))
        for error in (0.05, 0.05 / len(found))
    }
    assert any_missed[0.05] > 0.1, "plain intervals do not"
    assert any_missed[0.05 / len(found)] <= 0.05


def test_the_simulation_has_the_truth_and_the_spread_that_it_says() -> None:
    for rate, spread in ((0.65, 0.15), (0.55, 0.05)):
        (right,) = answered(np.random.default_rng(0), 4000, 8, (rate,), (spread,))
        accuracy_RS = right.sum(-1) / SIZES.sum()
        assert accuracy_RS.mean() == pytest.approx(rate, abs=0.005)
        # The answers themselves add the variance of 1,000 questions.
        expected = spread**2 + 0.25 / SIZES.sum()
        assert accuracy_RS.var(axis=1, ddof=1).mean() == pytest.approx(expected, rel=0.1)
