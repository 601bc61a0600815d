"""What stands for a medium that is not there: one learned token of its modality, or nothing.

Shape legend: B rows of a batch, L tokens in a row, D `d_model`.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from data.types import ABSENT_SHAPE, Layout, LayoutOf

KINDS = ("learned", "none")


class MissingTokens(nn.Module):
    """One learned vector for each modality of media.

    kind: "learned" gives a medium that is absent, by modality dropout in training or in evaluation, one token; "none"
    has no parameters, and an absent medium leaves no trace. The id of such a token is the negative of its modality's.
    Without modality dropout, or absent media in the data, nothing teaches them.
    Missing-aware prompts (Lee et al., arXiv:2303.03369) learn one for each combination of modalities; this is one for
    each modality, in the medium's own place.
    """

    def __init__(self, kind: str, num_media: int, d_model: int) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"missing_token={kind!r} must be one of {', '.join(KINDS)}")
        self.embedding = nn.Embedding(num_media, d_model) if kind == "learned" and num_media else None

    def with_absent(self, layout: LayoutOf) -> LayoutOf:
        """`layout` of an encoder, which then also knows how many tokens an absent medium takes."""
        return partial(self._layout, layout)

    def _layout(self, layout: LayoutOf, shape: tuple[int, ...]) -> Layout:
        return Layout(int(self.embedding is not None)) if shape == ABSENT_SHAPE else layout(shape)

    def forward(self, hidden_BLD: Tensor, modality_ids_BL: Tensor, loudness: float = 1.0) -> Tensor:
        """Hidden states with the learned vectors, at a root mean square of `loudness`, where ids are negative.

        Every place looks up a vector, so that they join the graph of every batch.
        """
        if self.embedding is None:
            return hidden_BLD
        vectors_BLD = self.embedding((-modality_ids_BL - 1).clamp(min=0))
        vectors_BLD = loudness * nn.functional.rms_norm(vectors_BLD, vectors_BLD.shape[-1:], eps=1e-6)
        return torch.where(modality_ids_BL[..., None] < 0, vectors_BLD.to(hidden_BLD.dtype), hidden_BLD)
