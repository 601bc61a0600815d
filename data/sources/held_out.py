"""Rows of a manifest that are kept from the training, to be asked while it goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.sources.messages import named_segments
from data.types import AlignedSample, Media, Sample


def held_out(subjects: Sequence[int], share: float) -> np.ndarray:
    """Which rows are held out, bool [rows]: whole subjects, in the order of their hashes, until `share` of all rows is.

    At least one subject is, and at least one is not, if there are two. Raises `ValueError` for a share that is not
    between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"hold_out={share} must lie between 0 and 1, or be null")
    subjects_R = np.array(subjects, dtype=np.uint64)
    found, sizes = np.unique(subjects_R, return_counts=True)
    before = np.cumsum(sizes) - sizes
    chosen = before < share * len(subjects_R)
    chosen[-1] = False
    return np.isin(subjects_R, found[chosen])


def subject(sample: Sample | AlignedSample | None, line: bytes) -> int:
    """A number for what a row is about, equal for rows about the same file: its first medium, or the line."""
    media = (item for _, item in named_segments(sample) if isinstance(item, Media)) if sample is not None else iter(())
    first = next(media, None)
    content = line.strip()
    if first is not None and isinstance(first.source, Path | bytes):
        content = str(first.source).encode() if isinstance(first.source, Path) else first.source
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
