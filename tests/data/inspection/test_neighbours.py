"""Pairs of equal keys: all of them where few share a key, some of them at bounded cost where many do."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from data.inspection.prints.neighbours import pairs_of_equal, unique_pairs


def test_all_pairs_of_equal_keys_are_found_where_few_share_one() -> None:
    keys = np.random.default_rng(0).integers(0, 40, 120)
    expected = {pair for pair in combinations(range(120), 2) if keys[pair[0]] == keys[pair[1]]}
    most = int(np.bincount(keys).max())
    found = unique_pairs(pairs_of_equal(keys, reach=most - 1))
    assert set(map(tuple, found.tolist())) == expected
    assert len(found) == len(expected)


def test_a_key_that_all_share_costs_no_more_than_its_reach() -> None:
    keys = np.zeros(5000, dtype=np.int64)
    assert len(pairs_of_equal(keys, reach=3)) == 3 * 5000 - 6


def test_the_nearest_in_a_given_order_are_paired() -> None:
    order = np.array([9, 0, 5, 1])
    pairs = unique_pairs(pairs_of_equal(np.zeros(4, dtype=np.int64), 1, order))
    assert pairs.tolist() == [[0, 2], [1, 3], [2, 3]]


def test_nothing_pairs_with_nothing() -> None:
    for count in (0, 1):
        assert pairs_of_equal(np.zeros(count, dtype=np.int64), 4).shape == (0, 2)
    assert unique_pairs(np.array([[2, 2], [3, 1], [1, 3]])).tolist() == [[1, 3]]
