"""Media as a person sees and hears them, before any normalisation."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from torch import Tensor

from data.audio import read_audio, sample_rate
from data.document import Document
from data.drawing import new_figure, pixels
from data.image import read_image
from data.types import AUDIO, IMAGE, SENTENCE, BadSampleError, Layout, Media, Modality, Sample, Segment, Text

RATE_OF_TENSORS = 16_000


def picture(media: Media) -> np.ndarray:
    """uint8 [H, W, 3]. Raises `BadSampleError` for an image that cannot be read."""
    return np.ascontiguousarray(read_image(media).permute(1, 2, 0).cpu().numpy())


def appearance(media: Media, values: Tensor, layout: Layout) -> np.ndarray:
    """What a medium looks like: uint8 [H, W, 3] where its features lie on a grid, else its values with time first.

    On a grid, what is no image is drawn from its values: three channels as colours, the mean of any other in grey.
    """
    if layout.grid is None:
        return values.reshape(len(values), -1).cpu().numpy()
    try:
        return picture(media)
    except BadSampleError:
        return drawn_values(values)


def drawn_values(values: Tensor) -> np.ndarray:
    """Values [.., H, W] as uint8 [H, W, 3], from the least to the greatest."""
    x_CHW = values.detach().cpu().float().reshape(-1, *values.shape[-2:])
    x_CHW = x_CHW if len(x_CHW) == 3 else x_CHW.mean(dim=0, keepdim=True).expand(3, -1, -1)
    scaled = (x_CHW - x_CHW.min()) / (x_CHW.max() - x_CHW.min()).clamp_min(1e-12)
    return np.ascontiguousarray((255 * scaled).round().byte().permute(1, 2, 0).numpy())


def drawn_line(values: np.ndarray) -> np.ndarray:
    """Values [S, X] over time as uint8 [H, W, 3]: a curve of one at a time, a picture of several, time to the right."""
    figure = new_figure(2.4, 0.8)
    axes = figure.subplots()
    axes.set_axis_off()
    if values.shape[1] == 1:
        axes.plot(values[:, 0], linewidth=0.8, color="black")
    else:
        axes.imshow(values.T, cmap="gray", aspect="auto", origin="lower", interpolation="nearest")
    return pixels(figure)


def shown_media(sample: Sample, document: Document) -> Iterator[tuple[Modality, Media, Tensor]]:
    """The media of a sample's prompt in the order of its document: modality, the medium itself, its values."""
    given = {modality: iter(prompt_media(sample, modality)) for modality, _ in document.media}
    for modality, values in document.media:
        yield modality, next(given[modality]), values


def sound(media: Media) -> tuple[np.ndarray, int]:
    """Mono samples [samples] in -1..1 and their rate. Raises `BadSampleError` for sound that cannot be read.

    A raw tensor does not say its rate, and is played at 16 kHz.
    """
    rate = sample_rate(media) or RATE_OF_TENSORS
    return read_audio(media, rate).cpu().numpy(), rate


def heard(media: Media) -> tuple[np.ndarray, int] | None:
    """The same of a medium that is sound; None of any other."""
    try:
        return sound(media)
    except BadSampleError:
        return None


def prompt_media(sample: Sample, modality: str) -> list[Media]:
    """The media of one modality in the prompt, that is before the expected answer."""
    segments = (item for message in sample.messages[:-1] for item in message.content)
    return [item for item in segments if isinstance(item, Media) and item.modality == modality]


def words(sample: Sample, pictured: Collection[Modality] = (IMAGE,)) -> str:
    """The prompt for a caption: text as it is, media in brackets, and the words of a spoken question if known.

    Media that are `pictured` beside it need no brackets.
    """
    shown = []
    for message in sample.messages[:-1]:
        for item in message.content:
            shown.append(_word(item))
    spoken = sample.metadata.get("question")
    if spoken and not any(isinstance(item, Text) for message in sample.messages[:-1] for item in message.content):
        shown.append(f"({spoken})")
    hidden = {f"[{modality}]" for modality in pictured}
    return " ".join(part for part in shown if part not in hidden).replace(f"[{AUDIO}] (", "(spoken: ")


def _word(item: Segment) -> str:
    """Text, also where a pretrained encoder reads it, as it is; the name of any other medium in brackets."""
    if isinstance(item, Text):
        return item.text
    if item.modality == SENTENCE and isinstance(item, Media) and isinstance(item.source, bytes):
        return item.source.decode(errors="replace")
    return f"[{item.modality}]"
