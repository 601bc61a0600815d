"""Media as a person sees and hears them, before any normalisation."""

from __future__ import annotations

import numpy as np

from data.audio import read_audio, sample_rate
from data.image import read_image
from data.types import AUDIO, IMAGE, Media, Sample, Text

RATE_OF_TENSORS = 16_000


def picture(media: Media) -> np.ndarray:
    """uint8 [H, W, 3]. Raises `BadSampleError` for an image that cannot be read."""
    return np.ascontiguousarray(read_image(media).permute(1, 2, 0).cpu().numpy())


def sound(media: Media) -> tuple[np.ndarray, int]:
    """Mono samples [samples] in -1..1 and their rate. Raises `BadSampleError` for sound that cannot be read.

    A raw tensor does not say its rate, and is played at 16 kHz.
    """
    rate = sample_rate(media) or RATE_OF_TENSORS
    return read_audio(media, rate).cpu().numpy(), rate


def prompt_media(sample: Sample, modality: str) -> list[Media]:
    """The media of one modality in the prompt, that is before the expected answer."""
    segments = (item for message in sample.messages[:-1] for item in message.content)
    return [item for item in segments if isinstance(item, Media) and item.modality == modality]


def words(sample: Sample) -> str:
    """The prompt for a caption: text as it is, media in brackets, and the words of a spoken question if known."""
    shown = []
    for message in sample.messages[:-1]:
        for item in message.content:
            shown.append(item.text if isinstance(item, Text) else f"[{item.modality}]")
    spoken = sample.metadata.get("question")
    if spoken and not any(isinstance(item, Text) for message in sample.messages[:-1] for item in message.content):
        shown.append(f"({spoken})")
    return " ".join(part for part in shown if part != f"[{IMAGE}]").replace(f"[{AUDIO}] (", "(spoken: ")
