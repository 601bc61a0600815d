"""The embedded sequence that every fusion method takes, and which of its tokens may see one another.

Shape legend: B rows, L tokens in a row, D `d_model`, G groups, T places in a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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


@dataclass(frozen=True)
class Bucket:
    """Groups of similar length as rows of their own: `index` [G, T] points into the flattened [B * L] tokens.

    `valid` [G, T] is true where the group has a token; the rest points at token 0 and is never used.
    """

    index: Tensor
    valid: Tensor


class Visibility:
    """Who may see whom: a token sees the tokens of its own group that do not come after it in the row.

    `group_ids` [B, L] holds numbers that are unique in the whole batch; -1 is padding, which sees nothing.
    This one mechanism gives isolation of packed documents (group = document) and of modalities (group = document and
    modality), and the fast path: `buckets` lays each group out as a row of its own, so that plain causal
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
    def buckets(self) -> list[Bucket]:
        """The groups in buckets whose lengths differ by less than a factor of two."""
        flat = self.group_ids.flatten()
        order = torch.sort(flat, stable=True).indices
        order = order[flat[order] != PADDING_DOCUMENT]
        _, counts_G = torch.unique_consecutive(flat[order], return_counts=True)
        starts_G = counts_G.cumsum(0) - counts_G
        sizes_G = torch.log2(counts_G.double()).floor().long()
        buckets = []
        for size in sizes_G.unique().tolist():
            chosen = sizes_G == size
            counts, starts = counts_G[chosen], starts_G[chosen]
            place_T = torch.arange(int(counts.max()), device=flat.device)
            valid_GT = place_T < counts[:, None]
            index_GT = order[(starts[:, None] + place_T).clamp(max=len(order) - 1)]
            buckets.append(Bucket(index_GT.masked_fill(~valid_GT, 0), valid_GT))
        return buckets
