"""Images: from a file, bytes or a tensor to the values that the image encoder reads."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from data.bad_samples import reason
from data.media.pixels import WHITE, Colour, to_rgb
from data.storage.files import read_file
from data.types import BadSampleError, Media

# Decoded, the largest picture takes a gigabyte; resizing a longer line would take another.
LARGEST_AREA, LONGEST_SIDE = 2**27, 2**20
# Sizes are checked here, and of damage that PIL has mended nobody need be told once a picture.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_image(media: Media, background: Colour = WHITE) -> Tensor:
    """The pixels, uint8 [3, H, W], the right way up; where a file is transparent, `background` shows.

    Raises `BadSampleError` when the file is missing, corrupt, empty or too large, or has pixels of no known range.
    """
    source = media.source
    if isinstance(source, Tensor):
        pixels = source
    elif isinstance(source, Path | bytes):
        # A file is read at once: PIL would ask for it in many small pieces, which takes longer than decoding.
        pixels = _decode(source if isinstance(source, bytes) else read_file(source), media.name, background)
    else:
        pixels = source.read()
    if pixels.ndim != 3 or pixels.shape[0] != 3 or 0 in pixels.shape or pixels.dtype != torch.uint8:
        raise BadSampleError(f"an image must be uint8 [3, H, W], not {pixels.dtype} {tuple(pixels.shape)}")
    return pixels


HALF = (0.5, 0.5, 0.5)


def _decode(content: bytes, name: str, background: Colour) -> Tensor:
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if width * height > LARGEST_AREA or max(width, height) > LONGEST_SIDE:
                raise BadSampleError(
                    f"{width} x {height} pixels, more than {LARGEST_AREA} in all or {LONGEST_SIDE} on a side"
                )
            return functional.pil_to_tensor(to_rgb(image, background))
    except BadSampleError as error:
        raise BadSampleError(f"{name}: {error}") from error
    except Exception as error:  # the library has decoders for dozens of formats, and each fails in its own way
        raise BadSampleError(f"{name}: not a readable image ({reason(error)})") from error


class ImageProcessor:
    """Pixels -> resized to `size` x `size` -> (x / 255 - mean) / std, float [3, size, size].

    background: what shows where a picture is transparent: red, green and blue, from 0 to 255 each.
    With a generator the image is augmented in ways that keep what is drawn and its colour. It is mirrored half of the
    time (`mirror`), and shifted by up to `shift` of its side, its border repeated.

    size, mean and std follow the encoder in a training where they are None; elsewhere None is refused, 0.5 and 0.5.
    """

    def __init__(
        self,
        size: int | None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        mirror: bool = False,
        shift: float = 0.0,
        background: Sequence[int] = WHITE,
    ) -> None:
        if size is None or size < 1:
            raise ValueError(f"size={size} must be positive, for the encoder says none")
        mean, std = mean or HALF, std or HALF
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"mean={list(mean)} and std={list(std)} must have three entries each, std above 0")
        if not 0 <= shift < 1:
            raise ValueError(f"shift={shift} must be in [0, 1)")
        if len(background) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in background):
            raise ValueError(f"background={background!r} must be three whole numbers from 0 to 255")
        red, green, blue = background
        self.background: Colour = (red, green, blue)
        self.size, self.mirror, self.shift = size, mirror, shift
        self.resize = v2.Resize((size, size), antialias=True)
        self.normalize = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))])

    @property
    def augments(self) -> bool:
        """Whether a generator makes a difference."""
        return self.mirror or self.shift > 0

    def __call__(self, media: Media, rng: np.random.Generator | None = None) -> Tensor:
        """Values [3, size, size]. Raises `BadSampleError` for an image that cannot be read."""
        pixels = read_image(media, self.background)
        if pixels.shape[1:] != (self.size, self.size):
            pixels = self.resize(pixels)
        if rng is not None:
            pixels = self._augment(pixels, rng)
        return self.normalize(pixels)

    def _augment(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        mirrors, shifts = rng.spawn(2)
        if self.mirror and mirrors.random() < 0.5:
            pixels = functional.horizontal_flip(pixels)
        limit = round(self.shift * self.size)
        if limit:
            down, right = (int(n) for n in shifts.integers(0, 2 * limit + 1, 2))
            padded = functional.pad(pixels, [limit] * 4, padding_mode="edge")
            pixels = functional.crop(padded, down, right, self.size, self.size)
        return pixels
