"""The embedded sequence that every fusion method takes, and which of its tokens may see one another.

Shape legend: B rows of a batch, L tokens in a row, A axes of positions, D `d_model`, N items (tokens of the batch).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from data.types import PADDING_DOCUMENT
from fusion.folding import Folding, fold
from fusion.positions.once import Once

# Group ids of a modality within a document: far above any number of documents in a batch.
_MODALITY_STRIDE = 2**32
# What `Visibility.modality_ids` has at padding.
PADDING_MODALITY = -1


@dataclass(frozen=True)
class EmbeddedSequence:
    """Text and media as tokens of one width.

    hidden [B, L, D]; modality_ids, document_ids and places [B, L], and positions [B, L, A], as in `InterleavedBatch`;
    segment_ids [B, L]: which item of a medium a token belongs to, from 1 through the whole batch; 0 for text and
    padding.
    """

    hidden: Tensor
    modality_ids: Tensor
    document_ids: Tensor
    places: Tensor
    positions: Tensor
    segment_ids: Tensor

    @cached_property
    def modality_groups(self) -> Tensor:
        """Group ids [B, L] that keep the modalities of a document apart; -1 is padding."""
        groups = self.document_ids + _MODALITY_STRIDE * self.modality_ids
        return groups.masked_fill(self.document_ids == PADDING_DOCUMENT, PADDING_DOCUMENT)


class Visibility(Once):
    """Who may see whom: a token sees the tokens of its own group that do not come after it.

    `group_ids` [B, L] holds numbers that are unique in the whole batch; -1 is padding, which sees nothing. `places`
    [B, L] say who comes after whom: the larger one, and of equals the one that is later in the row. None: as in the
    row.
    This one mechanism gives isolation of packed documents (group = document) and of modalities (group = document and
    modality). It also gives the fast path: `folding` lays each group out as a row of its own. So plain causal attention
    needs no mask, and no work is spent on pairs that may not see one another.

    With `segment_ids` [B, L] (0: none), the tokens of one segment see one another in both directions, as far as
    they are of one group: a prefix language model over media (arXiv:1910.10683). `by_modality` has a row for the
    tokens of each modality, for layers with weights that differ by modality. `tokens` [B, L] says which tokens these
    are, as places in the flattened batch, for whoever looks at attention (`fusion/attention_maps.py`); None: all of
    them. `modality_ids` [B, L] says what they are, for feed-forward layers that treat modalities differently.
    """

    def __init__(
        self,
        group_ids_BL: Tensor,
        segment_ids_BL: Tensor | None = None,
        by_modality: Folding | None = None,
        tokens_BL: Tensor | None = None,
        places_BL: Tensor | None = None,
        modality_ids_BL: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.group_ids = group_ids_BL
        self.segment_ids = segment_ids_BL
        self.by_modality = by_modality
        self.tokens = tokens_BL
        self.places = places_BL
        self._modality_ids = (
            None
            if modality_ids_BL is None
            else modality_ids_BL.masked_fill(group_ids_BL == PADDING_DOCUMENT, PADDING_MODALITY)
        )

    @property
    def modality_ids(self) -> Tensor:
        """The modality of each token [B, L], -1 at padding. Raises `ValueError` if it was not given."""
        if self._modality_ids is None:
            raise ValueError(
                "modality_ids=None of a Visibility: say what the tokens are, for feed-forward layers are told, as "
                "Selection.visibility does"
            )
        return self._modality_ids

    @cached_property
    def modality_ids_by_modality(self) -> list[Tensor]:
        """The same for each row of `by_modality`; -1 where a row has ended."""
        assert self.by_modality is not None
        shifted_N = (self.modality_ids - PADDING_MODALITY).flatten()  # folding puts 0 where nothing is
        return [part + PADDING_MODALITY for part in self.by_modality.fold(shifted_N)]

    @cached_property
    def mask(self) -> Tensor:
        """[B, L, L], true where the query (second axis) may see the key (third axis). The slow reference."""
        groups = self.group_ids
        same_BLL = groups[:, :, None] == groups[:, None, :]
        allowed = causal_or_same_segment(groups.shape[1], self.segment_ids, groups.device, self.places)
        return same_BLL & allowed & (groups != PADDING_DOCUMENT)[:, :, None]

    @cached_property
    def one_group_per_row(self) -> bool:
        """Whether no row holds two groups, in order, padding only at its end: then plain causal attention is right."""
        groups = self.group_ids
        padding = groups == PADDING_DOCUMENT
        same_as_first = (groups == groups[:, :1]) | padding
        padding_last = ~(padding[:, :-1] & ~padding[:, 1:]).any() if groups.shape[1] > 1 else True
        if self.places is None or groups.shape[1] < 2:
            return bool(same_as_first.all() and padding_last)
        in_order = (self.places.diff(dim=1) >= 0) | padding[:, 1:]
        return bool(same_as_first.all() and padding_last and in_order.all())

    @cached_property
    def folding(self) -> Folding:
        """The groups as rows."""
        return fold(self.group_ids, self.places)


def causal_or_same_segment(
    length: int, segment_ids_BL: Tensor | None, device: torch.device, places_BL: Tensor | None = None
) -> Tensor:
    """[L, L] or [B, L, L], true where the key is not later than the query, or of the same segment."""
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    if places_BL is not None:
        key_B1L, query_BL1 = places_BL[:, None, :], places_BL[:, :, None]
        causal = (key_B1L < query_BL1) | ((key_B1L == query_BL1) & causal)
    if segment_ids_BL is None:
        return causal
    return causal | ((segment_ids_BL[:, :, None] == segment_ids_BL[:, None, :]) & (segment_ids_BL > 0)[:, :, None])
