"""Schedules: values at the steps that matter."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

import conf
from data.instantiate import instantiate
from data.types import BadInputError
from training.optimizers.schedules import cosine, trapezoid
from training.preparation.setup import build_schedule

CONF = Path(str(conf.__file__)).parent
EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
# Steps of the warm-up of the configured experiments, and of all their steps.
WARMUPS = {"easy_vqa": (50, 1700), "easy_vqa_quick": (20, 200), "emoji_alignment": (50, 700)}


def configured(*overrides: str) -> tuple[Callable[[int, int], float], int]:
    """The schedule and the number of steps of a configuration."""
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", overrides=list(overrides))
    return instantiate(config.schedule, "schedule"), config.trainer.max_steps


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
    for schedule in (cosine, lambda *a, **k: trapezoid(*a, **k, decay_fraction=0.8)):
        assert all(schedule(step, 7, warmup_steps=2) > 0 for step in range(7))


def test_no_warm_up_and_no_decay():
    assert cosine(0, 10, warmup_steps=0) == cosine(0, 10) == 1.0
    assert trapezoid(9, 10, decay_fraction=0.0) == 1.0


@pytest.mark.parametrize("fractions", [(0.05, 0.4), (0.3, 0.7), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (0.25, 0.75)])
def test_the_peak_is_the_whole_rate_in_a_run_of_any_length(fractions: tuple[float, float]):
    warmup, decay = fractions
    for steps in range(1, 200):
        values = [trapezoid(step, steps, warmup_fraction=warmup, decay_fraction=decay) for step in range(steps)]
        peak = values.index(max(values))
        assert max(values) == 1.0
        assert all(later >= earlier for earlier, later in itertools.pairwise(values[: peak + 1]))
        assert all(later <= earlier for earlier, later in itertools.pairwise(values[peak:]))
        assert max(cosine(step, steps, warmup_fraction=warmup) for step in range(steps)) == 1.0


def test_a_shorter_run_has_the_same_schedule_in_small():
    options = {"warmup_fraction": 0.2, "decay_fraction": 0.7, "final_factor": 0.1}
    for place in range(1, 10):
        long, short = (trapezoid(place * n // 10, n, **options) for n in (10_000, 100))
        # A step of the warm-up ends where the next one begins, which is a twentieth of one here.
        assert short == pytest.approx(long, abs=0.051)


def test_steps_of_a_warm_up_are_taken_in_place_of_its_fraction():
    assert cosine(1, 10, warmup_fraction=0.1, warmup_steps=4) == 0.5
    assert trapezoid(1, 10, warmup_fraction=0.1, warmup_steps=4, decay_fraction=0.2) == 0.5


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 90, 500])
def test_the_longest_warm_up_that_fits_has_a_peak_of_one_and_a_longer_one_is_refused(steps: int):
    # In words: at the last update of the warm-up the decay has not begun.
    longest = max(warmup for warmup in range(1, steps + 1) if steps - (warmup - 1) >= 0.7 * steps)
    for warmup in (0, 1, longest):
        assert max(trapezoid(step, steps, warmup_steps=warmup, decay_fraction=0.7) for step in range(steps)) == 1.0
    message = (
        rf"warmup_steps={longest + 1} and decay_fraction=0.7 overlap in max_steps={steps}, .* at most {longest}, or"
    )
    with pytest.raises(ValueError, match=message):
        trapezoid(0, steps, warmup_steps=longest + 1, decay_fraction=0.7)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize(
    "shorter", [(), ("trainer.max_steps=2",), ("trainer.max_steps=90",), ("trainer.max_steps=500",)]
)
def test_every_experiment_reaches_its_rate_however_short_it_is_cut(experiment: str, shorter: tuple[str, ...]):
    schedule, steps = configured(f"experiment={experiment}", *shorter)
    assert max(schedule(step, steps) for step in range(steps)) == 1.0
    if experiment in WARMUPS and not shorter:
        warmup, whole = WARMUPS[experiment]
        assert steps == whole
        assert [schedule(step, steps) for step in range(warmup)] == [(step + 1) / warmup for step in range(warmup)]
        assert schedule(warmup + 10, steps) == 1.0
        assert schedule(steps - steps // 10, steps) == pytest.approx(1 / 7)


def test_parts_that_overlap_are_one_line_with_the_place():
    """Of the old bake-off: 90 steps of tuning, of which the peak was 0.8 of the rate."""
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", overrides=["schedule.warmup_steps=50", "schedule.decay_fraction=0.7"])
    with pytest.raises(BadInputError) as refused:
        build_schedule(config.schedule, 90)
    line = (
        "schedule: warmup_steps=50 and decay_fraction=0.7 overlap in max_steps=90, so that no step has the whole rate;"
    )
    assert str(refused.value).startswith(line)
    assert "give at most 28, or warmup_fraction" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("schedule", "options", "name"),
    [
        (cosine, {"warmup_steps": -1}, "warmup_steps=-1"),
        (cosine, {"warmup_steps": 1, "final_factor": 2.0}, "final_factor=2.0"),
        (cosine, {"warmup_steps": 11}, "warmup_steps=11 is too long in max_steps=10, .* give at most 10"),
        (cosine, {"warmup_fraction": 1.1}, "warmup_fraction=1.1 must lie"),
        (cosine, {"warmup_fraction": None}, "warmup_fraction=None must lie"),
        (trapezoid, {"warmup_steps": 1, "decay_fraction": 1.5}, "decay_fraction=1.5"),
        (trapezoid, {"warmup_fraction": 0.4, "decay_fraction": 0.7}, "0.4 and decay_fraction=0.7 overlap; their sum"),
    ],
)
def test_wrong_arguments_are_named(schedule, options, name):
    with pytest.raises(ValueError, match=name):
        schedule(0, 10, **options)
