"""Intervals near 0 and 1 hold what they promise, however alike the answers of a cluster are."""

import numpy as np
import pytest
from scipy.stats import beta

from evaluation.metrics.proportions import FEW, effective_answers, exact_interval, failures
from evaluation.metrics.scores import bootstrap, cluster_sums


def test_independent_answers_have_the_interval_of_clopper_and_pearson() -> None:
    hits = np.ones(1000)
    hits[:4] = 0
    low, high = exact_interval(hits, np.ones(1000))
    # Measured with 1 / (N - 1), their variance is larger by 1 / 1000.
    assert low == pytest.approx(beta.ppf(0.025, 996, 5), abs=1e-5)
    assert high == pytest.approx(beta.ppf(0.975, 997, 4), abs=1e-5)


def test_answers_that_fall_together_count_as_their_clusters() -> None:
    whole = np.ones(100)
    whole[:5] = 0
    sizes = np.full(100, 10.0)
    assert effective_answers(10 * whole, sizes) == pytest.approx(100, rel=0.06)
    spread = np.full(100, 10.0)
    spread[:50] = 9  # as many wrong, each in a cluster of its own
    assert effective_answers(spread, sizes) > 800
    assert effective_answers(np.full(4, 5.0), np.full(4, 5.0)) == 4
    assert effective_answers(np.array([3.0]), np.array([6.0])) == 1


def test_it_does_not_jump_at_the_first_failure() -> None:
    sizes = np.full(100, 10.0)
    lows = []
    for wrong in range(6):
        sums = sizes.copy()
        sums[:wrong] -= 1
        lows.append(exact_interval(sums, sizes)[0])
    assert lows[0] == pytest.approx(0.025 ** (1 / 100))
    assert max(lows) - min(lows) < 0.03
    assert abs(lows[1] - lows[0]) < 0.015, "by the bootstrap, from 0 to 0.003 below the score"


def test_failures_are_of_the_rarer_kind() -> None:
    assert failures(np.array([2.0, 2, 1, 0]), np.full(4, 2.0)) == 2
    assert failures(np.zeros(4), np.full(4, 2.0)) == 0


@pytest.mark.parametrize("alike", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("share", "clusters"), [(0.97, 50), (0.99, 100), (0.999, 100), (0.999, 1000), (0.01, 100)])
def test_it_covers_the_truth_where_the_bootstrap_does_not(share: float, clusters: int, alike: float) -> None:
    """Clusters of 10 answers with a beta-binomial number of hits, whose correlation is `alike`."""
    rng, draws = np.random.default_rng(0), 800
    if alike == 1:
        rates = (rng.random((draws, clusters)) < share).astype(float)
    elif alike == 0:
        rates = np.full((draws, clusters), share)
    else:
        weight = (1 - alike) / alike
        rates = rng.beta(share * weight, (1 - share) * weight, (draws, clusters))
    sums = rng.binomial(10, rates).astype(float)
    sizes = np.full(clusters, 10.0)
    assert max(failures(row, sizes) for row in sums) < FEW
    low, high = np.array([exact_interval(row, sizes) for row in sums]).T
    # Two standard errors of a coverage of 95 % over 800 draws are 1.5 %.
    assert ((low <= share) & (share <= high)).mean() > 0.935


def test_the_score_takes_it_where_failures_are_few() -> None:
    correct = np.ones(1000)
    correct[0] = 0
    score = bootstrap(correct)
    assert (score.low, score.high) == exact_interval(*cluster_sums(correct, None))
    assert score.low < 0.9945
    assert 0.9999 < score.high < 1
    correct[: FEW - 1] = 0
    assert bootstrap(correct) == bootstrap(correct, seed=1)
    correct[:FEW] = 0
    many = bootstrap(correct)
    assert (many.low, many.high) != exact_interval(*cluster_sums(correct, None)), "many failures are resampled"
