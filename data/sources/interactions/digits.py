"""Handwritten digits (scikit-learn `load_digits`), apart by who wrote them.

They are 1,797 pictures of 8 x 8 pixels from NIST's forms, the test part of UCI's "Optical Recognition of Handwritten
Digits" (Alpaydin and Kaynak, 1998). The file does not say who wrote what. But it is in the order of the forms, and
every form asks for the same 130 digits: 0 to 9 three times, then a list of a hundred. So the labels repeat one
sequence, and where it starts anew the next form begins. A few digits of some forms are not there, and one has another
label than the form asks for.

What is inferred, not given: that a form has one writer. There are 14 forms, and UCI speaks of 13 people, so that one
of them may have filled in two. Nothing in the pictures tells which: no two forms are much more alike than others. A
split is a run of whole forms in the order of the file; the two that are most alike (the tenth and the eleventh) are in
the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from data.synthesisers.base import check_split
from data.types import IMAGE, BadInputError, Media

NUM_DIGITS = 10
# Forms of each split, first and end.
FORMS = {"train": (0, 9), "validation": (9, 11), "test": (11, 14)}
LARGEST_VALUE = 16  # of a pixel of `load_digits`
ANOTHER_LABEL = 10.0  # a label that the form does not ask for is as unlikely as so many that are not there


@dataclass(frozen=True)
class Picture:
    """A handwritten digit: its number in the file, what it shows, and the form that it is from, counted from 0."""

    number: int
    digit: int
    writer: int
    media: Media


def form_starts(labels: np.ndarray) -> list[int]:
    """Where in a sequence of labels a form begins, rising; the first is 0.

    The first form is taken to be whole: it ends where 0 to 9, three times, come again. Every later label continues the
    sequence of a form or starts it anew. Of all ways to read the labels so, this is the one that leaves out the fewest
    (by dynamic programming, as words are aligned for an error rate).
    """
    form = _first_form(labels)
    size, places = len(form), np.arange(len(form))
    cost = places + ANOTHER_LABEL * (form != labels[0])  # of what was left out, by the place of the last label read
    choices = []
    for label in labels[1:]:
        # The best last place before each one within a form, and at the end of the form before.
        reach = np.concatenate([[np.inf], (cost - places - 1)[:-1]])
        best = np.minimum.accumulate(reach)
        last = np.maximum.accumulate(np.where(reach == best, places - 1, -1))
        end = int((cost + size - 1 - places).argmin())
        anew = cost[end] + size - 1 - end
        starts = anew < best
        choices.append(np.where(starts, end, last))
        cost = np.where(starts, anew, best) + places + ANOTHER_LABEL * (form != label)
    return _walked_back(choices, int(cost.argmin()))


def _first_form(labels: np.ndarray) -> np.ndarray:
    opening = np.tile(np.arange(NUM_DIGITS), 3)
    windows = np.lib.stride_tricks.sliding_window_view(labels, len(opening))
    found = np.flatnonzero((windows == opening).all(axis=1))
    if len(found) < 2 or found[0] != 0:
        raise BadInputError("load_digits: the digits are not in the order of their forms; scikit-learn has others")
    return labels[: found[1]]


def _walked_back(choices: list[np.ndarray], place: int) -> list[int]:
    starts = [0]
    for number in range(len(choices), 0, -1):
        before = int(choices[number - 1][place])
        if before >= place:
            starts.append(number)
        place = before
    return sorted(starts)


@lru_cache(maxsize=1)
def all_pictures() -> tuple[Picture, ...]:
    """Every picture, in the order of the file; uint8 [3, 8, 8] of grey, white ink on black.

    Raises `BadInputError` where the file is not in the order of forms.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    labels, starts = np.asarray(found.target), form_starts(np.asarray(found.target))
    if len(starts) != FORMS["test"][1]:
        raise BadInputError(f"load_digits: has {len(starts)} forms, must have {FORMS['test'][1]}")
    writers = np.searchsorted(starts, np.arange(len(labels)), side="right") - 1
    pixels = torch.from_numpy(found.images * (255 / LARGEST_VALUE)).round().to(torch.uint8)
    return tuple(
        Picture(number, int(digit), int(writer), Media(IMAGE, pixels[number].expand(3, -1, -1).contiguous()))
        for number, (digit, writer) in enumerate(zip(labels, writers, strict=True))
    )


@lru_cache(maxsize=3)
def pictures(split: str) -> Mapping[int, tuple[Picture, ...]]:
    """The pictures of a split, by digit; no writer is in two splits."""
    check_split(split)
    first, end = FORMS[split]
    chosen = [picture for picture in all_pictures() if first <= picture.writer < end]
    return {digit: tuple(item for item in chosen if item.digit == digit) for digit in range(NUM_DIGITS)}
