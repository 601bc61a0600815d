"""Ranks, recall and median rank against slow references and known answers."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.ranking import bootstrap_median, chance, one_to_one, ranks, retrieval_scores


def test_ranks_are_places_in_the_sorted_list() -> None:
    rng = np.random.default_rng(0)
    queries, candidates = rng.standard_normal((30, 5)), rng.standard_normal((50, 5))
    targets = rng.permutation(50)[:30]
    expected = [
        1 + sorted(range(50), key=lambda c: -float(query @ candidates[c])).index(target)
        for query, target in zip(queries, targets, strict=True)
    ]
    assert ranks(queries, candidates, one_to_one(targets)).tolist() == expected


def test_batches_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    queries, candidates = rng.standard_normal((30, 5)), rng.standard_normal((30, 5))
    whole = ranks(queries, candidates, one_to_one(np.arange(30)))
    monkeypatch.setattr("evaluation.metrics.ranking.QUERIES_AT_ONCE", 7)
    assert np.array_equal(ranks(queries, candidates, one_to_one(np.arange(30))), whole)


def test_a_model_to_which_all_look_the_same_gains_nothing() -> None:
    same = np.ones((40, 3))
    assert ranks(same, same, one_to_one(np.arange(40))).tolist() == [20.5] * 40


def test_chance_is_what_random_ranks_reach() -> None:
    rng = np.random.default_rng(0)
    placed = np.concatenate([rng.permutation(37) + 1 for _ in range(300)])
    expected = chance(37)
    assert expected["median_rank"] == 19
    for k in (1, 5, 10):
        assert np.mean(placed <= k) == pytest.approx(expected[f"recall@{k}"], abs=1e-9)
    assert chance(4) == {"recall@1": 0.25, "recall@5": 1.0, "recall@10": 1.0, "median_rank": 2.5}


def test_scores_count_what_they_say() -> None:
    placed = np.array([1, 1, 4, 10, 11, 90])
    scores = retrieval_scores(placed, [str(n) for n in range(6)], resamples=1000)
    assert [scores[f"recall@{k}"].value for k in (1, 5, 10)] == pytest.approx([2 / 6, 3 / 6, 4 / 6])
    assert scores["median_rank"].value == 4  # the lower one of the two in the middle
    assert all(score.low <= score.value <= score.high and score.n == 6 for score in scores.values())


def test_the_interval_of_a_median_is_that_of_drawn_samples() -> None:
    values = np.random.default_rng(0).geometric(0.02, 101).astype(float)
    rng = np.random.default_rng(1)
    slow = [np.sort(values[rng.integers(101, size=101)])[50] for _ in range(4000)]
    found = bootstrap_median(values, None, resamples=4000, seed=2)
    assert found.value == np.median(values)
    # Both are estimates of the same quantiles from 4,000 draws of a discrete distribution.
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(slow, [2.5, 97.5])), rel=0.08)


def test_samples_of_a_cluster_are_drawn_together() -> None:
    values = np.repeat(np.arange(10.0), 30)
    alone = bootstrap_median(values, None)
    together = bootstrap_median(values, [str(int(value)) for value in values])
    assert together.high - together.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize(("values", "lower"), [([1.0, 10.0], 1), ([2.0, 3.0, 5.0, 9.0], 3), ([4.0, 6.0, 7.0], 6)])
def test_a_median_is_the_lower_one_of_the_middle_in_every_draw_too(values: list[float], lower: float) -> None:
    """All values are one cluster, so that every draw is the data, and the interval is its median."""
    found = bootstrap_median(np.array(values), ["all"] * len(values))
    assert (found.value, found.low, found.high) == (lower, lower, lower)
