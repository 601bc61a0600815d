"""What a model costs: parameters and floating-point operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from data.types import InterleavedBatch
from fusion.model import FusionModel


def parameter_counts(model: FusionModel) -> dict[str, int]:
    """Parameters in total and of each part (each encoder, the text embedding, the fusion method, ...)."""
    parts = {f"{name}_encoder": module for name, module in model.media_encoders.items()}
    for name, module in model.named_children():
        if name != "media_encoders":
            parts[name] = module
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in parts.items()}
    return {"total": sum(p.numel() for p in model.parameters()), **counts}


@torch.no_grad()
def flops_per_sample(model: FusionModel, batch: InterleavedBatch) -> float:
    """Operations of the forward pass over `batch`, heads at every supervised position, per sample.

    Counted by torch's `FlopCounterMode` while the model runs: matrix products, convolutions and attention, of which all
    pairs of a group count, though half of them are masked; a multiplication with its addition is two operations. A
    training step costs about three times as much.
    """
    mode = model.training
    model.eval()
    with FlopCounterMode(display=False) as counter, _countable_operations():
        hidden = model(batch)
        model.logits(hidden[batch.labels >= 0])
    model.train(mode)
    return counter.get_total_flops() / max(batch.num_samples, 1)


@contextmanager
def _countable_operations() -> Iterator[None]:
    """Without torch's fused encoder layer and fused attention of the CPU, which the counter takes for nothing."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def active_parameters(model: nn.Module) -> int:
    """Parameters that one token uses; all of them, as long as no layer routes."""
    return sum(p.numel() for p in model.parameters())


def trainable_parameters(model: nn.Module) -> int:
    """Parameters that training changes; frozen encoders have none."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
