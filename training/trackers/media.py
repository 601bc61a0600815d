"""Pictures, sounds and distributions as the plain arrays and bytes that trackers store."""

from __future__ import annotations

import io

import numpy as np
import soundfile
from PIL import Image
from torch import Tensor

from training.trackers.base import Array

HISTOGRAM_BINS = 64


def scalar(value: object) -> float:
    """A Python number from a number, a 0-d array or a 0-d tensor; trackers drop anything else silently."""
    return float(value.item() if hasattr(value, "item") else value)  # type: ignore[arg-type]


def pixels(image: Array) -> np.ndarray:
    """uint8 [H, W, 3] from uint8 or float (0..1) values [H, W], [H, W, 3] or [3, H, W]."""
    values = _array(image)
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    if values.ndim == 3 and values.shape[0] == 3 and values.shape[2] != 3:
        values = values.transpose(1, 2, 0)
    if values.ndim != 3 or values.shape[2] != 3:
        raise ValueError(f"image has shape {values.shape}, but [H, W], [H, W, 3] or [3, H, W] is needed")
    if values.dtype != np.uint8:
        values = (np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(values)


def pcm(samples: Array) -> np.ndarray:
    """int16 [samples] from floats in -1..1, as loud as they are: no tracker may normalise a clip."""
    values = _array(samples).squeeze()
    if values.ndim != 1:
        raise ValueError(f"samples have shape {values.shape}, but one channel [samples] is needed")
    if values.dtype == np.int16:
        return np.ascontiguousarray(values)
    return (np.nan_to_num(values).clip(-1, 1) * 32767).round().astype(np.int16)


def encode_image(image: Array) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels(image)).save(buffer, format="PNG")
    return buffer.getvalue()


def encode_audio(samples: Array, rate: int, container: str) -> bytes:
    """The clip as a file of 16-bit samples; `container` is "WAV" or "FLAC"."""
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm(samples), rate, format=container, subtype="PCM_16")
    return buffer.getvalue()


def histogram_counts(values: Array) -> tuple[np.ndarray, np.ndarray]:
    """Counts [64] and edges [65] of the finite entries of `values`."""
    flat = _array(values).astype(np.float64).ravel()
    return np.histogram(flat[np.isfinite(flat)], bins=HISTOGRAM_BINS)


def _array(values: Array) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    return np.asarray(values)
