"""What an objective returns.

An objective turns a model's hidden states of a batch into `LossTerms`. It returns sums, never means: the trainer
divides by the count of the whole accumulation window over all processes, so that accumulating is the same as a larger
batch (but for contrastive objectives, whose loss depends on what is in a batch together).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from data.loader import MESSAGES, BatchStream
from data.types import InterleavedBatch
from fusion.hidden import Aux


@dataclass(frozen=True)
class LossTerms:
    """The loss of one micro-batch.

    sum: scalar, with gradient; count: how many terms it has; groups: for each label group, the sum (a scalar
    without gradient) and the count of its terms. aux: what the layers said; its losses are part of the sum.
    """

    sum: Tensor
    count: int
    groups: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    aux: Aux | None = None

    def with_aux(self, aux: Aux | None) -> LossTerms:
        """Each term with the auxiliary losses added, so that they weigh the same however batches are accumulated."""
        if aux is None:
            return self
        total = self.sum
        for loss in aux.losses.values():
            total = total + self.count * loss.to(total.dtype)
        return replace(self, sum=total, aux=aux)


class Objective:
    """Base class; a subclass defines `terms`. reads: the kinds of samples that it learns from (see `BatchStream`)."""

    reads: tuple[str, ...] = (MESSAGES,)

    def __call__(self, model: nn.Module, batch: InterleavedBatch) -> LossTerms:
        """The loss of one micro-batch, summed, with the auxiliary losses of the model's layers."""
        hidden = model(batch)
        return self.terms(model, hidden.states, batch).with_aux(hidden.aux)

    def terms(self, model: nn.Module, hidden_BLD: Tensor, batch: InterleavedBatch) -> LossTerms:
        """The loss, given the hidden states, so that several objectives can share one forward pass."""
        raise NotImplementedError(f"{type(self).__name__} must define terms")

    def check(self, model: nn.Module) -> None:
        """Raises `ValueError`, before the training starts, for a model that lacks what is needed."""

    def check_data(self, stream: BatchStream) -> None:
        """Raises `ValueError`, before the training starts, for batches from which nothing can be learned."""
