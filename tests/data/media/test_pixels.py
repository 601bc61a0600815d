"""Files of every kind of pixel show what a person sees: on a ground where they are transparent, by range if deep."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data.media.image import ImageProcessor, read_image
from data.types import BadSampleError, Media

RED, BLUE = (200, 30, 10), (0, 0, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(content: bytes, **options: object) -> list[list[int]]:
    """The pixels of the first row, [width][3]."""
    pixels: Tensor = read_image(Media("image", content), **options)  # type: ignore[arg-type]
    return pixels[:, 0].T.tolist()


def raw_png(depth: int, colour: int, row: bytes, key: bytes, width: int = 2) -> bytes:
    """A PNG of one row with a chunk that names the transparent value, which PIL cannot write for all depths."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"tRNS", key), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.fixture
def cut_out() -> Image.Image:
    """A red pixel, and one whose red is hidden."""
    image = Image.new("RGBA", (2, 1), (*RED, 255))
    image.putpixel((1, 0), (*RED, 0))
    return image


def transparent_files(image: Image.Image) -> dict[str, bytes]:
    palette = Image.new("P", image.size, 0)
    palette.putpalette([*RED, *RED])
    palette.putpixel((1, 0), 1)
    return {
        "RGBA": encoded(image),
        "RGBA in WebP": encoded(image, "WEBP", lossless=True, exact=True),
        "RGBA in TIFF": encoded(image, "TIFF"),
        "palette": encoded(palette, transparency=1),
        "GIF": encoded(palette, "GIF", transparency=1),
        "RGB with a key": raw_png(8, 2, bytes([*RED, 9, 9, 9]), struct.pack(">3H", 9, 9, 9)),
    }


@pytest.mark.parametrize("kind", ["RGBA", "RGBA in WebP", "RGBA in TIFF", "palette", "GIF", "RGB with a key"])
@pytest.mark.parametrize("ground", [(255, 255, 255), BLUE])
def test_what_is_transparent_shows_the_ground(cut_out: Image.Image, kind: str, ground: tuple[int, int, int]) -> None:
    seen = read(transparent_files(cut_out)[kind], background=ground)
    assert seen == [list(RED), list(ground)]


def test_the_ground_is_white_unless_another_is_chosen(cut_out: Image.Image) -> None:
    content = encoded(cut_out)
    assert read(content)[1] == [255, 255, 255]
    plain = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    values = ImageProcessor(1, **plain, background=BLUE)(Media("image", encoded(cut_out.crop((1, 0, 2, 1)))))  # type: ignore[arg-type]
    assert values.flatten().tolist() == [0.0, 0.0, 1.0]


def test_half_transparent_is_half_of_each() -> None:
    assert read(encoded(Image.new("RGBA", (1, 1), (200, 0, 100, 51))), background=(0, 100, 0)) == [[40, 80, 20]]
    assert read(encoded(Image.new("LA", (1, 1), (100, 51)))) == [[224, 224, 224]]


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBa"])
def test_modes_that_are_rare_in_files_are_composited_too(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = Image.new("LA", (2, 1), (100, 255))
    grey.putpixel((1, 0), (100, 0))
    image = grey if mode in ("LA", "La") else grey.convert("RGBA")
    image = image.convert("RGBA").quantize(4).convert("PA") if mode == "PA" else image.convert(mode)
    monkeypatch.setattr(Image, "open", lambda _: image)
    (first, _, _), second = read(b"")
    assert abs(first - 100) <= 1
    assert second == [255, 255, 255]


@pytest.mark.parametrize(
    ("depth", "row", "key", "expected"),
    [
        (1, bytes([0x40]), 0, [255, 255]),  # black is the transparent one of black and white
        (4, bytes([0x4F]), 4, [255, 255]),
        (4, bytes([0x48]), 8, [68, 255]),
        (8, bytes([10, 200]), 10, [255, 200]),
        (16, struct.pack(">2H", 1000, 60000), 60000, [4, 255]),
    ],
)
def test_a_transparent_grey_is_found_at_every_depth(depth: int, row: bytes, key: int, expected: list[int]) -> None:
    assert [pixel[0] for pixel in read(raw_png(depth, 0, row, struct.pack(">H", key)))] == expected


def test_16_bit_colour_is_scaled_and_its_transparent_value_found() -> None:
    row = struct.pack(">6H", 1000, 2000, 3000, 60000, 50000, 40000)
    content = raw_png(16, 2, row, struct.pack(">3H", 60000, 50000, 40000))
    assert read(content) == [[3, 7, 11], [255, 255, 255]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_16_bit_grey_is_scaled_by_its_range(kind: str) -> None:
    deep = np.array([[0, 256, 257, 32768, 65535]], dtype=np.uint16)
    seen = read(encoded(Image.fromarray(deep), kind))
    assert [pixel[0] for pixel in seen] == [0, 1, 1, 128, 255]
    assert all(len(set(pixel)) == 1 for pixel in seen)


def test_12_bit_grey_is_scaled_by_its_range() -> None:
    """Black, a middle grey and white, in a TIFF that PIL reads and does not write."""
    tags = [(256, 3, 4), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 122), (278, 3, 1), (279, 4, 6)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    row = bytes([0x00, 0x08, 0x00, 0xFF, 0xFF, 0xFF])
    start = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    seen = read(start.ljust(122, b"\0") + row)
    assert [pixel[0] for pixel in seen] == [0, 128, 255, 255]


def test_floats_are_from_0_to_1_or_refused_by_name(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.2, 1.0]], dtype=np.float32)
    assert [pixel[0] for pixel in read(encoded(Image.fromarray(values), "TIFF"))] == [0, 51, 255]
    for wrong, reason in ((-1.0, "from -1 to 1"), (70000.0, "from 0 to 70000"), (np.nan, "from nan to nan")):
        path = tmp_path / "heights.tif"
        path.write_bytes(encoded(Image.fromarray(np.array([[0, wrong, 1]], dtype=np.float32)), "TIFF"))
        with pytest.raises(BadSampleError, match=rf"heights\.tif: its pixels are floats {reason}, must be from 0 to 1"):
            read_image(Media("image", path))


