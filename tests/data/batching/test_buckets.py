"""Media in buckets: one large item does not pad all of them, and nothing else shows."""

import numpy as np
import pytest
import torch

from data.batching.collate import pad_media
from data.types import BucketedMedia, MediaBatch

SIZES = [(3, 2), (2, 2), (400, 2), (4, 2), (3, 2), (2, 2), (390, 2), (4, 2), (4, 2)]


def items(sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(number // 2, torch.randn(size, generator=generator)) for number, size in enumerate(sizes)]


def padded(media) -> int:
    return sum(bucket.values.numel() for bucket in media.buckets)


def test_one_huge_item_among_small_ones_pads_none_of_them() -> None:
    given = items(SIZES)
    media = pad_media("audio", given)
    assert isinstance(media, BucketedMedia)
    assert [bucket.values.shape for bucket in media.buckets] == [(7, 4, 2), (2, 400, 2)]
    assert padded(media) <= 2 * sum(values.numel() for _, values in given)
    assert media.shapes.tolist() == [list(size) for size in SIZES]
    assert media.documents.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert all(torch.equal(found, values) for found, (_, values) in zip(media.items(), given, strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_padding_is_bounded_whatever_the_shapes_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [tuple(2 ** rng.integers(0, 8, 2)) for _ in range(rng.integers(2, 30))]
    given = items(sizes)
    media = pad_media("image", given)
    whole = sum(values.numel() for _, values in given)
    assert padded(media) <= (4 if len(media.buckets) == 1 else 2) * whole
    assert all(torch.equal(found, values) for found, (_, values) in zip(media.items(), given, strict=True))
    again = pad_media("image", given)
    assert [bucket.shapes.tolist() for bucket in again.buckets] == [bucket.shapes.tolist() for bucket in media.buckets]


def test_items_of_similar_shape_are_one_tensor_in_their_order() -> None:
    given = items([(4, 2), (7, 2), (4, 2), (5, 2)])
    media = pad_media("audio", given)
    assert isinstance(media, MediaBatch)
    assert media.values.shape == (4, 7, 2)
    assert media.shapes[:, 0].tolist() == [4, 7, 4, 5]


def test_a_document_keeps_its_items_in_their_order() -> None:
    given = [(number % 3, values) for number, (_, values) in enumerate(items([*SIZES, (380, 2), (1, 2), (3, 2)]))]
    media = pad_media("audio", given)
    for document in range(3):
        alone = media.of_document(document)
        expected = [values for number, values in given if number == document]
        assert all(torch.equal(a, b) for a, b in zip(alone.items(), expected, strict=True))
        assert alone.documents.tolist() == [0] * len(expected)
    assert len(media.of_document(9)) == 0
