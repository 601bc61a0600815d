"""Unimodal losses next to the multimodal one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from data.types import InterleavedBatch
from fusion.model import FusionModel
from training.balance.base import Balance, alone, flops_alone
from training.steps.forward import Extra, Forward


class UnimodalLosses(Balance):
    """Each document with media of several modalities is also learned from as it is seen with one of them alone.

        loss = 1/N * sum over documents of (l(document) + weight * sum over its media m of l(document with m alone))

    l is the summed loss of any objective, and N counts its terms without the added ones. So a document with one medium
    weighs what it does without this option, and accumulation or processes change nothing. `train/loss` stays the
    multimodal loss; `balance/loss/image` is that of the image alone, per term.

    Unimodal losses are an old remedy for modalities that are learned at different speeds (Gradient-Blending,
    arXiv:1905.12681). There each has a head of its own and weights that follow overfitting. Here the whole model
    answers, with the other media hidden as by modality dropout, and one weight is given.
    """

    sees_alone = True

    def __init__(self, weight: Annotated[float, Field(gt=0)] = 1.0) -> None:
        if weight <= 0:
            raise ValueError(f"weight={weight} must be above 0; balance=none adds no losses")
        self.weight = weight

    def extra(self, step: int) -> Extra | None:
        """The gradients of each medium alone."""
        return self._learn

    def _learn(self, forward: Forward, batch: InterleavedBatch) -> dict[str, tuple[Tensor, int]]:
        found = {}
        for name, part in alone(batch, forward.processes):
            terms = forward.terms(part)
            (self.weight * terms.sum).backward()
            found[f"balance/loss/{name}"] = (terms.sum.detach(), terms.count)
        return found

    def flops(self, model: FusionModel, batch: InterleavedBatch) -> float:
        """A forward and a backward pass for each medium alone."""
        return flops_alone(model, batch, lambda sample: sample.training)
