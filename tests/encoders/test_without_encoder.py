"""Patches and stacked frames: each token is a linear map of its own pixels or frames, and of nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from data.types import Layout, MediaBatch
from encoders.base import MediaEncoder
from encoders.projector import LinearProjector
from encoders.scratch.frames import FrameEncoder
from encoders.scratch.patches import PatchEncoder
from tests.fusion.builders import perturb

MELS = 4


def of_images(values: Tensor) -> MediaBatch:
    shapes = torch.tensor([list(values.shape[1:])] * len(values))
    return MediaBatch(values, shapes, torch.zeros(len(values)))


def of_clips(values: Tensor, lengths: list[int]) -> MediaBatch:
    return MediaBatch(values, torch.tensor([[length, MELS] for length in lengths]), torch.arange(len(lengths)))


@pytest.mark.parametrize(("size", "patch", "channels"), [(8, 2, 1), (8, 4, 3), (16, 4, 3), (8, 8, 1)])
def test_patches_are_a_convolution_that_moves_by_its_own_size(size: int, patch: int, channels: int) -> None:
    encoder = PatchEncoder(size, patch, 6, channels).double()
    perturb(encoder)
    images = torch.randn(3, channels, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = encoder.embed.weight.view(6, channels, patch, patch)
    expected = nn.functional.conv2d(images, kernel, encoder.embed.bias, stride=patch).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder(of_images(images)), encoder.norm(expected) + encoder.place_TC)
    assert encoder.layout((channels, size, size)) == Layout((size // patch) ** 2, (size // patch, size // patch))


def test_a_pixel_moves_its_patch_alone() -> None:
    encoder = PatchEncoder(8, 2, 6)
    image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = image.clone()
    changed[0, 1, 5, 2] += 1  # in the third row of patches, the second column
    moved = (encoder(of_images(changed)) - encoder(of_images(image))).abs().amax(-1)[0] > 1e-6
    assert moved.nonzero()[:, 0].tolist() == [2 * 4 + 1]


def test_frames_are_stacked_in_their_order_and_the_last_stack_is_filled_up() -> None:
    """Clip by clip and stack by stack, with padding of another batch that is not zero."""
    encoder = FrameEncoder(MELS, 3, 6).double()
    perturb(encoder)
    lengths, generator = [7, 3, 1, 9], torch.Generator().manual_seed(0)
    values = torch.randn(4, 11, MELS, generator=generator, dtype=torch.float64)
    found = encoder(of_clips(values, lengths))
    for clip, length, features in zip(values, lengths, found, strict=True):
        frames = torch.cat([clip[:length], torch.zeros(2, MELS, dtype=torch.float64)])
        layout = encoder.layout((length, MELS))
        for number in range(layout.count):
            stack = frames[3 * number : 3 * number + 3].flatten()
            angles = [number, number * torch.exp(torch.tensor(-9.2103 / 2)).item(), number * 0.0001]
            place = torch.tensor([*map(torch.sin, torch.tensor(angles)), *map(torch.cos, torch.tensor(angles))])
            torch.testing.assert_close(
                features[number], encoder.norm(encoder.embed(stack)) + place, rtol=0, atol=1e-5, check_dtype=False
            )
        assert layout.times.tolist()[:2] == [1.5, 4.5][: layout.count], "the middle of each stack, in frames"
    assert [encoder.layout((length, MELS)).count for length in lengths] == [3, 1, 1, 3]


def test_nothing_stands_before_the_stack_but_linear_maps_and_norms() -> None:
    for encoder in (PatchEncoder(8, 2, 6), FrameEncoder(MELS, 3, 6)):
        leaves = [m for m in MediaEncoder(encoder, LinearProjector, 8).modules() if not list(m.children())]
        assert {type(module) for module in leaves} == {nn.Linear, nn.LayerNorm}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PatchEncoder(8, 3, 6), "image_size=8 must be a positive multiple of patch_size=3"),
        (lambda: PatchEncoder(0, 2, 6), "image_size=0 must be a positive multiple of patch_size=2"),
        (lambda: PatchEncoder(8, 0, 6), "patch_size=0 must be 1 or more"),
        (lambda: PatchEncoder(8, 2, 0), "d_output=0 must be 1 or more"),
        (lambda: PatchEncoder(8, 2, 6, 0), "num_channels=0 must be 1 or more"),
        (lambda: FrameEncoder(0, 2, 6), "num_mels=0 must be 1 or more"),
        (lambda: FrameEncoder(4, 0, 6), "frames_per_token=0 must be 1 or more"),
        (lambda: FrameEncoder(4, 2, 5), "d_output=5 must be positive and even"),
        (lambda: PatchEncoder(8, 2, 6).layout((1, 8, 8)), r"an image of shape \(1, 8, 8\) does not fit"),
        (lambda: FrameEncoder(4, 2, 6).layout((3, 5)), r"a spectrogram of shape \(3, 5\) does not fit"),
    ],
)
def test_what_cannot_be_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
