"""The counter of operations. Certification holds it to torch's on every configuration; here is what that cannot see.

`test_training_flops.py` has the backward pass and the optimizer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from certify.checks.counting_checks import torch_backward_flops, torch_flops
from data.types import BadInputError, MediaBatch
from fusion.cost.counting import flops_by_part, flops_per_sample
from fusion.cost.flops import count, count_backward, documents_alone, usage
from fusion.cost.products import Product, rule_of
from fusion.cost.torch_flops import torch_count
from fusion.mixers import attention
from fusion.mixers.attention import GroupAttention, SelfAttention
from fusion.model import FusionModel
from fusion.positions.rope import Rope
from tests.fusion.builders import VOCAB_SIZE, batch_of, small_model

DOCUMENTS = [[5, "image", 3], [("audio", 21), 4, ("audio", 6)], [9]]


def test_a_document_costs_the_same_alone_packed_and_padded() -> None:
    model = small_model()
    packed, padded = batch_of(model, [DOCUMENTS]), batch_of(model, [[d] for d in DOCUMENTS], width=40)
    costs = [[count(model, usage(model, d)) for d in documents_alone(batch)] for batch in (packed, padded)]
    assert costs[0] == costs[1]
    assert len({sum(cost.values()) for cost in costs[0]}) == len(DOCUMENTS)


def test_documents_alone_are_what_was_packed() -> None:
    model = small_model()
    batch = batch_of(model, [DOCUMENTS])
    together = model.logits(model(batch).states)
    for index, document in enumerate(documents_alone(batch)):
        assert document.num_tokens == document.token_ids.numel()
        torch.testing.assert_close(
            model.logits(model(document).states)[0], together[batch.document_ids == index], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("implementation", ["dense", "sdpa", "folded"])
def test_the_implementation_does_not_change_the_cost(implementation: str) -> None:
    reference, other = small_model(), small_model(implementation)
    batch = batch_of(reference, [DOCUMENTS[:2], DOCUMENTS[2:]])
    assert flops_by_part(other, batch) == flops_by_part(reference, batch)


def test_a_clip_is_not_charged_for_the_longer_one_beside_it() -> None:
    """Torch counts the padding of the projector; taken away clip by clip, both agree."""
    model = small_model()
    document = next(documents_alone(batch_of(model, [DOCUMENTS[1:2]])))
    encoder, clips = model.media_encoders["audio"], document.media["audio"]
    alone = [
        replace_media(values[:frames], frames)
        for values, (frames, _) in zip(clips.values, clips.shapes.tolist(), strict=True)
    ]

    def counted(media: MediaBatch) -> int:
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            encoder.train()(media)  # in training the encoder layers are not fused
        return counter.get_total_flops()

    padding = counted(clips) - sum(counted(clip) for clip in alone)
    assert padding > 0
    assert sum(count(model, usage(model, document)).values()) == torch_flops(model, document) - padding


def replace_media(values: torch.Tensor, frames: int) -> MediaBatch:
    return MediaBatch(values[None], torch.tensor([[frames, values.shape[1]]]), torch.zeros(1, dtype=torch.long))


def test_the_head_is_counted_where_it_is_read() -> None:
    model = small_model()
    batch = batch_of(model, [DOCUMENTS])
    parts = flops_by_part(model, batch)
    assert parts["head"] == 2 * 32 * VOCAB_SIZE * batch.num_supervised / len(DOCUMENTS)
    unread = replace(batch, labels=torch.full_like(batch.labels, -100))
    assert flops_by_part(model, unread) == parts | {"head": 0}
    assert sum(parts.values()) == flops_per_sample(model, batch)


def test_fusion_is_counted_as_on_paper() -> None:
    """Two layers of n tokens: products with 32 x (2 x 32 + 2 x 16) and 3 x 32 x 88 weights, and n x n pairs."""
    model, n = small_model(), 11
    batch = batch_of(model, [[[n]]])
    weights = 32 * (2 * 32 + 2 * 16) + 3 * 32 * 88
    assert flops_by_part(model, batch)["fusion"] == 2 * (2 * n * weights + 4 * n * n * 32)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 11)),
        (nn.Conv1d(4, 8, 5, dilation=2, groups=2), (3, 4, 20)),
        (nn.Conv1d(4, 8, 3, padding="same"), (1, 4, 7)),
        (nn.Conv3d(2, 4, (1, 3, 3), padding="valid"), (1, 2, 4, 6, 5)),
        (nn.Linear(5, 7), (2, 3, 5)),
    ],
)
def test_layers_are_counted_as_torch_counts_them(module: nn.Module, shape: tuple[int, ...]) -> None:
    """For an input that needs no gradient, and for one that does."""
    rule = rule_of(module)
    assert rule is not None
    for learns in (False, True):
        x = torch.randn(shape, requires_grad=learns)
        ((operations, gradients),) = rule(module, None, x)
        with FlopCounterMode(display=False) as counter:
            y = module(x)
            assert operations == counter.get_total_flops()
            y.sum().backward()
        assert gradients == 1 + learns
        if getattr(module, "groups", 1) == 1:  # torch counts the gradient of a kernel as if there were no groups
            assert operations * (1 + gradients) == counter.get_total_flops()


class Pairwise(nn.Module):
    """A layer with a product of its own, which only it can count."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor, modality_ids: torch.Tensor) -> torch.Tensor:
        return self.map(x @ (x.transpose(1, 2) @ x))

    def flops(self, x: torch.Tensor, modality_ids: torch.Tensor) -> int:
        return 4 * x.shape[1] * self.map.in_features**2


