"""Many arrays of different lengths in one memory-mapped file, built once and read by index.

A store is a folder:

    values.bin   the arrays, one after the other, in C order
    index.json   dtype, the shape that all arrays share after their first axis, their lengths, metadata

Workers and processes that open the same store share its pages; nothing is read before it is asked for.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from data.types import BadInputError

VALUES, INDEX = "values.bin", "index.json"
PCM_SCALE = 1 / 32768


class ArrayStore:
    """The arrays of a store that exists: `len(store)`, `store[i]`, `store.metadata`.

    Raises `BadInputError` when the folder is not a store, or when its sizes do not agree (a truncated file).
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = _read_index(self.folder)
        self.dtype = np.dtype(index["dtype"])
        self.trailing_shape: tuple[int, ...] = tuple(index["trailing_shape"])
        self.metadata: Mapping[str, Any] = index["metadata"]
        self.lengths = np.asarray(index["lengths"], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        path, expected = self.folder / VALUES, self._num_bytes()
        found = path.stat().st_size if path.is_file() else 0
        if found != expected:
            raise BadInputError(f"{path}: holds {found} bytes where its index says {expected}; delete {folder}")
        shape = (int(self._starts[-1]), *self.trailing_shape)
        empty = expected == 0
        self._values = np.zeros(shape, self.dtype) if empty else np.memmap(path, self.dtype, "r", shape=shape)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Array `index`, [length, *trailing_shape]: a read-only view of the file."""
        if not 0 <= index < len(self):
            raise IndexError(f"index={index} must be in [0, {len(self)}) in {self.folder}")
        return self._values[self._starts[index] : self._starts[index + 1]]

    def place(self, index: int) -> tuple[ArrayStore, int]:
        """The store that holds array `index`, and its place there; see `GrowingStore.place`."""
        return self, index

    def __reduce__(self) -> tuple[type[ArrayStore], tuple[Path]]:
        # A memory map pickles as a copy of its contents; another process opens the folder instead.
        return ArrayStore, (self.folder,)

    def _num_bytes(self) -> int:
        return int(self._starts[-1]) * int(np.prod(self.trailing_shape, dtype=np.int64)) * self.dtype.itemsize


class Stored(Protocol):
    """Arrays by index: all there, or made when they are needed (`data.storage.growing_store`)."""

    @property
    def folder(self) -> Path:
        """Where they are kept; its name says how they were made."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What holds for all of them."""
        ...

    def __getitem__(self, index: int) -> np.ndarray: ...

    def place(self, index: int) -> tuple[ArrayStore, int]:
        """The store that holds array `index`, and its place there."""
        ...


class StoredClip:
    """Array `index` of a store, as the source of a `Media` (implements `Clip`)."""

    __slots__ = ("index", "store")

    def __init__(self, store: Stored, index: int) -> None:
        self.store = store
        self.index = index

    def read(self) -> Tensor:
        """A copy of the array; 16-bit integers are sound, and become floats in [-1, 1)."""
        values = torch.from_numpy(np.array(self.store[self.index]))
        return values.float().mul_(PCM_SCALE) if values.dtype == torch.int16 else values

    def __repr__(self) -> str:
        return f"StoredClip({self.store.folder.name}[{self.index}])"


def build_once(folder: str | Path, build: Callable[[Path], None]) -> None:
    """Call `build(temporary_folder)` and rename the result to `folder`, unless `folder` exists already.

    One process builds and the others wait for it, so that N processes do not do the same work N times.
    What a killed builder left is removed by the next one; `folder` itself is always complete.

    Raises `BadInputError` when the disk is full or the place cannot be written.
    """
    folder = Path(folder)
    if folder.is_dir():
        return
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not folder.is_dir():
                with written_whole(folder) as temporary:
                    build(temporary)


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the name `folder` when the block ends well, and is removed when it does not.

    Raises `BadInputError` when the disk is full or the place cannot be written.
    """
    temporary = folder.with_name(folder.name + ".tmp")
    with disk_errors(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Errors of the system become a `BadInputError` that names the folder."""
    try:
        yield
    except OSError as error:
        raise BadInputError(f"{folder}: cannot be written: {error.strerror or error}") from error


def write_store(
    folder: Path,
    arrays: Iterable[np.ndarray],
    dtype: np.dtype | type | str,
    trailing_shape: tuple[int, ...] = (),
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write `arrays`, each [length, *trailing_shape], into the existing `folder`; `metadata` must fit JSON.

    Arrays are taken one by one, so that a store may be larger than the memory.
    """
    dtype = np.dtype(dtype)
    lengths: list[int] = []
    with (folder / VALUES).open("wb") as file:
        for array in arrays:
            if array.shape[1:] != trailing_shape:
                raise ValueError(f"array {len(lengths)} has shape {array.shape}, not [length, *{trailing_shape}]")
            file.write(np.ascontiguousarray(array, dtype=dtype).data)
            lengths.append(len(array))
    index = {
        "dtype": dtype.name,
        "trailing_shape": list(trailing_shape),
        "lengths": lengths,
        "metadata": dict(metadata or {}),
    }
    (folder / INDEX).write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        missing = {"dtype", "trailing_shape", "lengths", "metadata"} - set(index)
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(f"{path}: not the index of an array store: {error}; delete {folder}") from error
    if missing:
        raise BadInputError(f"{path}: lacks {', '.join(sorted(missing))}; delete {folder}")
    return index
