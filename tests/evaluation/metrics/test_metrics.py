"""Scores: exact match as stated, and intervals against closed forms."""

import numpy as np
import pytest

from evaluation.metrics.scores import (
    Score,
    bootstrap,
    bootstrap_mean,
    bootstrap_ratio,
    cluster_sums,
    exact_match,
    resampled_means,
)


@pytest.mark.parametrize(
    ("answer", "expected", "equal"),
    [
        ("yes", "yes", True),
        (" Yes\n", "yes", True),
        ("dark  blue", "Dark blue", True),
        ("STRASSE", "straße", True),
        ("yes.", "yes", False),
        ("", "yes", False),
        ("darkblue", "dark blue", False),
    ],
)
def test_exact_match_ignores_case_and_white_space_only(answer: str, expected: str, equal: bool) -> None:
    assert exact_match(answer, expected) is equal


def test_independent_answers_match_the_binomial_interval() -> None:
    correct = np.zeros(2000)
    correct[:1400] = 1
    score = bootstrap(correct, resamples=4000)
    spread = 1.96 * np.sqrt(0.7 * 0.3 / 2000)
    assert score.value == pytest.approx(0.7)
    assert score.n == 2000
    # The bootstrap's own noise at 4,000 resamples is about 3 % of the spread.
    assert score.low == pytest.approx(0.7 - spread, abs=0.1 * spread)
    assert score.high == pytest.approx(0.7 + spread, abs=0.1 * spread)


def test_answers_of_one_image_that_fall_together_widen_the_interval() -> None:
    # 200 images with 10 equal answers each carry as much as 200 answers: sqrt(10) times the spread.
    per_image = np.random.default_rng(0).permutation(np.repeat([0.0, 1.0], 100))
    correct, images = np.repeat(per_image, 10), np.repeat([f"image {i}" for i in range(200)], 10)
    clustered = bootstrap(correct, list(images), resamples=4000)
    alone = bootstrap(correct, resamples=4000)
    assert (clustered.high - clustered.low) / (alone.high - alone.low) == pytest.approx(np.sqrt(10), rel=0.1)


def test_clusters_of_unequal_size_match_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    clusters = rng.integers(30, size=200).astype(str)
    correct = rng.random(200) < 0.6
    sums, sizes = cluster_sums(correct.astype(float), list(clusters))
    names = np.unique(clusters)
    drawn = np.random.default_rng(5).integers(len(names), size=(1000, len(names)), dtype=np.int32)
    expected = [np.concatenate([correct[clusters == names[c]] for c in row]).mean() for row in drawn]
    np.testing.assert_allclose(resampled_means(sums, sizes, 1000, np.random.default_rng(5)), expected)


def test_order_and_cluster_names_do_not_matter_beyond_their_grouping() -> None:
    correct = np.random.default_rng(2).random(300) < 0.5
    images = np.arange(300) // 3
    order = np.random.default_rng(3).permutation(300)
    here = bootstrap(correct, [f"{i:03d}" for i in images])
    there = bootstrap(correct[order], [f"{i:03d}" for i in images[order]])
    assert here == there


def test_same_seed_same_interval() -> None:
    correct = np.random.default_rng(2).random(300) < 0.5
    assert bootstrap(correct, seed=4) == bootstrap(correct, seed=4)
    assert bootstrap(correct, seed=4) != bootstrap(correct, seed=5)


def test_all_right_is_the_exact_interval_over_clusters() -> None:
    eight = bootstrap([True] * 8)
    assert (eight.value, eight.high, eight.n) == (1.0, 1.0, 8)
    assert eight.low == pytest.approx(0.025 ** (1 / 8))
    images = bootstrap([True] * 90, [str(i // 30) for i in range(90)])
    assert images.low == pytest.approx(0.025 ** (1 / 3)), "three images say as much as three answers"
    wrong = bootstrap([False] * 90, [str(i // 30) for i in range(90)])
    assert (wrong.value, wrong.low) == (0.0, 0.0)
    assert wrong.high == pytest.approx(1 - 0.025 ** (1 / 3))


def test_values_of_any_range_keep_the_plain_bootstrap() -> None:
    assert bootstrap_mean([-0.5] * 8) == Score(-0.5, -0.5, -0.5, 8)
    values = np.random.default_rng(0).standard_normal(400)
    score = bootstrap_mean(values, resamples=4000)
    assert score.high - score.low == pytest.approx(2 * 1.96 / np.sqrt(400), rel=0.1)


def test_a_ratio_is_not_sure_of_what_few_answers_say() -> None:
    below = np.ones(50)
    nothing_lost = bootstrap_ratio(below, below)
    nothing_left = bootstrap_ratio(np.zeros(50), below)
    assert nothing_lost is not None and nothing_left is not None  # noqa: PT018
    most = 1 - 0.025 ** (1 / 50)
    assert (nothing_lost.value, nothing_lost.low) == (1.0, pytest.approx(1 - most))
    assert (nothing_left.value, nothing_left.high) == (0.0, pytest.approx(most))
    one_lost = bootstrap_ratio(np.arange(50) > 0, below)
    assert one_lost is not None
    assert one_lost.low < nothing_lost.low, "a loss that was seen is no sign of less"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"correct": []}, "non-empty"),
        ({"correct": [True], "clusters": ["a", "b"]}, "2 entries; it must have one per answer, 1"),
        ({"correct": [True], "resamples": 10}, "resamples=10"),
        ({"correct": [0.5, 1.5]}, r"correct goes from 0.5 to 1.5; it must lie in \[0, 1\]"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap(**arguments)
