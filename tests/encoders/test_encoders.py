import math

import pytest
import torch
from torch import nn

from data.types import Layout, MediaBatch
from encoders.base import MediaEncoder
from encoders.projector import LinearProjector, MlpProjector
from encoders.scratch.audio import AudioEncoder, sinusoids
from encoders.scratch.image import ImageEncoder
from encoders.text import TokenEmbedding
from tests.fusion.builders import batch_of, perturb, small_model

MELS = 8


def audio_batch(lengths: list[int], width: int, fill: float = 0.0) -> MediaBatch:
    generator = torch.Generator().manual_seed(0)
    values = torch.full((len(lengths), width, MELS), fill)
    for row, length in zip(values, lengths, strict=True):
        row[:length] = torch.randn(length, MELS, generator=generator)
    return MediaBatch(values, torch.tensor([[n, MELS] for n in lengths]), torch.arange(len(lengths)))


def audio_encoder() -> AudioEncoder:
    encoder = AudioEncoder(MELS, [16, 16, 16], [2, 2, 2], [5, 3, 3], num_layers=2, num_heads=2)
    perturb(encoder)
    return encoder


def test_clips_are_the_same_alone_and_padded_in_a_batch(device: torch.device) -> None:
    encoder = MediaEncoder(audio_encoder(), MlpProjector, 12).to(device)
    lengths = [1, 7, 30, 16]
    together = encoder(audio_batch(lengths, 40).to(device)).split(encoder.counts(audio_batch(lengths, 40)))
    start = torch.Generator().manual_seed(0)
    for length, expected in zip(lengths, together, strict=True):
        values = torch.randn(length, MELS, generator=start)[None]
        item = MediaBatch(values, torch.tensor([[length, MELS]]), torch.zeros(1, dtype=torch.long))
        alone = encoder(item.to(device))
        torch.testing.assert_close(alone, expected, rtol=1e-4, atol=1e-5)


def test_a_bidirectional_encoder_sees_the_end_from_the_start() -> None:
    encoder = audio_encoder()
    batch = audio_batch([64], 64)
    changed = MediaBatch(batch.values.clone(), batch.shapes, batch.documents)
    changed.values[0, -1] += 1.0
    assert (encoder(batch)[0, 0] - encoder(changed)[0, 0]).abs().max() > 1e-5


def test_places_in_a_long_clip_are_exact() -> None:
    """Against angles in Python's float64, at the last of 65,000 frames; float32 rounds a sine by 6e-8."""
    length, width = 65_000, 8
    angles = [(length - 1) * math.exp(-9.2103 * i / 3) for i in range(4)]
    expected = torch.tensor([*map(math.sin, angles), *map(math.cos, angles)])
    torch.testing.assert_close(sinusoids(length, width, torch.device("cpu"))[-1], expected, rtol=0, atol=2e-7)


def test_a_shifted_image_shifts_its_tokens() -> None:
    encoder = ImageEncoder(64, [8, 16], [2, 4], [3, 5], num_layers=0, num_heads=1)
    perturb(encoder)
    with torch.no_grad():
        encoder.place_TC.zero_()
    image = torch.zeros(1, 3, 64, 64)
    image[..., 24:40, 24:40] = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    shapes = torch.tensor([[3, 64, 64]])

    def tokens(values: torch.Tensor) -> torch.Tensor:
        return encoder(MediaBatch(values, shapes, torch.zeros(1))).view(8, 8, 16)

    moved = tokens(image.roll((8, -8), (2, 3)))  # one patch down, one to the left
    torch.testing.assert_close(moved[2:-2, 2:-2], tokens(image).roll((1, -1), (0, 1))[2:-2, 2:-2], rtol=1e-4, atol=1e-5)
    assert (moved - tokens(image)).abs().max() > 0.1


def test_projectors_keep_the_number_of_tokens_and_the_embedding_is_its_own_head() -> None:
    for projector in (LinearProjector(6, 10), MlpProjector(6, 10)):
        assert projector.layout(Layout(7, (2, 3))) == Layout(7, (2, 3))
        assert projector(torch.randn(2, 7, 6), torch.tensor([7, 7])).shape == (2, 7, 10)
    text = TokenEmbedding(20, 10)
    ids = torch.tensor([3, 4])
    torch.testing.assert_close(text.logits(text.weight[ids]), text.weight[ids] @ text.weight.T)
    torch.testing.assert_close(text(ids).square().mean(-1), torch.ones(2), rtol=0.02, atol=0)


@pytest.mark.parametrize("name", ["image", "audio"])
def test_no_convolution_runs_in_bfloat16_on_a_cpu(name: str) -> None:
    """Their gradients are NaN there now and then, see `encoders.scratch.precision`."""
    model = small_model()
    encoder = model.media_encoders[name].encoder
    convolutions = [module for module in encoder.modules() if isinstance(module, nn.Conv1d | nn.Conv2d)]
    seen: list[torch.dtype] = []
    for module in convolutions:
        module.register_forward_hook(lambda _, inputs, output: seen.extend((inputs[0].dtype, output.dtype)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(batch_of(model, [[["image", ("audio", 13), 3]]]))
    assert len(seen) == 2 * len(convolutions) > 0
    assert set(seen) == {torch.float32}
