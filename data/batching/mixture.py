"""A weighted mixture of sources as a pure function of the position in the stream.

Nothing is remembered between positions: any process can compute any part of the stream. So a run resumes exactly by
the number of its next batch, whatever the number of workers and processes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from data.batching.epochs import apart
from data.randomness import Draws, generator
from data.sources.base import Source, read_sample
from data.types import AlignedSample, BadInputError, Sample

# Proportions are exact within every aligned block of this many positions.
BLOCK = 1000


class Mixture:
    """An endless stream over `sources`, name -> (source, weight).

    In every block of 1,000 positions each source has its exact share (largest remainder), in a drawn order. Within
    a source each epoch has every sample once, in an order of its own. Where a batch of `samples_per_batch` positions
    has the end of one epoch and the start of the next, they have no sample in common, if the source has enough.

    Raises `BadInputError` if there is no source, one is empty, or a weight gives no place in a block.
    """

    def __init__(self, sources: Mapping[str, tuple[Source, float]], seed: int, samples_per_batch: int = 1) -> None:
        if seed < 0:
            raise ValueError(f"seed={seed} must be at least 0")
        if samples_per_batch < 1:
            raise ValueError(f"samples_per_batch={samples_per_batch} must be at least 1")
        self.samples_per_batch = samples_per_batch
        self.names = tuple(sources)
        self.seed = seed
        self.sources = {name: source for name, (source, _) in sources.items()}
        self._counts = block_counts(sources)
        self._permutations: dict[tuple[str, int], np.ndarray] = {}
        self._orders: dict[tuple[str, int], np.ndarray] = {}
        self._pattern: tuple[int, np.ndarray] | None = None

    def locate(self, position: int) -> tuple[str, int]:
        """The source at `position`, counted from 0, and the index of the sample in it."""
        if position < 0:
            raise ValueError(f"position={position} must be at least 0")
        block, offset = divmod(position, BLOCK)
        pattern = self._block_pattern(block)
        choice = pattern[offset]
        name = self.names[choice]
        drawn_before = self._drawn(name, position)
        epoch, place = divmod(drawn_before, len(self.sources[name]))
        return name, int(self._order(name, epoch)[place])

    def share(self, name: str, samples_per_batch: int) -> int:
        """Samples of a source in a batch, on average, rounded up."""
        return math.ceil(samples_per_batch * self._counts[name] / BLOCK)

    def at(self, position: int) -> tuple[str, Sample | AlignedSample, Draws]:
        """The source's name, the sample, and the generators of whatever else is drawn at this position.

        Raises `BadSampleError` for a sample that cannot be read, whatever the source raises for it.
        """
        name, index = self.locate(position)
        draws = Draws(self.seed, position)
        return name, read_sample(self.sources[name], index, draws("sample"), name), draws

    def _block_pattern(self, block: int) -> np.ndarray:
        """Which source has each place of a block, as indices into `names`, [BLOCK]."""
        if self._pattern is None or self._pattern[0] != block:
            counts = [self._counts[name] for name in self.names]
            places = np.repeat(np.arange(len(self.names)), counts)
            self._pattern = block, generator(self.seed, "pattern", block).permutation(places)
        return self._pattern[1]

    def _order(self, name: str, epoch: int) -> np.ndarray:
        """The permutation of an epoch, apart from the end of the one before; the two used last are kept per source."""
        if (name, epoch) in self._orders:
            return self._orders[name, epoch]
        # An epoch of three batches or more ends as its permutation does, so that the one before is all that counts. How
        # a shorter one ends may follow from those before: they are gone through from the last that is known.
        is_long = len(self.sources[name]) >= 3 * self.samples_per_batch
        known = [other for source, other in self._orders if source == name and other < epoch]
        first = epoch if is_long else max(known, default=-1) + 1
        for number in range(first, epoch + 1):
            order, (num_last, num_first) = self._permutation(name, number), self._around(name, number)
            if num_last and num_last + num_first <= len(order):
                before = self._permutation(name, number - 1) if is_long else self._orders[name, number - 1]
                order = apart(order, num_first, before[-num_last:])
            for old in [other for other in self._orders if other[0] == name][:-1]:
                del self._orders[old]
            self._orders[name, number] = order
        return order

    def _around(self, name: str, epoch: int) -> tuple[int, int]:
        """The batch that an epoch starts in: how many samples it has of the epoch before, and of this one."""
        first = epoch * len(self.sources[name])
        block, rest = divmod(first, self._counts[name])
        offset = int(np.flatnonzero(self._block_pattern(block) == self.names.index(name))[rest])
        start = (block * BLOCK + offset) // self.samples_per_batch * self.samples_per_batch
        return first - self._drawn(name, start), self._drawn(name, start + self.samples_per_batch) - first

    def _drawn(self, name: str, position: int) -> int:
        """Samples of a source before a position."""
        block, offset = divmod(position, BLOCK)
        pattern = self._block_pattern(block)
        return block * self._counts[name] + int(np.count_nonzero(pattern[:offset] == self.names.index(name)))

    def _permutation(self, name: str, epoch: int) -> np.ndarray:
        """The order of a source's samples in an epoch; the two that were used last are kept per source."""
        key = (name, epoch)
        if key not in self._permutations:
            for old in [other for other in self._permutations if other[0] == name][:-1]:
                del self._permutations[old]
            rng = generator(self.seed, "order", name, epoch)
            self._permutations[key] = rng.permutation(len(self.sources[name]))
        return self._permutations[key]


def block_counts(sources: Mapping[str, tuple[Source, float]]) -> dict[str, int]:
    """Places of each source in a block of 1,000, by largest remainder; the first named wins a tie."""
    if not sources:
        raise BadInputError("no training source is configured; data.sources must name at least one")
    for name, (source, weight) in sources.items():
        if not (math.isfinite(weight) and weight > 0):
            raise BadInputError(
                f"data.sources.{name}: weight={weight} must be a number above 0 (~data.sources.{name} removes it)"
            )
        if len(source) == 0:
            raise BadInputError(f"data.sources.{name}: the source has no samples")
    total = sum(weight for _, weight in sources.values())
    shares = {name: BLOCK * weight / total for name, (_, weight) in sources.items()}
    counts = {name: math.floor(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: counts[name] - shares[name])
    for name in by_remainder[: BLOCK - sum(counts.values())]:
        counts[name] += 1
    for name, count in counts.items():
        if count == 0:
            raise BadInputError(
                f"data.sources.{name}: weight={sources[name][1]} is less than 1/{BLOCK} of all weights together, "
                "so that the source would never be read"
            )
    return counts
