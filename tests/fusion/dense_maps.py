"""The slow reference of attention maps: the weights of all pairs of a batch, for layers over the whole sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from data.types import InterleavedBatch
from fusion.attention.masked import dense_probabilities
from fusion.mixers.attention import GroupAttention
from fusion.model import FusionModel


@torch.no_grad()
def dense_maps(model: FusionModel, batch: InterleavedBatch) -> list[Tensor]:
    """[B, H, L, L] of every call of self-attention; rows of padding are zero."""
    found: list[Tensor] = []

    def record(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        q_BHLK, k_BHLK, _, visibility = inputs[:4]
        found.append(dense_probabilities(q_BHLK, k_BHLK, visibility.mask))

    attention = [module for module in model.fusion.modules() if isinstance(module, GroupAttention)]
    hooks = [module.register_forward_pre_hook(record) for module in attention]
    model(batch)
    for hook in hooks:
        hook.remove()
    return found
