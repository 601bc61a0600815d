"""Which implementation of attention is the fastest where a model runs.

| rows | device | precision | media see both ways | implementation |
|---|---|---|---|---|
| one group each | any | any | no | `plain`: causal attention without a mask |
| several groups | CUDA | half | no | `varlen` |
| any | CUDA | half or float32 | yes, or `varlen` does not run | `flex` |
| one group each | elsewhere | any | yes | `plain`, with a mask |
| several groups | elsewhere | any | any | `folded` |

CUDA also asks for heads of a width that its kernels take, and FlexAttention for triton; else it is "elsewhere".
"""

from __future__ import annotations

import torch

from fusion.attention.flex import flex_runs
from fusion.attention.varlen import varlen_runs


def fastest(
    device: str,
    dtype: torch.dtype,
    head_dim: int,
    *,
    one_group_per_row: bool,
    both_ways: bool,
    has_compiler: bool | None = None,
) -> str:
    """`plain`, `varlen`, `flex` or `folded`; has_compiler: whether there is triton (None: look)."""
    if one_group_per_row and not both_ways:
        return "plain"
    if not both_ways and varlen_runs(device, dtype, head_dim):
        return "varlen"
    if flex_runs(device, dtype, head_dim, has_compiler):
        return "flex"
    return "plain" if one_group_per_row else "folded"
