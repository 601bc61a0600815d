"""Exponential moving average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.distributed import assign, local, to_full


class Ema:
    """average = d * average + (1 - d) * weights after each update, with d = min(decay, (1 + t) / (10 + t)).

    The growing d, t being the number of updates, lets the average leave the random initialisation quickly (as in
    TensorFlow's ExponentialMovingAverage). Buffers and frozen weights are not averaged: evaluation takes the model's.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.averages = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the model's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages = [local(average) for average in self.averages.values()]
        weights = [local(parameter.detach()) for parameter in self.parameters.values()]
        torch._foreach_lerp_(averages, weights, 1 - decay)

    def full_averages(self) -> dict[str, Tensor]:
        """Whole averages by parameter name, on the CPU; every process must call this."""
        return {name: to_full(average).cpu().clone() for name, average in self.averages.items()}

    def load(self, averages: dict[str, Tensor], updates: int) -> None:
        """Continues from `full_averages`."""
        self.updates = updates
        for name, average in self.averages.items():
            assign(average, averages[name])
