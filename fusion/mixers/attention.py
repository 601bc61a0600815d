"""Grouped-query self-attention over group ids, with several equal implementations.

Shape legend: B rows of a batch, H heads, L tokens in a row, J keys or candidates (keys), K `head_dim`, D `d_model`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from fusion.attention.choice import fastest
from fusion.attention.flex import attend as attend_in_blocks
from fusion.attention.flex import block_mask, flex_runs, written_out
from fusion.attention.masked import dense_attention, masked_attention, share_heads
from fusion.attention.varlen import varlen_attention, working_dtype
from fusion.generation.cache import AttentionCache
from fusion.mixers.base import Mixer
from fusion.mixers.heads import AttentionHeads
from fusion.positions.once import Positions
from fusion.sequence import Visibility, causal_or_same_segment


def causal_attention(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, segment_ids_BL: Tensor | None = None) -> Tensor:
    """torch's fused causal attention; query heads share keys and values where there are fewer.

    Without segments it needs no mask.
    """
    k_BHLK, v_BHLK = (share_heads(x, q_BHLK.shape[1]) for x in (k_BHLK, v_BHLK))
    if segment_ids_BL is None:
        return nn.functional.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, is_causal=True)
    mask = causal_or_same_segment(q_BHLK.shape[2], segment_ids_BL, q_BHLK.device)
    return nn.functional.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, attn_mask=mask[:, None])


def folded_attention(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, visibility: Visibility) -> Tensor:
    """Every group as a row of its own: causal attention without work across groups."""
    batch, _, length, _ = q_BHLK.shape
    folding = visibility.folding
    if not folding.shapes:  # all is padding; keys and values join the graph all the same
        return 0.0 * (q_BHLK + share_heads(k_BHLK + v_BHLK, q_BHLK.shape[1]))
    folded = [folding.fold(x.transpose(1, 2).flatten(0, 1)) for x in (q_BHLK, k_BHLK, v_BHLK)]
    segments: list[Tensor | None] = [None] * len(folding.shapes)
    if visibility.segment_ids is not None:
        segments = [*folding.fold(visibility.segment_ids.flatten())]
    outputs = [
        causal_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), segment_ids).transpose(1, 2)
        for q, k, v, segment_ids in zip(*folded, segments, strict=True)
    ]
    return folding.unfold(outputs).unflatten(0, (batch, length)).transpose(1, 2)


def flex_attention(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, mask: BlockMask) -> Tensor:
    """FlexAttention; where it has no kernel, attention with the mask that the kernel would use."""
    if flex_runs(q_BHLK.device.type, working_dtype(q_BHLK), q_BHLK.shape[-1]):
        return attend_in_blocks(q_BHLK, k_BHLK, v_BHLK, mask)
    return masked_attention(q_BHLK, k_BHLK, v_BHLK, written_out(mask))


def block_attention(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, visibility: Visibility) -> Tensor:
    """FlexAttention within groups; rows without tokens have no blocks."""
    if not q_BHLK.shape[2]:
        return plain_attention(q_BHLK, k_BHLK, v_BHLK, visibility)
    return flex_attention(q_BHLK, k_BHLK, v_BHLK, block_mask(visibility))


def plain_attention(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, visibility: Visibility) -> Tensor:
    """Rows of one group each as they are."""
    visible = (visibility.group_ids >= 0)[:, None, :, None]
    return causal_attention(q_BHLK, k_BHLK, v_BHLK, visibility.segment_ids) * visible


IMPLEMENTATIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Visibility], Tensor]] = {
    "dense": lambda q, k, v, visibility: dense_attention(q, k, v, visibility.mask),
    "sdpa": lambda q, k, v, visibility: masked_attention(q, k, v, visibility.mask),
    "folded": lambda q, k, v, visibility: folded_attention(q, k, v, visibility),
    "varlen": varlen_attention,
    "flex": block_attention,
    "plain": plain_attention,
}


class GroupAttention(nn.Module):
    """The part of attention without weights: queries, keys and values of all tokens to what each token sees.

    `implementation` is `auto` (the fastest where the model runs, see `fusion/attention/choice.py`), or one of `dense`,
    `sdpa`, `folded`, `varlen` and `flex`; all give the same outputs and gradients. The kernels of the last two need
    CUDA; elsewhere what they are given is computed in a slow way. `varlen` is causal, and gives way to `flex` where
    segments are seen both ways.
    """

    implementations = ("dense", "sdpa", "folded", "varlen", "flex", "auto")

    def __init__(self, implementation: str = "auto") -> None:
        super().__init__()
        if implementation not in self.implementations:
            raise ValueError(f"implementation={implementation!r} must be one of {', '.join(self.implementations)}")
        self.implementation = implementation

    @torch.compiler.disable  # its shapes follow the documents of each batch
    def forward(
        self,
        q_BHLK: Tensor,
        k_BHLK: Tensor,
        v_BHLK: Tensor,
        visibility: Visibility,
        cache: AttentionCache | None = None,
    ) -> Tensor:
        """[B, H, L, K]; with a `cache`, tokens that it already holds are seen too."""
        if cache is not None:
            return cache.attend(q_BHLK, k_BHLK, v_BHLK, visibility, alone=self.alone)
        return self.alone(q_BHLK, k_BHLK, v_BHLK, visibility)

    def alone(self, q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, visibility: Visibility) -> Tensor:
        """What the tokens of this call see of one another, by the implementation that is chosen."""
        return IMPLEMENTATIONS[self._chosen(q_BHLK, visibility)](q_BHLK, k_BHLK, v_BHLK, visibility)

    def _chosen(self, q_BHLK: Tensor, visibility: Visibility) -> str:
        both_ways = visibility.segment_ids is not None
        if self.implementation == "auto":
            return fastest(
                q_BHLK.device.type,
                working_dtype(q_BHLK),
                q_BHLK.shape[-1],
                one_group_per_row=visibility.one_group_per_row,
                both_ways=both_ways,
            )
        return "flex" if both_ways and self.implementation == "varlen" else self.implementation


class SelfAttention(AttentionHeads, Mixer):
    """Attention of all tokens to those that they may see: heads before, `attend` (`GroupAttention`), `out` after."""

    sees_both_ways = True

    def __init__(self, d_model: int, implementation: str = "auto", **heads: Any) -> None:
        super().__init__(d_model, **heads)
        self.attend = GroupAttention(implementation)

    def make_cache(self, batch_size: int, max_length: int) -> AttentionCache:
        """An empty cache of this layer."""
        return AttentionCache(batch_size, max_length, self.num_kv_heads, self.head_dim, like=self.q.weight)

    def before(self, x_BLD: Tensor, positions: Positions) -> tuple[Tensor, ...]:
        """Queries [B, L, H, K], keys and values (fewer heads) of each token."""
        rotation = self.position.rotation(positions, x_BLD.dtype)
        heads = (self.queries(x_BLD, rotation), *self.keys_and_values(x_BLD, rotation))
        return tuple(x_BHLK.transpose(1, 2) for x_BHLK in heads)

    def meet(self, *parts: Tensor, visibility: Visibility, cache: AttentionCache | None = None) -> Tensor:
        """What each token sees [B, L, H * K], all heads after one another."""
        q_BHLK, k_BHLK, v_BHLK = (part.transpose(1, 2) for part in parts)
        return self.attend(q_BHLK, k_BHLK, v_BHLK, visibility, cache).transpose(1, 2).flatten(2)

    def after(self, y: Tensor) -> Tensor:
        """Mixed tokens [B, L, D]."""
        return self.out(y)
