"""Pairs of items that share a key, at a cost of n log n however many share one."""

from __future__ import annotations

import numpy as np


def pairs_of_equal(keys_N: np.ndarray, reach: int, order_N: np.ndarray | None = None) -> np.ndarray:
    """Pairs [P, 2] of places with equal keys: each place with the `reach` next ones that have its key.

    order_N: by what those with an equal key are sorted; their place by default. Where at most `reach` + 1 items share
    a key all pairs are found; where more do, those that are near in this order.
    """
    order = np.argsort(keys_N, kind="stable") if order_N is None else np.lexsort((order_N, keys_N))
    sorted_keys, found = keys_N[order], []
    for step in range(1, min(reach, len(keys_N) - 1) + 1):
        equal = np.flatnonzero(sorted_keys[:-step] == sorted_keys[step:])
        if len(equal) == 0:
            break  # equal keys stand together, so none are farther apart either
        found.append(np.stack([order[equal], order[equal + step]], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)


def unique_pairs(pairs_P2: np.ndarray) -> np.ndarray:
    """The same pairs, the smaller place first, each once, without those of an item with itself."""
    pairs = np.sort(pairs_P2, axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)
