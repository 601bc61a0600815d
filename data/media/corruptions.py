"""Damage to images, sound and text in five severities, for measuring how scores fall with it.

The kinds follow ImageNet-C (Hendrycks and Dietterich, arXiv:1903.12261) for images, and for text the four edits of
Karpukhin et al. (arXiv:1902.01509). Levels are this project's own and are stated in units that can be measured (a
standard deviation, a share of the pixels, decibels), where ImageNet-C has numbers per image size. Every draw comes from
the generator that is handed in; with an equal one a higher severity is the same damage, only more of it.

Shape legend: h height in pixels, w width in pixels, a samples of a signal.
"""

from __future__ import annotations

import io
import string
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from data.media.audio import read_audio, sample_rate
from data.media.image import read_image
from data.media.pixels import WHITE, Colour
from data.types import AUDIO, IMAGE, TEXT, Absent, Media, Message, Modality, Sample, Segment, Text

SEVERITIES = (1, 2, 3, 4, 5)
# What raw samples are decoded at; they do not say their rate, and nothing is resampled.
ANY_RATE = 16_000
Value = TypeVar("Value")


class Corruption(Generic[Value]):
    """Base class: a value to a damaged one of the same type and size, at one of five levels.

    A subclass states its `modality`, the `unit` of its levels, and its `standard` levels from mild to severe. It states
    `limits`: a level makes sense between these. It defines `apply` and, with its modality, `segment`.
    """

    modality: Modality
    unit: str
    standard: tuple[float, ...]
    limits: tuple[float, float]

    def __init__(self, levels: Sequence[float] | None = None) -> None:
        self.levels = self.standard if levels is None else tuple(levels)
        sign = 1 if self.standard[-1] > self.standard[0] else -1
        steps = np.diff(self.levels) * sign
        low, high = self.limits
        if len(self.levels) != len(SEVERITIES) or (steps <= 0).any() or not all(low <= x <= high for x in self.levels):
            way = "rising" if sign > 0 else "falling"
            raise ValueError(
                f"levels={list(self.levels)} must be {len(SEVERITIES)} {way} numbers from {low:g} to {high:g} "
                f"({self.unit})"
            )

    def __call__(self, value: Value, severity: int, rng: np.random.Generator) -> Value:
        """A damaged copy of `value`; raises `ValueError` for a severity other than 1 to 5."""
        if severity not in SEVERITIES:
            raise ValueError(f"severity={severity} must be one of {', '.join(map(str, SEVERITIES))}")
        return self.apply(value, self.levels[severity - 1], rng)

    def apply(self, value: Value, level: float, rng: np.random.Generator) -> Value:
        """A copy of `value`, damaged at `level`."""
        raise NotImplementedError(f"{type(self).__name__} must define apply")

    def segment(self, segment: Segment, severity: int, rng: np.random.Generator) -> Segment:
        """A segment of this modality with its content damaged; raises `BadSampleError` if it cannot be read."""
        raise NotImplementedError(f"{type(self).__name__} must define segment")


class ImageCorruption(Corruption[Tensor]):
    """Base class for pixels, uint8 [3, h, w]."""

    modality = IMAGE

    def segment(self, segment: Segment, severity: int, rng: np.random.Generator) -> Segment:
        """The image, damaged at its own resolution."""
        assert isinstance(segment, Media)
        return replace(segment, source=self(read_image(segment), severity, rng))


class ImageNoise(ImageCorruption):
    """Gaussian noise on every pixel and channel, cut off at black and white."""

    unit = "standard deviation, of white"
    standard = (0.08, 0.12, 0.18, 0.26, 0.38)  # those of ImageNet-C
    limits = (0.0, 1.0)

    def apply(self, value: Tensor, level: float, rng: np.random.Generator) -> Tensor:
        """Pixels plus `level` * 255 * a standard normal draw."""
        noise = torch.from_numpy(rng.standard_normal(tuple(value.shape), dtype=np.float32))
        return _pixels(value + 255 * level * noise)


class ImageBlur(ImageCorruption):
    """A Gaussian blur, as of a lens that is out of focus; the border is reflected."""

    unit = "standard deviation, of the shorter side"
    standard = (0.01, 0.02, 0.03, 0.05, 0.08)
    limits = (0.001, 0.5)

    def apply(self, value: Tensor, level: float, rng: np.random.Generator) -> Tensor:
        """Pixels blurred with a kernel of three standard deviations to each side; nothing is drawn."""
        height, width = value.shape[1:]
        sigma = level * min(height, width)
        reach = min(max(int(np.ceil(3 * sigma)), 1), min(height, width) - 1)
        if reach < 1:  # an image of one row or column has nothing to blur with
            return value.clone()
        return _pixels(functional.gaussian_blur(value.float(), [2 * reach + 1] * 2, [sigma] * 2))


class ImageOcclusion(ImageCorruption):
    """A rectangle with the sides' ratio of the image, at a random place, in the image's mean colour.

    Cutout (arXiv:1708.04552) hides in grey; here no new colour comes into the image.
    """

    unit = "share of the area"
    standard = (0.1, 0.2, 0.3, 0.4, 0.5)
    limits = (0.0, 1.0)

    def apply(self, value: Tensor, level: float, rng: np.random.Generator) -> Tensor:
        """Pixels with `level` of them hidden."""
        sides = [max(round(size * level**0.5), 1) for size in value.shape[1:]]
        places = rng.random(2)
        top, left = (round(p * (size - side)) for p, size, side in zip(places, value.shape[1:], sides, strict=True))
        hidden = value.clone()
        mean = _pixels(value.float().mean(dim=(1, 2)))
        hidden[:, top : top + sides[0], left : left + sides[1]] = mean[:, None, None]
        return hidden


