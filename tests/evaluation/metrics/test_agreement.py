"""Kappa and AUROC: the numbers of scikit-learn and of Fleiss' paper, and intervals that hold the truth.

Shape legend: N items (answers), G groups (clusters), T places in an item (answers of a cluster).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from evaluation.metrics.agreement import MOST_ANSWERS, auroc, cohen, fleiss

# Ten items, fourteen raters, five answers: how many gave each (Fleiss, 1971, as tables of the method print it).
FLEISS = (
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
)  # fmt: skip
SIZE = 4


def alone(count: int) -> list[str]:
    return [str(place) for place in range(count)]


def test_cohen_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    first = rng.choice(list("abcd"), 300, p=[0.5, 0.3, 0.1, 0.1])
    second = np.where(rng.random(300) < 0.6, first, rng.choice(list("abcde"), 300))
    found = cohen(first, second, alone(300), 1000)
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(cohen_kappa_score(first, second))
    assert found.observed.value == pytest.approx((first == second).mean())
    assert found.kappa.low < found.kappa.value < found.kappa.high


def test_fleiss_is_that_of_the_paper() -> None:
    rows = [[answer for answer, count in enumerate(counts) for _ in range(count)] for counts in FLEISS]
    found = fleiss([[str(answer) for answer in side] for side in zip(*rows, strict=True)], alone(10), 1000)
    assert found.kappa is not None
    assert (found.observed.value, found.chance) == (pytest.approx(0.378, abs=5e-4), pytest.approx(0.213, abs=5e-4))
    assert found.kappa.value == pytest.approx(0.210, abs=5e-4)
    with pytest.raises(ValueError, match="sides has 1; agreement needs at least 2"):
        fleiss([["a"]], alone(1))


def test_two_that_know_nothing_of_each_other_have_a_kappa_of_0_however_often_they_agree() -> None:
    rng = np.random.default_rng(1)
    first, second = (rng.choice(["yes", "no"], 4000, p=[0.9, 0.1]) for _ in range(2))
    found = cohen(first, second, alone(4000), 1000)
    assert found.kappa is not None
    assert found.observed.value > 0.8
    assert found.kappa.low < 0 < found.kappa.high


def test_one_answer_to_everything_has_no_kappa() -> None:
    found = cohen(["yes"] * 5, ["yes"] * 5, alone(5))
    assert (found.kappa, found.chance) == (None, 1.0)
    assert found.to_json()["kappa"] is None


def test_perfect_agreement_is_not_certain_and_one_cluster_says_nothing() -> None:
    answers = ["a", "b"] * 10
    found = cohen(answers, answers, alone(20), 1000)
    assert found.kappa is not None
    assert (found.kappa.value, found.kappa.high) == (1.0, 1.0)
    # Twenty agreements leave a share of .025^(1/20) of agreement open; chance is one half.
    assert found.kappa.low == pytest.approx((0.025 ** (1 / 20) - 0.5) / 0.5)
    single = cohen(answers, answers, ["one"] * 20, 1000).kappa
    assert single is not None
    assert (single.low, single.high) == (-1.0, 1.0)


def test_very_many_answers_share_a_place() -> None:
    names = alone(3 * MOST_ANSWERS)
    found = cohen(names, names, names, 1000)
    assert found.observed.value == 1
    assert found.kappa is not None
    assert found.kappa.value == 1


def test_the_auroc_is_that_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(2)
    positive = rng.random(300) < 0.4
    values = rng.normal(size=300).round(1) + positive
    found = auroc(values, positive, alone(300), 1000)
    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(positive, values))
    assert auroc(values, np.ones(300), alone(300)) is None


def test_a_clean_separation_is_not_certain() -> None:
    found = auroc([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [False] * 5 + [True] * 5, alone(10), 1000)
    assert found is not None
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 5))
    same = auroc([1, 2], [False, True], ["one", "one"], 1000)
    assert same is not None
    assert (same.low, same.high) == (0.0, 1.0)


def answered(rng: np.random.Generator, clusters: int, hard: float, easy: float) -> tuple[np.ndarray, np.ndarray]:
    """Two sides of four answers a cluster; three of ten clusters are hard, and agree less often."""
    shares_G = np.where(rng.random(clusters) < 0.3, hard, easy)
    first_GT = np.where(rng.random((clusters, SIZE)) < 0.4, 0, rng.integers(0, 4, (clusters, SIZE)))
    same_GT = rng.random((clusters, SIZE)) < shares_G[:, None]
    second_GT = np.where(same_GT, first_GT, rng.integers(0, 4, (clusters, SIZE)))
    return first_GT.ravel().astype(str), second_GT.ravel().astype(str)


def names(clusters: int) -> list[str]:
    return [str(place // SIZE) for place in range(SIZE * clusters)]


@pytest.mark.parametrize(("hard", "easy"), [(0.0, 0.0), (0.3, 0.8), (0.8, 0.98), (0.95, 0.999)])
def test_the_interval_of_kappa_holds_the_truth(hard: float, easy: float) -> None:
    """In 91 % or more of 200 draws, with a standard error of 1.5 points; not by being as wide as can be."""
    truth = cohen_kappa_score(*answered(np.random.default_rng(9), 200_000, hard, easy))
    for clusters in (12, 100):
        rng, held, widths = np.random.default_rng(clusters), [], []
        for _ in range(200):
            found = cohen(*answered(rng, clusters, hard, easy), names(clusters), 1000).kappa
            assert found is not None
            held.append(found.low <= truth <= found.high)
            widths.append(found.high - found.low)
        print(f"kappa {truth:.3f}, {clusters} clusters: {np.mean(held):.1%}, width {np.mean(widths):.3f}")
        assert np.mean(held) >= 0.91
    assert np.mean(widths) < 0.2


def test_answers_drawn_alone_would_be_too_sure() -> None:
    """Where the answers of a cluster are one answer, an interval that knows of none holds the truth too rarely."""
    held, rng = [], np.random.default_rng(3)
    for _ in range(200):
        first, second = (np.repeat(side[::SIZE], SIZE) for side in answered(rng, 60, 0.6, 0.6))
        pair = (cohen(first, second, clusters, 1000).kappa for clusters in (names(60), alone(60 * SIZE)))
        held.append([found is not None and found.low <= 0.6 <= found.high for found in pair])
    together, apart = np.mean(held, axis=0)
    assert together >= 0.92
    assert apart < 0.8


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_the_interval_of_the_auroc_holds_the_truth(shift: float) -> None:
    truth, spread = float(norm.cdf(shift / np.sqrt(2.5))), 0.5
    for clusters in (12, 100):
        rng, held = np.random.default_rng(clusters), []
        for _ in range(200):
            kinds_GT = np.tile([0, 1, 0, 1], (clusters, 1))
            shared_GT = spread * rng.normal(size=(clusters, 1)) + rng.normal(size=(clusters, SIZE)) + shift * kinds_GT
            found = auroc(shared_GT.ravel(), kinds_GT.ravel(), names(clusters), 1000)
            assert found is not None
            held.append(found.low <= truth <= found.high)
        print(f"AUROC {truth:.3f}, {clusters} clusters: {np.mean(held):.1%}")
        assert np.mean(held) >= 0.91
