"""What a segment holds as one number, so that equal captions, pictures and clips are known as equal.

In training a picture is augmented, so that two looks of one picture differ: there it is what was read from the source
that counts. Everything else is compared as the model sees it: a caption by its tokens, a medium by its values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import product

import numpy as np
from torch import Tensor

from data.feature_store import media_key
from data.types import AlignedSample, Media, Modality, Segment


def content_key(content: bytes) -> int:
    """A number of 64 bits with a sign, as tensors hold it; equal for equal bytes, and else different but by accident."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


def tokens_key(token_ids: Sequence[int]) -> int:
    """Of a text."""
    return content_key(np.asarray(token_ids, dtype=np.int64).tobytes())


def values_key(values: Tensor) -> int:
    """Of a medium, by the values that its encoder reads."""
    plain = values.detach().cpu().contiguous()
    return content_key(f"{plain.dtype}{tuple(plain.shape)}".encode() + plain.numpy().tobytes())


def source_key(media: Media) -> int:
    """Of a medium, by what its source holds before it is augmented. Raises `BadSampleError` if it cannot be read."""
    return content_key(media_key(media).encode())


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
    return AlignedSample(sample.id, tuple(segments), sample.source, sample.origin, sample.metadata)
