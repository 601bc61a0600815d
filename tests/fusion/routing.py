"""Feed-forward layers that treat modalities differently, for tests of what such layers are told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from fusion.method import FusionMethod
from fusion.methods.bottleneck import BottleneckFusion
from fusion.methods.concat import ConcatFusion
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.methods.early import EarlyFusion
from fusion.methods.late import LateFusion
from fusion.methods.mid import MidFusion
from fusion.methods.mixture_of_transformers import MixtureOfTransformers
from fusion.methods.simbamm import SimBaMM
from fusion.mixers.cross_attention import CrossAttention
from fusion.positions.rope import Rope

CROSS = partial(CrossAttention, num_heads=4, num_kv_heads=2, position=Rope)
METHODS: dict[str, Callable[..., FusionMethod]] = {
    "early": EarlyFusion,
    "mid": MidFusion,
    "mid_per_modality": partial(MidFusion, weights="per_modality"),
    "late": LateFusion,
    "bottleneck": partial(BottleneckFusion, fusion_layer=1),
    "bottleneck_per_modality": partial(BottleneckFusion, weights="per_modality"),
    "cross_attention": partial(CrossAttentionFusion, media_layers=1, gate_init=0.5, cross_attention=CROSS),
    "cross_attention_shared": partial(
        CrossAttentionFusion, media_layers=1, gate_init=0.5, weights="shared", cross_attention=CROSS
    ),
    "mixture_of_transformers": MixtureOfTransformers,
    "concat": ConcatFusion,
    "concat_shared": partial(ConcatFusion, weights="shared"),
    "simbamm": SimBaMM,
}


class Routed(nn.Module):
    """One matrix for each modality; what is of none becomes 0."""

    def __init__(self, d_model: int, num_modalities: int) -> None:
        super().__init__()
        self.expert_weight = nn.Parameter(torch.randn(num_modalities, d_model, d_model) * d_model**-0.5)

    def forward(self, x: Tensor, modality_ids: Tensor) -> Tensor:
        parts = [
            (x @ weight.T) * (modality_ids == modality)[..., None]
            for modality, weight in enumerate(self.expert_weight.unbind())
        ]
        return torch.stack(parts).sum(0)


class Marks(nn.Module):
    """Adds 1 to the channel of a token's modality, and to the one behind these at padding."""

    def __init__(self, d_model: int, num_modalities: int) -> None:
        super().__init__()
        self.num_channels, self.padding = d_model, num_modalities
        self.told: list[Tensor] = []

    def forward(self, x: Tensor, modality_ids: Tensor) -> Tensor:
        self.told.append(modality_ids)
        channels = torch.where(modality_ids == -1, self.padding, modality_ids)
        return nn.functional.one_hot(channels, self.num_channels).to(x)
