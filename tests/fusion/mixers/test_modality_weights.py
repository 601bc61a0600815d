"""Weights per modality equal a slow reference for any mixer: attention, and a recurrence that is none."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fusion.block import Block, ModalityBlock
from fusion.feed_forward.swiglu import SwiGLU
from fusion.folding import fold_by_modality
from fusion.mixers.attention import SelfAttention
from fusion.positions.once import Positions
from fusion.positions.rope import Rope
from fusion.sequence import Visibility
from tests.fusion.builders import perturb
from tests.fusion.linear_mixer import LinearMixer

D_MODEL, NUM_MODALITIES = 16, 3
HEADS: dict[str, Any] = {"num_heads": 4, "num_kv_heads": 2, "position": Rope}
# Two rows of several groups, one of them in pieces, with padding between and at the end; modality 2 is in one row only.
GROUPS = torch.tensor([[0, 0, 1, 0, 1, 1, -1, 1], [2, 2, 2, -1, 3, 3, -1, -1]])
KINDS = torch.tensor([[0, 1, 1, 0, 0, 1, 0, 1], [2, 0, 2, 0, 1, 0, 0, 0]])
PLACES = torch.tensor([[0, 1, 0, 2, 1, 2, 0, 3], [0, 1, 2, 0, 0, 1, 0, 0]])


def attention_by_hand(parts: list[list[Tensor]]) -> list[Tensor]:
    """Softmax over the tokens so far, head by head; `parts` are q, k and v of one token each."""
    outputs = []
    for query, _, _ in parts:
        heads = []
        for head, q in enumerate(query):
            scores = torch.stack([q @ key[head // 2] / len(q) ** 0.5 for _, key, _ in parts[: len(outputs) + 1]])
            values = torch.stack([value[head // 2] for _, _, value in parts[: len(outputs) + 1]])
            heads.append(scores.softmax(0) @ values)
        outputs.append(torch.cat(heads))
    return outputs


def recurrence_by_hand(parts: list[list[Tensor]]) -> list[Tensor]:
    """One state that each token updates and then reads."""
    state, outputs = torch.zeros((), dtype=torch.float64), []
    for q, k, v, log_gate in parts:
        state = log_gate.exp() * state + torch.outer(k, v)
        outputs.append(q @ state)
    return outputs


def by_hand(layer: ModalityBlock, x_BLD: Tensor, meet: Any) -> Tensor:
    """Token by token and group by group, with lists in place of index tensors; zero at padding."""
    result = torch.zeros_like(x_BLD)
    for group in range(4):
        members = [tuple(place) for place in (group == GROUPS).nonzero().tolist()]
        experts = [layer.experts[int(KINDS[place])] for place in members]
        parts = [
            [
                part[0, 0]
                for part in own.mixer.before(
                    own.mixer_norm(x_BLD[place])[None, None], Positions(PLACES[place][None, None, None])
                )
            ]
            for place, own in zip(members, experts, strict=True)
        ]
        rows = []
        for place, own, seen in zip(members, experts, meet(parts), strict=True):
            mixed = x_BLD[place] + own.mixer.after(seen)
            rows.append(mixed + own.feed_forward(own.feed_forward_norm(mixed), None))
        index = tuple(torch.tensor(axis) for axis in zip(*members, strict=True))
        result = result.index_put(index, torch.stack(rows))
    return result


@pytest.mark.parametrize(
    ("mixer", "meet"),
    [(partial(SelfAttention, **HEADS), attention_by_hand), (LinearMixer, recurrence_by_hand)],
    ids=["attention", "recurrence"],
)
def test_weights_per_modality_equal_a_slow_reference(mixer: Any, meet: Any) -> None:
    """Outputs, and gradients of every weight and of the input, in float64: what remains is rounding."""
    layer = ModalityBlock(D_MODEL, NUM_MODALITIES, mixer, SwiGLU).double()
    perturb(layer)
    generator = torch.Generator().manual_seed(1)
    x_BLD, projection = (torch.randn(2, 8, D_MODEL, generator=generator, dtype=torch.float64) for _ in range(2))
    x_BLD.requires_grad_()
    by_modality = fold_by_modality(KINDS, GROUPS < 0, NUM_MODALITIES)
    visibility = Visibility(GROUPS, None, by_modality, modality_ids_BL=KINDS)
    outputs = [layer(x_BLD, visibility, Positions(PLACES[..., None])).states, by_hand(layer, x_BLD, meet)]
    torch.testing.assert_close(outputs[0], outputs[1])
    leaves = [x_BLD, *layer.parameters()]
    found, expected = (torch.autograd.grad((output * projection).sum(), leaves) for output in outputs)
    for one, other in zip(found, expected, strict=True):
        assert float(other.abs().max()) > 1e-6
        torch.testing.assert_close(one, other)


def test_one_set_of_weights_equals_the_same_in_every_modality() -> None:
    shared = Block(D_MODEL, LinearMixer, SwiGLU).double()
    perturb(shared)
    layer = ModalityBlock(D_MODEL, NUM_MODALITIES, LinearMixer, SwiGLU).double()
    for expert in layer.experts:
        assert isinstance(expert, nn.Module)
        expert.load_state_dict(shared.state_dict())
    x_BLD = torch.randn(2, 8, D_MODEL, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    by_modality = fold_by_modality(KINDS, GROUPS < 0, NUM_MODALITIES)
    visibility = Visibility(GROUPS, None, by_modality, modality_ids_BL=KINDS)
    expected = shared(x_BLD, visibility, Positions(PLACES[..., None])).states
    found = layer(x_BLD, visibility, Positions(PLACES[..., None])).states
    torch.testing.assert_close(found[GROUPS >= 0], expected[GROUPS >= 0])
