"""Next-token prediction on supervised positions.

Shape legend: B rows of a batch, L tokens in a row, D `d_model`, U supervised positions, G groups (label groups).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data.types import UNSUPERVISED, InterleavedBatch
from fusion.token_loss import token_losses
from training.objectives.base import LossTerms, Objective


class NextToken(Objective):
    """Cross-entropy of the next token, in nats, at the positions that carry a label (see `fusion.token_loss`)."""

    def terms(self, model: nn.Module, hidden_BLD: Tensor, batch: InterleavedBatch) -> LossTerms:
        """The summed loss."""
        loss_U = token_losses(model, hidden_BLD, batch)
        group_U = batch.label_groups[batch.labels != UNSUPERVISED]
        groups = sum_by_group(loss_U.detach(), group_U, batch.group_names)
        return LossTerms(loss_U.sum(), len(loss_U), groups)


def sum_by_group(loss_U: Tensor, group_U: Tensor, names: tuple[str, ...]) -> dict[str, tuple[Tensor, int]]:
    """Sum and count of each named group; positions without a group (-1) belong to none."""
    grouped = group_U >= 0
    group_U = group_U[grouped]
    sums_G = torch.zeros(len(names), device=loss_U.device, dtype=loss_U.dtype).index_add(0, group_U, loss_U[grouped])
    counts = torch.bincount(group_U, minlength=len(names)).tolist()
    return {name: (sums_G[index], counts[index]) for index, name in enumerate(names) if counts[index]}
