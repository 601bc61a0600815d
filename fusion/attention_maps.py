"""What a model looks at: attention weights of every layer, by the dense reference.

Shape legend: B rows, H heads, L tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from data.types import InterleavedBatch
from fusion.mixers.attention import GroupAttention, dense_probabilities
from fusion.model import FusionModel


def attention_layers(model: FusionModel) -> list[int]:
    """The layers, counted from 0, that `attention_maps` has a tensor for, in its order."""
    return [layer for layer, block in enumerate(model.fusion.layers()) if _attention(block)]


@torch.no_grad()
def attention_maps(model: FusionModel, batch: InterleavedBatch) -> list[Tensor]:
    """One [B, H, L, L] tensor per layer that has attention weights over the sequence; rows of padding are zero."""
    maps: list[Tensor] = []

    def record(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        q_BHLK, k_BHLK, _, visibility = inputs[:4]
        maps.append(dense_probabilities(q_BHLK, k_BHLK, visibility.mask))

    hooks = [part.register_forward_pre_hook(record) for layer in model.fusion.layers() for part in _attention(layer)]
    try:
        model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return maps


def _attention(layer: nn.Module) -> list[GroupAttention]:
    """The module that joins the tokens of a layer; with weights per modality the first one's serves all."""
    return [module for module in layer.modules() if isinstance(module, GroupAttention)][:1]
