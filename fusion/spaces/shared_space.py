"""One embedding for each segment of an aligned sample, in a space that all modalities share.

Shape legend: B rows of a batch, L tokens in a row, D `d_model`, N items (documents), S segments, R rows laid out anew
(aligned samples), M modalities, E width of the shared space, P pairs (pairs of modalities).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT, InterleavedBatch, Modality

# Of CLIP (arXiv:2103.00020), which found that a larger scale makes the training unstable.
MAX_SCALE = 100.0


class SharedSpace(nn.Module):
    """Mean of a segment's hidden states -> a linear head for its modality -> length 1.

    The segment went through the fusion method as a document of its own. Each pair of modalities has a learned scale of
    its similarities, and a bias if one is given. A scale above 100 acts as 100. CLIP sets the parameter itself back.
    Here it keeps its value and its gradient, so that it can return.

    scale: InfoNCE starts from 1 / 0.07 (CLIP), the sigmoid loss from 10 with a bias of -10 (arXiv:2303.15343).
    """

    def __init__(
        self,
        d_model: int,
        modalities: Sequence[Modality],
        d_embedding: int = 128,
        scale: float = 1 / 0.07,
        bias: float | None = None,
    ) -> None:
        super().__init__()
        if d_embedding < 1:
            raise ValueError(f"d_embedding={d_embedding} must be positive")
        if not 0 < scale <= MAX_SCALE:
            raise ValueError(f"scale={scale} must be above 0 and at most {MAX_SCALE:.0f}")
        if len(modalities) < 2:
            raise ValueError(f"modalities={list(modalities)} must be two or more to share a space")
        self.modalities, self.d_embedding = tuple(modalities), d_embedding
        self.pairs = list(combinations(range(len(modalities)), 2))
        self.heads = nn.ModuleDict({name: nn.Linear(d_model, d_embedding, bias=False) for name in modalities})
        self.logit_scale = nn.Parameter(torch.full((len(self.pairs),), math.log(scale)))
        self.logit_bias = None if bias is None else nn.Parameter(torch.full((len(self.pairs),), float(bias)))
        # What media bring along to the end of the model, of width `d_anchor`; see `fusion/spaces/ridge_space.py`.
        self.anchors, self.d_anchor = nn.ModuleDict(), 0

    def meet(self, frozen: Mapping[Modality, int]) -> None:
        """Told, when the model is made, which encoders are frozen, and the widths of their features."""

    def embed(self, name: Modality, pooled_SD: Tensor) -> Tensor:
        """Embeddings [S, E] of segments of a modality, of any length, from the means of their hidden states [S, D]."""
        return self.heads[name](pooled_SD)

    def forward(self, hidden_BLD: Tensor, batch: InterleavedBatch) -> tuple[Tensor, Tensor]:
        """Embeddings [R, M, E] of length 1, 0 where a sample lacks the modality, and which are present, [R, M]."""
        num_modalities, alignment = len(self.modalities), batch.alignment
        dtype = torch.promote_types(hidden_BLD.dtype, torch.float32)
        if alignment is None:
            # With a gradient, or this process would not exchange any where others do.
            empty = hidden_BLD.new_zeros(0, num_modalities, self.d_embedding, dtype=dtype) + 0.0 * hidden_BLD.sum()
            return empty, torch.zeros(0, num_modalities, dtype=torch.bool, device=hidden_BLD.device)
        pooled_ND = document_means(hidden_BLD, batch.document_ids, len(batch.sample_ids))
        parts, places = [], []
        for modality_id, name in enumerate(self.modalities):
            mine_S = alignment.modality_ids == modality_id
            segments = self.embed(name, pooled_ND[alignment.documents[mine_S]]).to(dtype)
            parts.append(nn.functional.normalize(segments, dim=-1))
            places.append(alignment.samples[mine_S] * num_modalities + modality_id)
        place_S, size = torch.cat(places), alignment.num_samples * num_modalities
        blank = hidden_BLD.new_zeros(size, self.d_embedding, dtype=dtype)
        present = torch.zeros(size, dtype=torch.bool, device=place_S.device).index_fill(0, place_S, True)
        embeddings = blank.index_copy(0, place_S, torch.cat(parts))
        return embeddings.unflatten(0, (-1, num_modalities)), present.unflatten(0, (-1, num_modalities))

    @property
    def scale(self) -> Tensor:
        """What similarities are multiplied with, [P], at most 100."""
        bounded = self.logit_scale.clamp(max=math.log(MAX_SCALE))
        return (self.logit_scale + (bounded - self.logit_scale).detach()).exp()

    def joined(self, hidden_BLD: Tensor) -> Tensor:
        """The same hidden states, depending on every parameter here with weight 0 (see `MediaEncoder.absent`)."""
        if not torch.is_grad_enabled():
            return hidden_BLD
        zeros = [0.0 * parameter.sum() for parameter in self.parameters() if parameter.requires_grad]
        return hidden_BLD + torch.stack(zeros).sum().to(hidden_BLD.dtype)


def document_means(x_BLD: Tensor, document_ids_BL: Tensor, num_documents: int) -> Tensor:
    """The mean over the tokens of each document, [N, D], in float32 or more; a document without tokens has 0."""
    inside = document_ids_BL != PADDING_DOCUMENT
    ids, x = document_ids_BL[inside], x_BLD[inside]
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    sums_ND = x.new_zeros(num_documents, x.shape[-1]).index_add(0, ids, x)
    counts_N = torch.bincount(ids, minlength=num_documents).clamp(min=1)
    return sums_ND / counts_N[:, None]