def test_integers_without_a_known_range_are_refused_by_name() -> None:
    content = encoded(Image.fromarray(np.array([[0, 1, 70000, -5]], dtype=np.int32)), "TIFF")
    with pytest.raises(BadSampleError, match="image data: its pixels are 32-bit or signed integers, of no known range"):
        read(content)


def test_other_colour_spaces_come_out_as_their_colours() -> None:
    plain = Image.new("RGB", (8, 8), (200, 100, 50))
    files = {
        "CMYK": encoded(plain.convert("CMYK"), "TIFF"),
        "CMYK in JPEG": encoded(plain.convert("CMYK"), "JPEG", quality=100),
        "YCbCr": encoded(plain, "JPEG", quality=100, subsampling=0),
        "LAB": encoded(plain.convert("LAB"), "TIFF"),
        "1": encoded(plain.convert("1")),
    }
    for name, content in files.items():
        (red, green, blue), *_ = read(content)
        if name == "1":
            assert {red, green, blue} <= {0, 255}
        else:
            assert max(abs(red - 200), abs(green - 100), abs(blue - 50)) <= 3, name


def test_the_first_picture_of_several_is_read(cut_out: Image.Image) -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, BLUE)]
    for kind in ("GIF", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert read(content)[0] == list(RED)


def test_plain_colour_is_what_it_was_bit_for_bit() -> None:
    pixels = torch.randint(0, 256, (3, 40, 30), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    for content in (encoded(image), encoded(image.convert("RGBA"))):
        assert torch.equal(read_image(Media("image", content)), pixels)
        assert torch.equal(read_image(Media("image", content), background=BLUE), pixels)


def test_the_turned_picture_of_a_camera_keeps_its_ground() -> None:
    image = Image.new("RGBA", (3, 1), (*RED, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    seen = read_image(Media("image", encoded(image, exif=exif)))
    assert seen.shape == (3, 3, 1)
    assert seen[:, :, 0].T.tolist() == [[255, 255, 255], list(RED), list(RED)]


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000), (1, 1)])
def test_narrow_pictures_are_read(size: tuple[int, int]) -> None:
    values = ImageProcessor(8, (0, 0, 0), (1, 1, 1))(Media("image", encoded(Image.new("RGB", size, (51, 51, 51)))))
    torch.testing.assert_close(values, torch.full((3, 8, 8), 0.2))


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_decoded() -> None:
    def header(width: int, height: int) -> bytes:
        return encoded(Image.new("L", (1, 1))).replace(
            struct.pack(">IIBB", 1, 1, 8, 0), struct.pack(">IIBB", width, height, 8, 0)
        )

    for width, height in ((12_000, 12_000), (3_000_000, 1), (100_000, 100_000), (0, 5)):
        content = bytearray(header(width, height))
        start = content.index(b"IHDR")
        content[start + 17 : start + 21] = struct.pack(">I", zlib.crc32(content[start : start + 17]))
        with pytest.raises(BadSampleError, match=r"image data: ") as caught:
            read(bytes(content))
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("background", [(0, 0), (0, 0, 256), (0.5, 0, 0), "white"])
def test_a_ground_is_three_bytes(background: object) -> None:
    with pytest.raises(ValueError, match=r"background=.* must be three whole numbers from 0 to 255"):
        ImageProcessor(8, background=background)  # type: ignore[arg-type]
