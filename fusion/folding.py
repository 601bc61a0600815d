"""Groups of tokens laid out as rows of their own, and back.

Shape legend: B rows of a batch, L tokens in a row, J keys or candidates, F tokens of the flattened batch, G groups, T
places in an item, Z slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT

POWERS_OF_TWO = [2**power for power in range(63)]


class Rearrange(torch.autograd.Function):
    """out[m] = x[index[m]], or 0 where `index` is len(x); `inverse` says the same of the way back.

    Since nothing is read twice, the gradient is the same operation with the indices exchanged. That of torch's own
    indexing has to add up, which takes many times as long on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index_Z: Tensor, inverse_F: Tensor) -> Tensor:
        """`x` [F, ...] rearranged."""
        ctx.save_for_backward(index_Z, inverse_F)
        return torch.cat([x, x.new_zeros(1, *x.shape[1:])]).index_select(0, index_Z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The same with the indices exchanged."""
        index_Z, inverse_F = ctx.saved_tensors
        return Rearrange.apply(grad, inverse_F, index_Z), None, None


@dataclass(frozen=True, eq=False)
class Folding:
    """Groups as rows of their own, in buckets of similar length. Equal only to itself, so that it can be a key.

    `shapes` lists each bucket's (groups, places), and a bucket after the other has `groups * places` slots: Z in all.
    tokens [Z]: the token of each slot among the flattened F; F where a group has ended.
    slots [F]: the slot of each token; Z for padding.
    """

    shapes: tuple[tuple[int, int], ...]
    tokens: Tensor
    slots: Tensor

    def fold(self, x: Tensor) -> list[Tensor]:
        """[F, ...] to one [groups, places, ...] per bucket, zero where a group has ended."""
        parts = Rearrange.apply(x, self.tokens, self.slots).split([groups * places for groups, places in self.shapes])
        return [part.unflatten(0, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def unfold(self, buckets: list[Tensor]) -> Tensor:
        """The way back: [F, ...], zero at padding."""
        return Rearrange.apply(torch.cat([bucket.flatten(0, 1) for bucket in buckets]), self.slots, self.tokens)


def fold(group_ids_BL: Tensor, places_BL: Tensor | None = None) -> Folding:
    """Lays groups out as rows, in buckets of lengths that differ by less than a factor of two; -1 is left out.

    A row has its tokens in the order of its `places_BL`; equals, or all where there are none, in that of the batch.
    """
    runs = _Runs(group_ids_BL, places_BL)
    return runs.fold([size.nonzero()[:, 0] for size in buckets_of(runs.counts_G)])


def fold_pairs(query_groups_BL: Tensor, key_groups_BJ: Tensor) -> tuple[Folding, Folding]:
    """Two layouts with rows that belong to the same groups: those that have both queries and keys.

    Buckets are of similar numbers of keys. Each may have several rows; -1 is left out.
    """
    queries, keys = _Runs(query_groups_BL), _Runs(key_groups_BJ)
    in_queries = torch.isin(queries.groups_G, keys.groups_G).nonzero()[:, 0]
    in_keys = torch.isin(keys.groups_G, queries.groups_G).nonzero()[:, 0]  # in the same order, for both are sorted
    sizes = [size.nonzero()[:, 0] for size in buckets_of(keys.counts_G[in_keys])]
    return queries.fold([in_queries[size] for size in sizes]), keys.fold([in_keys[size] for size in sizes])


@dataclass(frozen=True)
class Line:
    """All groups one after the other in one row of T places, padding left out.

    folding: the way there and back, with the one bucket (1, T). bounds [G + 1], int32: where each group begins and the
    last one ends, from 0 to T. longest: tokens of the longest group.
    """

    folding: Folding
    bounds: Tensor
    longest: int


def line_up(group_ids_BL: Tensor, places_BL: Tensor | None = None) -> Line:
    """Groups by their ids, the tokens of each in the order of their places as in `fold`; -1 is left out."""
    runs = _Runs(group_ids_BL, places_BL)
    bounds = nn.functional.pad(runs.counts_G.cumsum(0), (1, 0)).int()
    longest = int(runs.counts_G.max()) if len(runs.counts_G) else 0
    return Line(folding(((1, len(runs.order)),), runs.order, runs.num_tokens), bounds, longest)


class _Runs:
    """The tokens of each group, in their order: `order[starts_G[g]:][: counts_G[g]]`."""

    def __init__(self, group_ids_BL: Tensor, places_BL: Tensor | None = None) -> None:
        flat_F = group_ids_BL.flatten()
        order = torch.sort(flat_F, stable=True).indices
        if places_BL is not None:
            in_order = torch.sort(places_BL.flatten(), stable=True).indices
            order = in_order[torch.sort(flat_F[in_order], stable=True).indices]
        self.num_tokens, self.order = len(flat_F), order[flat_F[order] != PADDING_DOCUMENT]
        self.groups_G, self.counts_G = torch.unique_consecutive(flat_F[self.order], return_counts=True)
        self.starts_G = self.counts_G.cumsum(0) - self.counts_G

    def fold(self, buckets: list[Tensor]) -> Folding:
        """A row for each of the groups (their places in `groups_G`) in each bucket."""
        shapes, tokens = [], []
        for members in buckets:
            counts, starts = self.counts_G[members], self.starts_G[members]
            place_T = torch.arange(int(counts.max()), device=counts.device)
            index_GT = self.order[(starts[:, None] + place_T).clamp(max=len(self.order) - 1)]
            tokens.append(index_GT.masked_fill(place_T >= counts[:, None], self.num_tokens).flatten())
            shapes.append((len(counts), len(place_T)))
        return folding(tuple(shapes), torch.cat(tokens) if tokens else self.order.new_empty(0), self.num_tokens)


def buckets_of(counts_G: Tensor) -> list[Tensor]:
    """For each power of two that occurs, which groups have a number of tokens from it to the next."""
    sizes_G = torch.bucketize(counts_G, torch.tensor(POWERS_OF_TWO, device=counts_G.device), right=True)
    return [sizes_G == size for size in sizes_G.unique().tolist()]


def fold_by_modality(modality_ids_BL: Tensor, padding_BL: Tensor, num_modalities: int) -> Folding:
    """One row for the tokens of each modality, in the order of the batch: shapes (1, tokens), perhaps (1, 0)."""
    flat_F = modality_ids_BL.masked_fill(padding_BL, num_modalities).flatten()
    counts = torch.bincount(flat_F, minlength=num_modalities + 1)[:num_modalities].tolist()
    tokens_Z = torch.sort(flat_F, stable=True).indices[: sum(counts)]
    return folding(tuple((1, count) for count in counts), tokens_Z, len(flat_F))


def folding(shapes: tuple[tuple[int, int], ...], tokens_Z: Tensor, num_tokens: int) -> Folding:
    """A `Folding` with a way back that follows from the way there."""
    slots_F = torch.full((num_tokens + 1,), len(tokens_Z), device=tokens_Z.device)
    slots_F[tokens_Z] = torch.arange(len(tokens_Z), device=tokens_Z.device)
    return Folding(shapes, tokens_Z, slots_F[:-1])
