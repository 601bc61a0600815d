import numpy as np
import pytest

from bakeoff.statistics import Resampler, compare_all, holm
from evaluation.metrics import bootstrap_mean

IMAGES = [f"image {n // 4}" for n in range(400)]


def answers(rates: list[float], seed: int = 0) -> np.ndarray:
    """One training an entry; questions about an image stand or fall together, and are equally hard in all of them."""
    hardness_N = np.repeat(np.random.default_rng(seed).random(100), 4)
    return np.stack([hardness_N < rate for rate in rates])


def test_one_seed_gives_the_interval_of_the_report() -> None:
    correct_SN = answers([0.8])
    estimate = Resampler(IMAGES, num_seeds=1, resamples=20_000).estimate(correct_SN)
    score = bootstrap_mean(correct_SN[0], IMAGES, 20_000)
    assert estimate.value == score.value
    assert (estimate.low, estimate.high) == pytest.approx((score.low, score.high), abs=0.005)


def test_seeds_that_differ_widen_the_interval() -> None:
    alike = Resampler(IMAGES, 3, 5000).estimate(answers([0.8, 0.8, 0.8]))
    apart = Resampler(IMAGES, 3, 5000).estimate(answers([0.6, 0.8, 1.0]))
    assert apart.value == pytest.approx(alike.value, abs=0.05)
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Over simulated bake-offs in which trainings and images both vary, and images are as hard for every training."""
    held, repeats = 0, 200
    rng = np.random.default_rng(1)
    for repeat in range(repeats):
        rates = list(0.7 + 0.03 * rng.standard_normal(8))
        estimate = Resampler(IMAGES, 8, 1000, seed=repeat).estimate(answers(rates, seed=repeat))
        held += estimate.low <= 0.7 <= estimate.high
    assert 0.9 <= held / repeats <= 0.99


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    resampler = Resampler(IMAGES, 3, 5000)
    better, worse = answers([0.82, 0.83, 0.84]), answers([0.78, 0.79, 0.80])
    difference, p = resampler.compare(better, worse)
    assert difference.low > 0
    assert p < 0.01
    assert resampler.estimate(better).low < resampler.estimate(worse).high  # their intervals overlap


def test_a_method_does_not_differ_from_itself() -> None:
    difference, p = Resampler(IMAGES, 3, 1000).compare(answers([0.7, 0.8, 0.9]), answers([0.7, 0.8, 0.9]))
    assert (difference.value, difference.low, difference.high, p) == (0, 0, 0, 1)


def test_swapping_two_methods_changes_the_sign_alone() -> None:
    one, other = answers([0.7, 0.75, 0.8]), answers([0.72, 0.74, 0.83], seed=1)
    there, p = Resampler(IMAGES, 3, 2000).compare(one, other)
    back, same_p = Resampler(IMAGES, 3, 2000).compare(other, one)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert p == same_p


def test_holm_is_that_of_the_paper() -> None:
    """0.01 * 4, 0.02 * 3, then 0.03 * 2 which may not be below the one before, and 0.04."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_every_pair_is_tested_once_and_corrected_together() -> None:
    correct = {task: {m: answers([r, r]) for m, r in (("a", 0.5), ("b", 0.6), ("c", 0.9))} for task in ("t", "u")}
    scores, found = compare_all(correct, {"t": IMAGES, "u": IMAGES}, ["a", "b"], 1000)
    pairs = [(item.task, item.method, item.baseline) for item in found]
    assert pairs == [(t, m, b) for t in ("t", "u") for m, b in (("b", "a"), ("c", "a"), ("c", "b"))]
    assert scores["t"]["c"].value == pytest.approx(answers([0.9]).mean())
    assert all(item.corrected >= item.p for item in found)
    smallest = min(found, key=lambda item: item.p)
    assert smallest.corrected == pytest.approx(min(1.0, 6 * smallest.p))
