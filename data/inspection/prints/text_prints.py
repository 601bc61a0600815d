"""Which texts say nearly the same: MinHash finds candidates, the share of equal letters decides.

A text is compared without case, punctuation and white space. Candidates are texts that have many runs of five letters
in common (Broder, "On the resemblance and containment of documents", 1997). Locality-sensitive hashing finds them. Two
are near if rapidfuzz's ratio of their letters (2 x common / both, in the best alignment) is `MIN_RATIO` percent or
more. Of longer texts the first `MAX_LETTERS` letters are compared.

Shape legend: T places in an item (runs of letters), b bits of a print (hash functions), N items (texts), P pairs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from rapidfuzz import fuzz

from data.inspection.prints.neighbours import pairs_of_equal, unique_pairs
from data.randomness import generator

MIN_RATIO, MAX_LETTERS, RUN = 90.0, 2000, 5
# Texts agree in all hashes of one of so many bands: of those that share half of their runs 64 % do, of those that share
# three quarters 99.8 %.
BANDS, ROWS = 16, 4
# A text is compared with so many others that agree in a band.
REACH = 16
WORD = re.compile(r"\w+")
_DRAWS = generator(0, "minhash").integers(1, 1 << 63, (2, BANDS * ROWS), dtype=np.uint64)
FACTORS_b, OFFSETS_b = _DRAWS[0] | np.uint64(1), _DRAWS[1]


def plain(text: str) -> str:
    """The words of a text in small letters with one space between them; of a text without words, what it is."""
    normal = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(WORD.findall(normal)) or " ".join(normal.split())


def text_print(text: str) -> np.ndarray:
    """A number [BANDS] uint64 for each band, of a text as `plain` gives it."""
    letters = np.frombuffer(text[:MAX_LETTERS].encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    if len(letters) < RUN:
        letters = np.pad(letters, (0, RUN - len(letters)))
    runs = np.zeros(len(letters) - RUN + 1, dtype=np.uint64)
    for place in range(RUN):
        runs = runs * np.uint64(0x9E3779B97F4A7C15) + letters[place : len(letters) - RUN + 1 + place]
    runs_T = np.unique(runs ^ (runs >> np.uint64(29)))
    smallest_b = (runs_T[:, None] * FACTORS_b + OFFSETS_b >> np.uint64(16)).min(axis=0)
    rows = smallest_b.reshape(BANDS, ROWS)
    bands = rows[:, 0]
    for row in range(1, ROWS):
        bands = bands * np.uint64(0x9E3779B97F4A7C15) + rows[:, row]
    return bands


def near_texts(texts: Sequence[str], prints: Sequence[np.ndarray]) -> list[tuple[int, int, float]]:
    """Pairs of places of different texts that say nearly the same, with their ratio in percent."""
    if len(texts) < 2:
        return []
    bands_Nb = np.stack(prints)
    pairs = unique_pairs(np.concatenate([pairs_of_equal(band_N, REACH) for band_N in bands_Nb.T]))
    found = []
    for first, second in pairs.tolist():
        ratio = fuzz.ratio(texts[first][:MAX_LETTERS], texts[second][:MAX_LETTERS], score_cutoff=MIN_RATIO)
        if ratio >= MIN_RATIO:
            found.append((first, second, float(ratio)))
    return found
