"""A feed-forward layer is told what its tokens are, in every fusion method, packed and in cached decoding."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from data.types import InterleavedBatch
from fusion.feed_forward.swiglu import SwiGLU
from fusion.method import FusionMethod
from fusion.methods.bottleneck import BottleneckFusion
from fusion.mixers.attention import SelfAttention
from fusion.mixers.cross_attention import CrossAttention
from fusion.model import FusionModel
from fusion.sequence import EmbeddedSequence, Visibility
from tests.fusion.builders import batch_of, small_model
from tests.fusion.routing import METHODS, Marks, Routed

ROWS = [[[3, "image", 4, ("audio", 13), 4], [2]], [["image", "image", 3], [("audio", 6), ("audio", 9), 5]]]
NUM_MODALITIES, LAYERS = 3, 2


def documents_alone(model: FusionModel) -> InterleavedBatch:
    return batch_of(model, [[document] for row in ROWS for document in row], width=40)


def with_marks(method: str) -> tuple[FusionModel, list[Marks]]:
    """Tokens don't see one another, so that a state is its embedding and the marks that it got."""
    model = small_model(num_layers=LAYERS, fusion=METHODS[method], feed_forward=Marks).double()
    with torch.no_grad():
        for module in model.fusion.modules():
            if isinstance(module, SelfAttention | CrossAttention):
                module.out.weight.zero_()
        for name, parameter in model.fusion.named_parameters():
            if name.endswith("feed_forward_gate"):
                parameter.fill_(30.0)  # its tanh is 1
            if name in ("down.weight", "down.bias"):  # of the perceptron that concat ends with
                parameter.zero_()
    return model, [module for module in model.fusion.modules() if isinstance(module, Marks)]


def double(batch: InterleavedBatch) -> InterleavedBatch:
    media = {name: replace(item, values=item.values.double()) for name, item in batch.media.items()}
    return replace(batch, media=media)


def part(sequence: EmbeddedSequence, start: int, stop: int) -> EmbeddedSequence:
    return EmbeddedSequence(**{f.name: getattr(sequence, f.name)[:, start:stop] for f in fields(sequence)})


def decoded(fusion: FusionMethod, sequence: EmbeddedSequence, start: int) -> Tensor:
    """All tokens from `start` on one by one, behind those before it in one go."""
    cache = fusion.make_cache(*sequence.document_ids.shape)
    ends = [0, *range(start, sequence.hidden.shape[1] + 1)]
    return torch.cat([fusion(part(sequence, a, b), cache).states for a, b in itertools.pairwise(ends)], dim=1)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_each_token_is_told_as_what_it_is_and_padding_as_none(method: str, packed: bool) -> None:
    model, layers = with_marks(method)
    batch = double(batch_of(model, ROWS, width=30) if packed else documents_alone(model))
    batch.modality_ids[0, 1] = -2  # a medium that is absent is still of its modality
    sequence = model.embed(batch)
    valid = batch.document_ids >= 0
    assert not valid.all()
    marks = model.fusion(sequence).states - sequence.hidden
    expected = torch.nn.functional.one_hot(batch.modality_ids.abs(), 32)[valid]
    passed = marks[valid].sum(1, keepdim=True).round()
    assert bool((passed >= 1).all())
    torch.testing.assert_close(marks[valid], passed * expected)
    told = torch.cat([ids.flatten() for layer in layers for ids in layer.told])
    own = [int((marks[valid][:, modality]).sum().round()) for modality in range(NUM_MODALITIES)]
    if isinstance(
        model.fusion, BottleneckFusion
    ):  # bottleneck tokens count as those of the modality that they are with
        items = 7  # six media, and the one that is absent
        extra = model.fusion.num_bottlenecks * items * (LAYERS - model.fusion.fusion_layer)
        own = [count + extra for count in own]
    assert [int((told == modality).sum()) for modality in range(NUM_MODALITIES)] == own
    assert int(told.min()) >= -1
    assert int(told.max()) < NUM_MODALITIES


@pytest.mark.parametrize("method", METHODS)
def test_cached_decoding_tells_the_same(method: str) -> None:
    model, _ = with_marks(method)
    sequence = model.embed(double(batch_of(model, [[[3, "image", 6]], [[("audio", 9), 6]]])))
    start = int((sequence.modality_ids != 0).nonzero()[:, 1].max()) + 1
    torch.testing.assert_close(decoded(model.fusion, sequence, start), model.fusion(sequence).states)
    assert start < sequence.hidden.shape[1]


@pytest.mark.parametrize("method", METHODS)
def test_with_weights_for_each_modality_packed_equals_unpacked_and_cached_equals_full(method: str) -> None:
    model = small_model(num_layers=LAYERS, fusion=METHODS[method], feed_forward=Routed).double()
    packed, alone = double(batch_of(model, ROWS)), double(documents_alone(model))
    alone = replace(alone, media=packed.media, token_ids=same_tokens(packed, alone))
    states, expected = model(packed).states, model(alone).states
    for document in range(len(packed.sample_ids)):
        torch.testing.assert_close(states[packed.document_ids == document], expected[alone.document_ids == document])
    with torch.no_grad():
        model.fusion.get_parameter(next(n for n, _ in model.fusion.named_parameters() if "expert_weight" in n)).mul_(2)
    assert not torch.allclose(model(packed).states, states), "the layers did nothing"
    sequence = model.embed(double(batch_of(model, [[[3, "image", 6]], [[("audio", 9), 6]]])))
    start = int((sequence.modality_ids != 0).nonzero()[:, 1].max()) + 1
    torch.testing.assert_close(decoded(model.fusion, sequence, start), model.fusion(sequence).states)


def same_tokens(packed: InterleavedBatch, alone: InterleavedBatch) -> Tensor:
    token_ids = alone.token_ids.clone()
    for document in range(len(packed.sample_ids)):
        token_ids[alone.document_ids == document] = packed.token_ids[packed.document_ids == document]
    return token_ids


def test_layers_that_do_not_ask_are_not_told_how_many_modalities_there_are() -> None:
    seen: list[dict[str, Any]] = []

    def plain(d_model: int) -> SwiGLU:
        seen.append({"d_model": d_model})
        return SwiGLU(d_model)

    small_model(num_layers=1, feed_forward=plain)
    assert seen == [{"d_model": 32}]
    model = small_model(num_layers=1, feed_forward=Routed)
    assert model.fusion.blocks[0].feed_forward.expert_weight.shape == (NUM_MODALITIES, 32, 32)


def test_who_does_not_say_what_its_tokens_are_is_told_so() -> None:
    with pytest.raises(ValueError, match="modality_ids=None of a Visibility: say what the tokens are"):
        _ = Visibility(torch.zeros(1, 2, dtype=torch.long)).modality_ids
