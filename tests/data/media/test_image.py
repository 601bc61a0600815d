"""Pixels come out as they went in, normalised; augmentation keeps the content and repeats with its generator."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data.media.image import ImageProcessor, read_image
from data.types import BadSampleError, Media

SIZE = 16


def pixels(seed: int = 0, size: int = SIZE) -> Tensor:
    return torch.randint(0, 256, (3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def png(values: Tensor, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values.permute(1, 2, 0).numpy()).convert(mode).save(file, "PNG", **options)
    return file.getvalue()


def test_a_file_its_bytes_and_its_tensor_are_the_same_image(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(pixels()))
    for source in (tmp_path / "x.png", png(pixels()), pixels()):
        assert torch.equal(read_image(Media("image", source)), pixels())


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_other_modes_become_three_channels(mode: str) -> None:
    assert read_image(Media("image", png(pixels(), mode))).shape == (3, SIZE, SIZE)


def test_a_photo_that_was_taken_sideways_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to show"
    turned = read_image(Media("image", png(pixels(), exif=exif)))
    assert torch.equal(turned, torch.rot90(pixels(), -1, (1, 2)))


def test_values_are_normalised_by_channel() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    values = ImageProcessor(SIZE, mean, std)(Media("image", pixels()))
    expected = (pixels() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(values, expected)


def test_other_sizes_are_resized() -> None:
    half = torch.cat([torch.zeros(3, 40, 20), torch.full((3, 40, 20), 255)], dim=2).to(torch.uint8)
    values = ImageProcessor(SIZE, (0, 0, 0), (1, 1, 1))(Media("image", half))
    assert values.shape == (3, SIZE, SIZE)
    assert values[:, :, :6].max() < 0.05
    assert values[:, :, -6:].min() > 0.95


def test_augmentation_repeats_with_its_generator_and_not_without() -> None:
    processor, media = ImageProcessor(SIZE, mirror=True, shift=0.2), Media("image", pixels())
    torch.manual_seed(1)
    first = processor(media, np.random.default_rng(3))
    torch.manual_seed(2)
    assert torch.equal(processor(media, np.random.default_rng(3)), first)
    assert len({processor(media, np.random.default_rng(seed)).sum().item() for seed in range(20)}) > 10
    assert torch.equal(processor(media), ImageProcessor(SIZE)(media))


def test_a_mirrored_image_is_the_image_or_its_mirror_image() -> None:
    processor, media = ImageProcessor(SIZE, mirror=True), Media("image", pixels())
    plain = processor(media)
    seen = [processor(media, np.random.default_rng(seed)) for seed in range(40)]
    mirrored = [torch.equal(values, plain.flip(2)) for values in seen]
    assert all(same or torch.equal(values, plain) for values, same in zip(seen, mirrored, strict=True))
    assert 8 < sum(mirrored) < 32


def test_a_shifted_image_is_a_window_of_the_image_with_its_border_repeated() -> None:
    processor, media = ImageProcessor(SIZE, (0, 0, 0), (1, 1, 1), shift=0.125), Media("image", pixels())
    wide = torch.nn.functional.pad(pixels()[None] / 255, [2] * 4, mode="replicate")[0]
    windows = {
        (down, right): wide[:, down : down + SIZE, right : right + SIZE] for down in range(5) for right in range(5)
    }
    seen = set()
    for seed in range(200):
        values = processor(media, np.random.default_rng(seed))
        seen.add(next(place for place, window in windows.items() if torch.allclose(values, window)))
    assert len(seen) > 20


def test_the_source_is_never_changed() -> None:
    source = pixels()
    ImageProcessor(SIZE, mirror=True, shift=0.3)(Media("image", source), np.random.default_rng(0))
    assert torch.equal(source, pixels())


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    processor = ImageProcessor(SIZE)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(png(pixels(size=64))[:5000])
    for name, reason in (
        ("missing.png", "file not found"),
        ("empty.png", "not a readable image"),
        ("text.png", "not a readable image"),
        ("cut.png", "not a readable image"),
    ):
        with pytest.raises(BadSampleError, match=rf"{name}: {reason}") as caught:
            processor(Media("image", tmp_path / name))
        assert "\n" not in str(caught.value)
    with pytest.raises(BadSampleError, match="image data: not a readable image"):
        processor(Media("image", b"x"))
    with pytest.raises(BadSampleError, match=r"uint8 \[3, H, W\], not torch.float32 \(3, 4, 4\)"):
        processor(Media("image", torch.zeros(3, 4, 4)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size=0 must be positive"),
        ({"size": 8, "std": (1, 0, 1)}, "std above 0"),
        ({"size": 8, "mean": (0.5,)}, "three entries"),
        ({"size": 8, "shift": 1.0}, r"shift=1.0 must be in \[0, 1\)"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageProcessor(**arguments)  # type: ignore[arg-type]
