from collections import Counter

import numpy as np
import pytest

from data.batching.mixture import BLOCK, Mixture, block_counts
from data.types import BadInputError
from tests.data.memory import MemorySource

SIZES = {"large": 700, "small": 37, "single": 1}
WEIGHTS = {"large": 5.0, "small": 2.0, "single": 0.01}


def mixture(seed=3, sizes=SIZES, weights=WEIGHTS):
    return Mixture({name: (MemorySource(sizes[name], name=name), weights[name]) for name in sizes}, seed)


def test_shares_are_those_of_the_largest_remainder():
    counts = block_counts({name: (MemorySource(1), weight) for name, weight in WEIGHTS.items()})
    # 1000 / 7.01 = 142.65: shares 713.27, 285.31 and 1.43; the remainder goes to the last.
    assert counts == {"large": 713, "small": 285, "single": 2}
    thirds = block_counts({name: (MemorySource(1), 1 / 3) for name in "abc"})
    assert thirds == {"a": 334, "b": 333, "c": 333}


def test_every_block_has_the_exact_proportions():
    stream, counts = mixture(), {"large": 713, "small": 285, "single": 2}
    for block in (0, 1, 17):
        places = range(block * BLOCK, (block + 1) * BLOCK)
        assert Counter(stream.locate(position)[0] for position in places) == counts


def test_brute_force_every_epoch_has_each_sample_once_in_an_order_of_its_own():
    stream = mixture()
    drawn = {name: [] for name in SIZES}
    for position in range(5 * BLOCK):
        name, index = stream.locate(position)
        drawn[name].append(index)
    for name, size in SIZES.items():
        epochs = [drawn[name][start : start + size] for start in range(0, len(drawn[name]) - size + 1, size)]
        assert len(epochs) >= 5
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        if size > 1:
            assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_the_position_is_all_that_counts():
    forward = [mixture().locate(position) for position in range(2 * BLOCK)]
    stream = mixture()
    shuffled = np.random.default_rng(0).permutation(2 * BLOCK)
    assert {int(position): stream.locate(int(position)) for position in shuffled} == dict(enumerate(forward))
    assert [mixture(seed=4).locate(position) for position in range(2 * BLOCK)] != forward


def test_samples_and_generators_are_drawn_from_the_position():
    for position in (0, 5, 1234):
        (name, sample, draws), (other_name, other, other_draws) = mixture().at(position), mixture().at(position)
        assert (name, sample.id) == (other_name, other.id)
        assert str(mixture().locate(position)[1]) == sample.id
        assert draws("x").random() == other_draws("x").random() != draws("y").random()
    draws = {mixture(seed).at(position)[2]("x").random() for seed in (0, 1) for position in range(50)}
    assert len(draws) == 100


def test_a_source_keeps_its_order_when_another_joins_or_is_renamed():
    def order(names):
        sizes = dict.fromkeys(names, 50)
        stream = mixture(sizes=sizes, weights=dict.fromkeys(names, 1.0))
        located = [stream.locate(position) for position in range(BLOCK)]
        return [index for name, index in located if name == "a"]

    alone = order("a")
    assert order("ab") == alone[: len(order("ab"))]
    assert order("ba") == alone[: len(order("ba"))]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({}, "no training source is configured; data.sources must name at least one"),
        ({"a": (MemorySource(0), 1.0)}, "data.sources.a: the source has no samples"),
        ({"a": (MemorySource(1), 0.0)}, "data.sources.a: weight=0.0 must be a number above 0"),
        ({"a": (MemorySource(1), -1.0)}, "data.sources.a: weight=-1.0 must be a number above 0"),
        ({"a": (MemorySource(1), float("nan"))}, "data.sources.a: weight=nan must be a number above 0"),
        (
            {"a": (MemorySource(1), 1.0), "b": (MemorySource(1), 1e-4)},
            "data.sources.b: weight=0.0001 is less than 1/1000 of all weights together",
        ),
    ],
)
def test_sources_that_cannot_be_mixed_are_named(sources, message):
    with pytest.raises(BadInputError, match=message):
        Mixture(sources, seed=0)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="seed=-1 must be at least 0"):
        mixture(seed=-1)
    with pytest.raises(ValueError, match="position=-1 must be at least 0"):
        mixture().locate(-1)
