"""Which pictures look the same: a perceptual hash, and a small copy that keeps colours apart.

The hash has 64 bits, the signs of the lowest frequencies of the grey picture (pHash, by the library ImageHash). Two
pictures look the same if at most `MAX_DISTANCE` bits differ, and their copies of 8 x 8 pixels by `MAX_COLOUR` of 255 on
average and by `MAX_SPOT` nowhere. A picture of one colour has no frequencies, and is compared with none.

Shape legend: N items (pictures), P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image

from data.inspection.prints.neighbours import pairs_of_equal, unique_pairs

MAX_DISTANCE, MAX_COLOUR, MAX_SPOT = 4, 8.0, 40.0
# Two hashes that differ in at most four bits agree in one of five parts (the pigeonhole principle).
PARTS = (13, 13, 13, 13, 12)
# A picture is compared with so many others that agree in a part.
REACH = 32
SIDE, FLAT = 8, 2.0


@dataclass(frozen=True)
class PicturePrint:
    """code: the hash; colours: the small copy, uint8 [8, 8, 3] as bytes; is_flat: whether it has one colour."""

    code: int
    colours: bytes
    is_flat: bool


def picture_print(picture: Image.Image) -> PicturePrint:
    """The fingerprint of a picture in RGB."""
    bits = imagehash.phash(picture).hash.flatten()
    colours = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))
    deviation = max(float(np.asarray(channel.resize((64, 64))).std()) for channel in picture.split())
    return PicturePrint(int("".join("1" if bit else "0" for bit in bits), 2), colours.tobytes(), deviation < FLAT)


def alike(prints: Sequence[PicturePrint]) -> list[tuple[int, int, int]]:
    """Pairs of places that look the same, with the number of bits that differ."""
    places_N = np.array([place for place, item in enumerate(prints) if not item.is_flat], dtype=np.int64)
    if len(places_N) < 2:
        return []
    codes_N = np.array([prints[place].code for place in places_N], dtype=np.uint64)
    pairs = unique_pairs(_candidates(codes_N))
    distances = np.bitwise_count(codes_N[pairs[:, 0]] ^ codes_N[pairs[:, 1]])
    pairs, distances = pairs[distances <= MAX_DISTANCE], distances[distances <= MAX_DISTANCE]
    return [
        (int(places_N[first]), int(places_N[second]), int(distance))
        for (first, second), distance in zip(pairs, distances, strict=True)
        if _same_colours(prints[places_N[first]], prints[places_N[second]])
    ]


def _candidates(codes_N: np.ndarray) -> np.ndarray:
    found, shift = [], 0
    for width in PARTS:
        part_N = (codes_N >> np.uint64(shift)) & np.uint64((1 << width) - 1)
        found.append(pairs_of_equal(part_N, REACH, codes_N))
        shift += width
    return np.concatenate(found)


def _same_colours(first: PicturePrint, second: PicturePrint) -> bool:
    values = [np.frombuffer(item.colours, dtype=np.uint8).astype(np.int16) for item in (first, second)]
    distances = np.abs(values[0] - values[1])
    return float(distances.mean()) <= MAX_COLOUR and float(distances.reshape(-1, 3).mean(axis=1).max()) <= MAX_SPOT
