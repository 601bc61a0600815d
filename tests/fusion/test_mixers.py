"""What a mixer that is not attention may be, and what it is refused for."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fusion.cross_attention import CrossAttentionFusion
from fusion.early import EarlyFusion
from fusion.feed_forward.swiglu import SwiGLU
from fusion.mixers.attention import SelfAttention
from fusion.mixers.base import Mixer
from fusion.positions.once import Positions
from fusion.sequence import Visibility
from tests.fusion.test_methods import CROSS


class RunningSum(Mixer):
    """The sum of the tokens of the group so far: from left to right, and no other way."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x_BLD: Tensor, visibility: Visibility, positions: Positions, cache: Any = None) -> Tensor:
        return self.out(torch.einsum("btl,bld->btd", visibility.mask.to(x_BLD), x_BLD))


class OneWayAttention(SelfAttention):
    """Attention that ignores segments, and says so."""

    sees_both_ways = False


OPTIONS: dict[str, Any] = {"d_model": 32, "num_modalities": 3, "num_layers": 2, "feed_forward": SwiGLU}
HEADS: dict[str, Any] = CROSS["cross_attention"].keywords


def test_a_mixer_that_looks_one_way_refuses_media_that_look_both() -> None:
    EarlyFusion(**OPTIONS, mixer=RunningSum)
    with pytest.raises(ValueError, match=r"bidirectional_media=True needs .* RunningSum does not .*mixer=attention"):
        EarlyFusion(**OPTIONS, mixer=RunningSum, bidirectional_media=True)


@pytest.mark.parametrize(
    "fusion", [partial(EarlyFusion, weights="per_modality"), partial(CrossAttentionFusion, **CROSS)]
)
def test_so_does_attention_that_says_it_cannot(fusion: Any) -> None:
    fusion(**OPTIONS, mixer=partial(SelfAttention, **HEADS), bidirectional_media=True)
    with pytest.raises(ValueError, match=r"bidirectional_media=True needs .* OneWayAttention does not"):
        fusion(**OPTIONS, mixer=partial(OneWayAttention, **HEADS), bidirectional_media=True)


def test_media_without_layers_of_their_own_cannot_look_both_ways() -> None:
    fusion = partial(CrossAttentionFusion, **OPTIONS, **CROSS, mixer=partial(SelfAttention, **HEADS), media_layers=0)
    fusion()
    with pytest.raises(ValueError, match="bidirectional_media=True needs media_layers of 1 or more"):
        fusion(bidirectional_media=True)
