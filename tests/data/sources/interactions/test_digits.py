"""Writers are recovered from the order of the labels, and are apart in the splits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from data.sources.interactions.digits import FORMS, all_pictures, form_starts, pictures
from data.synthesisers.base import SPLITS
from data.types import BadInputError

LABELS = np.asarray(load_digits().target)
STARTS = form_starts(LABELS)
# What every form opens with, and the first ten of the hundred that follow.
OPENING, LIST = [*range(10)] * 3, [0, 9, 5, 5, 6, 5, 0, 9, 8, 9]


def test_every_form_is_the_same_sequence_with_a_few_gaps() -> None:
    form = LABELS[: STARTS[1]].tolist()
    assert form[:40] == OPENING + LIST
    assert len(form) == 130
    ends = [*STARTS[1:], len(LABELS)]
    differences = []
    for start, end in zip(STARTS, ends, strict=True):
        left = iter(form)
        read = [label for label in LABELS[start:end].tolist() if label in left]  # in the order of the form
        differences.append((len(form) - (end - start), end - start - len(read)))
    missing, others = zip(*differences, strict=True)
    assert max(missing) <= 8
    assert sum(missing) == 14 * 130 - 1797
    assert sum(others) <= 1  # one digit is labelled 3 where the form asks for 8, the last but one


def test_every_border_of_a_split_is_where_a_form_opens() -> None:
    assert STARTS[0] == 0
    for first, end in FORMS.values():
        for number in (first, end):
            start = STARTS[number] if number < len(STARTS) else len(LABELS)
            before, after = LABELS[:start].tolist(), LABELS[start:].tolist()
            assert before[-5:] in ([], [9, 0, 8, 9, 8], [8, 4, 9, 0, 8])  # how the list ends; one form lacks its last
            assert after[:30] in ([], OPENING, OPENING[1:] + LIST[:1])  # one form lacks its first 0
    assert [end for _, end in FORMS.values()] == [*[first for first, _ in FORMS.values()][1:], len(STARTS)]


def test_forms_of_another_kind_are_read_too() -> None:
    form = [*range(10)] * 3 + [4, 4, 1]
    gaps, misread = form[1:20] + form[22:], [*form[:31], 7, form[32]]
    labels = np.array([*form, *misread, *gaps, *form])  # the first is whole, and the second opens as it does
    lengths = np.cumsum([0, len(form), len(misread), len(gaps)]).tolist()
    assert form_starts(labels) == lengths
    with pytest.raises(BadInputError, match="not in the order of their forms"):
        form_starts(np.random.default_rng(0).permutation(LABELS))


def test_splits_share_no_writer_and_together_are_all() -> None:
    writers = {split: {item.writer for found in pictures(split).values() for item in found} for split in SPLITS}
    numbers = [item.number for split in SPLITS for found in pictures(split).values() for item in found]
    assert sorted(numbers) == list(range(1797))
    assert not writers["train"] & writers["validation"]
    assert not (writers["train"] | writers["validation"]) & writers["test"]
    assert {split: len(found) for split, found in writers.items()} == {"train": 9, "validation": 2, "test": 3}


def test_a_picture_is_the_digit_in_grey() -> None:
    images = load_digits().images
    for number in (0, 700, 1796):
        picture = all_pictures()[number]
        assert picture.digit == LABELS[number]
        pixels = picture.media.source
        assert pixels.shape == (3, 8, 8)  # type: ignore[union-attr]
        assert np.allclose(pixels.numpy() / 255, images[number] / 16, atol=0.5 / 255)  # type: ignore[union-attr]
