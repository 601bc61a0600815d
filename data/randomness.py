"""The generator of every random draw, derived from a seed, a purpose and a place.

Draws share a generator only if they share all three. So an option that switches one kind of draw on, off or up leaves
all others as they were. And whatever is drawn at a position of the stream does not depend on what was drawn before.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np


def seed_of(seed: int, purpose: str, *place: int | str) -> int:
    """A number below 2**128 for this purpose at this place; different arguments give unrelated numbers."""
    words = json.dumps([str(word) for word in (seed, purpose, *place)])
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:16], "big")


def generator(seed: int, purpose: str, *place: int | str) -> np.random.Generator:
    """A new generator for this purpose at this place."""
    return np.random.default_rng(seed_of(seed, purpose, *place))


@dataclass(frozen=True)
class Draws:
    """The generators of one position in the stream of samples, one for each purpose."""

    seed: int
    position: int

    def __call__(self, purpose: str, *place: int | str) -> np.random.Generator:
        """As `generator`, for this position."""
        return generator(self.seed, purpose, self.position, *place)
