"""The forward pass of a micro-batch, for whoever takes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from data.types import InterleavedBatch
from training.distributed import Processes
from training.objectives.base import LossTerms, Objective


@dataclass(frozen=True)
class Forward:
    """What is trained, by what, where and how precisely."""

    model: nn.Module
    objective: Objective
    processes: Processes
    precision: str

    def autocast(self) -> AbstractContextManager[None]:
        """The precision of a forward pass; the backward pass must be outside."""
        return torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def terms(self, batch: InterleavedBatch) -> LossTerms:
        """The loss of a batch that is on the device."""
        with self.autocast():
            return self.objective(self.model, batch)


# What is done with a micro-batch in addition to its loss; it may leave gradients of a sum, which is divided as that of
# the loss. Returns what to log: name -> a sum without gradient, and what it is divided by.
Extra = Callable[[Forward, InterleavedBatch], Mapping[str, tuple[Tensor, int]]]
