"""Attention by a mask: written out, the reference of every faster path, and by torch's fused kernel.

Shape legend: B rows, H heads, L tokens, T keys, K `head_dim`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def share_heads(x_BHTK: Tensor, num_heads: int) -> Tensor:
    """Keys or values repeated, so that each of `num_heads` query heads has its own."""
    repeats = num_heads // x_BHTK.shape[1]
    return x_BHTK if repeats == 1 else x_BHTK.repeat_interleave(repeats, dim=1)


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
