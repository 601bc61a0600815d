"""What a mixer that is not attention may be, and what it is refused for."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from fusion.feed_forward.swiglu import SwiGLU
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.methods.early import EarlyFusion
from fusion.methods.mixture_of_transformers import MixtureOfTransformers
from fusion.mixers.attention import SelfAttention
from tests.fusion.builders import batch_of, small_model
from tests.fusion.linear_mixer import LinearMixer
from tests.fusion.methods.test_methods import CROSS, ROWS


class OneWayAttention(SelfAttention):
    """Attention that ignores segments, and says so."""

    sees_both_ways = False


OPTIONS: dict[str, Any] = {"d_model": 32, "num_modalities": 3, "num_layers": 2, "feed_forward": SwiGLU}
HEADS: dict[str, Any] = CROSS["cross_attention"].keywords


def test_a_mixer_that_looks_one_way_refuses_media_that_look_both() -> None:
    EarlyFusion(**OPTIONS, mixer=LinearMixer)
    with pytest.raises(
        ValueError, match=r"bidirectional_media=True needs .* GatedLinearAttention does not .*mixer=attention"
    ):
        EarlyFusion(**OPTIONS, mixer=LinearMixer, bidirectional_media=True)


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


ATTENTION = partial(SelfAttention, **HEADS)


def classes(blocks: Any) -> list[str]:
    return [type(getattr(block, "experts", [block])[0].mixer).__name__ for block in blocks]


def test_a_list_of_mixers_is_repeated_over_the_layers() -> None:
    def names(mixer: Any) -> list[str]:
        return classes(EarlyFusion(**OPTIONS | {"num_layers": 5}, mixer=mixer).blocks)

    assert names(ATTENTION) == names([ATTENTION]) == ["SelfAttention"] * 5
    assert (
        names([LinearMixer, LinearMixer, ATTENTION])
        == ["GatedLinearAttention"] * 2 + ["SelfAttention"] + ["GatedLinearAttention"] * 2
    )
    assert names([LinearMixer] * 4 + [ATTENTION]) == ["GatedLinearAttention"] * 4 + ["SelfAttention"]


def test_media_layers_begin_with_the_first_of_the_list() -> None:
    method = CrossAttentionFusion(**OPTIONS, **CROSS, mixer=[LinearMixer, ATTENTION], media_layers=3)
    assert classes(method.blocks) == ["GatedLinearAttention", "SelfAttention"]
    assert classes(method.media.blocks) == ["GatedLinearAttention", "SelfAttention", "GatedLinearAttention"]


def test_a_list_that_does_not_fit_the_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mixer is a list of 3 for num_layers=2: .* must not be longer"):
        EarlyFusion(**OPTIONS, mixer=[LinearMixer, LinearMixer, ATTENTION])
    with pytest.raises(ValueError, match=r"mixer=\[\] must be a mixer, or a list of one or more"):
        EarlyFusion(**OPTIONS, mixer=[])


@pytest.mark.parametrize("mixer", [[ATTENTION, LinearMixer], [LinearMixer, ATTENTION]])
def test_every_layer_must_see_both_ways_if_media_do(mixer: Any) -> None:
    with pytest.raises(ValueError, match=r"bidirectional_media=True needs .* GatedLinearAttention does not"):
        EarlyFusion(**OPTIONS, mixer=mixer, bidirectional_media=True)


def test_layers_of_different_mixers_have_weights_per_modality() -> None:
    """A mixture of transformers with a recurrence below attention sees all of its document, and no other."""
    model = small_model(fusion=MixtureOfTransformers, mixer=[LinearMixer, ATTENTION])
    batch = batch_of(model, ROWS)
    sequence = model.embed(batch)
    sequence.hidden.retain_grad()
    last = [int((batch.document_ids == document).nonzero()[-1, 1]) for document in (0, 2)]
    model.fusion(sequence).states[[0, 1], last].pow(3).sum().backward()
    assert sequence.hidden.grad is not None
    reached = sequence.hidden.grad.abs().amax(-1) > 0
    assert torch.equal(reached, (batch.document_ids == 0) | (batch.document_ids == 2))
