"""Intervals and p for new seeds and new clusters, against known answers, scipy and a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bakeoff.results.statistics import Crossed, crossed, estimate, holm, sign_flip_p, sums_by_cluster

IMAGES = [f"image {n // 4}" for n in range(400)]
ALONE = [f"question {n}" for n in range(400)]
SIZES = np.full(40, 5.0)


def answers(rates: list[float], seed: int = 0) -> np.ndarray:
    """One training an entry; questions about an image stand or fall together, and are equally hard in all of them."""
    hardness_N = np.repeat(np.random.default_rng(seed).random(100), 4)
    return np.stack([hardness_N < rate for rate in rates])


def width(found: np.ndarray, clusters: list[str] = IMAGES) -> float:
    interval = estimate(found, clusters)
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low


def test_where_only_seeds_differ_it_is_the_paired_t_test() -> None:
    """Two-sided, as scipy has it."""
    differences_S = np.array([0.1, 0.2, 0.35, -0.05, 0.3])
    found = Crossed.of(differences_S[:, None] * SIZES, SIZES)
    expected = stats.ttest_1samp(differences_S, 0.0, alternative="two-sided")
    assert found.mean == pytest.approx(differences_S.mean())
    assert found.p() == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.mean - found.half_width(), found.mean + found.half_width()) == pytest.approx(tuple(interval))


def test_where_only_clusters_differ_it_is_the_t_test_over_clusters() -> None:
    means_C = np.random.default_rng(0).normal(0.1, 0.5, len(SIZES))
    found = Crossed.of(np.stack([means_C * SIZES] * 3), SIZES)
    expected = stats.ttest_1samp(means_C, 0.0)
    assert found.p() == pytest.approx(expected.pvalue)
    assert found.half_width() == pytest.approx(np.diff(expected.confidence_interval(0.95))[0] / 2)


def test_variances_are_those_of_a_two_way_table() -> None:
    """By loops, from the sums of squares."""
    table_SC = np.random.default_rng(0).normal(size=(4, 40)) + np.arange(4)[:, None] + np.linspace(0, 3, 40)
    grand, num_seeds, num_clusters = table_SC.mean(), *table_SC.shape
    seed = sum((row.mean() - grand) ** 2 for row in table_SC) * num_clusters / (num_seeds - 1)
    cluster = sum((column.mean() - grand) ** 2 for column in table_SC.T) * num_seeds / (num_clusters - 1)
    rest = sum(
        (table_SC[s, c] - table_SC[s].mean() - table_SC[:, c].mean() + grand) ** 2
        for s in range(num_seeds)
        for c in range(num_clusters)
    ) / ((num_seeds - 1) * (num_clusters - 1))
    found = Crossed.of(table_SC * SIZES, SIZES)
    number = num_seeds * num_clusters
    assert (found.seeds, found.clusters) == pytest.approx((seed / number, cluster / number))
    assert found.extra == pytest.approx((cluster - rest) / number)


def test_p_is_the_error_at_which_the_interval_begins_to_hold_zero() -> None:
    rng = np.random.default_rng(0)
    draws_RSC = rng.normal(size=(200, 3, 40)) + rng.normal(size=(200, 3, 1)) + rng.normal(size=(200, 1, 40))
    found = Crossed.of(draws_RSC, SIZES)
    assert found.half_width(found.p()) == pytest.approx(np.abs(found.mean))


def test_no_interval_is_narrower_than_seeds_or_clusters_alone_give() -> None:
    rng = np.random.default_rng(0)
    for spread in (0.0, 0.05, 1.0):
        draws_RSC = (
            rng.normal(size=(500, 3, 40)) + spread * rng.normal(size=(500, 3, 1)) + rng.normal(size=(500, 1, 40))
        )
        found = Crossed.of(draws_RSC, SIZES)
        assert (found.half_width() >= stats.t.ppf(0.975, 2) * np.sqrt(found.seeds)).all()
        assert (found.half_width() >= stats.t.ppf(0.975, 39) * np.sqrt(found.clusters)).all()
        assert (found.half_width(0.05 / 12) > found.half_width()).all()


def test_one_seed_or_one_cluster_has_no_interval() -> None:
    one = answers([0.8])
    assert (estimate(one, IMAGES).low, estimate(one, IMAGES).high, crossed(one, IMAGES)) == (None, None, None)
    assert estimate(answers([0.8, 0.9]), ["all"] * 400).low is None
    with pytest.raises(ValueError, match="1 seeds and 100 clusters: must be at least 2 of each"):
        Crossed.of(*sums_by_cluster(one, IMAGES))


def test_seeds_that_differ_widen_the_interval() -> None:
    alike, apart = answers([0.8, 0.81, 0.79]), answers([0.6, 0.8, 1.0])
    assert apart.mean() == pytest.approx(alike.mean(), abs=0.05)
    assert width(apart) > 2 * width(alike)


def test_questions_about_an_image_are_not_counted_as_questions_of_their_own() -> None:
    """Four to an image, which stand or fall together, know half as much of the spread of questions."""
    found = answers([0.5, 0.5, 0.51])
    assert width(found) > 1.9 * width(found, ALONE)


def test_clusters_of_unequal_size_weigh_as_many_as_their_questions() -> None:
    clusters = [f"image {int(np.sqrt(n))}" for n in range(400)]
    found = answers([0.7, 0.75, 0.8])
    assert estimate(found, clusters).value == pytest.approx(found.mean())
    sums_SC, sizes_C = sums_by_cluster(found, clusters)
    assert sorted(sizes_C) == list(range(1, 41, 2))
    assert float(Crossed.of(sums_SC, sizes_C).mean) == pytest.approx(found.mean())


def test_a_method_does_not_differ_from_itself_but_for_what_so_few_clusters_may_hide() -> None:
    """Clopper and Pearson: none of 100 images differs, so up to 3.6 % of all may."""
    nothing = answers([0.7, 0.8, 0.9]).astype(int) - answers([0.7, 0.8, 0.9])
    found = crossed(nothing, IMAGES)
    assert found is not None
    hidden = stats.binomtest(0, 100).proportion_ci(0.95, "exact").high
    assert (float(found.mean), float(found.p()), float(found.half_width())) == pytest.approx((0, 1, hidden))
    perfect = estimate(answers([1.0, 1.0, 1.0]), IMAGES)
    assert (perfect.low, perfect.high) == pytest.approx((1 - hidden, 1.0))


def test_where_nothing_varies_p_is_what_signs_can_say() -> None:
    always = crossed(answers([1.0] * 5).astype(int) - answers([0.0] * 5), IMAGES)
    assert always is not None
    assert float(always.p()) == sign_flip_p(5)


def test_swapping_two_methods_changes_the_sign_alone() -> None:
    one, other = answers([0.7, 0.75, 0.8]).astype(int), answers([0.72, 0.74, 0.83], seed=1).astype(int)
    there, back = crossed(one - other, IMAGES), crossed(other - one, IMAGES)
    assert there is not None
    assert back is not None
    assert float(back.mean) == pytest.approx(-float(there.mean))
    assert float(back.p()) == pytest.approx(float(there.p()))
    assert float(back.half_width()) == pytest.approx(float(there.half_width()))


def test_so_many_seeds_can_give_no_smaller_p_by_signs() -> None:
    assert [sign_flip_p(seeds) for seeds in (1, 3, 5, 8)] == [1.0, 0.25, 0.0625, 0.0078125]


def test_holm_is_that_of_the_paper() -> None:
    """0.01 * 4, 0.02 * 3, then 0.03 * 2 which may not be below the one before, and 0.04."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
