"""Rotations are exact at every place, and computed once a forward pass."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fusion.methods.bottleneck import BottleneckFusion
from fusion.methods.concat import ConcatFusion
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.methods.early import EarlyFusion
from fusion.methods.mid import MidFusion
from fusion.methods.mixture_of_transformers import MixtureOfTransformers
from fusion.positions.once import Positions
from fusion.positions.rope import Rope
from tests.fusion.builders import batch_of, small_model
from tests.fusion.methods.test_methods import CROSS, ROWS

FAR = [0, 1, 65_000, 1_048_575]
# How often angles are computed in a forward pass: for each set of tokens that layers run over, whatever their number.
# In `mid` with shared weights one set; with weights per modality one for each of 3 modalities; in `cross_attention` the
# text and the media, the latter also modality by modality (2); in `bottleneck` all tokens, and those of 3 passes.
METHODS: dict[str, tuple[Any, int]] = {
    "early": (EarlyFusion, 1),
    "mid": (MidFusion, 1),
    "mixture_of_transformers": (MixtureOfTransformers, 3),
    "concat": (ConcatFusion, 3),
    "cross_attention": (partial(CrossAttentionFusion, **CROSS), 4),
    "bottleneck": (partial(BottleneckFusion, fusion_layer=1), 4),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-7), (torch.float64, 1e-9)])
def test_rotations_are_those_of_exact_arithmetic(dtype: torch.dtype, tolerance: float) -> None:
    """Of 50 digits. float32 rounds a cosine by 6e-8, float64 an angle of a million by 1e-10."""
    theta, head_dim = 10_000.0, 16
    cos, sin = Rope(head_dim, theta).rotation(Positions(torch.tensor(FAR)[None, :, None]), dtype)
    assert cos.dtype == sin.dtype == dtype
    with mpmath.workdps(50):
        angles = [[place * mpmath.mpf(theta) ** (-mpmath.mpf(i) / head_dim) for i in range(0, 16, 2)] for place in FAR]
        for found, function in ((cos, mpmath.cos), (sin, mpmath.sin)):
            values = [[float(function(angle)) for angle in row * 2] for row in angles]
            expected = torch.tensor(values, dtype=torch.float64)
            assert float((found[0, 0].double() - expected).abs().max()) < tolerance


@pytest.mark.parametrize("name", METHODS)
def test_only_distances_matter_however_far_a_document_begins(name: str) -> None:
    """A document of which a million tokens are not shown: in float32, which rounds states by 1e-6 or so."""
    model = small_model(fusion=METHODS[name][0])
    batch = batch_of(model, ROWS)
    valid = batch.document_ids >= 0
    with torch.no_grad():
        near, far = model(batch).states, model(replace(batch, positions=batch.positions + 1_048_000)).states
    assert float((near - far)[valid].abs().max()) < 1e-5


@pytest.mark.parametrize("name", METHODS)
def test_angles_are_computed_once_a_forward_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = counted(monkeypatch)
    fusion, expected = METHODS[name]
    for num_layers in (2, 4):
        model = small_model(fusion=fusion, num_layers=num_layers)
        batch = batch_of(model, ROWS)
        for _ in range(2):
            computed.clear()
            model(batch)
            assert len(computed) == expected


def test_a_block_that_is_computed_again_takes_the_rotation_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As activation checkpointing does for the backward pass; gradients are the same."""
    computed, gradients = counted(monkeypatch), []
    for again in (False, True):
        model = small_model()
        if again:
            for block in model.fusion.blocks:
                monkeypatch.setattr(block, "forward", partial(checkpoint, block.forward, use_reentrant=False))
        computed.clear()
        model(batch_of(model, ROWS)).states.pow(3).mean().backward()
        assert len(computed) == 1
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.fusion.parameters()]))
    assert torch.equal(*gradients)


def test_layers_share_a_rotation_only_where_it_is_the_same() -> None:
    class Slow(Rope):
        """Depends on more than a `Rope`."""

        def __init__(self, factor: float) -> None:
            super().__init__(8)
            self.factor = factor

        def angles(self, positions_BLA: Tensor) -> Tensor:
            return super().angles(positions_BLA) / self.factor

    positions = Positions(torch.arange(5)[None, :, None])
    one, same, other, half, slow = Rope(8), Rope(8), Rope(8, theta=100.0), Slow(2.0), Slow(9.0)
    rotations = [rope.rotation(positions, torch.float32)[0] for rope in (one, same, other, half, slow)]
    assert rotations[0] is rotations[1]
    for place, rope in enumerate((one, same, other, half, slow)):
        alone = rope.rotation(Positions(torch.arange(5)[None, :, None]), torch.float32)[0]
        assert torch.equal(rotations[place], alone)
    assert len({tuple(rotation.flatten().tolist()) for rotation in rotations}) == 4
    assert one.rotation(positions, torch.float64)[0].dtype == torch.float64


def counted(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """Which modules compute angles, from now on."""
    computed, original = [], Rope.angles

    def angles(self: Rope, positions_BLA: Tensor) -> Tensor:
        computed.append(self)
        return original(self, positions_BLA)

    monkeypatch.setattr(Rope, "angles", angles)
    return computed
