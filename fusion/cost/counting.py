"""What a model costs: parameters and floating-point operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from data.types import InterleavedBatch
from fusion.cost.flops import count, count_backward, mean, usages
from fusion.model import FusionModel


def parameter_counts(model: FusionModel) -> dict[str, int]:
    """Parameters in total and of each part (each encoder, the text embedding, the fusion method, ...)."""
    parts = {f"{name}_encoder": module for name, module in model.media_encoders.items()}
    for name, module in model.named_children():
        if name != "media_encoders":
            parts[name] = module
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in parts.items()}
    return {"total": sum(p.numel() for p in model.parameters()), **counts}


@dataclass(frozen=True)
class SampleFlops:
    """Operations of a sample in each part of the model: encoders (with their projectors), fusion method, head, ...

    `fusion/cost/flops.py` says what is counted. A backward pass costs about twice its forward pass, less what needs no
    gradient: weights of frozen encoders, raw inputs.
    """

    forward: Mapping[str, float]
    backward: Mapping[str, float]

    @property
    def inference(self) -> float:
        """Of the forward pass."""
        return sum(self.forward.values())

    @property
    def training(self) -> float:
        """Of forward and backward pass, without the optimizer."""
        return sum(self.training_parts.values())

    @property
    def training_parts(self) -> dict[str, float]:
        """Of forward and backward pass, by part."""
        return {name: forward + self.backward.get(name, 0.0) for name, forward in self.forward.items()}


def sample_flops(model: FusionModel, batch: InterleavedBatch) -> SampleFlops:
    """Of a sample of `batch`, on average, each document alone and unpadded, the head at every supervised position."""
    documents, samples = usages(model, batch), batch.num_samples
    forward, backward = (mean([of(model, one) for one in documents], samples) for of in (count, count_backward))
    return SampleFlops(forward, backward)


def flops_by_part(model: FusionModel, batch: InterleavedBatch) -> dict[str, float]:
    """The forward pass of a sample, by part. See `sample_flops`."""
    return dict(sample_flops(model, batch).forward)


def flops_per_sample(model: FusionModel, batch: InterleavedBatch) -> float:
    """The forward pass of a sample, all parts together."""
    return sample_flops(model, batch).inference


def trainable_parameters(model: nn.Module) -> int:
    """Parameters that training changes; frozen encoders have none."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
