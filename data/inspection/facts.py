"""What there is to say about one medium, read as a training reads it; its values are not kept."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from data.batching.content import content_key
from data.inspection.prints.picture_prints import PicturePrint, picture_print
from data.inspection.prints.sound_prints import SoundPrint, sound_print
from data.media.audio import read_audio, sample_rate
from data.media.image import read_image
from data.spelling import spelled
from data.storage.feature_store import media_key
from data.types import AUDIO, IMAGE, BadSampleError, Media

# A sample as loud as this, of 1, is at the limit of its format.
AT_THE_LIMIT = 0.999
# Longer sounds are known by their bytes and their header, for they would fill the memory.
MAX_SAMPLES = 50_000_000
# Samples without a header are taken to have this rate.
RAW_RATE = 16_000


@dataclass(frozen=True)
class Picture:
    """Pixels of the file, its format and mode ("PNG", "RGBA"), and how it looks."""

    width: int
    height: int
    format: str
    mode: str
    print: PicturePrint


@dataclass(frozen=True)
class Sound:
    """Length, samples a second, channels (0: not known), format, loudest sample, share of samples at the limit, and how
    it sounds.
    """

    seconds: float
    rate: int
    channels: int
    format: str
    peak: float
    clipped: float
    print: SoundPrint


@dataclass(frozen=True)
class Other:
    """A medium of another modality: bytes of its file."""

    size: int


Facts = Picture | Sound | Other


def read_facts(media: Media) -> tuple[int, Facts]:
    """A number for the content, equal for equal pixels, samples or (of other modalities) bytes; and the facts.

    Raises `BadSampleError` when the medium is missing or cannot be read.
    """
    if media.modality == IMAGE:
        return _picture(media)
    if media.modality == AUDIO:
        return _sound(media)
    source = media.source
    key = content_key(f"{media.modality} {media_key(media)}".encode())
    size = source.stat().st_size if isinstance(source, Path) else len(source) if isinstance(source, bytes) else 0
    return key, Other(size)


def _picture(media: Media) -> tuple[int, Picture]:
    pixels_HWC = np.ascontiguousarray(read_image(media).permute(1, 2, 0).numpy())
    height, width, _ = pixels_HWC.shape
    name, mode = "", ""
    if isinstance(media.source, Path | bytes):
        with Image.open(_opened(media.source)) as file:
            name, mode = file.format or "", file.mode
            if "transparency" in file.info:
                mode += " with transparency"
    key = content_key(f"image {width}x{height} ".encode() + pixels_HWC.tobytes())
    return key, Picture(width, height, name, mode, picture_print(Image.fromarray(pixels_HWC)))


def _sound(media: Media) -> tuple[int, Sound]:
    rate = sample_rate(media) or RAW_RATE
    name, channels, length = _header(media)
    if length > MAX_SAMPLES:
        unheard = sound_print(np.zeros(0, np.float32), rate)
        found = Sound(length / rate, rate, channels, name, float("nan"), float("nan"), unheard)
        return content_key(f"audio {media_key(media)}".encode()), found
    samples_S = np.ascontiguousarray(read_audio(media, rate).numpy())
    loud_S = np.abs(samples_S)
    found = Sound(
        seconds=len(samples_S) / rate,
        rate=rate,
        channels=channels,
        format=name,
        peak=float(loud_S.max()),
        clipped=float((loud_S >= AT_THE_LIMIT).mean()),
        print=sound_print(samples_S, rate),
    )
    return content_key(f"audio {rate} ".encode() + samples_S.tobytes()), found


def _header(media: Media) -> tuple[str, int, int]:
    """Format, channels and samples a channel, as far as they are known."""
    if not isinstance(media.source, Path | bytes):
        return "", 0, 0
    try:
        info = soundfile.info(_opened(media.source))
    except (soundfile.SoundFileError, OSError, TypeError):
        return "", 0, 0  # where it cannot be read at all, reading says so
    return f"{info.format} {info.subtype}", info.channels, info.frames


def _opened(source: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def why(error: BadSampleError, media: Media) -> str:
    """The reason alone, without the medium's name before it, on one line."""
    return spelled(str(error).removeprefix(f"{media.name}: "))
