"""Some tokens of a batch as rows of their own, so that a layer costs only what these tokens cost.

Shape legend: B rows of a batch, L tokens in a row, A axes of positions, F tokens of the flattened batch, R rows laid
out anew, T places in an item, D `d_model`.
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

    Without `rows` they make one row, which wastes nothing: groups keep documents apart. With `rows` [F], the row of
    each token, every row stays a row, padded at its end, which is what a cache needs.
    """

    def __init__(self, chosen_F: Tensor, order_F: Tensor, rows_F: Tensor | None = None, num_rows: int = 1) -> None:
        self.num_tokens = len(chosen_F)
        tokens = chosen_F.nonzero()[:, 0]
        tokens = tokens[order_F[tokens].argsort()]
        if rows_F is None:
            self.index_RT = tokens[None]
        else:
            self.index_RT = _padded_rows(tokens, rows_F[tokens], num_rows, fill=self.num_tokens)
        flat = self.index_RT.flatten()
        self.slots_F = torch.full((self.num_tokens + 1,), len(flat), device=flat.device)
        self.slots_F[flat] = torch.arange(len(flat), device=flat.device)
        self.slots_F = self.slots_F[:-1]

    def __len__(self) -> int:
        """Places, with padding."""
        return self.index_RT.numel()

    def take(self, x_FD: Tensor) -> Tensor:
        """The chosen tokens [R, T, D]; zero at padding."""
        chosen = Rearrange.apply(x_FD, self.index_RT.flatten(), self.slots_F)
        return chosen.unflatten(0, self.index_RT.shape)

    def put(self, x_FD: Tensor, chosen_RTD: Tensor) -> Tensor:
        """All tokens [F, D], the chosen ones with new values."""
        flat, places = self.index_RT.flatten(), torch.arange(self.num_tokens, device=x_FD.device)
        is_chosen = self.slots_F < len(flat)
        source = torch.cat([chosen_RTD.flatten(0, 1), x_FD])
        index = torch.where(is_chosen, self.slots_F, len(flat) + places)
        inverse = torch.cat([flat, torch.where(is_chosen, self.num_tokens, places)])
        return Rearrange.apply(source, index, inverse)

    def ids(self, values_F: Tensor, fill: int = 0) -> Tensor:
        """Numbers of the chosen tokens [R, T], `fill` at padding; [R, T, A] where each token has several."""
        return torch.cat([values_F, values_F.new_full((1, *values_F.shape[1:]), fill)])[self.index_RT]

    def visibility(
        self, group_ids_F: Tensor, places_F: Tensor, modality_ids_F: Tensor, segment_ids_F: Tensor | None = None
    ) -> Visibility:
        """Who among the chosen may see whom, and what they are."""
        segment_ids = None if segment_ids_F is None else self.ids(segment_ids_F)
        groups, places = self.ids(group_ids_F, PADDING_DOCUMENT), self.ids(places_F)
        modality_ids = self.ids(modality_ids_F)
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


def _padded_rows(tokens_F: Tensor, rows_F: Tensor, num_rows: int, fill: int) -> Tensor:
    """Tokens [R, T] by their row, in their order, `fill` after the last one."""
    tokens_F, rows_F = tokens_F[rows_F.argsort(stable=True)], rows_F.sort(stable=True).values
    counts = torch.bincount(rows_F, minlength=num_rows)
    places = torch.arange(len(tokens_F), device=tokens_F.device) - (counts.cumsum(0) - counts)[rows_F]
    index = torch.full((num_rows, int(counts.max()) if len(tokens_F) else 0), fill, device=tokens_F.device)
    index[rows_F, places] = tokens_F
    return index
