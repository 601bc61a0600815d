"""Attention by a mask: written out, the reference of every faster path, and by torch's fused kernel.

Shape legend: B rows of a batch, H heads, L tokens in a row, J keys or candidates (keys), K `head_dim`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def share_heads(x_BHJK: Tensor, num_heads: int) -> Tensor:
    """Keys or values repeated, so that each of `num_heads` query heads has its own."""
    repeats = num_heads // x_BHJK.shape[1]
    return x_BHJK if repeats == 1 else x_BHJK.repeat_interleave(repeats, dim=1)


def dense_probabilities(q_BHLK: Tensor, k_BHJK: Tensor, mask_BLJ: Tensor) -> Tensor:
    """Attention weights [B, H, L, J], written out: the reference of every faster path.

    A query that may see nothing (padding) gets weights of zero.
    """
    k_BHJK = share_heads(k_BHJK, q_BHLK.shape[1])
    scores = q_BHLK @ k_BHJK.transpose(-1, -2) / q_BHLK.shape[-1] ** 0.5
    allowed = mask_BLJ[:, None]
    probabilities = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    return probabilities.masked_fill(~allowed.any(-1, keepdim=True), 0.0)


def dense_attention(q_BHLK: Tensor, k_BHJK: Tensor, v_BHJK: Tensor, mask_BLJ: Tensor) -> Tensor:
    """The slow reference."""
    return dense_probabilities(q_BHLK, k_BHJK, mask_BLJ) @ share_heads(v_BHJK, q_BHLK.shape[1])


def masked_attention(q_BHLK: Tensor, k_BHJK: Tensor, v_BHJK: Tensor, mask_BLJ: Tensor) -> Tensor:
    """torch's fused attention with a mask. Padding queries see themselves, so as not to become NaN, and are zeroed."""
    visible_BL = mask_BLJ.any(-1)
    mask = mask_BLJ | ~visible_BL[..., None]
    k_BHJK, v_BHJK = (share_heads(x, q_BHLK.shape[1]) for x in (k_BHJK, v_BHJK))
    out = nn.functional.scaled_dot_product_attention(q_BHLK, k_BHJK, v_BHJK, attn_mask=mask[:, None])
    return out * visible_BL[:, None, :, None]
