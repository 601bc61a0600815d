"""Operations of the backward pass and of the optimizer, against torch's own count of them while they run."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from certify.checks.counting_checks import operations_match_torch, torch_backward_flops
from certify.context import Context
from data.types import Alignment, InterleavedBatch
from encoders.projectors.perceiver_resampler import PerceiverResampler
from encoders.projectors.qformer import QFormer
from fusion.cost.counting import sample_flops
from fusion.cost.flops import count, count_backward, documents_alone, usage
from fusion.cost.torch_flops import torch_counts
from fusion.model import FusionModel
from fusion.spaces.shared_space import SharedSpace
from tests.fusion.builders import VOCAB_SIZE, batch_of, small_model
from tests.fusion.positions.test_positions import METHODS
from training.objectives.next_token import NextToken
from training.optimizers.groups import adamw, muon

PICTURE = [["image", 4]]


def only_pictures(model: FusionModel) -> tuple[FusionModel, InterleavedBatch]:
    """A document of an image and as many tokens of text; without sound, which would join the graph."""
    document = next(documents_alone(batch_of(model, [PICTURE])))
    del model.media_encoders["audio"]
    document.modality_ids.clamp_(max=1)
    model.modalities = ("text", "image")
    return model, document


def backward_of(model: FusionModel, document: InterleavedBatch) -> dict[str, int]:
    return count_backward(model, usage(model, document))


@pytest.mark.parametrize("name", METHODS)
def test_the_backward_pass_of_every_method_costs_what_torch_counts(name: str) -> None:
    model = small_model(fusion=METHODS[name][0]).double()
    optimizer = partial(muon, lr=0.02, adamw_lr=1e-3)
    result = operations_match_torch(Context(model, VOCAB_SIZE, NextToken(), optimizer, OmegaConf.create({})))
    assert result.passed, result


def test_a_training_step_costs_what_is_counted() -> None:
    """As it is trained: in training mode, by a loss."""
    model, document = only_pictures(small_model())
    found = sample_flops(model, document)
    model.train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        NextToken()(model, document).sum.backward()
    assert found.training == counter.get_total_flops()
    assert 2.9 * found.inference < found.training < 3 * found.inference  # the first layers' inputs have no gradient


@pytest.mark.parametrize("projector", [PerceiverResampler, QFormer])
def test_resamplers_have_gradients_where_torch_has(projector: Any) -> None:
    model = small_model(projector=partial(projector, num_queries=4, num_layers=2, num_heads=2))
    model, document = only_pictures(model)
    for frozen in (False, True):
        model.media_encoders["image"].encoder.requires_grad_(not frozen)
        assert sum(backward_of(model, document).values()) == torch_backward_flops(model, document)


def test_what_is_frozen_has_no_gradients() -> None:
    """Weights of a frozen encoder have none, and neither have its inputs; what it feeds learns all the same."""
    model, document = only_pictures(small_model())
    free, forward = backward_of(model, document), count(model, usage(model, document))
    encoder = model.media_encoders["image"]
    encoder.encoder.requires_grad_(False)
    frozen = backward_of(model, document)
    assert frozen["fusion"] == free["fusion"]
    projector = sum(2 * 4 * layer.weight.numel() for layer in (encoder.projector.up, encoder.projector.down))
    assert frozen["image_encoder"] == 2 * projector  # its norm learns, so that its first layer's input has a gradient
    assert free["image_encoder"] > frozen["image_encoder"]
    assert sum(frozen.values()) == torch_backward_flops(model, document)
    model.requires_grad_(False)
    model.fusion.blocks[-1].requires_grad_(True)
    last = backward_of(model, document)
    assert last["image_encoder"] == 0
    assert last["head"] == forward["head"]  # towards the hidden states alone
    assert 0 < last["fusion"] < frozen["fusion"]
    assert sum(last.values()) == torch_backward_flops(model, document)
    model.requires_grad_(False)
    assert sum(backward_of(model, document).values()) == 0


def test_a_shared_space_is_counted_for_its_segments() -> None:
    model = small_model(shared_space=partial(SharedSpace, d_embedding=16))
    batch = batch_of(model, [[["image"], [4]]])
    zeros = torch.zeros(2, dtype=torch.long)
    batch.labels.fill_(-100)
    batch = replace(batch, alignment=Alignment(torch.tensor([0, 1]), zeros, torch.tensor([2, 0]), torch.tensor([5, 7])))
    assert batch.num_samples == 1
    found = sample_flops(model, batch)
    assert found.forward["shared_space"] == 2 * 2 * 32 * 16
    assert found.backward["shared_space"] == 2 * found.forward["shared_space"]
    for document in documents_alone(batch):
        assert document.alignment is not None

        def embedded(document: InterleavedBatch = document) -> Tensor:
            assert model.shared_space is not None
            return model.shared_space(model.fusion(model.embed(document)).states, document)[0]

        forward, _ = torch_counts(model, embedded)
        absent = sum(
            torch_counts(encoder, encoder.absent)[0]  # type: ignore[arg-type]
            for name, encoder in model.media_encoders.items()
            if name not in document.media
        )
        assert sum(count(model, usage(model, document)).values()) == forward - absent


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_optimizer_costs_what_torch_counts(name: str) -> None:
    """Matrices of several shapes, wide and tall, stacked ones and kernels. AdamW has no products."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MultiheadAttention(8, 2), nn.Linear(8, 24), nn.Linear(24, 8))
    optimizer = adamw(model, lr=1e-3) if name == "adamw" else muon(model, lr=0.02, adamw_lr=1e-3, steps=3)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    with FlopCounterMode(display=False) as counter:
        optimizer.step()
    assert optimizer.flops() == counter.get_total_flops()
    assert (optimizer.flops() > 0) == (name == "muon")
