"""A feed-forward layer with auxiliary losses and counts, as a mixture of experts has them."""

from __future__ import annotations

import torch
from torch import nn

from fusion.feed_forward.swiglu import SwiGLU
from fusion.hidden import Aux, Hidden
from tests.training.tiny import fusion_configs

PULL = [1.0, 2.0, 3.0]


class Telling(SwiGLU):
    """Two losses: `pull`, whose gradient in every call is PULL, and `size`, in which all earlier layers take part.

    Counts tokens by modality, and by the sign of their first channel.
    """

    def __init__(self, d_model: int, num_modalities: int, tells: bool = True) -> None:
        super().__init__(d_model)
        self.num_modalities, self.tells = num_modalities, tells
        self.offset = nn.Parameter(torch.zeros(3))

    def forward(self, x_BLD, modality_ids_BL):
        y_BLD = super().forward(x_BLD, modality_ids_BL) + 0 * self.offset.sum()
        if not self.tells:
            return y_BLD
        pull = (self.offset * torch.tensor(PULL, dtype=x_BLD.dtype)).sum()
        squares = (x_BLD + y_BLD).square().mean(-1) * (modality_ids_BL >= 0)
        size = 0.1 * squares.sum() / (modality_ids_BL >= 0).sum().clamp(min=1)
        kinds = torch.arange(self.num_modalities)[:, None, None] == modality_ids_BL  # [M, B, L]
        positive = x_BLD.detach()[..., 0] > 0
        counts = torch.stack([(kinds & positive).sum((1, 2)), (kinds & ~positive).sum((1, 2))], dim=1)
        return Hidden(y_BLD, Aux({"pull": pull, "size": size}, {"signs": counts}))


def telling_configs(**options):
    """The fusion methods of `fusion_configs` with this layer."""
    layer = {"_target_": "tests.training.telling.Telling", "_partial_": True, **options}
    return {name: {**config, "feed_forward": layer} for name, config in fusion_configs().items()}
