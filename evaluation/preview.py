"""Media as a person sees and hears them, before any normalisation."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from torch import Tensor

from data.types import AUDIO, IMAGE, Media, Sample, Text


def picture(media: Media) -> np.ndarray:
    """uint8 [H, W, 3]; raw tensors [3, H, W] of another type are stretched to the full range."""
    source = media.source
    if isinstance(source, Path | bytes):
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            return np.asarray(opened.convert("RGB"))
    values = (source if isinstance(source, Tensor) else source.read()).detach().cpu().numpy()
    if values.dtype != np.uint8:
        low, high = float(values.min()), float(values.max())
        values = ((values - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def sound(media: Media, rate: int) -> tuple[np.ndarray, int]:
    """Mono samples [samples] in -1..1 and their rate; raw tensors are taken to be at `rate`."""
    source = media.source
    if isinstance(source, Path | bytes):
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        samples, found = soundfile.read(file, dtype="float32", always_2d=True)
        return samples.mean(axis=1), found
    values = (source if isinstance(source, Tensor) else source.read()).detach().cpu().numpy()
    return values.astype(np.float32), rate


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
