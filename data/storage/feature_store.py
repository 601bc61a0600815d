"""Features that a frozen encoder made of media, on disk, and the processor that reads them in place of the media.

    FOLDER/part-HASH/    an array store: features [T, C] in float32; its metadata hold the header and the media's keys

Parts are added and never changed: a training that meets new media adds one with theirs. The header says what the
features were made with, so that those of other weights are never taken for these.

Shape legend: T places in an item, C width of the features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.storage.array_store import ArrayStore, build_once, write_store
from data.storage.files import read_file
from data.types import BadInputError, BadSampleError, Media, Processor

Header = Mapping[str, str]


class FeatureStore:
    """The parts of a folder as one: key of a medium -> features. A folder that does not exist is empty.

    header: what the features were made with. Raises `BadInputError` for a part with another one.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder, self.header = folder, dict(header)
        self.parts = [ArrayStore(part) for part in sorted(folder.glob("part-*")) if part.is_dir() and not part.suffix]
        self._places: dict[str, tuple[int, int]] = {}
        for number, part in enumerate(self.parts):
            self._check(part)
            self._places |= {key: (number, index) for index, key in enumerate(part.metadata["keys"])}

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def keys(self) -> Set[str]:
        """The media that it knows."""
        return self._places.keys()

    def __getitem__(self, key: str) -> Tensor:
        """A copy of the features [T, C]."""
        part, index = self._places[key]
        return torch.from_numpy(np.array(self.parts[part][index]))

    def _check(self, part: ArrayStore) -> None:
        found = part.metadata.get("header", {})
        wrong = [name for name in self.header if found.get(name) != self.header[name]]
        if wrong or len(part.metadata.get("keys", ())) != len(part):
            what = f"made with other {', '.join(wrong)}" if wrong else "without the keys of its items"
            raise BadInputError(f"{part.folder}: holds features {what}; delete it, and they are computed anew")


def add_part(store: FeatureStore, name: str, items: Iterable[tuple[str, np.ndarray]], width: int) -> FeatureStore:
    """The store with a part of these (key, features [T, C]) in addition; they are taken one by one.

    A part of this name that exists is left as it is: another process has computed it.
    """
    keys: list[str] = []

    def arrays() -> Iterator[np.ndarray]:
        for key, features in items:
            keys.append(key)  # written after the last array
            yield features

    metadata = {"header": store.header, "keys": keys}
    folder = store.folder / f"part-{name}"
    build_once(folder, lambda temporary: write_store(temporary, arrays(), np.float32, (width,), metadata))
    return FeatureStore(store.folder, store.header)


class CachedFeatures:
    """A processor that returns the stored features [T, C] of a medium, which `processor` would otherwise prepare."""

    augments = False

    def __init__(self, store: FeatureStore, processor: Processor) -> None:
        self.store, self.processor = store, processor

    def __call__(self, media: Media, rng: np.random.Generator | None = None) -> Tensor:
        """Features [T, C]. Raises `BadSampleError` for a medium that cannot be read or was not there before."""
        key = media_key(media)
        if key not in self.store:
            self.processor(media)  # what cannot be decoded is refused with its own words
            raise BadSampleError(f"{media.name}: is not in {self.store.folder}: has it changed since the start?")
        return self.store[key]


def media_key(media: Media) -> str:
    """A hash of a medium's content, wherever it comes from. Raises `BadSampleError` for a file that cannot be read."""
    source = media.source
    if isinstance(source, Path):
        content = read_file(source)
    elif isinstance(source, bytes):
        content = source
    else:
        values = (source if isinstance(source, Tensor) else source.read()).contiguous()
        content = f"{values.dtype}{tuple(values.shape)}".encode() + values.numpy().tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


def json_hash(value: object) -> str:
    """A hash of plain containers."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
