"""Metrics of answers are those of the libraries and of their definitions, and their intervals hold what they say."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest
import sacrebleu

from data.types import Message, Sample, Text
from evaluation.answering.answer_metrics import METRICS, score
from evaluation.answering.predict import Likelihood, Prediction
from evaluation.metrics.corpus_scores import Value, bootstrap_corpus, cluster_totals, corpus_ratio
from evaluation.metrics.metric_names import ANSWER_METRICS, DIGITS, LOWER_IS_BETTER, SHORT_WORDS, TITLES, WORDS
from evaluation.metrics.scores import bootstrap
from evaluation.settings import Bootstrap
from training.options import HIGHER_IS_BETTER
from training.options import LOWER_IS_BETTER as LOWER_IN_TRAINING

WORDS_OF_CAPTIONS = ("a", "red", "small", "kangaroo", "runs", "over", "green", "grass", "beside", "an", "old", "house")
EXPECTED = ["a red kangaroo", "Two dogs  run in the Snow.", "ein Känguru, 3 m hoch", "不要", "a"]
GIVEN = ["a red cangaroo jumps", "two dogs in THE snow", "", "不", "b"]


def prediction(expected: str, answer: str, cluster: str = "", likelihood: Likelihood | None = None) -> Prediction:
    sample = Sample("x", (Message("user", (Text("?"),)), Message("assistant", (Text(expected),))))
    return Prediction(sample, expected, answer, cluster=cluster, likelihood=likelihood)


PAIRS = [prediction(expected, answer) for expected, answer in zip(EXPECTED, GIVEN, strict=True)]


def test_chrf_is_that_of_sacrebleu() -> None:
    found = score(PAIRS, METRICS["chrf"], Bootstrap(1000))
    assert found is not None
    assert found["value"] == pytest.approx(sacrebleu.corpus_chrf(GIVEN, [EXPECTED]).score / 100, abs=1e-12)
    single = [
        sacrebleu.sentence_chrf(answer, [expected]).score / 100
        for expected, answer in zip(EXPECTED, GIVEN, strict=True)
    ]
    np.testing.assert_allclose(METRICS["chrf"].of_each(PAIRS), single)


def test_word_error_rate_is_that_of_jiwer_on_words_without_case_and_white_space() -> None:
    found = score(PAIRS, METRICS["wer"], Bootstrap(1000))
    plain = [[" ".join(text.casefold().split()) for text in texts] for texts in (EXPECTED, GIVEN)]
    assert found is not None
    assert found["value"] == pytest.approx(jiwer.wer(*plain))
    same = prediction("Two dogs  run", "two DOGS run")
    assert METRICS["wer"].of_each([same]).tolist() == [0.0]


def test_losses_are_by_token_and_not_by_answer() -> None:
    items = [
        prediction("a", "", likelihood=Likelihood(("a",), (2.0,), (1,))),
        prediction("b", "", likelihood=Likelihood(("b",), (4.0,), (5,))),
        prediction("too long", ""),
    ]
    loss, perplexity = (score(items, METRICS[name], Bootstrap(1000)) for name in ("loss", "perplexity"))
    assert loss is not None
    assert perplexity is not None
    assert (loss["value"], loss["n"]) == (1.0, 2)
    assert perplexity["value"] == pytest.approx(np.e)
    assert score(items[2:], METRICS["loss"], Bootstrap(1000)) is None
    assert score(items, METRICS["choice"], Bootstrap(1000)) is None, "one candidate is no choice"


def test_choice_takes_the_likeliest_token_by_token_and_shares_ties() -> None:
    longer = Likelihood(("a b", "c"), (3.0, 2.0), (3, 1))
    assert (longer.choice, longer.chosen) == (1.0, "a b")
    assert Likelihood(("a", "b"), (2.0, 1.0), (1, 1)).choice == 0
    assert Likelihood(("a", "b", "c"), (1.0, 1.0, 2.0), (1, 1, 1)).choice == 0.5
    assert Likelihood(("a",), (1.0,), (1,)).choice is None


def test_accuracy_is_the_same_as_ever() -> None:
    rng = np.random.default_rng(0)
    right, clusters = rng.random(300) < 0.7, [str(i // 5) for i in range(300)]
    items = [prediction("yes", "Yes" if ok else "no", own) for ok, own in zip(right, clusters, strict=True)]
    assert score(items, METRICS["accuracy"], Bootstrap(1500, 3)) == bootstrap(right, clusters, 1500, 3).to_json()


def test_every_metric_has_words_and_a_direction() -> None:
    assert set(METRICS) == set(ANSWER_METRICS) == set(WORDS) == set(SHORT_WORDS)
    assert set(ANSWER_METRICS) <= set(TITLES)
    assert {name for name in METRICS if not METRICS[name].is_share} <= set(DIGITS)
    assert {name for name in METRICS if name in LOWER_IS_BETTER} == set(LOWER_IN_TRAINING) & set(METRICS)
    assert set(METRICS) - set(LOWER_IS_BETTER) <= set(HIGHER_IS_BETTER)


@pytest.fixture(scope="module")
def population() -> dict[str, np.ndarray]:
    """Statistics of 400 clusters of 4 answers, of which some clusters are hard: metric -> [400, 4, K]."""
    rng, found = np.random.default_rng(0), {name: [] for name in ("chrf", "wer", "loss")}
    for _ in range(400):
        share_wrong, hardness, size = rng.beta(1.5, 3), rng.gamma(4, 0.4), rng.integers(4, 16)
        items = []
        for _ in range(4):
            words = rng.choice(WORDS_OF_CAPTIONS, size)
            given = [rng.choice(WORDS_OF_CAPTIONS) if rng.random() < share_wrong else word for word in words]
            tokens = int(size + rng.integers(3))
            loss = float(tokens * hardness * rng.gamma(9, 1 / 9))
            likelihood = Likelihood(("",), (loss,), (tokens,))
            items.append(prediction(" ".join(words), " ".join(given), likelihood=likelihood))
        for name, tables in found.items():
            tables.append(METRICS[name].table(items))
    return {name: np.array(tables) for name, tables in found.items()}


def coverage(population_CMK: np.ndarray, value: Value, count: int, is_share: bool, together: bool = True) -> float:
    """How often the interval of `count` drawn clusters holds the score of the whole population."""
    truth, hits, draws = float(value(population_CMK.sum(axis=(0, 1)))), 0, 200
    rng = np.random.default_rng(1)
    for seed in range(draws):
        drawn_NK = population_CMK[rng.integers(len(population_CMK), size=count)].reshape(-1, population_CMK.shape[2])
        names = [str(place // 4) for place in range(len(drawn_NK))] if together else None
        found = bootstrap_corpus(drawn_NK, value, names, 1000, seed, is_share)
        hits += found.low <= truth <= found.high
    return hits / draws


@pytest.mark.parametrize("name", ["chrf", "wer", "loss"])
def test_intervals_hold_the_score_of_the_population(name: str, population: dict[str, np.ndarray]) -> None:
    """95 % of all draws, but for what 200 draws leave open; answers taken as independent would promise too much."""
    metric = METRICS[name]
    assert 0.91 <= coverage(population[name], metric.value, 40, metric.is_share) <= 0.99
    assert coverage(population[name], metric.value, 5, metric.is_share) >= 0.91, "few clusters"
    assert coverage(population[name], metric.value, 40, metric.is_share, together=False) < 0.87


def test_no_hit_in_few_clusters_does_not_exclude_one() -> None:
    items = [prediction("a red kangaroo", "xyz", str(place)) for place in range(20)]
    found = score(items, METRICS["chrf"], Bootstrap(1000))
    assert found is not None
    assert (found["value"], found["low"]) == (0, 0)
    assert found["high"] == pytest.approx(1 - 0.025 ** (1 / 20))
    right = [prediction("a red kangaroo", "a red kangaroo", str(place)) for place in range(20)]
    whole, errors = (score(right, METRICS[name], Bootstrap(1000)) for name in ("chrf", "wer"))
    assert whole is not None
    assert errors is not None
    assert (whole["low"], whole["high"]) == (pytest.approx(0.025 ** (1 / 20)), 1)
    assert (errors["low"], errors["high"]) == (0, pytest.approx(1 - 0.025 ** (1 / 20)))


def test_one_cluster_has_the_range_of_its_answers() -> None:
    items = [prediction("a red kangaroo", answer, "one") for answer in ("a red kangaroo", "xyz")]
    found = score(items, METRICS["chrf"], Bootstrap(1000))
    assert found is not None
    assert (found["low"], found["high"]) == (0, 1)


def test_a_ratio_of_scores_is_over_the_same_draws() -> None:
    rng = np.random.default_rng(0)
    table = np.stack([rng.random(200), np.ones(200)], axis=1)
    value, names = METRICS["wer"].value, [str(place) for place in range(200)]
    half = table * [0.5, 1]
    exact = corpus_ratio([half], [table], None, value, names, 1000)
    assert exact is not None
    assert (exact.value, exact.low, exact.high) == pytest.approx((0.5, 0.5, 0.5))
    floor = table * [0.25, 1]
    above_floor = corpus_ratio([half], [table], [floor], value, names, 1000)
    assert above_floor is not None
    assert above_floor.value == pytest.approx((0.5 - 0.25) / (1 - 0.25))
    assert corpus_ratio([half], [table], [table], value, names, 1000) is None, "nothing above the floor"


def test_totals_are_by_cluster() -> None:
    totals, sizes = cluster_totals(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), ["b", "a", "b"])
    assert totals.tolist() == [[3, 4], [6, 8]]
    assert sizes.tolist() == [1, 2]
