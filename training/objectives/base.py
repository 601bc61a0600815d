"""What an objective returns.

An objective is any callable `(model, batch) -> LossTerms`. It returns sums, never means: the trainer divides by the
count of the whole accumulation window over all processes, so that accumulating is the same as a larger batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from data.types import InterleavedBatch


@dataclass(frozen=True)
class LossTerms:
    """The loss of one micro-batch.

    sum: scalar, with gradient; count: how many terms it has; groups: for each label group, the sum (a scalar
    without gradient) and the count of its terms.
    """

    sum: Tensor
    count: int
    groups: dict[str, tuple[Tensor, int]] = field(default_factory=dict)


class Objective(Protocol):
    """The signature of an objective."""

    def __call__(self, model: nn.Module, batch: InterleavedBatch) -> LossTerms:
        """The loss of one micro-batch, summed."""
        ...
