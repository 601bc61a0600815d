"""Grouped-query self-attention over group ids, with three equal implementations.

Shape legend: B rows, H heads, L tokens, T keys, K `head_dim`, D `d_model`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fusion.cache import AttentionCache
from fusion.mixers.base import Mixer
from fusion.positions.rope import Rope
from fusion.sequence import Visibility


def dense_probabilities(q_BHLK: Tensor, k_BHTK: Tensor, mask_BLT: Tensor) -> Tensor:
    """Attention weights [B, H, L, T], written out: the reference of every faster path.

    A query that may see nothing (padding) gets weights of zero.
    """
    k_BHTK = share_heads(k_BHTK, q_BHLK.shape[1])
    scores = q_BHLK @ k_BHTK.transpose(-1, -2) / q_BHLK.shape[-1] ** 0.5
    allowed = mask_BLT[:, None]
    probabilities = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    return probabilities.masked_fill(~allowed.any(-1, keepdim=True), 0.0)


def dense_attention(q_BHLK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, mask_BLT: Tensor) -> Tensor:
    """The slow reference."""
    return dense_probabilities(q_BHLK, k_BHTK, mask_BLT) @ share_heads(v_BHTK, q_BHLK.shape[1])


def masked_attention(q_BHLK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, mask_BLT: Tensor) -> Tensor:
    """torch's fused attention with a mask. Padding queries see themselves, lest they become NaN, and are zeroed."""
    visible_BL = mask_BLT.any(-1)
    mask = mask_BLT | ~visible_BL[..., None]
    k_BHTK, v_BHTK = (share_heads(x, q_BHLK.shape[1]) for x in (k_BHTK, v_BHTK))
    out = nn.functional.scaled_dot_product_attention(q_BHLK, k_BHTK, v_BHTK, attn_mask=mask[:, None])
    return out * visible_BL[:, None, :, None]


def causal_attention(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor) -> Tensor:
    """torch's fused causal attention without a mask; query heads share keys and values where there are fewer."""
    k_BHLK, v_BHLK = (share_heads(x, q_BHLK.shape[1]) for x in (k_BHLK, v_BHLK))
    return nn.functional.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, is_causal=True)


def folded_attention(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, visibility: Visibility) -> Tensor:
    """Every group as a row of its own: causal attention without a mask, and without work across groups."""
    batch, _, length, _ = q_BHLK.shape
    folding = visibility.folding
    if not folding.shapes:
        return torch.zeros_like(q_BHLK)
    folded = (folding.fold(x.transpose(1, 2).flatten(0, 1)) for x in (q_BHLK, k_BHLK, v_BHLK))
    outputs = [
        causal_attention(*(x.transpose(1, 2) for x in bucket)).transpose(1, 2) for bucket in zip(*folded, strict=True)
    ]
    return folding.unfold(outputs).unflatten(0, (batch, length)).transpose(1, 2)


def share_heads(x_BHTK: Tensor, num_heads: int) -> Tensor:
    """Keys or values repeated, so that each of `num_heads` query heads has its own."""
    repeats = num_heads // x_BHTK.shape[1]
    return x_BHTK if repeats == 1 else x_BHTK.repeat_interleave(repeats, dim=1)


class SelfAttention(Mixer):
    """Attention in which `num_heads / num_kv_heads` query heads share keys and values (GQA, arXiv:2305.13245).

    Queries and keys are normalised per head (`qk_norm`, as in Qwen 3), then rotated by `position`.
    `implementation` is `auto` (no mask where rows hold one group each, else folded groups), or one of `dense`,
    `sdpa` and `folded`; all give the same outputs and gradients.
    """

    implementations = ("dense", "sdpa", "folded", "auto")

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int,
        position: Callable[..., Rope],
        head_dim: int | None = None,
        qk_norm: bool = True,
        implementation: str = "auto",
    ) -> None:
        super().__init__()
        head_dim = head_dim or d_model // num_heads
        if head_dim * num_heads != d_model and d_model % num_heads:
            raise ValueError(f"num_heads={num_heads} must divide d_model={d_model}, or head_dim must be given")
        if num_heads % num_kv_heads:
            raise ValueError(f"num_kv_heads={num_kv_heads} must divide num_heads={num_heads}")
        if implementation not in self.implementations:
            raise ValueError(f"implementation={implementation!r} must be one of {', '.join(self.implementations)}")
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, head_dim
        self.implementation = implementation
        self.q = nn.Linear(d_model, num_heads * head_dim, bias=False)
        self.k = nn.Linear(d_model, num_kv_heads * head_dim, bias=False)
        self.v = nn.Linear(d_model, num_kv_heads * head_dim, bias=False)
        self.out = nn.Linear(num_heads * head_dim, d_model, bias=False)
        nn.init.zeros_(self.out.weight)  # a block starts as the identity
        self.q_norm = nn.RMSNorm(head_dim, eps=1e-6) if qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(head_dim, eps=1e-6) if qk_norm else nn.Identity()
        self.position: Rope = position(head_dim=head_dim)

    def make_cache(self, batch_size: int, max_length: int) -> AttentionCache:
        """An empty cache of this layer."""
        return AttentionCache(batch_size, max_length, self.num_kv_heads, self.head_dim, like=self.q.weight)

    def forward(
        self,
        x_BLD: Tensor,
        visibility: Visibility,
        positions_BL: Tensor,
        cache: AttentionCache | None = None,
    ) -> Tensor:
        """Mixed tokens [B, L, D]; with a `cache`, tokens that it already holds are seen too."""
        q, k, v = self._heads(x_BLD, positions_BL)
        if cache is None:
            out = self._attend(q, k, v, visibility)
        else:
            mask_BLT = cache.append(k, v, visibility.group_ids)
            out = masked_attention(q, cache.keys_BHTK, cache.values_BHTK, mask_BLT)
        return self.out(out.transpose(1, 2).flatten(2))

    def probabilities(self, x_BLD: Tensor, visibility: Visibility, positions_BL: Tensor) -> Tensor:
        """Attention weights [B, H, L, L] by the dense reference, to be looked at."""
        q, k, _ = self._heads(x_BLD, positions_BL)
        return dense_probabilities(q, k, visibility.mask)

    def _heads(self, x_BLD: Tensor, positions_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (
            projection(x_BLD).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection in (self.q, self.k, self.v)
        )
        rotation = self.position.rotation(positions_BL)
        return self.position(self.q_norm(q), rotation), self.position(self.k_norm(k), rotation), v

    @torch.compiler.disable  # its shapes follow the documents of each batch
    def _attend(self, q: Tensor, k: Tensor, v: Tensor, visibility: Visibility) -> Tensor:
        if self.implementation == "dense":
            return dense_attention(q, k, v, visibility.mask)
        if self.implementation == "sdpa":
            return masked_attention(q, k, v, visibility.mask)
        if self.implementation == "auto" and visibility.one_group_per_row:
            visible = (visibility.group_ids >= 0)[:, None, :, None]
            return causal_attention(q, k, v) * visible
        return folded_attention(q, k, v, visibility)
