"""What a model costs: parameters and floating-point operations."""

from __future__ import annotations

from torch import nn

from data.types import InterleavedBatch
from fusion.block import ModalityBlock
from fusion.flops import count, documents_alone, mean, usage
from fusion.model import FusionModel


def parameter_counts(model: FusionModel) -> dict[str, int]:
    """Parameters in total and of each part (each encoder, the text embedding, the fusion method, ...)."""
    parts = {f"{name}_encoder": module for name, module in model.media_encoders.items()}
    for name, module in model.named_children():
        if name != "media_encoders":
            parts[name] = module
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in parts.items()}
    return {"total": sum(p.numel() for p in model.parameters()), **counts}


def flops_by_part(model: FusionModel, batch: InterleavedBatch) -> dict[str, float]:
    """Operations of the forward pass of a sample of `batch`, on average, each document alone and unpadded.

    The parts are the encoders (with their projectors), the fusion method, and the head at every supervised position.
    `fusion/flops.py` says what is counted.
    """
    return mean([count(model, usage(model, document)) for document in documents_alone(batch)], batch.num_samples)


def flops_per_sample(model: FusionModel, batch: InterleavedBatch) -> float:
    """Operations of the forward pass of a sample, all parts together. See `flops_by_part`."""
    return sum(flops_by_part(model, batch).values())


def training_flops(forward: float) -> float:
    """Operations of forward and backward pass: three times the forward pass (arXiv:2001.08361).

    Each product has two gradients. The estimate is a little too high, for raw inputs need no gradient.
    """
    return 3 * forward


def active_parameters(model: nn.Module) -> int:
    """Parameters that one token uses: where each modality has weights of its own, those of one, the largest."""
    total = sum(p.numel() for p in model.parameters())
    for module in model.modules():
        if isinstance(module, ModalityBlock):
            sizes = [sum(p.numel() for p in block.parameters()) for block in module.by_modality()]
            total -= sum(sizes) - max(sizes)
    return total


def trainable_parameters(model: nn.Module) -> int:
    """Parameters that training changes; frozen encoders have none."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
