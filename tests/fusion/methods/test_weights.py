"""Which weights a token uses: one of the two axes on which methods differ, the other being who sees whom."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from fusion.block import Block, ModalityBlock
from fusion.methods.bottleneck import BottleneckFusion
from fusion.methods.concat import ConcatFusion
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.methods.early import EarlyFusion
from fusion.methods.late import LateFusion
from fusion.methods.mid import MidFusion
from fusion.methods.mixture_of_transformers import MixtureOfTransformers
from fusion.methods.simbamm import SimBaMM
from tests.fusion.methods.test_methods import AUDIO, CROSS, IMAGE, TEXT, model_and_batch, moved

CROSSED = partial(CrossAttentionFusion, num_layers=1, media_layers=1, **CROSS)
METHODS = [LateFusion, BottleneckFusion, ConcatFusion]  # of early and mid see test_methods


def make_equal(blocks: Any) -> None:
    """Every modality gets the weights of the first."""
    for block in blocks:
        for expert in block.experts:
            expert.load_state_dict(block.experts[0].state_dict())


@pytest.mark.parametrize("fusion", METHODS)
def test_equal_weights_per_modality_are_shared_weights(fusion: Any) -> None:
    separate, batch = model_and_batch(fusion, weights="per_modality")
    make_equal(separate.fusion.blocks)
    shared, _ = model_and_batch(fusion, weights="shared")
    shared.load_state_dict({name.replace(".experts.0.", "."): x for name, x in separate.state_dict().items()}, False)
    valid = batch.document_ids >= 0
    torch.testing.assert_close(shared(batch).states[valid], separate(batch).states[valid])


def test_equal_media_layers_are_shared_media_layers() -> None:
    separate, batch = model_and_batch(CROSSED)
    make_equal(separate.fusion.media.blocks)
    shared, _ = model_and_batch(CROSSED, weights="shared")
    shared.load_state_dict({name.replace(".experts.0.", "."): x for name, x in separate.state_dict().items()}, False)
    valid = batch.document_ids >= 0
    torch.testing.assert_close(shared(batch).states[valid], separate(batch).states[valid])


@pytest.mark.parametrize(("weights", "touched"), [("per_modality", (IMAGE,)), ("shared", (AUDIO, IMAGE))])
def test_media_layers_before_cross_attention_are_of_a_medium_or_of_all(weights: str, touched: tuple[int, ...]) -> None:
    """Media states do not see text, so what moves is what passes the changed weights."""
    model, batch = model_and_batch(CROSSED, weights=weights)
    sequence = model.embed(batch)
    before = model.fusion(sequence).states
    block = model.fusion.media.blocks[0]
    layer = block.experts[IMAGE - 1] if weights == "per_modality" else block
    with torch.no_grad():
        layer.feed_forward.down.weight.add_(0.1)
    after = model.fusion(sequence).states
    for kind in (AUDIO, IMAGE):
        of_kind = (batch.document_ids >= 0) & (batch.modality_ids == kind)
        assert moved(before, after, of_kind) == (kind in touched)


def test_simbamm_has_weights_per_modality_below_and_shared_weights_above() -> None:
    """It is mid fusion with the weights of each layer stated."""
    model, batch = model_and_batch(partial(SimBaMM, joint_layers=2), num_layers=3)
    assert [type(block) for block in model.fusion.blocks] == [ModalityBlock, Block, Block]
    stated = partial(MidFusion, fusion_layer=1, weights=["per_modality", "shared", "shared"])
    other, _ = model_and_batch(stated, num_layers=3)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(batch).states, other(batch).states)
    before = model.fusion(model.embed(batch)).states
    with torch.no_grad():
        model.fusion.blocks[0].experts[AUDIO].feed_forward.down.weight.add_(0.1)
    after = model.fusion(model.embed(batch)).states
    alone = batch.document_ids == 2  # two images and a text, no sound
    assert not moved(before, after, alone), "no sound, no change"
    assert moved(before, after, (batch.document_ids == 0) & (batch.modality_ids == TEXT))


@pytest.mark.parametrize(("num_layers", "joint"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_half_of_the_layers_are_joint_unless_stated(num_layers: int, joint: int) -> None:
    model, _ = model_and_batch(SimBaMM, num_layers=num_layers)
    assert [type(block) for block in model.fusion.blocks].count(Block) == joint


def test_with_joint_layers_alone_it_is_early_fusion() -> None:
    early, batch = model_and_batch(EarlyFusion)
    late, _ = model_and_batch(partial(SimBaMM, joint_layers=2))
    torch.testing.assert_close(late(batch).states, early(batch).states)


def test_a_mixture_of_transformers_is_early_fusion_with_weights_per_modality() -> None:
    named, batch = model_and_batch(MixtureOfTransformers)
    stated, _ = model_and_batch(EarlyFusion, weights="per_modality")
    assert torch.equal(named(batch).states, stated(batch).states)
    assert named.state_dict().keys() == stated.state_dict().keys()