def test_a_module_may_count_what_its_children_do_not() -> None:
    model = small_model()
    for block in model.fusion.layers():
        block.feed_forward = Pairwise()
    document = next(documents_alone(batch_of(model, [[[6]]])))
    found = usage(model, document)
    assert sum(count(model, found).values()) == torch_flops(model, document)
    assert sum(count_backward(model, found).values()) == torch_backward_flops(model, document)


class Rotated(Pairwise):
    """A product with a constant, of which nothing learns, before those of its parent."""

    def forward(self, x: torch.Tensor, modality_ids: torch.Tensor) -> torch.Tensor:
        return super().forward(x @ torch.eye(32), modality_ids)


class CountedRotated(Rotated):
    """The same, and says that one factor alone has a gradient."""

    def flops(self, x: torch.Tensor, modality_ids: torch.Tensor) -> list[Product]:  # type: ignore[override]
        return [Product(2 * x.shape[1] * 32 * 32, 1), Product(super().flops(x, modality_ids), 2)]


def test_whoever_overrides_what_was_counted_must_count_anew() -> None:
    model = small_model()
    document = next(documents_alone(batch_of(model, [[[6]]])))
    model.fusion.blocks[0].feed_forward = Rotated()
    with pytest.raises(BadInputError, match=r"Rotated computes .* counted as Pairwise: .* method flops"):
        usage(model, document)
    model.fusion.blocks[0].feed_forward = CountedRotated()
    found = usage(model, document)
    assert sum(count(model, found).values()) == torch_flops(model, document)
    assert sum(count_backward(model, found).values()) == torch_backward_flops(model, document)


