"""Items in buckets: what an encoder makes of each, forward and backward, is what it makes of it alone."""

import pytest
import torch

from data.batching.collate import pad_media
from data.types import BucketedMedia, MediaBatch
from encoders.base import MediaEncoder
from encoders.projector import LinearProjector
from encoders.projectors.perceiver_resampler import PerceiverResampler
from encoders.scratch.audio import AudioEncoder
from fusion.cost.flops import _items

FRAMES = [9, 300, 6, 14, 7, 30, 12, 5]


def encoder(projector=LinearProjector) -> MediaEncoder:
    torch.manual_seed(0)
    sound = AudioEncoder(4, [8, 8], [2, 2], [3, 3], num_layers=1, num_heads=2)
    return MediaEncoder(sound, projector, 16).double()


def clips() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(frames, 4, generator=generator, dtype=torch.float64) for frames in FRAMES]


def alone(values: torch.Tensor) -> MediaBatch:
    return MediaBatch(values[None], torch.tensor([list(values.shape)]), torch.zeros(1, dtype=torch.long))


def gradients(module: MediaEncoder, tokens: torch.Tensor) -> list[torch.Tensor]:
    weights = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(2), dtype=tokens.dtype)
    return list(torch.autograd.grad((tokens * weights).sum(), list(module.parameters()), allow_unused=True))


@pytest.mark.parametrize("projector", [LinearProjector, PerceiverResampler])
def test_tokens_and_gradients_are_those_of_each_item_alone(projector) -> None:
    module = encoder(projector)
    media = pad_media("audio", list(enumerate(clips())))
    assert isinstance(media, BucketedMedia)
    together = module(media)
    apart = torch.cat([module(alone(values)) for values in clips()])
    assert module.counts(media) == [len(module(alone(values))) for values in clips()]
    torch.testing.assert_close(together, apart, rtol=1e-10, atol=1e-12)
    for found, expected in zip(gradients(module, together), gradients(module, apart), strict=True):
        assert found is not None  # every process has a gradient of every weight, however many buckets it has
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_means_and_anchors_are_those_of_each_item_alone() -> None:
    module, media = encoder(), pad_media("audio", list(enumerate(clips())))
    means_NC = torch.cat([module.means(alone(values)) for values in clips()])
    torch.testing.assert_close(module.means(media), means_NC, rtol=1e-10, atol=1e-12)
    anchored = module(media, anchor=lambda means: 2 * means)
    counts = torch.tensor(module.counts(media))
    torch.testing.assert_close(anchored[:, 16:], 2 * means_NC.repeat_interleave(counts, 0), rtol=1e-10, atol=1e-12)


def test_operations_are_counted_of_each_item_without_padding() -> None:
    media = pad_media("audio", list(enumerate(clips())))
    found = [item.values[0] for item in _items(media)]
    assert all(torch.equal(a, b) for a, b in zip(found, clips(), strict=True))
    assert [item.shapes.tolist() for item in _items(media)] == [[[frames, 4]] for frames in FRAMES]
