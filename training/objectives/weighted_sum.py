"""Several objectives over one forward pass: generation with a contrastive loss, for instance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from data.batching.loader import BatchStream
from data.tokenizer import Tokenizer
from data.types import InterleavedBatch
from training.distributed import Processes
from training.objectives.base import LossTerms, Objective


class WeightedSum(Objective):
    """The mean over all terms of all `parts`, where a term of a part counts `weights` times.

    Terms are what a part counts: supervised tokens, aligned samples. So with weights of 1 and 8 the contrastive loss of
    an aligned sample weighs as much as 8 tokens, in every batch and however batches are accumulated.
    """

    def __init__(self, parts: Sequence[Objective], weights: Sequence[int]) -> None:
        if len(parts) < 2 or len(parts) != len(weights):
            raise ValueError(
                f"weights={list(weights)} must be one for each of two parts or more, has {len(parts)} parts"
            )
        if not all(isinstance(weight, int) and weight > 0 for weight in weights):
            raise ValueError(f"weights={list(weights)} must be whole numbers above 0")
        super().__init__()
        self.parts, self.weights = nn.ModuleList(parts), list(weights)
        self.reads = tuple(dict.fromkeys(kind for part in parts for kind in part.reads))

    def terms(self, model: nn.Module, hidden_BLD: Tensor, batch: InterleavedBatch) -> LossTerms:
        """Weighted sums and counts; groups are those of the parts, unweighted."""
        found = [part.terms(model, hidden_BLD, batch) for part in self._objectives()]
        total = torch.stack([weight * terms.sum for weight, terms in zip(self.weights, found, strict=True)]).sum()
        count = sum(weight * terms.count for weight, terms in zip(self.weights, found, strict=True))
        groups = {name: group for terms in found for name, group in terms.groups.items()}
        return LossTerms(total, count, groups)

    def prepare(self, processes: Processes, tokenizer: Tokenizer, model: nn.Module) -> None:
        """Prepares every part."""
        for part in self._objectives():
            part.prepare(processes, tokenizer, model)

    def check(self, model: nn.Module) -> None:
        """Raises `ValueError` for the first part that the model does not fit."""
        for part in self._objectives():
            part.check(model)

    def check_data(self, stream: BatchStream) -> None:
        """Raises `ValueError` for the first part that can learn nothing from the batches."""
        for part in self._objectives():
            part.check_data(stream)

    def _objectives(self) -> list[Objective]:
        return cast(list[Objective], list(self.parts))
