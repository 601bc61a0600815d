"""The synthetic documents meet every order and size, and are changed just where they should be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from certify.context import Context
from certify.documents import changed, extended, item_shapes, layouts, spans
from data.types import UNSUPERVISED


def test_layouts_have_every_mix_and_order() -> None:
    orders = layouts(("text", "audio", "image"))
    assert ("text",) in orders
    for name in ("audio", "image"):
        assert any(order[0] == name for order in orders)
        assert any(order[-1] == name for order in orders)
        assert any((name, name) in pairwise(order) for order in orders)
    assert any(set(order) == {"text", "audio", "image"} for order in orders)
    assert layouts(("text",)) == [("text",)]


def test_shapes_vary_along_the_axes_that_may_vary(context: Context) -> None:
    audio = item_shapes(context.model.media_encoders["audio"])
    assert {shape[1] for shape in audio} == {8}
    assert len({shape[0] for shape in audio}) > 5
    assert item_shapes(context.model.media_encoders["image"]) == [(3, 16, 16)]


def test_documents_are_reproducible_and_partly_supervised(context: Context) -> None:
    for one, other in zip(context.documents(), context.documents(), strict=True):
        assert np.array_equal(one.token_ids, other.token_ids)
        supervised = one.labels != UNSUPERVISED
        assert supervised.any() == (one.modality_ids[1:] == 0).any()
        assert not supervised.all()
        places = supervised.nonzero()[0]
        assert np.array_equal(one.labels[places], one.token_ids[places + 1])


def test_changed_changes_that_part_and_nothing_else(context: Context) -> None:
    document = max(context.documents(), key=lambda d: len(d.media))
    segments = spans(context.model, document)
    assert [segments[0][0], segments[-1][1]] == [0, len(document)]
    assert all(stop == start for (_, stop), (start, _) in pairwise(segments))
    middle = segments[len(segments) // 2][0]
    other = changed(context.model, context.vocab_size, document, middle, len(document), np.random.default_rng(0))
    assert np.array_equal(other.token_ids[:middle], document.token_ids[:middle])
    assert (other.token_ids[middle:] != document.token_ids[middle:]).all()
    starts = [start for start, _ in segments if document.modality_ids[start]]
    for start, (_, values), (_, others) in zip(starts, document.media, other.media, strict=True):
        assert torch.equal(values, others) == (start < middle)


@pytest.mark.parametrize("count", [0, 3])
def test_extended_adds_unsupervised_text(context: Context, count: int) -> None:
    document = context.documents()[1]
    longer = extended(document, np.arange(count))
    assert len(longer) == len(document) + count
    assert (longer.labels[len(document) :] == UNSUPERVISED).all()
    assert (longer.modality_ids[len(document) :] == 0).all()
