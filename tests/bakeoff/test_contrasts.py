"""What is tested and what is not, and how the answers of runs come into it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bakeoff.methods import Terms
from bakeoff.results.contrasts import Answers, judged_contrasts, plain_differences, with_pooled
from bakeoff.results.gather import read_answered
from bakeoff.results.statistics import Estimate, crossed, estimate, holm
from bakeoff.settings import Contrast
from data.types import BadInputError

SEEDS, IMAGES, QUESTIONS = 4, 50, 6
CLUSTERS = [f"image {n // QUESTIONS}" for n in range(IMAGES * QUESTIONS)]
METHODS = {"a": 0.5, "b": 0.62, "c": 0.9}
TASKS = ("typed", "spoken")


def answers(seed: int = 0) -> Answers:
    """Images are hard or easy for every method, and a training is a little better or worse than its method."""
    rng = np.random.default_rng(seed)
    correct: dict[str, dict[str, np.ndarray]] = {}
    for task in TASKS:
        hard_N = np.repeat(rng.normal(0, 0.2, IMAGES), QUESTIONS)
        for method, rate in METHODS.items():
            rate_S = rate + 0.03 * rng.standard_normal(SEEDS)
            correct.setdefault(task, {})[method] = rng.random((SEEDS, len(CLUSTERS))) < rate_S[:, None] + hard_N
    return Answers(correct, dict.fromkeys(TASKS, CLUSTERS))


CONTRASTS = [
    Contrast("b", "a", "typed", "flops"),
    Contrast("c", "b", "spoken", "flops"),
    Contrast("b", "a", "typed", "parameters"),
]
ANSWERS = {Terms("flops"): answers(0), Terms("parameters"): answers(1)}


def test_holm_and_bonferroni_count_the_primary_contrasts_alone() -> None:
    found = judged_contrasts(ANSWERS, CONTRASTS)
    assert [Contrast(item.method, item.against, item.task, item.terms.budget) for item in found] == CONTRASTS
    p_values = []
    for item in found:
        values_SN = ANSWERS[item.terms].differences(item.task, item.method, item.against)
        alone = crossed(values_SN, CLUSTERS)
        assert alone is not None
        p_values.append(float(alone.p()))
        assert item.difference == estimate(values_SN, CLUSTERS, lowest=-1.0, error=0.05)
        assert item.simultaneous == estimate(values_SN, CLUSTERS, lowest=-1.0, error=0.05 / 3)
        assert width(item.simultaneous) > width(item.difference)
    assert [item.p for item in found] == p_values
    assert [item.corrected for item in found] == holm(p_values)


def width(interval: Estimate) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low


def test_everything_else_has_a_plain_interval_and_no_p() -> None:
    flops = [contrast for contrast in CONTRASTS if contrast.budget == "flops"]
    found = plain_differences(ANSWERS[Terms("flops")], ["a", "b"], flops)
    pairs = {(item.task, item.method, item.against) for item in found}
    # Each pair once, without those that are tested in this budget, in whatever order they are named.
    assert pairs == {("typed", "c", "a"), ("typed", "c", "b"), ("spoken", "b", "a"), ("spoken", "c", "a")}
    assert len(found) == len(pairs)
    for item in found:
        assert not hasattr(item, "p")
        values_SN = ANSWERS[Terms("flops")].differences(item.task, item.method, item.against)
        assert item.difference == estimate(values_SN, CLUSTERS, lowest=-1.0)


def test_a_difference_is_that_of_the_scores_and_sharper_than_they_are() -> None:
    """Images are hard for both methods, which cancels."""
    scores = ANSWERS[Terms("flops")].scores()["typed"]
    (found,) = judged_contrasts(ANSWERS, CONTRASTS[:1])
    assert found.difference.value == pytest.approx(scores["b"].value - scores["a"].value)
    assert width(found.difference) < np.hypot(width(scores["b"]), width(scores["a"]))


def test_one_seed_is_not_tested() -> None:
    alone = {
        budget: Answers({t: {m: v[:1] for m, v in own.items()} for t, own in found.values.items()}, found.clusters)
        for budget, found in ANSWERS.items()
    }
    (found,) = judged_contrasts(alone, CONTRASTS[:1])
    assert (found.p, found.corrected, found.difference.low, found.simultaneous.high) == (None, None, None, None)


def write(folder: Path, correct_N: np.ndarray, clusters: list[str]) -> Path:
    """A run's answers as an evaluation writes them."""
    folder.mkdir()
    rows = [
        {"task": "typed", "id": f"question {n}", "cluster": cluster, "correct": bool(right)}
        for n, (cluster, right) in enumerate(zip(clusters, correct_N, strict=True))
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_questions_are_drawn_together_as_the_evaluation_says(tmp_path: Path) -> None:
    """Not each by its id: here the questions about an image stand or fall together."""
    hardness_N = np.repeat(np.random.default_rng(0).random(IMAGES), QUESTIONS)
    correct_SN = np.stack([hardness_N < 0.6 + 0.01 * seed for seed in range(SEEDS)])
    folders = [write(tmp_path / f"seed {s}", correct_N, CLUSTERS) for s, correct_N in enumerate(correct_SN)]
    found = read_answered({"a": folders})
    assert found.clusters == {"typed": CLUSTERS}
    assert found.values["typed"]["a"].tolist() == correct_SN.tolist()
    score = found.scores()["typed"]["a"]
    assert score == estimate(correct_SN, CLUSTERS)
    assert width(score) > 1.9 * width(estimate(correct_SN, [f"question {n}" for n in range(len(CLUSTERS))]))


@pytest.mark.parametrize("change", ["cluster", "order"])
def test_runs_that_were_asked_otherwise_are_refused(tmp_path: Path, change: str) -> None:
    correct_N = np.ones(len(CLUSTERS), dtype=bool)
    one = write(tmp_path / "one", correct_N, CLUSTERS)
    other = write(tmp_path / "other", correct_N, CLUSTERS if change == "order" else ["all"] * len(CLUSTERS))
    if change == "order":
        lines = (other / "answers.jsonl").read_text(encoding="utf-8").splitlines()
        (other / "answers.jsonl").write_text("\n".join(lines[::-1]), encoding="utf-8")
    with pytest.raises(BadInputError, match="other: was asked other questions in typed than the first run"):
        read_answered({"a": [one], "b": [other]})


def test_a_run_that_was_not_asked_a_task_is_named(tmp_path: Path) -> None:
    """As where an optional task was installed in the middle of a bake-off; one seed would be set against three."""
    correct_N = np.ones(len(CLUSTERS), dtype=bool)
    folders = [write(tmp_path / f"seed {seed}", correct_N, CLUSTERS) for seed in range(3)]
    for folder in folders[1:]:
        path = folder / "answers.jsonl"
        typed = path.read_text(encoding="utf-8")
        path.write_text(typed + typed.replace('"typed"', '"spoken"'), encoding="utf-8")
    with pytest.raises(BadInputError, match="seed 0: was not asked spoken, as other runs were"):
        read_answered({"a": folders})


def test_pooled_tasks_are_one_more_in_which_a_cluster_is_one() -> None:
    given = answers()
    found = with_pooled(given, {"both": list(TASKS)})
    assert set(found.values) == {*TASKS, "both"}
    assert len(set(found.clusters["both"])) == IMAGES
    for method in METHODS:
        mean = np.mean([given.values[task][method].mean() for task in TASKS])
        assert found.scores()["both"][method].value == pytest.approx(mean)
        values = found.values["both"][method]
        assert values.shape == (SEEDS, 2 * len(CLUSTERS))
        assert crossed(values, found.clusters["both"]).num_clusters == IMAGES
