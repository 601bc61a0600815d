"""Embeddings of aligned samples in the shared space of a model.

Shape legend: N items (samples), n those of N that have it, E width of the shared space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from data.batching.collate import collate
from data.batching.document import Document
from data.batching.interleave import Interleaver
from data.batching.packing import pack
from data.randomness import generator
from data.sources.aligned import every_choice
from data.sources.base import Source, read_sample
from data.types import (
    TEXT,
    AlignedSample,
    BadInputError,
    BadSampleError,
    InterleavedBatch,
    Media,
    Modality,
    Segment,
    Text,
)
from fusion.model import FusionModel


@dataclass(frozen=True)
class Embedded:
    """One vector for each sample of a modality, [n, E], and the places of these samples, [n] ascending.

    contents: what the sample holds in this modality, as a number that equal contents share, [n] (see
    `data.batching.content`). Embeddings of the shared space have length 1.
    """

    values: np.ndarray
    samples: np.ndarray
    contents: np.ndarray

    @staticmethod
    def of(items: Sequence[tuple[int, int, np.ndarray]]) -> Embedded:
        """From the sample, the content and the vector of each item."""
        samples, contents, values = zip(*items, strict=True)
        return Embedded(np.stack(values), np.array(samples), np.array(contents))


def modality_of(segment: Segment) -> Modality:
    """`text`, or the modality of a medium."""
    return TEXT if isinstance(segment, Text) else segment.modality


def read_aligned(source: Source, skipped: list[str] | None = None) -> list[AlignedSample]:
    """All aligned samples of a source, in order; evaluation sources use no randomness.

    A row that has a modality several times, as a picture with five captions, is so many samples (`every_choice`).
    Where `skipped` is a list, samples that cannot be used are left out and the reasons added to it.

    Raises:
        BadSampleError: a sample is not aligned or cannot be read, and `skipped` is None.
    """
    samples = []
    for index in range(len(source)):
        try:
            sample = read_sample(source, index, generator(0, "evaluated sample", index))
            if not isinstance(sample, AlignedSample):
                raise BadSampleError(
                    f"{sample.name}: is a conversation; a retrieval needs aligned samples (for conversations choose "
                    "evaluation=manifest)"
                )
            samples += every_choice(sample)
        except BadSampleError as reason:
            if skipped is None:
                raise
            skipped.append(str(reason))
    return samples


def check_shared_space(model: FusionModel) -> None:
    """Raises `BadInputError` if the model has no shared space."""
    if model.shared_space is None:
        raise BadInputError("the model has no shared space to compare modalities in; train with shared_space=linear")


@torch.inference_mode()
def embed(
    model: FusionModel,
    interleaver: Interleaver,
    samples: Sequence[AlignedSample],
    *,
    batch_size: int = 128,
    skipped: list[str] | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[Modality, Embedded]:
    """The embeddings of every modality that the samples have, in the order of the model's modalities.

    A sample is left out as a whole, and the reason added to `skipped`, if one of its segments cannot be read.

    Raises:
        BadInputError: the model has no shared space; or a sample cannot be read, and `skipped` is None.
    """
    check_shared_space(model)
    assert model.shared_space is not None
    device = next(model.parameters()).device
    found: dict[Modality, list[tuple[int, int, np.ndarray]]] = {name: [] for name in model.modalities}
    for start in range(0, len(samples), batch_size):
        documents: list[Document] = []
        for place, sample in enumerate(samples[start : start + batch_size], start):
            try:
                documents += interleaver.segments(sample, number=place)
            except BadSampleError as reason:
                if skipped is None:
                    raise
                skipped.append(str(reason))
        if documents:
            batch = collate(pack(documents, interleaver.max_tokens)).to(device)
            values, present = (item.cpu().numpy() for item in model.shared_space(model(batch).states, batch))
            places = sorted({document.aligned for document in documents})
            contents = {(d.aligned, int(d.modality_ids[0])): d.content for d in documents}
            for modality_id, name in enumerate(model.modalities):
                rows = np.flatnonzero(present[:, modality_id])
                found[name] += [
                    (places[row], contents[places[row], modality_id], values[row, modality_id]) for row in rows
                ]
        advance(min(batch_size, len(samples) - start))
    return {name: Embedded.of(items) for name, items in found.items() if items}


def embed_texts(
    model: FusionModel, interleaver: Interleaver, texts: Sequence[str], modality: Modality = TEXT
) -> np.ndarray:
    """Embeddings [N, E] of some texts, read as `text` or as a medium that is made of text."""
    segments: list[Segment] = [Text(text) if modality == TEXT else Media(modality, text.encode()) for text in texts]
    samples = [AlignedSample(text, (segment,), source="classes") for text, segment in zip(texts, segments, strict=True)]
    return embed(model, interleaver, samples)[modality].values


def first_batch(interleaver: Interleaver, samples: Sequence[AlignedSample], size: int) -> InterleavedBatch:
    """The first samples that can be read, as one batch."""
    documents: list[Document] = []
    for number, sample in enumerate(samples[:size]):
        try:
            documents += interleaver.segments(sample, number=number)
        except BadSampleError:
            continue
    return collate(pack(documents, interleaver.max_tokens))
