"""Media as a person sees and hears them, before any normalisation."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

import numpy as np
from torch import Tensor

from data.batching.document import Document
from data.display.drawing import new_figure, pixels
from data.media.audio import read_audio, sample_rate
from data.media.image import read_image
from data.types import BadSampleError, Layout, Media, Modality, Sample, Segment
from evaluation.answering.context import QUESTION, question_of, words_in

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


def words(sample: Sample, pictured: Collection[Modality] = ()) -> str:
    """The prompt for a caption: words as they are, media in brackets, and the words of a spoken question if known.

    Media that are `pictured` next to it need no brackets.
    """
    asked, spoken = asked_media(sample), sample.metadata.get(QUESTION)
    shown = []
    for item in (item for message in sample.messages[:-1] for item in message.content):
        if (text := words_in(item)) is not None:
            shown.append(text)
        elif spoken and any(item is other for other in asked):
            shown.append(f"(spoken: {spoken})")
        elif item.modality not in pictured:
            shown.append(f"[{item.modality}]")
    return " ".join(shown)


def asked_media(sample: Sample) -> list[Segment]:
    """The media that a sample asks its question in; none where it does not say which, as it must."""
    with suppress(BadSampleError):
        return [item for item in question_of(sample) if words_in(item) is None]
    return []
