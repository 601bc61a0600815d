"""Gradient modulation: the own weights of one modality learn slower or faster than those of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from data.randomness import seed_of
from data.types import Modality
from fusion.model import FusionModel
from training.balance.base import Balance
from training.balance.own_weights import own_weights
from training.distributed import Processes, local, local_part, to_full

SCALES = ("update", "gradient")


class Modulation(Balance):
    """A coefficient for each modality of media, on all that `training.balance.own_weights` says is its own.

    scales: what the coefficient multiplies. The papers multiply the gradient. Under plain SGD that is the same as to
    multiply the update. It is not under the optimizers here: Muon makes every update equally long, and Adam divides by
    a running mean of the gradient's size. A constant coefficient on the gradient changes nothing in either, and one
    that varies acts by its changes alone. So `update`, the default, multiplies the whole step of these weights, weight
    decay included, as a factor on their learning rate would. `gradient` does what the papers write.

    noise: Gaussian noise with mean 0 and the standard deviation of a weight's gradient is added to that gradient (GE of
    arXiv:2203.15332), before clipping. It follows from the seed, the step and the weight's name, whatever the number of
    processes. Entries with a gradient of exactly 0 are of what was not used, and stay so.
    """

    def __init__(self, scales: str, noise: bool) -> None:
        if scales not in SCALES:
            raise ValueError(f"scales={scales!r} must be one of {', '.join(SCALES)}")
        self.scales, self.noise = scales, noise
        self.coefficients: dict[Modality, float] = {}
        self.own: dict[Modality, dict[str, nn.Parameter]] = {}

    def prepare(self, model: nn.Module, processes: Processes, seed: int) -> None:
        """Takes the weights of each medium; all coefficients are 1."""
        self.processes, self.seed = processes, seed
        trained = cast(FusionModel, model)
        self.own = {name: own_weights(trained, name) for name in trained.modalities[1:]}
        self.coefficients = dict.fromkeys(self.own, 1.0)

    def weigh(self) -> None:
        """Sets `coefficients` for this update; every process must call this."""
        raise NotImplementedError(f"{type(self).__name__} must define weigh")

    @torch.no_grad()
    def modulate(self, step: int) -> Mapping[str, tuple[float, float]]:
        """Changes the gradients as configured; returns the coefficients."""
        self.weigh()
        for modality, parameters in self.own.items():
            for name, parameter in parameters.items():
                if parameter.grad is None:
                    continue
                noise = self._noise(step, name, parameter.grad) if self.noise else None
                if self.scales == "gradient":
                    local(parameter.grad).mul_(self.coefficients[modality])
                if noise is not None:
                    local(parameter.grad).add_(noise)
        return {f"balance/coefficient/{name}": (value, 1.0) for name, value in self.coefficients.items()}

    def _noise(self, step: int, name: str, gradient: Tensor) -> Tensor:
        """The part of the noise that lies in this process."""
        full = to_full(gradient)
        generator = torch.Generator().manual_seed(seed_of(self.seed, "gradient noise", step, name) % 2**63)
        drawn = torch.randn(full.shape, generator=generator).to(full) * full.std(correction=0)
        return local_part(drawn.masked_fill(full == 0, 0.0), gradient)

    @contextmanager
    def updating(self) -> Iterator[None]:
        """The steps that weights take in here become so many times as long; a coefficient of 1 leaves every bit."""
        factors = {name: k for name, k in self.coefficients.items() if self.scales == "update" and k != 1.0}
        before = [(k, p, local(p.detach()).clone()) for name, k in factors.items() for p in self.own[name].values()]
        yield
        with torch.no_grad():
            for factor, parameter, weights in before:
                local(parameter).copy_(weights.lerp_(local(parameter), factor))

    def state_dict(self) -> dict[str, Any]:
        """The coefficients, which may be older than the last update."""
        return {"coefficients": dict(self.coefficients)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`."""
        self.coefficients |= state.get("coefficients", {})
