"""Some tokens of a batch as rows of their own, so that a layer costs only what these tokens cost.

Shape legend: N tokens, R rows, T places in a row, D `d_model`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from data.types import PADDING_DOCUMENT
from fusion.folding import Rearrange
from fusion.positions.once import Positions
from fusion.sequence import EmbeddedSequence, Visibility


class Selection:
    """The chosen ones of N tokens, in a given order.

    Without `rows` they make one row, which wastes nothing: groups keep documents apart. With `rows` [N], the row of
    each token, every row stays a row, padded at its end, which is what a cache needs.
    """

    def __init__(self, chosen_N: Tensor, order_N: Tensor, rows_N: Tensor | None = None, num_rows: int = 1) -> None:
        self.num_tokens = len(chosen_N)
        tokens = chosen_N.nonzero()[:, 0]
        tokens = tokens[order_N[tokens].argsort()]
        if rows_N is None:
            self.index_RT = tokens[None]
        else:
            self.index_RT = _padded_rows(tokens, rows_N[tokens], num_rows, fill=self.num_tokens)
        flat = self.index_RT.flatten()
        self.slots_N = torch.full((self.num_tokens + 1,), len(flat), device=flat.device)
        self.slots_N[flat] = torch.arange(len(flat), device=flat.device)
        self.slots_N = self.slots_N[:-1]

    def __len__(self) -> int:
        """Places, with padding."""
        return self.index_RT.numel()

    def take(self, x_ND: Tensor) -> Tensor:
        """The chosen tokens [R, T, D]; zero at padding."""
        chosen = Rearrange.apply(x_ND, self.index_RT.flatten(), self.slots_N)
        return chosen.unflatten(0, self.index_RT.shape)

    def put(self, x_ND: Tensor, chosen_RTD: Tensor) -> Tensor:
        """All tokens [N, D], the chosen ones with new values."""
        flat, places = self.index_RT.flatten(), torch.arange(self.num_tokens, device=x_ND.device)
        is_chosen = self.slots_N < len(flat)
        source = torch.cat([chosen_RTD.flatten(0, 1), x_ND])
        index = torch.where(is_chosen, self.slots_N, len(flat) + places)
        inverse = torch.cat([flat, torch.where(is_chosen, self.num_tokens, places)])
        return Rearrange.apply(source, index, inverse)

    def ids(self, values_N: Tensor, fill: int = 0) -> Tensor:
        """Numbers of the chosen tokens [R, T], `fill` at padding; [R, T, A] where each token has several."""
        return torch.cat([values_N, values_N.new_full((1, *values_N.shape[1:]), fill)])[self.index_RT]

    def visibility(
        self, group_ids_N: Tensor, places_N: Tensor, modality_ids_N: Tensor, segment_ids_N: Tensor | None = None
    ) -> Visibility:
        """Who among the chosen may see whom, and what they are."""
        segment_ids = None if segment_ids_N is None else self.ids(segment_ids_N)
        groups, places = self.ids(group_ids_N, PADDING_DOCUMENT), self.ids(places_N)
        modality_ids = self.ids(modality_ids_N)
        return Visibility(groups, segment_ids, tokens_BL=self.index_RT, places_BL=places, modality_ids_BL=modality_ids)

    def positions(self, positions_BLA: Tensor) -> Positions:
        """What rotations read of the chosen tokens."""
        return Positions(self.ids(positions_BLA.flatten(0, -2)))


def select_text_and_media(sequence: EmbeddedSequence, in_rows: bool) -> tuple[Selection, Selection]:
    """The text tokens and the media tokens; in one row, or in the rows of the batch, as a cache needs them."""
    num_rows, length = sequence.document_ids.shape
    valid = (sequence.document_ids != PADDING_DOCUMENT).flatten()
    order = torch.arange(len(valid), device=valid.device)
    rows = order // length if in_rows else None
    is_text = (sequence.modality_ids == 0).flatten()
    return Selection(valid & is_text, order, rows, num_rows), Selection(valid & ~is_text, order, rows, num_rows)


def _padded_rows(tokens: Tensor, rows: Tensor, num_rows: int, fill: int) -> Tensor:
    """Tokens [R, T] by their row, in their order, `fill` behind the last one."""
    tokens, rows = tokens[rows.argsort(stable=True)], rows.sort(stable=True).values
    counts = torch.bincount(rows, minlength=num_rows)
    places = torch.arange(len(tokens), device=tokens.device) - (counts.cumsum(0) - counts)[rows]
    index = torch.full((num_rows, int(counts.max()) if len(tokens) else 0), fill, device=tokens.device)
    index[rows, places] = tokens
    return index
