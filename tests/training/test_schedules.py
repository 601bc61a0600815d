"""Schedules: values at the steps that matter."""

from __future__ import annotations

import itertools
import math

import pytest

from training.schedules import cosine, trapezoid


def test_cosine_warms_up_then_falls_to_its_floor():
    values = [cosine(step, 100, warmup_steps=10, final_factor=0.1) for step in range(101)]
    assert values[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert values[10] == 1.0
    assert values[55] == pytest.approx(0.1 + 0.9 * 0.5)
    assert values[100] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in itertools.pairwise(values[10:]))


def test_trapezoid_is_flat_then_linear():
    values = [trapezoid(step, 100, warmup_steps=4, decay_fraction=0.2) for step in range(101)]
    assert values[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert set(values[4:81]) == {1.0}
    assert values[80:] == pytest.approx([1 - step / 20 for step in range(21)])


def test_no_update_is_spent_at_a_rate_of_zero():
    for schedule in (cosine, lambda *a, **k: trapezoid(*a, **k, decay_fraction=1.0)):
        assert all(schedule(step, 7, warmup_steps=2) > 0 for step in range(7))


def test_no_warm_up_and_no_decay():
    assert cosine(0, 10, warmup_steps=0) == 1.0
    assert trapezoid(9, 10, warmup_steps=0, decay_fraction=0.0) == 1.0
    assert math.isclose(trapezoid(3, 4, warmup_steps=4, decay_fraction=0.5), 0.5)


def test_a_run_shorter_than_its_warm_up_ends_in_it():
    assert cosine(1, 2, warmup_steps=50) == trapezoid(1, 2, warmup_steps=50, decay_fraction=0.0) == 0.04


@pytest.mark.parametrize(
    ("schedule", "options", "name"),
    [
        (cosine, {"warmup_steps": -1}, "warmup_steps=-1"),
        (cosine, {"warmup_steps": 1, "final_factor": 2.0}, "final_factor=2.0"),
        (trapezoid, {"warmup_steps": 1, "decay_fraction": 1.5}, "decay_fraction=1.5"),
    ],
)
def test_wrong_arguments_are_named(schedule, options, name):
    with pytest.raises(ValueError, match=name):
        schedule(0, 10, **options)
