"""Aligned samples that have a modality several times, and sources that hold aligned samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from data.sources.base import Source, read_sample
from data.types import AlignedSample, BadSampleError, Modality, Segment


def is_aligned(source: Source) -> bool:
    """Whether the first sample that can be read is aligned; not if none can be."""
    for index in range(len(source)):
        try:
            return isinstance(read_sample(source, index, np.random.default_rng(0)), AlignedSample)
        except BadSampleError:
            continue
    return False


def one_of_each(sample: AlignedSample, rng: np.random.Generator) -> AlignedSample:
    """The sample with one segment of each modality: drawn where a picture, say, has several captions."""
    kept = [found[int(rng.integers(len(found)))] if len(found) > 1 else found[0] for found in _grouped(sample).values()]
    return sample if len(kept) == len(sample.segments) else _with(sample, kept)


def every_choice(sample: AlignedSample) -> list[AlignedSample]:
    """A sample for each way to take one segment of each modality: a picture with five captions is five of them."""
    choices = list(product(*_grouped(sample).values()))
    return [sample] if len(choices) == 1 else [_with(sample, choice) for choice in choices]


def _grouped(sample: AlignedSample) -> dict[Modality, list[Segment]]:
    found: dict[Modality, list[Segment]] = {}
    for segment in sample.segments:
        found.setdefault(segment.modality, []).append(segment)
    return found


def _with(sample: AlignedSample, segments: Sequence[Segment]) -> AlignedSample:
    return replace(sample, segments=tuple(segments))
