"""The embedded sequence that every fusion method takes, and which of its tokens may see one another.

Shape legend: B rows, L tokens in a row, D `d_model`, G groups, T places in a group, S slots,
N = B * L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from data.types import PADDING_DOCUMENT


@dataclass(frozen=True)
class EmbeddedSequence:
    """Text and media as tokens of one width.

    hidden [B, L, D]; modality_ids, document_ids and positions [B, L] as in `InterleavedBatch`.
    """

    hidden: Tensor
    modality_ids: Tensor
    document_ids: Tensor
    positions: Tensor


class _Rearrange(torch.autograd.Function):
    """out[m] = x[index[m]], or 0 where `index` is len(x); `inverse` says the same of the way back.

    Since nothing is read twice, the gradient is the same operation with the indices exchanged. That of torch's own
    indexing has to add up, which takes many times as long on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(index, inverse)
        return torch.cat([x, x.new_zeros(1, *x.shape[1:])]).index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        index, inverse = ctx.saved_tensors
        return _Rearrange.apply(grad, inverse, index), None, None


@dataclass(frozen=True)
class Folding:
    """Groups as rows of their own, in buckets of similar length.

    `shapes` lists each bucket's (groups, places), and a bucket after the other has `groups * places` slots: S in all.
    tokens [S]: the token of each slot among the flattened B * L; B * L where a group has ended.
    slots [B * L]: the slot of each token; S for padding.
    """

    shapes: tuple[tuple[int, int], ...]
    tokens: Tensor
    slots: Tensor

    def fold(self, x: Tensor) -> list[Tensor]:
        """[B * L, ...] to one [groups, places, ...] per bucket, zero where a group has ended."""
        parts = _Rearrange.apply(x, self.tokens, self.slots).split([groups * places for groups, places in self.shapes])
        return [part.unflatten(0, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def unfold(self, buckets: list[Tensor]) -> Tensor:
        """The way back: [B * L, ...], zero at padding."""
        return _Rearrange.apply(torch.cat([bucket.flatten(0, 1) for bucket in buckets]), self.slots, self.tokens)


class Visibility:
    """Who may see whom: a token sees the tokens of its own group that do not come after it in the row.

    `group_ids` [B, L] holds numbers that are unique in the whole batch; -1 is padding, which sees nothing.
    This one mechanism gives isolation of packed documents (group = document) and of modalities (group = document and
    modality), and the fast path: `folding` lays each group out as a row of its own, so that plain causal
    attention needs no mask and no work is spent on pairs that may not see one another.
    """

    def __init__(self, group_ids_BL: Tensor) -> None:
        self.group_ids = group_ids_BL

    @cached_property
    def mask(self) -> Tensor:
        """[B, L, L], true where the query (second axis) may see the key (third axis). The slow reference."""
        groups = self.group_ids
        length = groups.shape[1]
        causal_LL = torch.ones(length, length, dtype=torch.bool, device=groups.device).tril()
        same_BLL = groups[:, :, None] == groups[:, None, :]
        return same_BLL & causal_LL & (groups != PADDING_DOCUMENT)[:, :, None]

    @cached_property
    def one_group_per_row(self) -> bool:
        """Whether no row holds two groups, padding only at its end: then plain causal attention is right."""
        groups = self.group_ids
        padding = groups == PADDING_DOCUMENT
        same_as_first = (groups == groups[:, :1]) | padding
        padding_last = ~(padding[:, :-1] & ~padding[:, 1:]).any() if groups.shape[1] > 1 else True
        return bool(same_as_first.all() and padding_last)

    @cached_property
    def folding(self) -> Folding:
        """The groups as rows, in buckets whose lengths differ by less than a factor of two."""
        flat_N = self.group_ids.flatten()
        order = torch.sort(flat_N, stable=True).indices
        order = order[flat_N[order] != PADDING_DOCUMENT]
        _, counts_G = torch.unique_consecutive(flat_N[order], return_counts=True)
        starts_G = counts_G.cumsum(0) - counts_G
        sizes_G = torch.log2(counts_G.double()).floor().long()
        shapes, tokens = [], []
        for size in sizes_G.unique().tolist():
            counts, starts = counts_G[sizes_G == size], starts_G[sizes_G == size]
            place_T = torch.arange(int(counts.max()), device=flat_N.device)
            index_GT = order[(starts[:, None] + place_T).clamp(max=len(order) - 1)]
            tokens.append(index_GT.masked_fill(place_T >= counts[:, None], len(flat_N)).flatten())
            shapes.append((len(counts), len(place_T)))
        tokens_S = torch.cat(tokens) if tokens else flat_N.new_empty(0)
        slots_N = torch.full((len(flat_N) + 1,), len(tokens_S), device=flat_N.device)
        slots_N[tokens_S] = torch.arange(len(tokens_S), device=flat_N.device)
        slots_N[-1] = len(tokens_S)
        return Folding(tuple(shapes), tokens_S, slots_N[:-1])
