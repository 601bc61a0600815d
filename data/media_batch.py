"""Items of a medium as tensors, and how their features lie. Import these from `data.types`.

Shape legend: N items, T places in an item, A axes of positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """How many features, or tokens, one item becomes, and where they lie, as its encoder (or projector) says.

    count: how many there are. grid: rows and columns of those that lie on one, row by row over the last two axes of the
    item's values. What comes before them, such as a class token, has no place. None: a line, all features after one
    another along the first axis. ticks: of a line in time, where the middle of the first feature lies, and how far it
    is to the next. Both are in steps of the first axis of the item's values (frames of a spectrogram, samples of a
    waveform): step i lasts from i to i + 1. None: there is no time.
    """

    count: int
    grid: tuple[int, int] | None = None
    ticks: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.grid is not None and not 0 < self.grid[0] * self.grid[1] <= self.count:
            raise ValueError(f"grid={self.grid} must hold 1 to {self.count} features, as many as there are")
        if self.ticks is not None and not self.ticks[1] > 0:
            raise ValueError(f"ticks={self.ticks} must go on: the second must be above 0")

    @property
    def without_place(self) -> int:
        """How many features come before those of the grid."""
        return 0 if self.grid is None else self.count - self.grid[0] * self.grid[1]

    @property
    def coordinates(self) -> Tensor:
        """Place on the line, row and column of each feature, from 0: float64 [T, 3], NaN where there is none."""
        found_TA = torch.full((self.count, 3), torch.nan, dtype=torch.float64)
        if self.grid is None:
            found_TA[:, 0] = torch.arange(self.count)
        else:
            places_T, columns = torch.arange(self.grid[0] * self.grid[1]), self.grid[1]
            found_TA[self.without_place :, 1:] = torch.stack([places_T // columns, places_T % columns], dim=1).double()
        return found_TA

    @property
    def times(self) -> Tensor:
        """The middle of each feature, in steps of the values' first axis: float64 [T], NaN where there is none."""
        if self.ticks is None:
            return torch.full((self.count,), torch.nan, dtype=torch.float64)
        first, step = self.ticks
        return first + step * torch.arange(self.count, dtype=torch.float64)


# What an encoder, a projector or a model says of an item of some shape.
LayoutOf = Callable[[tuple[int, ...]], Layout]


@dataclass(frozen=True)
class MediaBatch:
    """Items of one modality as one padded tensor, in the order of a batch (row by row).

    values: [N, ...], padded with zeros at the end of every axis to the largest item.
    shapes: [N, rank], the shape of each item before padding.
    documents: [N], the document that each item belongs to.
    """

    values: Tensor
    shapes: Tensor
    documents: Tensor

    def __len__(self) -> int:
        return len(self.values)

    @property
    def buckets(self) -> tuple[MediaBatch, ...]:
        """All items are padded together."""
        return (self,)

    @property
    def places(self) -> Tensor:
        """[N], where each item of the buckets, one bucket after the other, stands in the batch: where it is."""
        return torch.arange(len(self))

    def items(self) -> Iterator[Tensor]:
        """The values of each item without padding, in the order of the batch."""
        for values, shape in zip(self.values, self.shapes.tolist(), strict=True):
            yield values[tuple(slice(size) for size in shape)]

    def map(self, change: Callable[[Tensor], Tensor]) -> MediaBatch:
        """The same items with other values, padding and all."""
        return replace(self, values=change(self.values))

    def of_document(self, document: int) -> MediaBatch:
        """The items of one document, padded to the largest of them, as those of document 0."""
        indices = (self.documents == document).nonzero()[:, 0]
        values, shapes = self.values[indices.to(self.values.device)], self.shapes[indices.to(self.shapes.device)]
        if len(indices):
            values = values[(slice(None), *(slice(size) for size in shapes.amax(0).tolist()))]
        return MediaBatch(values, shapes, torch.zeros_like(self.documents[indices.to(self.documents.device)]))

    def to(self, device: torch.device | str) -> MediaBatch:
        """The same batch with its values on `device`; shapes stay where Python reads them."""
        return self.map(lambda values: values.to(device, non_blocking=True))


@dataclass(frozen=True)
class BucketedMedia:
    """Items of one modality in several padded tensors, so that one large item does not pad all of them.

    buckets: items of similar shape, at least one in each. places: [N], where each of their items, one bucket after the
    other, stands in the batch. Everything else is as of a `MediaBatch`, in the order of the batch.
    """

    buckets: tuple[MediaBatch, ...]
    places: Tensor

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shapes(self) -> Tensor:
        """[N, rank]"""
        return torch.cat([bucket.shapes for bucket in self.buckets])[self.places.argsort()]

    @property
    def documents(self) -> Tensor:
        """[N]"""
        return torch.cat([bucket.documents for bucket in self.buckets])[self.places.argsort()]

    def items(self) -> Iterator[Tensor]:
        """The values of each item without padding, in the order of the batch."""
        found = [values for bucket in self.buckets for values in bucket.items()]
        yield from (found[number] for number in self.places.argsort().tolist())

    def map(self, change: Callable[[Tensor], Tensor]) -> BucketedMedia:
        """The same items with other values, padding and all."""
        return replace(self, buckets=tuple(bucket.map(change) for bucket in self.buckets))

    def of_document(self, document: int) -> MediaBatch | BucketedMedia:
        """The items of one document, as those of document 0."""
        parts = [bucket.of_document(document) for bucket in self.buckets]
        places = self.places[torch.cat([bucket.documents for bucket in self.buckets]) == document]
        kept = tuple(part for part in parts if len(part))
        return BucketedMedia(kept, places.argsort().argsort()) if len(kept) > 1 else (kept or (parts[0],))[0]

    def to(self, device: torch.device | str) -> BucketedMedia:
        """The same batch with its values on `device`."""
        return self.map(lambda values: values.to(device, non_blocking=True))


# All items of one modality in a batch.
MediaItems = MediaBatch | BucketedMedia
