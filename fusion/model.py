"""The whole model on one screen.

Shape legend: B rows, L tokens in a row, D `d_model`, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT, TEXT, BadSampleError, InterleavedBatch, Modality
from encoders.base import Encoder, MediaEncoder
from encoders.projector import Projector
from encoders.text import TokenEmbedding
from fusion.method import FusionMethod
from fusion.sequence import EmbeddedSequence


class FusionModel(nn.Module):
    """Encoders, one embedding space, a fusion method, a language-model head.

        media values --encoder, projector--> tokens --+
                                                      +-- scatter into placeholders, + modality embedding
        token ids ------------token embedding---------+            |
                                                                   v
        logits <--tied head-- norm <-- hidden states <-- fusion method (blocks)

    Modality ids are places in `modalities`: text first, then the encoders by name.
    """

    def __init__(
        self,
        d_model: int,
        text: Callable[..., TokenEmbedding],
        encoders: Mapping[Modality, Encoder],
        projector: Callable[..., Projector],
        fusion: Callable[..., FusionMethod],
    ) -> None:
        super().__init__()
        if d_model < 1:
            raise ValueError(f"d_model={d_model} must be positive")
        if TEXT in encoders:
            raise ValueError("encoders must not contain 'text', which has an embedding of its own")
        self.d_model = d_model
        self.modalities: tuple[Modality, ...] = (TEXT, *sorted(encoders))
        self.text = text(d_model=d_model)
        self.media_encoders = nn.ModuleDict(
            {name: MediaEncoder(encoders[name], projector, d_model) for name in self.modalities[1:]}
        )
        self.modality_embedding = nn.Embedding(len(self.modalities), d_model)
        nn.init.normal_(self.modality_embedding.weight, std=0.02)
        self.fusion = fusion(d_model=d_model, num_modalities=len(self.modalities))
        self.norm = nn.RMSNorm(d_model, eps=1e-6)

    @property
    def num_tokens(self) -> dict[Modality, Callable[[tuple[int, ...]], int]]:
        """For each modality, the tokens that an item of a given shape takes."""
        return {name: encoder.num_tokens for name, encoder in self._encoders().items()}

    def embed(self, batch: InterleavedBatch) -> EmbeddedSequence:
        """Text and media as one sequence of embeddings [B, L, D]."""
        hidden = _unit(self.text(batch.token_ids))  # [B, L, D]
        segment_ids = torch.zeros_like(batch.token_ids)
        num_segments = 0
        for modality_id, (name, encoder) in enumerate(self._encoders().items(), start=1):
            media = batch.media.get(name)
            if media is None or len(media) == 0:
                if torch.is_grad_enabled():
                    hidden = hidden + encoder.absent()
                continue
            place_BL = (batch.modality_ids == modality_id) & (batch.document_ids != PADDING_DOCUMENT)
            tokens = encoder(media)  # [tokens of all items, D]
            counts = encoder.counts(media)
            if len(tokens) != int(place_BL.sum()):
                raise BadSampleError(_mismatch(batch, name, counts, place_BL))
            hidden = hidden.masked_scatter(place_BL[..., None], _unit(tokens).to(hidden.dtype))
            numbers = torch.arange(num_segments + 1, num_segments + len(counts) + 1, device=segment_ids.device)
            segment_ids[place_BL] = numbers.repeat_interleave(torch.tensor(counts, device=segment_ids.device))
            num_segments += len(counts)
        hidden = hidden + self.modality_embedding(batch.modality_ids)
        return EmbeddedSequence(hidden, batch.modality_ids, batch.document_ids, batch.positions, segment_ids)

    def forward(self, batch: InterleavedBatch, cache: list[Any] | None = None) -> Tensor:
        """Normalised hidden states [B, L, D]; `logits` turns the ones that are needed into scores."""
        return self.norm(self.fusion(self.embed(batch), cache))

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token, [..., V], of hidden states [..., D]."""
        return self.text.logits(hidden)

    def make_cache(self, batch_size: int, max_length: int) -> list[Any]:
        """An empty cache for `batch_size` rows of at most `max_length` tokens."""
        return self.fusion.make_cache(batch_size, max_length)

    def _encoders(self) -> dict[Modality, MediaEncoder]:
        return {name: self.media_encoders[name] for name in self.modalities[1:]}  # type: ignore[misc]


def _unit(x: Tensor) -> Tensor:
    """Scaled to a root mean square of 1, so that tokens of every modality enter the first block equally loud."""
    return nn.functional.rms_norm(x, x.shape[-1:], eps=1e-6)


def _mismatch(batch: InterleavedBatch, name: Modality, counts: list[int], place_BL: Tensor) -> str:
    """The first document whose placeholders and features differ in number, named with both counts."""
    placeholders = Counter(batch.document_ids[place_BL].tolist())
    features: Counter[int] = Counter()
    for document, count in zip(batch.media[name].documents.tolist(), counts, strict=True):
        features[document] += count
    for document, sample in enumerate(batch.sample_ids):
        if features[document] != placeholders[document]:
            return (
                f"{sample}: {placeholders[document]} {name} placeholders but {features[document]} {name} features; "
                "both must come from the encoder's num_tokens"
            )
    return f"{place_BL.sum()} {name} placeholders but {sum(counts)} {name} features in the batch"
