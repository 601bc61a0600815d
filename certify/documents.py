"""Synthetic documents for a model: every mix and order of its modalities, every size that its encoders take.

They are drawn freely, not in the format of a conversation. So orders occur that a conversation never has: a medium as
the first token or as the last one, or two media with nothing between. Packing and collation are the ones of training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from data.batching.document import Document
from data.types import ABSENT_SHAPE, TEXT, UNSUPERVISED, LayoutOf, Modality
from encoders.base import MediaEncoder
from fusion.model import FusionModel

# An axis that may vary is tried at these sizes, and just below, at and above these multiples of the encoder's example,
# to meet the shortest item and every remainder of a stride.
SIZES, MULTIPLES = (1, 2, 3, 5, 9, 29), (1, 2, 3, 5)
MOST_TOKENS = 16
Shape = tuple[int, ...]


def layouts(modalities: Sequence[Modality]) -> list[tuple[Modality, ...]]:
    """Orders of segments: no media, each modality first, last and twice in a row, all mixed."""
    media = tuple(name for name in modalities if name != TEXT)
    orders: list[tuple[Modality, ...]] = [(TEXT,)]
    for name in media:
        orders += [(name, TEXT), (TEXT, name), (TEXT, name, name, TEXT)]
    between = tuple(part for name in media for part in (TEXT, name))
    orders += [(*media, TEXT), (TEXT, *reversed(media)), (*between, TEXT)]
    return list(dict.fromkeys(orders))


def item_shapes(encoder: MediaEncoder) -> list[Shape]:
    """Shapes that the encoder takes, from the smallest to about `MOST_TOKENS` tokens, small ones first.

    Which axes may vary is found out by asking for its layout, so that nothing is known of any modality.
    """
    example = encoder.encoder.example_shape
    most = max(MOST_TOKENS, encoder.layout(example).count)
    axes = [_sizes(n) if accepts(encoder.layout, doubled(example, i)) else [n] for i, n in enumerate(example)]
    return [s for s in product(*axes) if accepts(encoder.layout, s) and encoder.layout(s).count <= most]


def _sizes(example: int) -> list[int]:
    around = {multiple * example + step for multiple in MULTIPLES for step in (-1, 0, 1)}
    return sorted(size for size in around.union(SIZES) if size > 0)


def doubled(shape: Shape, axis: int) -> Shape:
    """`shape` with one axis twice as long."""
    return (*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])


def accepts(layout: LayoutOf, shape: Shape) -> bool:
    """Whether an encoder takes items of `shape`."""
    try:
        return layout(shape).count > 0
    except ValueError:
        return False


def make_documents(model: FusionModel, vocab_size: int, seed: int) -> list[Document]:
    """One document for each of the `layouts` of the model's modalities, with media of random sizes.

    For a model with learned tokens for absent media, also one for each of these, with such a token within text.
    """
    rng = np.random.default_rng(seed)
    orders = layouts(model.modalities)
    documents = [make_document(model, vocab_size, order, rng, "-".join(order)) for order in orders]
    for modality_id, name in enumerate(model.modalities[1:], start=1):
        if model.layouts[name](ABSENT_SHAPE).count:
            text = make_document(model, vocab_size, (TEXT, TEXT), rng, f"absent {name}")
            text.modality_ids[2] = -modality_id
            documents.append(labelled(text.token_ids, text.modality_ids, (), text.sample_id, rng))
    return documents


def make_document(
    model: FusionModel, vocab_size: int, order: Iterable[Modality], rng: np.random.Generator, name: str
) -> Document:
    """Random text and media in the given order; about half of the text is supervised."""
    token_ids: list[int] = []
    modality_ids: list[int] = []
    media: list[tuple[Modality, Tensor]] = []
    for modality in order:
        count = int(rng.integers(3, 9))
        if modality != TEXT:
            encoder = model.media_encoders[modality]
            assert isinstance(encoder, MediaEncoder)
            shapes = item_shapes(encoder)
            shape = shapes[rng.integers(len(shapes))]
            media.append((modality, torch.from_numpy(rng.standard_normal(shape))))
            count = encoder.layout(shape).count
        token_ids += rng.integers(vocab_size, size=count).tolist()
        modality_ids += [model.modalities.index(modality)] * count
    return labelled(np.array(token_ids), np.array(modality_ids), tuple(media), name, rng)


def labelled(
    token_ids: np.ndarray,
    modality_ids: np.ndarray,
    media: tuple[tuple[Modality, Tensor], ...],
    name: str,
    rng: np.random.Generator,
) -> Document:
    """A document. Its text tokens are targets of the position before them, every second one by chance."""
    target = (modality_ids[1:] == 0) & (rng.random(len(token_ids) - 1) < 0.5)
    target[(modality_ids[1:] == 0).argmax()] |= bool((modality_ids[1:] == 0).any())  # at least one
    labels = np.append(np.where(target, token_ids[1:], UNSUPERVISED), UNSUPERVISED)
    groups = np.where(labels == UNSUPERVISED, -1, 0)
    return Document(token_ids, modality_ids, labels, groups, ("certify/text",), media, name, "certify")


def spans(model: FusionModel, document: Document) -> list[tuple[int, int]]:
    """Start and end of every segment that must stay whole: a medium, or a single text token."""
    items = iter(document.media)
    result, start = [], 0
    while start < len(document):
        length = 1
        if document.modality_ids[start] > 0:
            modality, values = next(items)
            length = model.layouts[modality](tuple(values.shape)).count
        result.append((start, start + length))
        start += length
    return result


def changed(
    model: FusionModel, vocab_size: int, document: Document, start: int, stop: int, rng: np.random.Generator
) -> Document:
    """The same document with other text and other media of the same shapes from `start` to `stop`.

    Where a token stands for an absent medium, there is text in its place.
    """
    token_ids, modality_ids = document.token_ids.copy(), document.modality_ids.copy()
    media: list[tuple[Modality, Tensor]] = []
    for first, last in spans(model, document):
        inside = start <= first and last <= stop
        if inside:
            token_ids[first:last] = (
                token_ids[first:last] + rng.integers(1, vocab_size, size=last - first)
            ) % vocab_size
            modality_ids[first:last] = modality_ids[first:last].clip(min=0)
        if document.modality_ids[first] > 0:
            modality, values = document.media[len(media)]
            media.append((modality, values + inside * torch.from_numpy(rng.standard_normal(tuple(values.shape)))))
    return replace(document, token_ids=token_ids, modality_ids=modality_ids, media=tuple(media))


def extended(document: Document, token_ids: np.ndarray) -> Document:
    """The document with text tokens, unsupervised, after it."""
    none = np.full(len(token_ids), UNSUPERVISED)
    return replace(
        document,
        token_ids=np.append(document.token_ids, token_ids),
        modality_ids=np.append(document.modality_ids, np.zeros_like(token_ids)),
        labels=np.append(document.labels, none),
        label_groups=np.append(document.label_groups, np.full(len(token_ids), -1)),
    )
