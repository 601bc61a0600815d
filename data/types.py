"""The types that every other package speaks.

Shape legend: B rows of a batch, L tokens in a row, A axes of positions, N items (media), D `d_model`, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from data.media_batch import BucketedMedia as BucketedMedia
from data.media_batch import Layout as Layout
from data.media_batch import LayoutOf as LayoutOf
from data.media_batch import MediaBatch as MediaBatch
from data.media_batch import MediaItems as MediaItems
from data.spelling import spelled

# A modality is a plain string, so that a new one needs no change in this file.
Modality = str
TEXT, IMAGE, AUDIO, VIDEO = "text", "image", "audio", "video"
# A whole text as a medium, for a pretrained encoder of text (see `data/media/sentence.py`).
SENTENCE = "sentence"

ROLES = ("system", "user", "assistant", "tool")
UNSUPERVISED = -100
# The shape of a medium that is not there.
ABSENT_SHAPE: tuple[int, ...] = ()
PADDING_DOCUMENT = -1


class BadInputError(ValueError):
    """Something that the user gave cannot be used; the message is one line and says what and where.

    Entry points print the message without a traceback and exit with a status other than 0.
    """


class NotInstalledError(BadInputError):
    """What is asked for needs a package that is not installed; the message says how to install it."""


class BadSampleError(BadInputError):
    """One sample cannot be used; `data.on_bad_sample` decides whether to stop or to skip and count it."""


class Clip(Protocol):
    """A medium that is stored elsewhere and can be read as a tensor (see `data/storage/array_store.py`)."""

    def read(self) -> Tensor:
        """The raw tensor."""
        ...


@dataclass(frozen=True)
class Text:
    """A piece of text."""

    text: str

    @property
    def modality(self) -> Modality:
        """`text`, as the segments of every other modality say theirs."""
        return TEXT


@dataclass(frozen=True)
class Media:
    """One item of any other modality: an image, a clip of sound, a reading of a sensor.

    `source` is a file, encoded bytes, a raw tensor (image: uint8 [3, h, w]; audio: float [samples] at the
    processor's rate), or a stored clip.
    """

    modality: Modality
    source: Path | bytes | Tensor | Clip

    @property
    def name(self) -> str:
        """How error messages call this medium: its path, or what it is, the same on every run."""
        if isinstance(self.source, Path):
            return spelled(str(self.source))
        if isinstance(self.source, bytes):
            return f"{self.modality} data"
        if isinstance(self.source, Tensor) or type(self.source).__repr__ is object.__repr__:
            return f"{self.modality} {type(self.source).__name__.lower()}"
        return spelled(repr(self.source))


@dataclass(frozen=True)
class Absent:
    """Where a medium of this modality would be: it was dropped in training, or is not there.

    A model with learned missing-modality tokens reads one token here; for any other the segment does not exist.
    """

    modality: Modality

    def __post_init__(self) -> None:
        if self.modality == TEXT:
            raise ValueError("modality='text' must be of a medium: text that is absent is left out")


Segment = Text | Media | Absent


@dataclass(frozen=True)
class ToolCall:
    """A function call that an assistant makes, in the shape that OpenAI's API uses."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True)
class Message:
    """One turn: who speaks, and the segments, in the order that they are read in."""

    role: str
    content: tuple[Segment, ...]
    tool_calls: tuple[ToolCall, ...] = ()

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role={self.role!r} must be one of {', '.join(ROLES)}")


@dataclass(frozen=True)
class Sample:
    """A conversation to be generated: the assistant's turns are supervised, nothing else is.

    `origin` says where the sample was read ("train.jsonl:12"), for error messages. Scores are broken down by the fields
    of `metadata`, such as the type of the question. An evaluation lets the model choose among the answers in `choices`,
    the expected one among them; a model never reads them.
    """

    id: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    source: str = ""
    origin: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How error messages call this sample."""
        return f"{self.origin or self.source or 'sample'} (id {spelled(self.id)})"


@dataclass(frozen=True)
class AlignedSample:
    """One meaning in several modalities, for contrastive training and retrieval."""

    id: str
    segments: tuple[Segment, ...]
    source: str = ""
    origin: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How error messages call this sample."""
        return f"{self.origin or self.source or 'sample'} (id {spelled(self.id)})"


class Processor(Protocol):
    """Turns one medium into the values that its encoder reads."""

    def __call__(self, media: Media, rng: np.random.Generator | None = None) -> Tensor:
        """The values of one item, [..]; augmented if and only if `rng` is given.

        Raises `BadSampleError` when the medium is missing, corrupt or empty.
        """
        ...


@dataclass(frozen=True)
class Alignment:
    """Which documents of a batch are segments of aligned samples; one entry a segment, all [S] int64.

    documents: the document; samples: number of its aligned sample, from 0; modality_ids: its modality; contents: what
    it holds, as a number that equal segments share. An aligned sample has at most one segment of each modality.
    """

    documents: Tensor
    samples: Tensor
    modality_ids: Tensor
    contents: Tensor

    @property
    def num_samples(self) -> int:
        """Aligned samples of the batch."""
        return int(self.samples.max()) + 1

    def to(self, device: torch.device | str) -> Alignment:
        """The same on `device`."""
        return Alignment(*(ids.to(device) for ids in (self.documents, self.samples, self.modality_ids, self.contents)))


@dataclass(frozen=True)
class InterleavedBatch:
    """Packed, interleaved documents; every tensor is [B, L], but for positions.

    token_ids: text tokens, and placeholders where a medium's features go.
    modality_ids: 0 for text, else the place of the modality in the model's `modalities`; its negative where a learned
        token stands for an absent medium.
    document_ids: which document a token belongs to, numbered through the whole batch; -1 is padding.
    places: the order of a document's tokens, from 0: who comes before whom. Rows hold them in that order.
    positions [B, L, A]: what a rotation reads, along each of A axes (time alone, or time, row and column). They say how
        far tokens are from one another, and nothing of who sees whom.
    labels: the token that position i must predict, that is the NEXT token; -100 where unsupervised.
    label_groups: index into `group_names` ("source/modality of the question"); -1 where unsupervised.
    sample_ids: name of each document, by document id.
    skipped: why samples that should have been in this batch are not.
    alignment: which documents are segments of aligned samples; None if there are none.
    alone: for each modality of media, the documents with several media as they see that one alone (see
        `data.batching.one_medium`); empty unless asked for.
    """

    token_ids: Tensor
    modality_ids: Tensor
    document_ids: Tensor
    places: Tensor
    positions: Tensor
    labels: Tensor
    label_groups: Tensor
    group_names: tuple[str, ...]
    sample_ids: tuple[str, ...]
    media: Mapping[Modality, MediaItems] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    alignment: Alignment | None = None
    alone: Mapping[Modality, InterleavedBatch] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> InterleavedBatch:
        """The same batch on `device`."""
        media = {key: item.to(device) for key, item in self.media.items()}
        moved = self.map(lambda tensor: tensor.to(device, non_blocking=True))
        alone = {key: part.to(device) for key, part in self.alone.items()}
        return replace(moved, media=media, alignment=self.alignment and self.alignment.to(device), alone=alone)

    def map(self, change: Callable[[Tensor], Tensor]) -> InterleavedBatch:
        """The same media with every tensor of tokens changed."""
        names = ("token_ids", "modality_ids", "document_ids", "places", "positions", "labels", "label_groups")
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **changed)

    @property
    def num_samples(self) -> int:
        """Samples: documents, where all segments of an aligned sample count as one."""
        aligned = self.alignment
        return len(self.sample_ids) - (len(aligned.documents) - aligned.num_samples if aligned else 0)

    @property
    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        return int((self.document_ids != PADDING_DOCUMENT).sum())

    @property
    def num_supervised(self) -> int:
        """Positions that carry a label."""
        return int((self.labels != UNSUPERVISED).sum())

    @property
    def packing_efficiency(self) -> float:
        """Share of the batch that is not padding, 0 to 1."""
        return self.num_tokens / max(self.document_ids.numel(), 1)
