"""Next-token prediction on supervised positions.

Shape legend: S supervised positions of the batch, V vocabulary, G label groups.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data.types import UNSUPERVISED, InterleavedBatch
from training.objectives.base import LossTerms, Objective


class NextToken(Objective):
    """Cross-entropy of the next token, in nats, at the positions that carry a label.

    Logits are computed at those positions only: in a conversation about media they are a small part of the row,
    and the full [B, L, V] is by far the largest tensor of a step.
    """

    def terms(self, model: nn.Module, hidden_BLD: Tensor, batch: InterleavedBatch) -> LossTerms:
        """The summed loss; `model.logits` gives the scores of hidden states."""
        supervised_BL = batch.labels != UNSUPERVISED
        labels_S = batch.labels[supervised_BL]
        logits_SV = model.logits(hidden_BLD[supervised_BL])  # type: ignore[operator]
        logits_SV = logits_SV.to(torch.promote_types(logits_SV.dtype, torch.float32))
        loss_S = nn.functional.cross_entropy(logits_SV, labels_S, reduction="none")
        groups = sum_by_group(loss_S.detach(), batch.label_groups[supervised_BL], batch.group_names)
        return LossTerms(loss_S.sum(), len(labels_S), groups)


def sum_by_group(loss_S: Tensor, group_S: Tensor, names: tuple[str, ...]) -> dict[str, tuple[Tensor, int]]:
    """Sum and count of each named group; positions without a group (-1) belong to none."""
    grouped = group_S >= 0
    group_S = group_S[grouped]
    sums_G = torch.zeros(len(names), device=loss_S.device, dtype=loss_S.dtype).index_add(0, group_S, loss_S[grouped])
    counts = torch.bincount(group_S, minlength=len(names)).tolist()
    return {name: (sums_G[index], counts[index]) for index, name in enumerate(names) if counts[index]}
