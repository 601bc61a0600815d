"""Pictures of every kind that a file may hold, as red, green and blue of 8 bits on an opaque ground.

Whatever is not plain 8-bit colour is brought to it by the range of its pixels; what has no known range is refused.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from data.types import BadSampleError

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
# Bits in a tag of TIFF, and how PIL calls grey pixels of fewer than 8 bits in a PNG.
BITS_PER_SAMPLE, SHALLOW = 258, {"L;2": 2, "L;4": 4}
# Formats with 16-bit grey that PIL gives as mode I, in some of its versions.
GREY_16 = ("PNG", "PPM")


def to_rgb(image: Image.Image, background: Colour = WHITE) -> Image.Image:
    """The picture as mode RGB, the right way up where a camera noted how it was held; where it is transparent,
    `background` shows. Plain RGB keeps its pixels. `image` is one that was opened and not loaded yet; it is changed.

    Pixels of more than 8 bits are scaled by the range of their type (of 12 bits in TIFF, by theirs), floats are to be
    from 0 to 1. Raises `BadSampleError` for pixels without a known range (32-bit integers, other floats).
    """
    key = _transparent_value(image)
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        deep = np.asarray(image)
        opacity = None if key is None else Image.fromarray(deep != key)
        return _on(background, _scaled(image, deep).convert("RGB"), opacity)
    if key is not None:
        image.info["transparency"] = key
    if image.mode not in TRANSPARENT and key is None:
        return image.convert("RGB")
    coloured = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return _on(background, coloured.convert("RGB"), coloured.getchannel("A"))


def _on(background: Colour, image: Image.Image, opacity: Image.Image | None) -> Image.Image:
    if opacity is None:
        return image
    ground = Image.new("RGB", image.size, background)
    ground.paste(image, mask=opacity)
    return ground


def _transparent_value(image: Image.Image) -> object:
    """The value that is transparent (the entries, of a palette), in the scale that the pixels have once loaded."""
    key = image.info.get("transparency")
    tiles = getattr(image, "tile", None)  # of a file that is not loaded yet
    if isinstance(key, int) and tiles and (bits := SHALLOW.get(tiles[0][3])):
        return key * 255 // (2**bits - 1)
    if isinstance(key, tuple) and max(key) > 255:  # colours of 16 bits; the upper 8 are read
        return tuple(value >> 8 for value in key)
    return key


def _scaled(image: Image.Image, deep: np.ndarray) -> Image.Image:
    """Grey pixels of more than 8 bits as mode L."""
    if image.mode == "F":
        low, high = float(deep.min()), float(deep.max())
        if not 0 <= low <= high <= 1:  # false for NaN too
            raise BadSampleError(f"its pixels are floats from {low:g} to {high:g}, must be from 0 to 1")
        return Image.fromarray((deep * 255).round().astype(np.uint8))
    if image.mode == "I" and image.format not in GREY_16:
        raise BadSampleError("its pixels are 32-bit or signed integers, of no known range; save them with 8 or 16 bits")
    largest = 2 ** _bits(image) - 1
    return Image.fromarray(((deep.astype(np.uint32) * 255 + largest // 2) // largest).clip(0, 255).astype(np.uint8))


def _bits(image: Image.Image) -> int:
    tags = getattr(image, "tag_v2", {})
    return int(tags.get(BITS_PER_SAMPLE, (16,))[0])
