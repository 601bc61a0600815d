"""Causal attention of groups that lie one after the other in one row: torch's varlen kernel, or a loop over them.

Shape legend: B rows of a batch, H heads, L tokens in a row, F tokens of the flattened batch (without padding), G
groups, K `head_dim`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from fusion.attention.masked import share_heads
from fusion.folding import Line, line_up
from fusion.sequence import Visibility

# What flash attention takes: halves alone, and heads of a multiple of 8 up to 256.
DTYPES = (torch.float16, torch.bfloat16)
HEAD_DIM_STEP, MOST_HEAD_DIM = 8, 256
# A query sees any number of keys before it and none after it, as flash attention writes it.
CAUSAL = (-1, 0)


def varlen_runs(device: str, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether torch's varlen kernel takes such queries."""
    fits = head_dim % HEAD_DIM_STEP == 0 and head_dim <= MOST_HEAD_DIM
    return device == "cuda" and dtype in DTYPES and fits


def varlen_attention(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, visibility: Visibility) -> Tensor:
    """[B, H, L, K], zero at padding: every token sees those of its group that do not come after it.

    `segment_ids` of the visibility are not heeded. The layout follows from `visibility` once for all layers.
    """
    batch, heads, length, head_dim = q_BHLK.shape
    line = visibility.once("line", lambda: line_up(visibility.group_ids, visibility.places))
    dtype = working_dtype(q_BHLK)
    parts = (q_BHLK, share_heads(k_BHLK, heads), share_heads(v_BHLK, heads))
    q_FHK, k_FHK, v_FHK = (line.folding.fold(x.transpose(1, 2).flatten(0, 1))[0][0] for x in parts)
    if varlen_runs(q_BHLK.device.type, dtype, head_dim) and len(q_FHK):
        out_FHK = _by_kernel(q_FHK.to(dtype), k_FHK.to(dtype), v_FHK.to(dtype), line)
    else:
        out_FHK = by_loop(q_FHK, k_FHK, v_FHK, line)
    return line.folding.unfold([out_FHK[None]]).unflatten(0, (batch, length)).transpose(1, 2)


def _by_kernel(q_FHK: Tensor, k_FHK: Tensor, v_FHK: Tensor, line: Line) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # nothing of it is needed on a CPU

    bounds, longest = line.bounds, line.longest
    out_FHK = varlen_attn(q_FHK, k_FHK, v_FHK, bounds, bounds, longest, longest, window_size=CAUSAL)
    assert isinstance(out_FHK, Tensor)  # a pair where one asks for more
    return out_FHK


def by_loop(q_FHK: Tensor, k_FHK: Tensor, v_FHK: Tensor, line: Line) -> Tensor:
    """What the kernel computes from the same bounds, group by group, on any device and in any precision."""
    if not len(q_FHK):  # all is padding, and joins the graph all the same
        return q_FHK + k_FHK + v_FHK
    outputs, bounds = [], line.bounds.tolist()
    for start, stop in pairwise(bounds):
        q, k, v = (x[None, start:stop].transpose(1, 2) for x in (q_FHK, k_FHK, v_FHK))
        outputs.append(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)[0].transpose(0, 1))
    return torch.cat(outputs)


def working_dtype(x: Tensor) -> torch.dtype:
    """The precision of autocast, where it is on, else that of `x`: torch casts for its own kernels alone."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
