"""Places say who comes before whom, positions what rotations read: neither does the work of the other."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from fusion.generation.decoding import next_step
from fusion.methods.bottleneck import BottleneckFusion
from fusion.methods.concat import ConcatFusion
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.methods.early import EarlyFusion
from fusion.methods.mid import MidFusion
from fusion.methods.mixture_of_transformers import MixtureOfTransformers
from fusion.model import FusionModel
from fusion.positions.following import following
from fusion.positions.once import Positions
from fusion.positions.rope import Rope
from fusion.sequence import EmbeddedSequence, Visibility
from tests.fusion.builders import batch_of, small_model
from tests.fusion.methods.test_methods import CROSS, model_and_batch

CROSS_ATTENTION = partial(CrossAttentionFusion, **CROSS)
IN_ANY_ORDER = [EarlyFusion, partial(MidFusion, fusion_layer=1), MixtureOfTransformers, CROSS_ATTENTION]


def permuted(sequence: EmbeddedSequence, order_BL: Tensor) -> EmbeddedSequence:
    """The tokens of each row in another order, with all that is known of them."""

    def moved(x: Tensor) -> Tensor:
        return x[torch.arange(len(x))[:, None], order_BL]

    return EmbeddedSequence(**{field.name: moved(getattr(sequence, field.name)) for field in fields(sequence)})


def random_order(sequence: EmbeddedSequence) -> Tensor:
    return torch.rand(sequence.places.shape, generator=torch.Generator().manual_seed(2)).argsort(dim=1)


def reached(model: FusionModel, sequence: EmbeddedSequence) -> Tensor:
    """[B, L, B * L], true where a token moves with another one's hidden state."""
    jacobian = torch.autograd.functional.jacobian(
        lambda hidden: model.fusion(replace(sequence, hidden=hidden)).states.sum(-1).flatten(), sequence.hidden.detach()
    )
    return jacobian.abs().amax(-1) > 1e-12


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("fusion", IN_ANY_ORDER)
def test_rows_may_hold_their_tokens_in_any_order(fusion: Any, bidirectional: bool) -> None:
    """Not their own order but the places decide, in the mask, in the folded path and in cross-attention."""
    model, batch = model_and_batch(fusion, bidirectional_media=bidirectional)
    sequence = model.embed(batch)
    order = random_order(sequence)
    expected, found = model.fusion(sequence).states, model.fusion(permuted(sequence, order)).states
    valid = batch.document_ids >= 0
    rows = torch.arange(len(order))[:, None]
    torch.testing.assert_close(found[valid[rows, order]], expected[rows, order][valid[rows, order]])


def test_one_document_a_row_in_another_order_is_no_plain_causal_row() -> None:
    places = torch.tensor([[0, 2, 1]])
    assert Visibility(torch.zeros_like(places), places_BL=places.sort().values).one_group_per_row
    assert not Visibility(torch.zeros_like(places), places_BL=places).one_group_per_row
    allowed = Visibility(torch.zeros_like(places), places_BL=places).mask[0].nonzero().tolist()
    assert allowed == [[0, 0], [1, 0], [1, 1], [1, 2], [2, 0], [2, 2]]


@pytest.mark.parametrize("fusion", [EarlyFusion, BottleneckFusion, ConcatFusion, CROSS_ATTENTION])
def test_other_positions_turn_queries_and_keys_and_nothing_else(fusion: Any) -> None:
    """The positions of each row are permuted, and the places stay: another result, by the same tokens."""
    model, batch = model_and_batch(fusion, num_layers=1)
    sequence = model.embed(batch)
    rows, order = torch.arange(len(batch.places))[:, None], random_order(sequence)
    other = replace(sequence, positions=sequence.positions[rows, order])
    valid = batch.document_ids >= 0
    assert float((model.fusion(sequence).states - model.fusion(other).states).detach()[valid].abs().max()) > 1e-6
    assert torch.equal(reached(model, sequence), reached(model, other))
    if type(model.fusion).forward is EarlyFusion.forward:
        masks = [model.fusion.visibilities(given)[0].mask for given in (sequence, other)]
        assert torch.equal(*masks)


def test_what_follows_is_behind_all_that_is_there() -> None:
    model = small_model()
    batch = batch_of(model, [[[3]], [["image"]], [[7]]])
    batch = replace(batch, document_ids=torch.where(torch.arange(3)[:, None] == 2, -1, batch.document_ids))
    (length,) = {int((batch.document_ids[1] >= 0).sum())}
    place, position = following(batch)
    assert place.tolist() == [[3], [length], [0]]
    assert torch.equal(position, place[..., None]), "one axis, in which the two are the same"
    step = next_step(batch, torch.tensor([5, 6, 7]))
    assert step.places.tolist() == place.tolist()
    assert next_step(step, torch.tensor([5, 6, 7])).places.tolist() == [[4], [length + 1], [0]]


def test_text_goes_on_behind_a_medium_along_every_axis() -> None:
    """A grid of 2 x 3 patches behind two tokens of text: its axes end at 2, 3 and 4, so that text goes on at 5."""
    model = small_model()
    batch = batch_of(model, [[[8]], [[2]]])
    grid = [[2, row, column] for row in (2, 3) for column in (2, 3, 4)]
    positions = torch.zeros(2, 8, 3, dtype=torch.long)
    positions[0] = torch.tensor([[0] * 3, [1] * 3, *grid])
    positions[1, 1] = 1
    place, position = following(replace(batch, positions=positions))
    assert place.tolist() == [[8], [2]]
    assert position.tolist() == [[[5, 5, 5]], [[2, 2, 2]]]
    last = next_step(next_step(replace(batch, positions=positions), torch.tensor([1, 1])), torch.tensor([1, 1]))
    assert last.positions.tolist() == [[[6, 6, 6]], [[3, 3, 3]]]


def test_a_rotation_refuses_axes_that_it_does_not_have() -> None:
    with pytest.raises(ValueError, match="positions have 3 axes, but Rope rotates along 1"):
        Rope(8).rotation(Positions(torch.zeros(1, 2, 3)), torch.float32)
    with pytest.raises(ValueError, match=r"coordinates of shape \(1, 2\) must be \[rows, tokens, axes\]"):
        Positions(torch.zeros(1, 2))
