"""The whole model on one screen.

Shape legend: B rows of a batch, L tokens in a row, A axes of positions, D `d_model`, V vocabulary, E width of the
shared space.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT, TEXT, BadSampleError, InterleavedBatch, LayoutOf, Modality
from encoders.base import Encoder, MediaEncoder
from encoders.projector import Projector
from encoders.text import TextInterface, unit
from fusion.generation.cache import CacheList
from fusion.hidden import Hidden
from fusion.method import FusionMethod
from fusion.missing import MissingTokens
from fusion.sequence import EmbeddedSequence
from fusion.spaces.shared_space import SharedSpace


class FusionModel(nn.Module):
    """Encoders, one embedding space, a fusion method, a language-model head.

        media values --encoder, projector--> tokens --+
                                                      +-- scatter into placeholders, + modality embedding
        token ids ------------text's embedding--------+            |
                                                                   v
        logits <--text's head-- norm <-- hidden states <-- fusion method (blocks)
        embeddings of segments <--shared space--+

    Modality ids are places in `modalities`: text first, then the encoders by name. missing_token: see `MissingTokens`.
    """

    def __init__(
        self,
        d_model: int,
        text: Callable[..., TextInterface],
        encoders: Mapping[Modality, Encoder],
        projector: Callable[..., Projector],
        fusion: Callable[..., FusionMethod],
        missing_token: str = "none",
        shared_space: Callable[..., SharedSpace] | None = None,
    ) -> None:
        super().__init__()
        if d_model < 1:
            raise ValueError(f"d_model={d_model} must be positive")
        if TEXT in encoders:
            raise ValueError("encoders must not contain 'text', which has an embedding of its own")
        self.d_model = d_model
        self.modalities: tuple[Modality, ...] = (TEXT, *sorted(encoders))
        self.text: TextInterface = text(d_model=d_model)
        if self.text.d_model != d_model:
            raise ValueError(f"d_model={d_model} must be that of {type(self.text).__name__}, {self.text.d_model}")
        self.media_encoders = nn.ModuleDict(
            {name: MediaEncoder(encoders[name], projector, d_model) for name in self.modalities[1:]}
        )
        self.modality_embedding = nn.Embedding(len(self.modalities), d_model)
        nn.init.normal_(self.modality_embedding.weight, std=0.02)
        self.missing = MissingTokens(missing_token, len(encoders), d_model)
        self.fusion = fusion(d_model=d_model, num_modalities=len(self.modalities))
        self.norm = nn.RMSNorm(d_model, eps=1e-6)
        self.shared_space = shared_space(d_model=d_model, modalities=self.modalities) if shared_space else None
        if self.shared_space is not None:
            self.shared_space.meet({name: encoders[name].d_output for name in self.frozen_modalities})

    @property
    def frozen_modalities(self) -> list[Modality]:
        """The media with encoders that have no trained weight, in the order of `modalities`."""
        encoders = {name: encoder.encoder for name, encoder in self._encoders().items()}
        return [name for name, found in encoders.items() if not any(w.requires_grad for w in found.parameters())]

    @property
    def layouts(self) -> dict[Modality, LayoutOf]:
        """For each modality, the tokens that an item of a shape becomes; of `ABSENT_SHAPE`, one that is absent."""
        return {name: self.missing.with_absent(encoder.layout) for name, encoder in self._encoders().items()}

    @property
    def feature_layouts(self) -> dict[Modality, LayoutOf]:
        """For each modality, how its encoder's features of an item of a given shape lie, before any resampling."""
        return {name: encoder.encoder.layout for name, encoder in self._encoders().items()}

    def embed(self, batch: InterleavedBatch) -> EmbeddedSequence:
        """Text and media as one sequence of embeddings [B, L, D]."""
        return self._embed(batch)[0]

    def _embed(self, batch: InterleavedBatch) -> tuple[EmbeddedSequence, Tensor | None]:
        """The sequence, and with it the anchors of its media, [B, L, E], if the shared space has any."""
        anchors, size = self._anchors(), 0 if self.shared_space is None else self.shared_space.d_anchor
        brought = None
        hidden = self.text(batch.token_ids)  # [B, L, D]
        segment_ids = torch.zeros_like(batch.token_ids)
        num_segments = 0
        for modality_id, (name, encoder) in enumerate(self._encoders().items(), start=1):
            media = batch.media.get(name)
            if media is None or len(media) == 0:
                if torch.is_grad_enabled():
                    hidden = hidden + encoder.absent()
                continue
            place_BL = (batch.modality_ids == modality_id) & (batch.document_ids != PADDING_DOCUMENT)
            tokens = encoder(media, anchors.get(name))  # [tokens of all items, D], or D + E
            counts = encoder.counts(media)
            if len(tokens) != int(place_BL.sum()):
                raise BadSampleError(_mismatch(batch, name, counts, place_BL))
            if name in anchors:
                brought = tokens.new_zeros(*hidden.shape[:2], size) if brought is None else brought
                brought = brought.masked_scatter(place_BL[..., None], tokens[:, self.d_model :].to(brought.dtype))
            values = (self.text.loudness * unit(tokens[:, : self.d_model])).to(hidden.dtype)
            hidden = hidden.masked_scatter(place_BL[..., None], values)
            segment_ids[place_BL] = _numbers(counts, num_segments).to(segment_ids.device)
            num_segments += len(counts)
        missing_BL = batch.modality_ids < 0
        segment_ids[missing_BL] = _numbers([1] * int(missing_BL.sum()), num_segments).to(segment_ids.device)
        modality_ids = batch.modality_ids.abs()
        hidden = self.missing(hidden, batch.modality_ids, self.text.loudness) + self._marks(modality_ids)
        sequence = EmbeddedSequence(
            hidden, modality_ids, batch.document_ids, batch.places, batch.positions, segment_ids
        )
        if brought is None and size:
            brought = hidden.new_zeros(*hidden.shape[:2], size)
        return sequence, brought

    def _marks(self, modality_ids_BL: Tensor) -> Tensor:
        """What says of each token which modality it is of, [B, L, D]."""
        marks_BLD = self.modality_embedding(modality_ids_BL)
        return marks_BLD if self.text.is_marked else marks_BLD * (modality_ids_BL != 0)[..., None]

    def forward(self, batch: InterleavedBatch, cache: list[Any] | None = None) -> Hidden:
        """Normalised hidden states [B, L, D], which `logits` turns into scores, and what the layers say in addition.

        Where the shared space has anchors, those of a token's medium follow its hidden state: [B, L, D + E].
        """
        sequence, anchors = self._embed(batch)
        found = self.fusion(sequence, cache)
        hidden = self.norm(found.states)
        if anchors is not None:
            hidden = torch.cat([hidden, anchors.to(hidden.dtype)], dim=-1)
        states = hidden if self.shared_space is None else self.shared_space.joined(hidden)
        return Hidden(states, found.aux)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token, [..., V], of hidden states [..., D]."""
        return self.text.logits(hidden[..., : self.d_model])

    def make_cache(self, batch_size: int, max_length: int) -> CacheList:
        """An empty cache for `batch_size` rows of at most `max_length` tokens (see `fusion.generation.cache.Cache`)."""
        return self.fusion.make_cache(batch_size, max_length)

    def _anchors(self) -> dict[Modality, nn.Module]:
        return {} if self.shared_space is None else dict(self.shared_space.anchors.items())

    def _encoders(self) -> dict[Modality, MediaEncoder]:
        return {name: self.media_encoders[name] for name in self.modalities[1:]}  # type: ignore[misc]


def _numbers(counts: list[int], first: int) -> Tensor:
    """`counts[i]` times the number `first + 1 + i`, for each item."""
    return torch.arange(first + 1, first + 1 + len(counts)).repeat_interleave(torch.tensor(counts, dtype=torch.long))


def _mismatch(batch: InterleavedBatch, name: Modality, counts: list[int], place_BL: Tensor) -> str:
    """The first document where placeholders and features differ in number, named with both counts."""
    placeholders = Counter(batch.document_ids[place_BL].tolist())
    features: Counter[int] = Counter()
    for document, count in zip(batch.media[name].documents.tolist(), counts, strict=True):
        features[document] += count
    for document, sample in enumerate(batch.sample_ids):
        if features[document] != placeholders[document]:
            return (
                f"{sample}: {placeholders[document]} {name} placeholders but {features[document]} {name} features; "
                "both must come from the encoder's layout"
            )
    return f"{place_BL.sum()} {name} placeholders but {sum(counts)} {name} features in the batch"
