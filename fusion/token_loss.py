"""The loss of supervised tokens: what a training minimises, and what an evaluation calls the loss of an answer.

Shape legend: B rows of a batch, L tokens in a row, D `d_model`, U supervised positions, V vocabulary, N items
(documents).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data.types import UNSUPERVISED, InterleavedBatch


def token_losses(model: nn.Module, hidden_BLD: Tensor, batch: InterleavedBatch) -> Tensor:
    """Cross-entropy [U] of the next token, in nats, at the positions that carry a label, row by row."""
    logits_UV = supervised_logits(model, hidden_BLD, batch)
    return nn.functional.cross_entropy(logits_UV, batch.labels[batch.labels != UNSUPERVISED], reduction="none")


def supervised_logits(model: nn.Module, hidden_BLD: Tensor, batch: InterleavedBatch) -> Tensor:
    """Scores [U, V] of the next token, at the positions that carry a label, row by row; in float32 at least.

    `model.logits` gives the scores of hidden states. They are computed at those positions only: in a conversation about
    media they are a small part of the row, and the full [B, L, V] is by far the largest tensor of a step.
    """
    logits_UV = model.logits(hidden_BLD[batch.labels != UNSUPERVISED])  # type: ignore[operator]
    return logits_UV.to(torch.promote_types(logits_UV.dtype, torch.float32))


def document_losses(model: nn.Module, batch: InterleavedBatch) -> tuple[Tensor, Tensor]:
    """Summed loss and number of the supervised tokens of each document, both [N], however documents are packed."""
    loss_U = token_losses(model, model(batch).states, batch).cpu().double()  # not every device has float64
    document_U = batch.document_ids[batch.labels != UNSUPERVISED].cpu()
    size = len(batch.sample_ids)
    return (
        torch.zeros(size, dtype=torch.float64).index_add(0, document_U, loss_U),
        torch.bincount(document_U, minlength=size),
    )
