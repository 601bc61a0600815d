"""What a person gives, a file or values in memory, as a segment of a question.

Shape legend: a samples of a signal, C width of the features, h height in pixels, w width in pixels.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from data.media.pixels import Colour, to_rgb
from data.types import AUDIO, IMAGE, SENTENCE, TEXT, BadInputError, Media, Modality, Segment, Text

Array = np.ndarray | Tensor
# What `given` takes, by what it is; which of them a modality has, the function says.
Content = str | Path | bytes | Image.Image | Array | tuple[Array, int]


def typed(modality: Modality, value: str) -> Segment:
    """A text, or the medium in the file that `value` names; of `sentence` the text itself is the medium.

    Raises `BadInputError` if there is no such file.
    """
    if modality == TEXT:
        return Text(value)
    if modality == SENTENCE:
        return Media(modality, value.encode())
    path = Path(value).expanduser()
    if not (value and path.is_file()):
        found = ", it is a folder" if path.is_dir() else ""
        raise BadInputError(f"{modality}={value}: no such file{found}")
    return Media(modality, path)


def given(modality: Modality, value: Content, background: Colour) -> Segment:
    """A segment of what Python holds.

    text and sentence: a string. Any medium: the path of a file, or the bytes of one. image: also a picture of PIL or an
    array, uint8 [h, w], [h, w, 3] or [h, w, 4] (where it is transparent, `background` shows), or a tensor, uint8
    [3, h, w]. audio: also a pair of samples and their rate in hertz, as `soundfile.read` (array, [a] or [a, C]) and
    `torchaudio.load` (tensor, [a] or [C, a]) return it. Any other medium: also an array or a tensor, as its processor
    takes it.

    Raises:
        BadInputError: there is no such file, or the values are of another type or shape.
    """
    if isinstance(value, str) or (isinstance(value, Path) and modality not in (TEXT, SENTENCE)):
        return typed(modality, str(value))
    if modality in (TEXT, SENTENCE):
        raise BadInputError(f"{modality}: must be a string, not {_kind(value)}")
    if isinstance(value, bytes):
        return Media(modality, value)
    if modality == AUDIO:
        return Media(modality, _wave(value))
    if isinstance(value, Image.Image) or (modality == IMAGE and isinstance(value, np.ndarray)):
        return Media(modality, _pixels(modality, value, background))
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        return Media(modality, value.detach().cpu())
    raise BadInputError(f"{modality}: must be a path, bytes or values, not {_kind(value)}")


def _pixels(modality: Modality, picture: Image.Image | np.ndarray, background: Colour) -> Tensor:
    """uint8 [3, h, w]."""
    if isinstance(picture, Image.Image):
        copy = picture.copy()  # what reads it turns it the right way up in place
        copy.format = picture.format
        return functional.pil_to_tensor(to_rgb(copy, background))
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))):
        raise BadInputError(f"{modality}: must be uint8 [h, w], [h, w, 3] or [h, w, 4], not {_kind(picture)}")
    return functional.pil_to_tensor(to_rgb(Image.fromarray(picture), background))


def _wave(sound: Any) -> bytes:
    """A WAV file of samples and their rate."""
    if not (isinstance(sound, tuple) and len(sound) == 2 and isinstance(sound[0], Array)):
        raise BadInputError(
            f"{AUDIO}: must be a path, bytes, or a pair of samples and their rate in hertz, not {_kind(sound)}"
        )
    samples, rate = sound
    values = samples.detach().cpu().numpy().T if isinstance(samples, Tensor) else samples
    if values.ndim not in (1, 2) or values.dtype not in (np.int16, np.int32, np.float32, np.float64):
        raise BadInputError(f"{AUDIO}: must be int16, int32 or float samples of one or two axes, not {_kind(samples)}")
    is_whole = np.issubdtype(values.dtype, np.integer)
    file = io.BytesIO()
    try:
        kind = f"PCM_{8 * values.itemsize}" if is_whole else "FLOAT"
        soundfile.write(file, values, rate, format="WAV", subtype=kind)
    except (soundfile.LibsndfileError, TypeError, ValueError, OverflowError) as error:
        raise BadInputError(f"{AUDIO}: not sound at rate={rate!r}: {error}") from error
    return file.getvalue()


def _kind(value: object) -> str:
    """How messages call a value: its type, and the shape if it has one."""
    if isinstance(value, Array):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__
