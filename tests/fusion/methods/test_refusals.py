"""What a fusion method refuses to be built from."""

from functools import partial
from typing import Any

import pytest

from fusion.methods.bottleneck import BottleneckFusion
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.methods.early import EarlyFusion
from fusion.methods.mid import MidFusion
from fusion.methods.mixture_of_transformers import MixtureOfTransformers
from fusion.methods.simbamm import SimBaMM
from fusion.mixers.cross_attention import CrossAttention
from fusion.positions.rope import Rope
from tests.fusion.builders import small_model

CROSS = {"cross_attention": partial(CrossAttention, num_heads=4, num_kv_heads=2, position=Rope)}


@pytest.mark.parametrize(
    ("fusion", "options", "message"),
    [
        (MidFusion, {"fusion_layer": 2}, "fusion_layer=2 must be from 0 to num_layers - 1 = 1"),
        (BottleneckFusion, {"num_bottlenecks": 0}, "num_bottlenecks=0 must be 1 or more"),
        (BottleneckFusion, {"fusion_layer": 2}, "fusion_layer=2 must be from 0"),
        (EarlyFusion, {"weights": "own"}, "weights='own' must be one of shared, per_modality, or a list of these"),
        (MidFusion, {"weights": ["shared"] * 3}, r"weights=\[.*\] must be one for each of num_layers=2"),
        (MixtureOfTransformers, {"weights": "shared"}, "weights='shared' must be per_modality; .* it is fusion=early"),
        (SimBaMM, {"weights": "shared"}, "weights='shared' must be per_modality; .* it is fusion=mid"),
        (SimBaMM, {"joint_layers": 0}, "joint_layers=0 must be from 1 to num_layers=2"),
        (SimBaMM, {"joint_layers": 3}, "joint_layers=3 must be from 1 to num_layers=2"),
        (SimBaMM, {"num_layers": 0}, "num_layers=0 must be from 1"),
        (CrossAttentionFusion, {"weights": "own", **CROSS}, "weights='own' must be one of shared, per_modality"),
        (
            CrossAttentionFusion,
            {"weights": "shared", "media_layers": 0, **CROSS},
            "weights='shared' needs media_layers",
        ),
        (CrossAttentionFusion, {"cross_every": 3, **CROSS}, "cross_every=3 must be from 1 to num_layers=2"),
        (CrossAttentionFusion, {"media_layers": -1, **CROSS}, "media_layers=-1 must be from 0 to 1000"),
    ],
)
def test_a_method_refuses_what_it_cannot_build(fusion: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_model(fusion=fusion, **options)