class Inherited(SelfAttention):
    """Attention by another name, with another part that attends."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.attend = InheritedGroups()


class InheritedGroups(GroupAttention):
    """The same under another name."""


class Own(GroupAttention):
    """Computes attention in its own way, and does not say what it costs."""

    def forward(self, q: Any, k: Any, v: Any, visibility: Any, cache: Any = None) -> torch.Tensor:
        return attention.dense_attention(q, k, v, visibility.mask)


class WithoutHeads(SelfAttention):
    """Multiplies in a forward of its own, by functions that are no modules."""

    def forward(self, x: Any, visibility: Any, positions: Any, cache: Any = None) -> torch.Tensor:
        return torch.einsum("btl,bld->btd", visibility.mask.to(x), self.v(x).repeat(1, 1, 2))


def with_mixer(mixer: Callable[..., SelfAttention], attend: GroupAttention | None = None) -> FusionModel:
    model = small_model(num_layers=1)
    model.fusion.blocks[0].mixer = mixer(d_model=32, num_heads=4, num_kv_heads=2, position=Rope)
    if attend is not None:
        model.fusion.blocks[0].mixer.attend = attend
    return model


def test_a_subclass_of_attention_costs_what_its_parent_does() -> None:
    reference, other = (with_mixer(mixer) for mixer in (SelfAttention, Inherited))
    document = next(documents_alone(batch_of(reference, [[[6]]])))
    costs = [count(model, usage(model, document)) for model in (reference, other)]
    assert costs[0] == costs[1]
    assert sum(costs[1].values()) == torch_flops(other, document)


def test_attention_of_ones_own_is_not_free() -> None:
    document = next(documents_alone(batch_of(small_model(), [[[6]]])))
    with pytest.raises(BadInputError, match="Own computes in a forward of its own what is counted as GroupAttention"):
        usage(with_mixer(SelfAttention, Own()), document)
    with pytest.raises(BadInputError, match=r"WithoutHeads \(fusion.blocks.0.mixer\) multiplies \(bmm\)"):
        usage(with_mixer(WithoutHeads), document)


@pytest.mark.parametrize("layer", [nn.GRU(32, 32, batch_first=True), nn.LSTM(32, 32, batch_first=True)])
def test_layers_that_are_not_known_are_refused_by_name(layer: nn.RNNBase) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor, modality_ids: torch.Tensor) -> torch.Tensor:
            return self.layer(x)[0]

    model = small_model()
    model.fusion.blocks[1].feed_forward = Recurrent()
    document = next(documents_alone(batch_of(model, [[[6]]])))
    name = type(layer).__name__
    with pytest.raises(BadInputError, match=rf"{name} \(fusion.blocks.1.feed_forward.layer\) multiplies"):
        usage(model, document)


def test_encoders_are_not_free_where_torch_counts_nothing() -> None:
    """Its counter takes the recurrent layers of the CPU for nothing: they are written out, and what cannot be fails."""
    lstm, x = nn.LSTM(4, 6, batch_first=True), torch.randn(2, 5, 4)
    weights = sum(p.numel() for p in lstm.parameters() if p.ndim == 2)
    assert torch_count(lstm, lambda: lstm(x)) == 2 * 2 * 5 * weights
    bilinear = nn.Bilinear(4, 4, 3)
    with pytest.raises(BadInputError, match="Bilinear: torch does not count the operations of _trilinear"):
        torch_count(bilinear, lambda: bilinear(x, x))


def test_calls_of_a_small_model_give_the_cost_of_a_wider_one() -> None:
    from functools import partial

    from tests.fusion import builders

    small = small_model()
    document = next(documents_alone(batch_of(small, [DOCUMENTS[:1]])))
    torch.manual_seed(0)
    wide = builders.FusionModel(
        d_model=96,
        text=partial(builders.TokenEmbedding, vocab_size=VOCAB_SIZE),
        encoders={name: encoder.encoder for name, encoder in small.media_encoders.items()},
        projector=builders.MlpProjector,
        fusion=partial(
            builders.EarlyFusion,
            num_layers=2,
            mixer=partial(builders.SelfAttention, num_heads=4, num_kv_heads=2, position=builders.Rope),
            feed_forward=builders.SwiGLU,
        ),
    )
    assert count(wide, usage(small, document)) == count(wide, usage(wide, document))
    assert Counter(count(wide, usage(small, document))) != Counter(count(small, usage(small, document)))
