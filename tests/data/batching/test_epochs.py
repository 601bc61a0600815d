"""No batch holds a sample twice because an epoch ended in it, whatever the sizes."""

from __future__ import annotations

import numpy as np
import pytest

from data.batching.epochs import apart
from data.batching.mixture import Mixture
from tests.data.memory import MemorySource


def batches(mixture: Mixture, number: int) -> list[list[tuple[str, int]]]:
    size = mixture.samples_per_batch
    return [[mixture.locate(position) for position in range(i * size, (i + 1) * size)] for i in range(number)]


@pytest.mark.parametrize(
    ("sizes", "samples_per_batch"),
    [((13,), 13), ((13,), 12), ((13,), 10), ((17,), 8), ((40,), 12), ((700,), 64), ((9, 50), 12), ((30, 11), 16)],
)
def test_no_batch_has_a_sample_twice(sizes: tuple[int, ...], samples_per_batch: int) -> None:
    sources = {name: (MemorySource(size), 1.0) for name, size in zip("ab", sizes, strict=False)}
    mixture = Mixture(sources, 0, samples_per_batch)
    drawn = batches(mixture, 200)
    for number, batch in enumerate(drawn):
        # By chance a batch may have more of a small source than it has samples.
        several = {name for name, (source, _) in sources.items() if sum(n == name for n, _ in batch) > len(source)}
        rest = [item for item in batch if item[0] not in several]
        assert len(set(rest)) == len(rest), f"batch {number}: {sorted(rest)}"
    for name, (source, _) in sources.items():
        indices = [index for batch in drawn for found, index in batch if found == name]
        epochs = [
            indices[start : start + len(source)] for start in range(0, len(indices) - len(source) + 1, len(source))
        ]
        assert all(sorted(epoch) == list(range(len(source))) for epoch in epochs)
    plain = Mixture(sources, 0)
    repeated = [batch for batch in batches_of(plain, samples_per_batch, 200) if len(set(batch)) < len(batch)]
    assert repeated or samples_per_batch == sizes[0]  # it does happen where nobody takes care


def batches_of(mixture: Mixture, size: int, number: int) -> list[list[tuple[str, int]]]:
    return [[mixture.locate(position) for position in range(i * size, (i + 1) * size)] for i in range(number)]


@pytest.mark.parametrize(("size", "samples_per_batch"), [(13, 12), (17, 8), (700, 64)])
def test_the_position_is_all_that_counts(size: int, samples_per_batch: int) -> None:
    sources = {"a": (MemorySource(size), 1.0)}
    forward = [Mixture(sources, 3, samples_per_batch).locate(position)[1] for position in range(0, 3000, 97)]
    once = Mixture(sources, 3, samples_per_batch)
    backward = [once.locate(position)[1] for position in reversed(range(0, 3000, 97))]
    assert backward[::-1] == forward


def test_a_late_epoch_of_a_small_source_is_reached() -> None:
    mixture = Mixture({"a": (MemorySource(5), 1.0)}, 0, 4)
    assert len({mixture.locate(position) for position in range(40_000, 40_004)}) == 4


def test_little_moves_and_nothing_is_lost() -> None:
    order = np.random.default_rng(0).permutation(100)
    moved = apart(order, 10, order[[2, 5, 12, 60]])
    assert not set(moved[:10]) & set(order[[2, 5, 12, 60]])
    assert sorted(moved) == list(range(100))
    assert np.flatnonzero(moved != order).tolist() == [2, 5, 10, 11]
    assert apart(order, 10, order[20:30]) is order
    few = np.arange(4)
    assert apart(few, 3, few[:3]) is few
