"""A second mixer, which is no attention: a causal linear recurrence with gates, for tests of what every mixer may be.

    state_t = gate_t * state_(t-1) + key_t value_t^T        out_t = query_t state_t

(gated linear attention, arXiv:2312.06635, with one gate a token). A group of tokens has a state of its own.

Shape legend: B rows of a batch, L tokens in a row, K `head_dim` (of keys), D `d_model`, N items (numbers of rows).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT
from fusion.cost.products import Product
from fusion.generation.cache import Cache
from fusion.mixers.base import Mixer
from fusion.positions.once import Positions
from fusion.sequence import Visibility

D_KEY = 8


class Recurrence(nn.Module):
    """The recurrence without weights, all tokens at once: a masked product of queries and keys, and one with values."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model

    def forward(self, *parts: Tensor, visibility: Visibility, cache: Any = None) -> Tensor:
        """[B, L, D]; zero at padding."""
        return self.alone(*parts, visibility) if cache is None else cache.attend(*parts, visibility, alone=self.alone)

    def alone(
        self, q_BLK: Tensor, k_BLK: Tensor, v_BLD: Tensor, log_gate_BL1: Tensor, visibility: Visibility
    ) -> Tensor:
        """The tokens of one call among themselves."""
        mask_BLL = visibility.mask
        total_BL1 = mask_BLL.to(v_BLD) @ log_gate_BL1  # of the token and those before it in its group
        decay_BLL = (total_BL1 - total_BL1.transpose(1, 2)).masked_fill(~mask_BLL, -torch.inf).exp()
        return (q_BLK @ k_BLK.transpose(1, 2) * decay_BLL) @ v_BLD

    def flops(
        self, q: Tensor, k: Tensor, v: Tensor, log_gate: Tensor, visibility: Visibility, cache: Any = None
    ) -> list[Product]:
        """Three products over pairs of tokens, of widths that are none of the inputs'."""
        pairs = 2 * visibility.group_ids.shape[0] * visibility.group_ids.shape[1] ** 2
        learns = q.requires_grad or k.requires_grad
        return [
            Product(pairs, int(log_gate.requires_grad)),
            Product(pairs * D_KEY, q.requires_grad + k.requires_grad),
            Product(pairs * self.d_model, (learns or log_gate.requires_grad) + v.requires_grad),
        ]


class LinearStates(Cache):
    """A state [K, D] for each row and group, and what the latest call of each row began with, to go back to that.

    rows: the states of each row, by group. began, latest: the states at the beginning of its latest call, and the
    tokens of that: (place, group, key, value, gate). num_before: how many places the row had then.
    """

    def __init__(self, batch_size: int, like: Tensor) -> None:
        self.like = like
        self.rows: list[dict[int, Tensor]] = [{} for _ in range(batch_size)]
        self.began: list[dict[int, Tensor]] = [{} for _ in range(batch_size)]
        self.latest: list[list[tuple[int, int, Tensor, Tensor, Tensor]]] = [[] for _ in range(batch_size)]
        self.num_before = [0] * batch_size

    def attend(
        self,
        q_BLK: Tensor,
        k_BLK: Tensor,
        v_BLD: Tensor,
        log_gate_BL1: Tensor,
        visibility: Visibility,
        alone: Callable[..., Tensor],
    ) -> Tensor:
        """[B, L, D], token by token."""
        empty, out_BLD = not any(self.rows), torch.zeros_like(v_BLD)
        for row, groups in enumerate(visibility.group_ids.tolist()):
            tokens = [token for token, group in enumerate(groups) if group != PADDING_DOCUMENT]
            if tokens:
                places = visibility.places[row].tolist() if visibility.places is not None else None
                assert places is not None, "methods say the places of all tokens"
                self.num_before[row] = max([self.num_before[row], *(place + 1 for place, *_ in self.latest[row])])
                self.began[row], self.latest[row] = dict(self.rows[row]), []
            for token in tokens:
                parts = (k_BLK[row, token], v_BLD[row, token], log_gate_BL1[row, token].exp())
                self.latest[row].append((places[token], groups[token], *parts))
                out_BLD[row, token] = q_BLK[row, token] @ self._step(row, groups[token], *parts)
        return alone(q_BLK, k_BLK, v_BLD, log_gate_BL1, visibility) if empty else out_BLD

    def _step(self, row: int, group: int, key_K: Tensor, value: Tensor, gate_1: Tensor) -> Tensor:
        state = self.rows[row].get(group, torch.zeros(len(key_K), len(value), dtype=value.dtype))
        self.rows[row][group] = gate_1 * state + torch.outer(key_K, value)
        return self.rows[row][group]

    def reset(self, rows_N: Tensor) -> None:
        """No state, no token."""
        for row in rows_N.tolist():
            self.rows[row], self.began[row], self.latest[row], self.num_before[row] = {}, {}, [], 0

    def copy_rows(self, source_N: Tensor, target_N: Tensor) -> None:
        """With the way back."""
        held = [
            (dict(self.rows[row]), dict(self.began[row]), list(self.latest[row]), self.num_before[row])
            for row in source_N.tolist()
        ]
        for row, (states, began, latest, num_before) in zip(target_N.tolist(), held, strict=True):
            self.rows[row], self.began[row], self.latest[row], self.num_before[row] = states, began, latest, num_before

    def trim(self, lengths_B: Tensor) -> None:
        """From the beginning of the latest call, the tokens that stay are run again."""
        for row, length in enumerate(lengths_B.tolist()):
            if length < self.num_before[row]:
                raise ValueError(
                    f"lengths[{row}]={length} must be {self.num_before[row]} or more: states are kept no longer"
                )
        for row, length in enumerate(lengths_B.tolist()):
            self.rows[row] = dict(self.began[row])
            self.latest[row] = [token for token in self.latest[row] if token[0] < length]
            for _, group, *parts in self.latest[row]:
                self._step(row, group, *parts)

    @property
    def bytes(self) -> int:
        """Of the states, those to go back to, and the tokens of the latest call."""
        states = [state for row in (*self.rows, *self.began) for state in row.values()]
        parts = [part for row in self.latest for token in row for part in token[2:]]
        return sum(tensor.nbytes for tensor in {id(item): item for item in [*states, *parts]}.values())


class LinearMixer(Mixer):
    """Queries, keys, values and a gate of each token; then the recurrence; then an output map."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.q, self.k = (nn.Linear(d_model, D_KEY, bias=False) for _ in range(2))
        self.v, self.out = (nn.Linear(d_model, d_model, bias=False) for _ in range(2))
        self.gate = nn.Linear(d_model, 1)
        self.recur = Recurrence(d_model)

    def make_cache(self, batch_size: int, max_length: int) -> LinearStates:
        """States, which do not grow with the number of tokens."""
        return LinearStates(batch_size, like=self.q.weight)

    def before(self, x_BLD: Tensor, positions: Positions) -> tuple[Tensor, ...]:
        """Order is in the recurrence: places need no rotation."""
        return self.q(x_BLD), self.k(x_BLD), self.v(x_BLD), nn.functional.logsigmoid(self.gate(x_BLD))

    def meet(self, *parts: Tensor, visibility: Visibility, cache: Any = None) -> Tensor:
        """[B, L, D]."""
        return self.recur(*parts, visibility=visibility, cache=cache)

    def after(self, y: Tensor) -> Tensor:
        """[B, L, D]."""
        return self.out(y)
