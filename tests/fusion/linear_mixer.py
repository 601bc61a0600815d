"""A second mixer, which is no attention: a causal linear recurrence with gates, for tests of what every mixer may be.

    state_t = gate_t * state_(t-1) + key_t value_t^T        out_t = query_t state_t

(gated linear attention, arXiv:2312.06635, with one gate a token). A group of tokens has a state of its own.

Shape legend: B rows, L tokens in a row, K keys' width, D `d_model`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fusion.mixers.base import Mixer
from fusion.positions.once import Positions
from fusion.products import Product
from fusion.sequence import Visibility

D_KEY = 8


class Recurrence(nn.Module):
    """The recurrence without weights, all tokens at once: a masked product of queries and keys, and one with values."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    def forward(self, q_BLK: Tensor, k_BLK: Tensor, v_BLD: Tensor, log_gate_BL1: Tensor, visibility: Visibility) -> Any:
        """[B, L, D]; zero at padding."""
        mask_BLL = visibility.mask
        total_BL1 = mask_BLL.to(v_BLD) @ log_gate_BL1  # of the token and those before it in its group
        decay_BLL = (total_BL1 - total_BL1.transpose(1, 2)).masked_fill(~mask_BLL, -torch.inf).exp()
        return (q_BLK @ k_BLK.transpose(1, 2) * decay_BLL) @ v_BLD

    def flops(self, q: Tensor, k: Tensor, v: Tensor, log_gate: Tensor, visibility: Visibility) -> list[Product]:
        """Three products over pairs of tokens, of widths that are none of the inputs'."""
        pairs = 2 * visibility.group_ids.shape[0] * visibility.group_ids.shape[1] ** 2
        learns = q.requires_grad or k.requires_grad
        return [
            Product(pairs, int(log_gate.requires_grad)),
            Product(pairs * D_KEY, q.requires_grad + k.requires_grad),
            Product(pairs * self.d_model, (learns or log_gate.requires_grad) + v.requires_grad),
        ]


class LinearMixer(Mixer):
    """Queries, keys, values and a gate of each token; then the recurrence; then an output map."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.q, self.k = (nn.Linear(d_model, D_KEY, bias=False) for _ in range(2))
        self.v, self.out = (nn.Linear(d_model, d_model, bias=False) for _ in range(2))
        self.gate = nn.Linear(d_model, 1)
        self.recur = Recurrence(d_model)

    def before(self, x_BLD: Tensor, positions: Positions) -> tuple[Tensor, ...]:
        """Order is in the recurrence: places need no rotation."""
        return self.q(x_BLD), self.k(x_BLD), self.v(x_BLD), nn.functional.logsigmoid(self.gate(x_BLD))

    def meet(self, *parts: Tensor, visibility: Visibility, cache: Any = None) -> Tensor:
        """[B, L, D]."""
        q_BLK, k_BLK, v_BLD, log_gate_BL1 = parts
        return self.recur(q_BLK, k_BLK, v_BLD, log_gate_BL1, visibility)

    def after(self, y: Tensor) -> Tensor:
        """[B, L, D]."""
        return self.out(y)
