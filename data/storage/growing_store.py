"""A store of arrays that take long to make: each is made when it is first needed, and kept.

    FOLDER/part-HASH/    an array store; its metadata say which places of the whole its arrays have
    FOLDER/values.bin    in place of parts, in caches of older versions: all arrays, in their order

Parts are added and never changed, so that an array that was read once stays what it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from data.storage.array_store import INDEX, ArrayStore, StoredClip, disk_errors, write_store, written_whole
from data.types import BadInputError

PART = f"part-{'?' * 12}"
# A training adds a part, and every part is a file that stays open. After so many the next one is all of the rest.
MOST_PARTS = 32


class GrowingStore(ABC):
    """`count` arrays, as an `ArrayStore` has them; `ensure` makes those that are needed.

    One that is read without having been made brings all the others with it: who reads here and there, without saying
    beforehand what, may read anything.
    """

    def __init__(self, folder: Path, count: int, dtype: type, metadata: Mapping[str, Any]) -> None:
        self.folder, self.dtype, self.metadata = folder, dtype, dict(metadata)
        self._count = count
        self._places: dict[int, tuple[ArrayStore, int]] = {}
        self._open()

    @abstractmethod
    def make(self, indices: Sequence[int]) -> Iterable[np.ndarray]:
        """The arrays of these places, in this order."""

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        """Array `index`, a read-only view of its part."""
        part, place = self.place(index)
        return part[place]

    def place(self, index: int) -> tuple[ArrayStore, int]:
        """The part that holds array `index`, and its place there."""
        if not 0 <= index < self._count:
            raise IndexError(f"index={index} must be in [0, {self._count}) in {self.folder}")
        if index not in self._places:
            self._open()  # another process may have made it
        if index not in self._places:
            self.ensure(range(self._count))
        return self._places[index]

    @property
    def is_complete(self) -> bool:
        """Whether all arrays have been made."""
        return len(self._places) == self._count

    def missing(self, indices: Iterable[int]) -> list[int]:
        """Which of these have not been made yet, in order."""
        return sorted(set(indices) - self._places.keys())

    def ensure(self, indices: Collection[int]) -> None:
        """Makes those of these arrays that are not there; other processes wait, and find them.

        Raises `BadInputError` when the disk is full or the place cannot be written.
        """
        if not self.missing(indices):
            return
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder.with_name(self.folder.name + ".lock")):
                num_parts = self._open()  # with what another process has made meanwhile
                wanted = self.missing(indices)
                if wanted and num_parts >= MOST_PARTS:
                    wanted = self.missing(range(self._count))
                if wanted:
                    self._add(wanted)
                    self._open()

    def _add(self, indices: Sequence[int]) -> None:
        for killed in self.folder.glob(f"{PART}.tmp"):
            shutil.rmtree(killed, ignore_errors=True)
        name = hashlib.sha256(json.dumps(indices).encode()).hexdigest()[:12]
        with written_whole(self.folder / f"part-{name}") as temporary:
            write_store(temporary, self.make(indices), self.dtype, metadata=self.metadata | {"indices": indices})

    def _open(self) -> int:
        """Finds all parts; how many there are."""
        whole = (self.folder / INDEX).is_file()
        found = [self.folder] if whole else sorted(self.folder.glob(PART))
        known = {part.folder for part, _ in self._places.values()}
        for folder in set(found) - known:
            part = ArrayStore(folder)
            indices = range(self._count) if whole else _indices(part)
            self._places |= {index: (part, place) for place, index in enumerate(indices)}
        return len(found)


def _indices(part: ArrayStore) -> Sequence[int]:
    indices = part.metadata.get("indices") if isinstance(part.metadata, Mapping) else None
    if not isinstance(indices, list) or len(indices) != len(part):
        raise BadInputError(f"{part.folder / INDEX}: does not say which arrays it has; delete {part.folder}")
    return indices


def render_clips(clips: Iterable[StoredClip]) -> None:
    """Makes those of some clips that are not there yet."""
    wanted: dict[GrowingStore, set[int]] = defaultdict(set)
    for clip in clips:
        if isinstance(clip.store, GrowingStore):
            wanted[clip.store].add(clip.index)
    for store, indices in wanted.items():
        store.ensure(indices)
