"""Attention of some tokens to other ones that stand before them in the same document.

Shape legend: R rows laid out anew, H heads, Q queries, J keys or candidates (keys), K `head_dim`, D `d_model`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT
from fusion.attention.flex import flex_runs, pair_mask
from fusion.attention.masked import dense_attention, masked_attention
from fusion.attention.varlen import working_dtype
from fusion.folding import Folding, fold_pairs
from fusion.generation.cache import MemoryCache
from fusion.mixers.attention import flex_attention
from fusion.mixers.heads import AttentionHeads
from fusion.positions.places import StandingTokens, TokenPlaces


class PairAttention(nn.Module):
    """The part without weights: `dense` over all pairs with a mask, or `folded` to the pairs of each document.

    `flex` is FlexAttention, `auto` that on CUDA and `folded` elsewhere (see `fusion/attention/choice.py`).
    """

    implementations = ("dense", "folded", "flex", "auto")

    def __init__(self, implementation: str = "auto") -> None:
        super().__init__()
        if implementation not in self.implementations:
            raise ValueError(f"implementation={implementation!r} must be one of {', '.join(self.implementations)}")
        self.implementation = implementation

    @torch.compiler.disable  # its shapes follow the documents of each batch
    def forward(
        self,
        q_RHQK: Tensor,
        k_RHJK: Tensor,
        v_RHJK: Tensor,
        queries: TokenPlaces,
        memory: TokenPlaces,
        cache: MemoryCache | None = None,
    ) -> Tensor:
        """[R, H, Q, K]; `queries` are [R, Q], `memory` is [R, J]; with a `cache`, memory that it holds is seen too."""
        if cache is not None:
            return cache.attend(q_RHQK, k_RHJK, v_RHJK, queries, memory, alone=self.alone)
        return self.alone(q_RHQK, k_RHJK, v_RHJK, queries, memory)

    def alone(
        self, q_RHQK: Tensor, k_RHJK: Tensor, v_RHJK: Tensor, queries: TokenPlaces, memory: TokenPlaces
    ) -> Tensor:
        """What the queries see of the memory that is given, by the implementation that is chosen."""
        if self.implementation == "dense":
            return dense_attention(q_RHQK, k_RHJK, v_RHJK, sees(queries, memory))
        if self._in_blocks(q_RHQK, k_RHJK):
            return flex_attention(q_RHQK, k_RHJK, v_RHJK, pair_mask(queries, memory))
        return folded_pairs(q_RHQK, k_RHJK, v_RHJK, queries, memory)

    def _in_blocks(self, q_RHQK: Tensor, k_RHJK: Tensor) -> bool:
        """Whether FlexAttention computes it, which takes no empty rows."""
        runs = flex_runs(q_RHQK.device.type, working_dtype(q_RHQK), q_RHQK.shape[-1])
        chosen = self.implementation == "flex" or (self.implementation == "auto" and runs)
        return chosen and q_RHQK.shape[2] > 0 and k_RHJK.shape[2] > 0


def sees(queries: TokenPlaces, memory: TokenPlaces) -> Tensor:
    """[R, Q, J], true where the memory token is of the query's document and stands before it."""
    same = queries.documents[:, :, None] == memory.documents[:, None, :]
    before = memory.places[:, None, :] < queries.places[:, :, None]
    return same & before & (queries.documents != PADDING_DOCUMENT)[:, :, None]


def folded_pairs(q_RHQK: Tensor, k_RHJK: Tensor, v_RHJK: Tensor, queries: TokenPlaces, memory: TokenPlaces) -> Tensor:
    """Each document's queries against its own memory, in buckets of similar sizes."""
    rows, _, length, _ = q_RHQK.shape
    of_queries, of_memory = fold_pairs(queries.documents, memory.documents)
    if not of_queries.shapes:  # nobody sees anything; what is not seen joins the graph all the same
        return 0.0 * (q_RHQK + (k_RHJK + v_RHJK).sum())
    q_parts = of_queries.fold(q_RHQK.transpose(1, 2).flatten(0, 1))
    k_parts, v_parts = (of_memory.fold(x.transpose(1, 2).flatten(0, 1)) for x in (k_RHJK, v_RHJK))
    ids = [folded_places(folding, pair) for folding, pair in ((of_queries, queries), (of_memory, memory))]
    outputs = [
        masked_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), sees(of_q, of_m)).transpose(1, 2)
        for q, k, v, of_q, of_m in zip(q_parts, k_parts, v_parts, *ids, strict=True)
    ]
    return of_queries.unfold(outputs).unflatten(0, (rows, length)).transpose(1, 2)


def folded_places(folding: Folding, tokens: TokenPlaces) -> list[TokenPlaces]:
    """The tokens of each bucket; padding is of no document."""
    documents = [part + PADDING_DOCUMENT for part in folding.fold(tokens.documents.flatten() - PADDING_DOCUMENT)]
    return [TokenPlaces(*ids) for ids in zip(documents, folding.fold(tokens.places.flatten()), strict=True)]


class CrossAttention(AttentionHeads):
    """Queries of some tokens, keys and values of others: the memory.

    Positions are those of the document, for queries and memory alike, so that distance means what it does in
    self-attention. Flamingo (arXiv:2204.14198) has none, and lets a token see the last image only.
    """

    def __init__(self, d_model: int, implementation: str = "auto", **heads: Any) -> None:
        super().__init__(d_model, **heads)
        self.attend = PairAttention(implementation)

    def make_cache(self, batch_size: int, max_length: int) -> MemoryCache:
        """An empty cache of at most `max_length` tokens of memory a row."""
        return MemoryCache(batch_size, max_length, self.num_kv_heads, self.head_dim, like=self.q.weight)

    def forward(
        self,
        x_RQD: Tensor,
        queries: StandingTokens,
        memory_RJD: Tensor,
        memory: StandingTokens,
        cache: MemoryCache | None = None,
    ) -> Tensor:
        """What each query token sees [R, Q, D]; with a `cache`, memory that it already holds is seen too."""
        q = self.queries(x_RQD, self.position.rotation(queries.positions, x_RQD.dtype))
        k, v = self.keys_and_values(memory_RJD, self.position.rotation(memory.positions, memory_RJD.dtype))
        return self.out(self.attend(q, k, v, queries, memory, cache).transpose(1, 2).flatten(2))
