"""Next-token prediction on supervised positions.

Shape legend: S supervised positions of the batch, G label groups.
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
        loss_S = token_losses(model, hidden_BLD, batch)
        group_S = batch.label_groups[batch.labels != UNSUPERVISED]
        groups = sum_by_group(loss_S.detach(), group_S, batch.group_names)
        return LossTerms(loss_S.sum(), len(loss_S), groups)


def sum_by_group(loss_S: Tensor, group_S: Tensor, names: tuple[str, ...]) -> dict[str, tuple[Tensor, int]]:
    """Sum and count of each named group; positions without a group (-1) belong to none."""
    grouped = group_S >= 0
    group_S = group_S[grouped]
    sums_G = torch.zeros(len(names), device=loss_S.device, dtype=loss_S.dtype).index_add(0, group_S, loss_S[grouped])
    counts = torch.bincount(group_S, minlength=len(names)).tolist()
    return {name: (sums_G[index], counts[index]) for index, name in enumerate(names) if counts[index]}
