"""What a model looks at: attention weights of every layer, by the dense reference.

Shape legend: B rows, H heads, L tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from data.types import InterleavedBatch
from fusion.mixers.attention import SelfAttention
from fusion.model import FusionModel


def attention_layers(model: FusionModel) -> list[int]:
    """The layers, counted from 0, that `attention_maps` has a tensor for, in its order."""
    return [layer for layer, block in enumerate(model.fusion.layers()) if isinstance(block.mixer, SelfAttention)]


@torch.no_grad()
def attention_maps(model: FusionModel, batch: InterleavedBatch) -> list[Tensor]:
    """One [B, H, L, L] tensor per layer whose mixer has attention weights; rows of padding are zero."""
    maps: list[Tensor] = []

    def record(mixer: SelfAttention, inputs: tuple[Any, ...]) -> None:
        x_BLD, visibility, positions_BL = inputs[:3]
        maps.append(mixer.probabilities(x_BLD, visibility, positions_BL))

    mixers = [block.mixer for block in model.fusion.layers() if isinstance(block.mixer, SelfAttention)]
    hooks = [mixer.register_forward_pre_hook(record) for mixer in mixers]
    try:
        model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return maps
