"""When two media, prompts or data sets are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable
from pathlib import Path

from torch import Tensor

from data.storage.array_store import StoredClip
from data.storage.files import read_file
from data.types import SENTENCE, Absent, AlignedSample, BadSampleError, Media, Message, Sample, Segment, Text


def media_key(media: Media) -> Hashable:
    """Equal for two media exactly when they are read from the same place or hold the same values."""
    source = media.source
    if isinstance(source, Tensor):
        return (media.modality, tuple(source.shape), str(source.dtype), digest(source))
    if isinstance(source, StoredClip):
        return (media.modality, source.store.folder, source.index)
    return (media.modality, source)


def prompt_key(sample: Sample) -> Hashable:
    """Equal for two samples only if a model reads the same prompt, so that one greedy answer serves both.

    Samples with tools or tool calls are never merged: their JSON is not hashable, and they are rare.
    """
    prompt = sample.messages[:-1]
    if sample.tools or any(message.tool_calls for message in prompt):
        return ("unmerged", id(sample))
    return tuple((message.role, content_key(message)) for message in prompt)


def content_key(message: Message) -> Hashable:
    """The segments of a message as hashable values."""
    return tuple(media_key(item) if isinstance(item, Media) else item for item in message.content)


def data_fingerprint(samples: Iterable[Sample | AlignedSample]) -> str:
    """sha256 over all words and all media of some samples, in order.

    Words count alike whether the fusion model reads them as text or an encoder of its own as a sentence.
    """
    total = hashlib.sha256()
    known: dict[Hashable, str] = {}
    for sample in samples:
        total.update(f"sample {sample.id!r}".encode())
        if isinstance(sample, Sample) and sample.choices:
            total.update(f"choices {sample.choices!r}".encode())
        turns = sample.messages if isinstance(sample, Sample) else [Message("user", sample.segments)]
        for message in turns:
            total.update(f"message {message.role!r}".encode())
            for item in message.content:
                total.update(segment_hash(item, known))
    return total.hexdigest()


def segment_hash(segment: Segment, known: dict[Hashable, str]) -> bytes:
    """What a fingerprint takes in of a segment."""
    if isinstance(segment, Media) and segment.modality == SENTENCE and isinstance(segment.source, bytes):
        segment = Text(segment.source.decode(errors="replace"))
    if isinstance(segment, Text):
        return f"text {segment.text!r}".encode()
    return f"absent {segment.modality}".encode() if isinstance(segment, Absent) else media_hash(segment, known)


def media_hash(media: Media, known: dict[Hashable, str]) -> bytes:
    """The hash of a medium's content, computed once for each; `known` is filled on the way."""
    key = media_key(media)
    if key not in known:
        known[key] = digest(media.source)
    return f"{media.modality} {known[key]}".encode()


def digest(source: object) -> str:
    """sha256 of a file, of bytes, of a tensor or of a stored clip. A file that cannot be read hashes as missing."""
    if isinstance(source, Path):
        content = _content(source)
    elif isinstance(source, bytes):
        content = source
    else:
        tensor = source if isinstance(source, Tensor) else source.read()  # type: ignore[attr-defined]
        content = tensor.detach().cpu().contiguous().numpy().tobytes()
    return hashlib.sha256(content).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return read_file(path)
    except BadSampleError:
        return b"missing"
