"""Segments of samples as what a page shows and plays: words, pictures and clips of bounded size."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import soundfile
from PIL import Image

from data.types import IMAGE, Absent, BadSampleError, Media, Segment
from evaluation.answering.context import words_in
from evaluation.insight.preview import picture, sound
from evaluation.page.markdown_page import PNG, data_uri

# Of one picture: pixels of its longer side, and bytes from which on it is a JPEG. Of one clip: seconds.
LONGEST_SIDE, LARGEST_PNG, SMALL_SIDE = 640, 96 * 2**10, 200
LONGEST_CLIP = 30.0
LONGEST_WORDS = 600


@dataclass(frozen=True)
class Item:
    """kind: words, image or audio. text: the words, or what a picture or clip is called. note: what a reader is told of
    it.
    """

    kind: str
    text: str
    source: str = ""
    note: str = ""
    size: str = ""


@dataclass
class Budget:
    """Bytes that the media of some examples may take; `left_out` counts those that did not fit."""

    size: int
    left_out: int = field(default=0, init=False)

    def take(self, item: Item) -> Item:
        """The item, or its name where nothing is left for it."""
        if len(item.source) > self.size:
            self.left_out += 1
            return Item("words", f"[{item.text}, left out: the page would be too large]")
        self.size -= len(item.source)
        return item


def item_of(segment: Segment, budget: Budget) -> Item:
    """What a page shows of a segment; what cannot be shown is named."""
    if isinstance(segment, Absent):
        return Item("words", f"[no {segment.modality}]")
    if (words := words_in(segment)) is not None:
        return Item("words", words if len(words) <= LONGEST_WORDS else words[: LONGEST_WORDS - 1] + "…")
    assert isinstance(segment, Media)
    try:
        return budget.take(_image(segment) if segment.modality == IMAGE else _clip(segment))
    except BadSampleError:
        return Item("words", f"[{segment.modality}]")


def _image(media: Media) -> Item:
    image = Image.fromarray(picture(media))
    width, height = image.size
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    note = "" if image.size == (width, height) else f"shown smaller than its {width} x {height} pixels"
    kind, content = PNG, _encoded(image, "PNG")
    if len(content) > LARGEST_PNG:
        kind, content = "image/jpeg", _encoded(image, "JPEG")
    size = "small" if max(image.size) < SMALL_SIDE else ""
    return Item("image", media.modality, data_uri(kind, content), note, size)


def _encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()


def _clip(media: Media) -> Item:
    samples, rate = sound(media)
    seconds = len(samples) / rate
    note = "" if seconds <= LONGEST_CLIP else f"the first {LONGEST_CLIP:.0f} of {seconds:.0f} s"
    buffer = io.BytesIO()
    # As loud as it is: what is beyond full scale is cut, as a player would.
    kept = samples[: int(LONGEST_CLIP * rate)].clip(-1, 1)
    soundfile.write(buffer, kept, rate, format="FLAC", subtype="PCM_16")
    return Item("audio", media.modality, data_uri("audio/flac", buffer.getvalue()), note)
