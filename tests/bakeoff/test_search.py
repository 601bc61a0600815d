"""The search finds what a full grid finds where options do not interact, widens, ends, and can be broken off."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bakeoff.tuning.search import Setting, TunedOption, search

RATE = TunedOption("lr", 0.01, factor=2, least=1e-5, most=10.0)
OTHER = TunedOption("adamw_lr", 0.003, factor=2, least=1e-5, most=10.0)
LAYER = TunedOption("layer", 2, values=[0, 1, 2, 3])


def searched(options, score, most=40):
    scores: dict[Setting, float] = {}
    while (found := search(options, scores, most)).wanted:
        assert not set(found.wanted) & scores.keys(), "nothing is tried twice"
        scores |= {setting: score(setting) for setting in found.wanted}
    return found, scores


@pytest.mark.parametrize("peak", [(-7, 3, -2), (0, 0, 0), (5, -4, 1)])
def test_the_grid_widens_until_the_best_value_lies_inside(peak):
    def score(setting):
        return -sum((place - top) ** 2 for place, top in zip(setting, peak, strict=True))

    found, scores = searched([RATE, OTHER, LAYER], score)
    assert found.best == peak
    assert (found.unsettled, found.edges) == ((), ())
    for option in range(2):
        tried = {setting[option] for setting in scores}
        assert min(tried) < peak[option] < max(tried)


def test_it_is_a_local_best_of_a_rough_surface_and_is_the_best_that_was_tried():
    rng = np.random.default_rng(0)
    options = [TunedOption("a", 3, values=list(range(7))), TunedOption("b", 3, values=list(range(7)))]
    for _ in range(50):
        surface = dict(zip(itertools.product(range(-3, 4), repeat=2), rng.random(49).tolist(), strict=True))
        found, scores = searched(options, surface.__getitem__, most=49)
        assert scores[found.best] == max(scores.values())
        a, b = found.best
        near = [(a + 1, b), (a - 1, b), (a, b + 1), (a, b - 1)]
        assert all(surface[found.best] >= surface[place] for place in near if place in surface)


def test_settings_are_bounded_and_what_was_not_tried_is_said():
    found, scores = searched([RATE, OTHER], lambda setting: float(setting[0]), most=5)
    assert len(scores) == 5
    assert found.unsettled == ("lr", "adamw_lr")
    assert search([RATE, OTHER], scores, most=5) == found


def test_the_end_of_a_grid_is_said():
    narrow = TunedOption("lr", 0.01, factor=2, least=0.005, most=0.02)
    found, _ = searched([narrow], lambda setting: float(setting[0]))
    assert narrow.value(found.best[0]) == 0.02
    assert (found.unsettled, found.edges) == ((), ("lr",))
    assert searched([LAYER], lambda setting: float(setting[0]))[0].edges == (), "there is no other layer"


def test_what_diverged_is_worst_even_where_the_search_began():
    found, _ = searched([RATE], lambda setting: math.nan if setting[0] > -3 else -abs(setting[0] + 5.0), most=12)
    assert found.best == (0,), "from where everything diverges there is no direction"
    found, _ = searched([RATE], lambda setting: math.nan if setting[0] > -1 else -abs(setting[0] + 5.0), most=12)
    assert found.best == (-5,)


def test_values_are_short_and_on_the_grid():
    assert [RATE.value(place) for place in (-2, -1, 0, 1)] == [0.0025, 0.005, 0.01, 0.02]
    assert [LAYER.value(place) for place in (-2, 1)] == [0, 3]
    with pytest.raises(IndexError):
        LAYER.value(2)
    assert not RATE.has(20)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": 1}, "lr: give either factor or values"),
        ({"start": 1, "factor": 2, "values": [1]}, "lr: give either factor or values"),
        ({"start": 1, "values": [2, 3]}, r"lr: start=1 must be one of values=\[2, 3\]"),
        ({"start": 1, "values": [1, 1]}, r"names a value twice"),
        ({"start": 1, "factor": 1}, "lr: factor=1 must be above 1"),
        ({"start": 1, "factor": 2, "least": 2}, "must be 0 < least=2 <= start=1 <= most=inf"),
        ({"start": 1, "factor": 2}, "must be 0 < least=0.0 <= start=1"),
    ],
)
def test_options_that_cannot_be_tuned_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        TunedOption("lr", **given)
