"""The embedded sequence that every fusion method takes, and which of its tokens may see one another.

Shape legend: B rows, L tokens in a row, D `d_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from data.types import PADDING_DOCUMENT
from fusion.folding import Folding, fold

# Group ids of a modality within a document: far above any number of documents in a batch.
_MODALITY_STRIDE = 2**32
Made = TypeVar("Made")


@dataclass(frozen=True)
class EmbeddedSequence:
    """Text and media as tokens of one width.

    hidden [B, L, D]; modality_ids, document_ids and positions [B, L] as in `InterleavedBatch`; segment_ids [B, L]:
    which item of a medium a token belongs to, from 1 through the whole batch; 0 for text and padding.
    """

    hidden: Tensor
    modality_ids: Tensor
    document_ids: Tensor
    positions: Tensor
    segment_ids: Tensor

    @cached_property
    def modality_groups(self) -> Tensor:
        """Group ids [B, L] that keep the modalities of a document apart; -1 is padding."""
        groups = self.document_ids + _MODALITY_STRIDE * self.modality_ids
        return groups.masked_fill(self.document_ids == PADDING_DOCUMENT, PADDING_DOCUMENT)


class Visibility:
    """Who may see whom: a token sees the tokens of its own group that do not come after it in the row.

    `group_ids` [B, L] holds numbers that are unique in the whole batch; -1 is padding, which sees nothing.
    This one mechanism gives isolation of packed documents (group = document) and of modalities (group = document and
    modality), and the fast path: `folding` lays each group out as a row of its own, so that plain causal
    attention needs no mask and no work is spent on pairs that may not see one another.

    With `segment_ids` [B, L] (0: none), the tokens of one segment see one another in both directions, as far as
    they are of one group: a prefix language model over media (arXiv:1910.10683). `by_modality` has a row for the
    tokens of each modality, for layers whose weights differ by modality. `tokens` [B, L] says which tokens these are,
    as places in the flattened batch, for whoever looks at attention (`fusion/attention_maps.py`); None: all of them.
    """

    def __init__(
        self,
        group_ids_BL: Tensor,
        segment_ids_BL: Tensor | None = None,
        by_modality: Folding | None = None,
        tokens_BL: Tensor | None = None,
    ) -> None:
        self.group_ids = group_ids_BL
        self.segment_ids = segment_ids_BL
        self.by_modality = by_modality
        self.tokens = tokens_BL

    @cached_property
    def mask(self) -> Tensor:
        """[B, L, L], true where the query (second axis) may see the key (third axis). The slow reference."""
        groups = self.group_ids
        same_BLL = groups[:, :, None] == groups[:, None, :]
        allowed = causal_or_same_segment(groups.shape[1], self.segment_ids, groups.device)
        return same_BLL & allowed & (groups != PADDING_DOCUMENT)[:, :, None]

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
        """The groups as rows."""
        return fold(self.group_ids)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """`make()`, computed when `key` is asked for the first time: what a kernel needs to know, for all layers."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @cached_property
    def _made(self) -> dict[Hashable, Any]:
        return {}


def causal_or_same_segment(length: int, segment_ids_BL: Tensor | None, device: torch.device) -> Tensor:
    """[L, L] or [B, L, L], true where the key is not later than the query, or of the same segment."""
    causal_LL = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    if segment_ids_BL is None:
        return causal_LL
    return causal_LL | ((segment_ids_BL[:, :, None] == segment_ids_BL[:, None, :]) & (segment_ids_BL > 0)[:, :, None])