class ImageContrast(ImageCorruption):
    """Less contrast: every pixel moves towards the mean brightness of the image."""

    unit = "contrast that is left"
    standard = (0.6, 0.4, 0.3, 0.2, 0.1)
    limits = (0.0, 1.0)

    def apply(self, value: Tensor, level: float, rng: np.random.Generator) -> Tensor:
        """mean + `level` * (pixels - mean); nothing is drawn."""
        pixels = value.float()
        mean = pixels.mean()
        return _pixels(mean + level * (pixels - mean))


class AudioCorruption(Corruption[Tensor]):
    """Base class for a waveform, float [a]."""

    modality = AUDIO

    def segment(self, segment: Segment, severity: int, rng: np.random.Generator) -> Segment:
        """The sound, damaged at its own rate, which it goes on to carry with it."""
        assert isinstance(segment, Media)
        rate = sample_rate(segment)
        damaged = self(read_audio(segment, rate or ANY_RATE), severity, rng)
        return replace(segment, source=damaged if rate is None else _wav(damaged, rate))


class AudioNoise(AudioCorruption):
    """White Gaussian noise at an exact ratio of the powers of signal and noise over the whole clip."""

    unit = "signal-to-noise ratio, dB"
    standard = (15.0, 10.0, 5.0, 0.0, -5.0)
    limits = (-60.0, 120.0)

    def apply(self, value: Tensor, level: float, rng: np.random.Generator) -> Tensor:
        """Samples plus noise; silence, which has no such ratio, stays silent."""
        noise = torch.from_numpy(rng.standard_normal(len(value))).to(value.dtype)
        power = value.square().mean() / noise.square().mean().clamp(min=1e-30)
        return value + noise * (power * 10 ** (-level / 10)).sqrt()


class AudioClipping(AudioCorruption):
    """Overdrive: the loudest samples are cut off at one height."""

    unit = "share of the samples that is cut"
    standard = (0.1, 0.2, 0.35, 0.5, 0.7)
    limits = (0.0, 0.99)

    def apply(self, value: Tensor, level: float, rng: np.random.Generator) -> Tensor:
        """Samples within the height that `1 - level` of them keep; nothing is drawn."""
        heights = value.abs().sort().values
        height = heights[max(round((1 - level) * len(heights)) - 1, 0)]
        return value.clamp(-height, height)


class DroppedFrames(AudioCorruption):
    """Lost packets: frames of `frame` samples (20 ms at 16 kHz) become silence, as without any concealment."""

    unit = "share of the frames"
    standard = (0.05, 0.1, 0.2, 0.3, 0.4)
    limits = (0.0, 1.0)

    def __init__(self, levels: Sequence[float] | None = None, frame: int = 320) -> None:
        super().__init__(levels)
        if frame < 1:
            raise ValueError(f"frame={frame} must be at least 1 sample")
        self.frame = frame

    def apply(self, value: Tensor, level: float, rng: np.random.Generator) -> Tensor:
        """Samples with `level` of the frames, drawn at random, set to 0."""
        count = -(-len(value) // self.frame)
        damaged = value.clone()
        for place in rng.permutation(count)[: round(level * count)]:
            damaged[place * self.frame : (place + 1) * self.frame] = 0
        return damaged


class Typos(Corruption[str]):
    """Letters that are deleted, doubled up with a random one, replaced or exchanged with the next, equally often.

    Letters that are put in are those from a to z. At least one letter is edited; digits, spaces and marks stay.
    """

    modality = TEXT
    unit = "share of the letters"
    standard = (0.05, 0.1, 0.2, 0.3, 0.4)
    limits = (0.0, 1.0)

    def segment(self, segment: Segment, severity: int, rng: np.random.Generator) -> Segment:
        """The text with typos."""
        assert isinstance(segment, Text)
        return Text(self(segment.text, severity, rng))

    def apply(self, value: str, level: float, rng: np.random.Generator) -> str:
        """Text with `level` of its letters edited."""
        letters = [place for place, character in enumerate(value) if character.isalpha()]
        characters = list(value)
        for place in rng.permutation(letters)[: max(1, round(level * len(letters)))].astype(int):
            _mistype(characters, place, int(rng.integers(4)), string.ascii_lowercase[rng.integers(26)])
        return "".join(characters)


def corrupted(
    sample: Sample, corruption: Corruption, severity: int, rng: np.random.Generator, background: Colour = WHITE
) -> Sample:
    """The sample with all that its user gives of the corruption's modality damaged; other turns stay as they are.

    background: on what the processor lays transparent pictures, which are opaque once they are damaged.
    """

    def segment(item: Segment) -> Segment:
        if item.modality != corruption.modality or isinstance(item, Absent):
            return item
        if isinstance(item, Media) and item.modality == IMAGE:
            item = replace(item, source=read_image(item, background))
        return corruption.segment(item, severity, rng)

    def damaged(message: Message) -> Message:
        if message.role != "user":
            return message
        return replace(message, content=tuple(segment(item) for item in message.content))

    return replace(sample, messages=tuple(damaged(message) for message in sample.messages))


def _mistype(characters: list[str], place: int, edit: int, letter: str) -> None:
    """Edits one place of the list, or exchanges it with the next."""
    if edit == 0:
        characters[place] = ""
    elif edit == 1:
        characters[place] += letter
    elif edit == 2 or place + 1 == len(characters):
        characters[place] = letter
    else:
        characters[place : place + 2] = characters[place + 1], characters[place]


def _pixels(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _wav(samples_a: Tensor, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples_a.float().numpy(), rate, "FLOAT", format="WAV")
    return file.getvalue()
