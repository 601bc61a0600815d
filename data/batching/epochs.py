"""The order of a source's samples in an epoch: no batch holds a sample twice because an epoch ended in it."""

from __future__ import annotations

import numpy as np


def apart(order: np.ndarray, num_first: int, recent: np.ndarray) -> np.ndarray:
    """`order` with none of `recent` among its first `num_first`.

    Each that is there changes places with the next later sample that is not recent, so that little moves and the end of
    a long order stays. Unchanged where there are not enough samples.
    """
    # As far as enough others are found, however many of the recent are in between.
    is_recent = np.isin(order[: 2 * num_first + len(recent)], recent)
    wrong = np.flatnonzero(is_recent[:num_first])
    free = num_first + np.flatnonzero(~is_recent[num_first:])
    if not len(wrong) or len(free) < len(wrong):
        return order
    moved = order.copy()
    moved[wrong], moved[free[: len(wrong)]] = order[free[: len(wrong)]], order[wrong]
    return moved
