"""What a source holds, as a short text: a resume notices other data by it, and a report says what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.bad_samples import reading
from data.randomness import generator
from data.sources.base import Source, read_sample
from data.storage.array_store import StoredClip
from data.storage.feature_store import media_key
from data.storage.files import unreadable
from data.types import AlignedSample, BadInputError, Media, Sample, Segment, Text

# Of a source that does not define a fingerprint of its own, so many samples are looked at.
NUM_SAMPLES = 128


def fingerprint(source: Source) -> str:
    """What its method `fingerprint()` returns, if a source has one; else a hash of samples spread over the source.

    These are drawn as a training could draw them, and count with texts, calls and the content of their media. A clip
    of a rendered cache counts by the name of the cache, which says how it was made: rendering it anew is no change.
    """
    own = getattr(source, "fingerprint", None)
    if own is not None:
        return str(own())
    digest = hashlib.sha256()
    for index in spread(len(source), NUM_SAMPLES):
        digest.update(json.dumps(_content(source, index), default=str).encode())
    return digest.hexdigest()[:16]


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of the numbers below `count`, evenly spread, with the first and the last."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, wanted)).round()]


def file_key(path: Path) -> str:
    """A hash of a file's content, or that there is none."""
    if unreadable(path):
        return "missing"
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "missing"


def _content(source: Source, index: int) -> list[Any]:
    try:
        sample = read_sample(source, index, generator(0, "fingerprint", index))
        with reading(sample.name):
            if isinstance(sample, AlignedSample):
                return [sample.id, _segments(sample.segments)]
            return [sample.id, [dict(tool) for tool in sample.tools], *_turns(sample)]
    except BadInputError:
        return ["unusable"]


def _turns(sample: Sample) -> list[Any]:
    return [
        [message.role, _segments(message.content), [[call.name, dict(call.arguments)] for call in message.tool_calls]]
        for message in sample.messages
    ]


def _segments(segments: Sequence[Segment]) -> list[list[str]]:
    return [[segment.modality, _key(segment)] for segment in segments]


def _key(segment: Segment) -> str:
    if isinstance(segment, Text):
        return segment.text
    if not isinstance(segment, Media):
        return ""
    if isinstance(segment.source, Path):
        return file_key(segment.source)
    return repr(segment.source) if isinstance(segment.source, StoredClip) else media_key(segment)
