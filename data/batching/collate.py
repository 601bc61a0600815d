"""Packed documents to the tensors of an `InterleavedBatch`.

Shape legend: B rows of a batch, L tokens in a row, N items (media).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from data.batching.document import Document
from data.types import (
    PADDING_DOCUMENT,
    UNSUPERVISED,
    Alignment,
    BucketedMedia,
    InterleavedBatch,
    MediaBatch,
    MediaItems,
    Modality,
)

# Rows end at a multiple of this, which vector units like and which keeps the number of different widths small.
WIDTH_MULTIPLE = 8
PAD_TOKEN = 0
# All items are padded together where that makes them at most so many times as large; else each at most so many times.
# Speech of single words and of sentences is below the first: its encoder sorts clips by length itself.
ALL_TOGETHER, IN_BUCKETS = 4, 2


def collate(
    rows: Sequence[Sequence[Document]], pad_to: int | None = None, skipped: Sequence[str] = ()
) -> InterleavedBatch:
    """A batch of rows of documents, padded at the end of each row and of each axis of the media.

    Rows are as wide as the longest, rounded up to a multiple of 8, or exactly `pad_to` (for `torch.compile`, which
    compiles anew for every width). Documents are numbered, and media ordered, row by row through the batch. No
    rows at all give one row of padding, because every process must take part in a step.

    Raises `ValueError` if a row is longer than `pad_to`, or items of one modality differ in rank or dtype.
    """
    longest = max((sum(len(document) for document in row) for row in rows), default=0)
    if pad_to is not None and longest > pad_to:
        raise ValueError(f"pad_to={pad_to} must hold the longest row, of {longest} tokens")
    width = pad_to or max(1, -(-longest // WIDTH_MULTIPLE)) * WIDTH_MULTIPLE
    shape = (max(len(rows), 1), width)
    token_ids, modality_ids = np.full(shape, PAD_TOKEN), np.zeros(shape, dtype=np.int64)
    document_ids, places = np.full(shape, PADDING_DOCUMENT), np.zeros(shape, dtype=np.int64)
    labels, label_groups = np.full(shape, UNSUPERVISED), np.full(shape, -1)
    group_ids: dict[str, int] = {}
    in_rows = ((row_index, document) for row_index, row in enumerate(rows) for document in row)
    filled = np.zeros(shape[0], dtype=np.int64)
    for document_id, (row, document) in enumerate(in_rows):
        span = slice(filled[row], filled[row] + len(document))
        filled[row] = span.stop
        token_ids[row, span] = document.token_ids
        modality_ids[row, span] = document.modality_ids
        document_ids[row, span] = document_id
        places[row, span] = np.arange(len(document))
        labels[row, span] = document.labels
        # The last entry serves the index -1 of what is unsupervised.
        renumbered = [group_ids.setdefault(name, len(group_ids)) for name in document.group_names]
        label_groups[row, span] = np.array([*renumbered, -1])[document.label_groups]
    documents = [document for row in rows for document in row]
    return InterleavedBatch(
        token_ids=torch.from_numpy(token_ids),
        modality_ids=torch.from_numpy(modality_ids),
        document_ids=torch.from_numpy(document_ids),
        places=torch.from_numpy(places),
        positions=torch.from_numpy(places)[..., None].clone(),  # one axis: the line that tokens are read in
        labels=torch.from_numpy(labels),
        label_groups=torch.from_numpy(label_groups),
        group_names=tuple(group_ids),
        sample_ids=tuple(document.sample_id for document in documents),
        media=_collate_media(documents),
        skipped=tuple(skipped),
        alignment=_alignment(documents),
    )


def collate_prompts(documents: Iterable[Document]) -> InterleavedBatch:
    """A batch: row i is document i, padded at its right."""
    return collate([[document] for document in documents])


def _alignment(documents: Sequence[Document]) -> Alignment | None:
    """The segments of aligned samples, which are numbered anew without gaps."""
    places = [place for place, document in enumerate(documents) if document.aligned >= 0]
    if not places:
        return None
    samples = torch.unique(torch.tensor([documents[place].aligned for place in places]), return_inverse=True)[1]
    # All tokens of a segment are of its modality.
    modality_ids = torch.tensor([int(documents[place].modality_ids[0]) for place in places])
    contents = torch.tensor([documents[place].content for place in places])
    return Alignment(torch.tensor(places), samples, modality_ids, contents)


def _collate_media(documents: Sequence[Document]) -> dict[Modality, MediaItems]:
    items: dict[Modality, list[tuple[int, Tensor]]] = {}
    for document_id, document in enumerate(documents):
        for modality, values in document.media:
            items.setdefault(modality, []).append((document_id, values))
    return {modality: pad_media(modality, items[modality]) for modality in sorted(items)}


def pad_media(modality: Modality, items: Sequence[tuple[int, Tensor]]) -> MediaItems:
    """Items of one modality, each with the number of its document, padded with zeros at the end of every axis.

    They become one tensor if that makes them at most four times as large. Else they become buckets of similar shape:
    there padding makes each item at most twice as large.
    """
    tensors = [values for _, values in items]
    first = tensors[0]
    for values in tensors:
        if values.ndim != first.ndim or values.dtype != first.dtype:
            raise ValueError(
                f"{modality} items must agree in rank and dtype: found {tuple(first.shape)} of {first.dtype} "
                f"and {tuple(values.shape)} of {values.dtype}"
            )
    buckets = _buckets([tuple(values.shape) for values in tensors])
    padded = tuple(_padded([items[number] for number in bucket]) for bucket in buckets)
    if len(padded) == 1:
        return padded[0]
    return BucketedMedia(padded, torch.tensor([number for bucket in buckets for number in bucket]))


def _padded(items: Sequence[tuple[int, Tensor]]) -> MediaBatch:
    shapes = torch.tensor([list(values.shape) for _, values in items])
    padded = items[0][1].new_zeros((len(items), *shapes.amax(dim=0).tolist()))
    for place, (_, values) in zip(padded, items, strict=True):
        place[tuple(slice(size) for size in values.shape)] = values
    return MediaBatch(padded, shapes, torch.tensor([document_id for document_id, _ in items]))


def _buckets(shapes: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Numbers of items that are padded together, in their order; what holds the first item comes first.

    All together, or else from the largest to the smallest: an item joins the first bucket that it fits in.
    """
    largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    if len(shapes) * math.prod(largest) <= ALL_TOGETHER * sum(math.prod(shape) for shape in shapes):
        return [list(range(len(shapes)))]
    buckets: list[tuple[tuple[int, ...], list[int]]] = []
    for number in sorted(range(len(shapes)), key=lambda n: (-math.prod(shapes[n]), shapes[n], n)):
        shape = shapes[number]
        for place, (widest, numbers) in enumerate(buckets):
            together = tuple(map(max, widest, shape))
            if math.prod(together) <= IN_BUCKETS * math.prod(shape):
                buckets[place] = (together, [*numbers, number])
                break
        else:
            buckets.append((shape, [number]))
    return sorted(sorted(numbers) for _, numbers in buckets)
