"""What a mixture of experts says of itself is believed: operations, active parameters; and what it must say."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from certify.checks.counting_checks import torch_backward_flops, torch_flops
from data.types import BadInputError
from fusion.cost.active import active_parameters
from fusion.cost.counting import flops_by_part
from fusion.cost.flops import count, count_backward, documents_alone, usage
from fusion.feed_forward.swiglu import SwiGLU
from fusion.methods.mixture_of_transformers import MixtureOfTransformers
from tests.fusion.builders import batch_of, small_model
from tests.fusion.routing import METHODS
from tests.fusion.small_experts import CountedExperts, SmallExperts

DOCUMENTS = [[5, "image", 3], [("audio", 21), 4, "image"], [9]]


@pytest.mark.parametrize("method", METHODS)
def test_operations_equal_torchs_own_count(method: str) -> None:
    """Forward and backward, on documents alone; and padding costs nothing, whatever a layer makes of it."""
    model = small_model(fusion=METHODS[method], feed_forward=CountedExperts)
    packed, padded = batch_of(model, [DOCUMENTS]), batch_of(model, [[d] for d in DOCUMENTS], width=40)
    for document in list(documents_alone(packed))[::2]:
        found = usage(model, document)
        assert sum(count(model, found).values()) == torch_flops(model, document)
        backward = sum(count_backward(model, found).values())
        # Torch counts the gradient of an expert that no token chose as one of zero operations.
        assert backward == torch_backward_flops(model, document)
    assert flops_by_part(model, packed) == flops_by_part(model, padded)


def test_experts_that_say_nothing_are_refused_by_name() -> None:
    model = small_model(feed_forward=SmallExperts)
    document = next(documents_alone(batch_of(model, [[[6]]])))
    with pytest.raises(BadInputError, match=r"SmallExperts \(fusion.blocks.0.feed_forward\) multiplies \(mm\)"):
        usage(model, document)


def test_active_parameters_are_those_of_one_expert_and_of_one_modality() -> None:
    def sizes(feed_forward: Any, **options: Any) -> tuple[int, int]:
        model = small_model(num_layers=2, feed_forward=feed_forward, **options)
        return active_parameters(model), sum(p.numel() for p in model.parameters())

    plain, all_of_plain = sizes(SwiGLU)
    assert plain == all_of_plain
    few, _ = sizes(partial(SmallExperts, num_experts=2))
    many, total = sizes(partial(SmallExperts, num_experts=8))
    assert many - few == 2 * (8 - 2) * 32  # of two layers the router's rows alone
    assert total - many == 2 * (8 - 1) * 32 * 32
    mot, all_of_mot = sizes(partial(SmallExperts, num_experts=8), fusion=MixtureOfTransformers)
    assert mot == many  # one modality, and of it one expert
    assert all_of_mot - total == 2 * 2 * ((8 * 32 * 32 + 8 * 32) + 32 * (2 * 32 + 2 * 16) + 2 * 32 + 2 * 8)


def test_a_module_cannot_have_more_active_parameters_than_parameters() -> None:
    class Boasting(nn.Linear):
        def active_parameters(self) -> int:
            return 100

    with pytest.raises(ValueError, match=r"Boasting.active_parameters\(\)=100 must be from 0 to its 4 parameters"):
        active_parameters(nn.Sequential(Boasting(2, 2, bias=False)))
    assert active_parameters(torch.nn.Linear(2, 2)) == 6
