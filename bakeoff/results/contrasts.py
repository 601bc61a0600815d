"""The primary contrasts with their tests, and all other differences with plain intervals.

Shape legend: s seeds, N items (questions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bakeoff.methods import Terms
from bakeoff.results.statistics import Estimate, crossed, estimate, holm
from bakeoff.settings import Contrast
from evaluation.metrics.scores import CONFIDENCE


@dataclass(frozen=True)
class Difference:
    """A method's score minus that of another with the same seeds and questions, and its plain interval."""

    method: str
    against: str
    task: str
    difference: Estimate


@dataclass(frozen=True)
class Tested(Difference):
    """A primary contrast.

    simultaneous: the interval that holds for all contrasts at once (Bonferroni). p: two-sided, as it is; corrected: by
    `holm` over the primary contrasts. Both are None where nothing can be tested: with one seed or one cluster.
    """

    terms: Terms
    simultaneous: Estimate
    p: float | None
    corrected: float | None


@dataclass(frozen=True)
class Answers:
    """What the runs on the same terms answered.

    values: task -> method -> [s, N], from 0 to 1: whether an answer is right, or its share of that. clusters: task ->
    the cluster of each question [N]. metrics: task -> what the values are.
    """

    values: Mapping[str, Mapping[str, np.ndarray]]
    clusters: Mapping[str, Sequence[str]]
    metrics: Mapping[str, str] = field(default_factory=dict)

    def scores(self) -> dict[str, dict[str, Estimate]]:
        """task -> method -> score."""
        return {
            task: {method: estimate(values_sN, self.clusters[task]) for method, values_sN in methods.items()}
            for task, methods in self.values.items()
        }

    def differences(self, task: str, method: str, against: str) -> np.ndarray:
        """Of each seed and question [s, N], from -1 to 1. What a seed or a question does to both methods cancels."""
        return self.values[task][method].astype(float) - self.values[task][against]

    def difference(self, task: str, method: str, against: str, error: float = 1 - CONFIDENCE) -> Estimate:
        """The mean difference with an interval."""
        return estimate(self.differences(task, method, against), self.clusters[task], lowest=-1.0, error=error)


def with_pooled(answers: Answers, pooled: Mapping[str, Sequence[str]]) -> Answers:
    """With each of the `pooled` as a task more: the questions of several tasks together, each of which counts the same.

    A cluster that occurs in several tasks is one.
    """
    values, clusters, metrics = dict(answers.values), dict(answers.clusters), dict(answers.metrics)
    for name, tasks in pooled.items():
        methods = answers.values[tasks[0]]
        values[name] = {m: np.concatenate([answers.values[task][m] for task in tasks], axis=1) for m in methods}
        clusters[name] = [cluster for task in tasks for cluster in answers.clusters[task]]
        metrics[name] = answers.metrics.get(tasks[0], "")
    return Answers(values, clusters, metrics)


def plain_differences(answers: Answers, baselines: Sequence[str], tested: Iterable[Contrast]) -> tuple[Difference, ...]:
    """Every method against every baseline, each pair once, but for the contrasts that are tested."""
    seen = {(contrast.task, contrast.pair) for contrast in tested}
    found = []
    for task, methods in answers.values.items():
        for baseline in baselines:
            for method in methods:
                key = (task, frozenset((method, baseline)))
                if method != baseline and key not in seen:
                    seen.add(key)
                    found.append(Difference(method, baseline, task, answers.difference(task, method, baseline)))
    return tuple(found)


def judged_contrasts(answers: Mapping[Terms, Answers], contrasts: Sequence[Contrast]) -> tuple[Tested, ...]:
    """The primary contrasts, corrected for their number; `answers` by terms."""
    p_values = [p_value(answers[contrast.terms], contrast) for contrast in contrasts]
    corrected = holm([1.0 if p is None else p for p in p_values])
    found = []
    for contrast, p, own in zip(contrasts, p_values, corrected, strict=True):
        method, against, task, terms = contrast.method, contrast.against, contrast.task, contrast.terms
        plain = answers[terms].difference(task, method, against)
        simultaneous = answers[terms].difference(task, method, against, error=(1 - CONFIDENCE) / len(contrasts))
        found.append(Tested(method, against, task, plain, terms, simultaneous, p, None if p is None else own))
    return tuple(found)


def p_value(answers: Answers, contrast: Contrast) -> float | None:
    """Two-sided; None with one seed or one cluster."""
    values_sN = answers.differences(contrast.task, contrast.method, contrast.against)
    found = crossed(values_sN, answers.clusters[contrast.task])
    return None if found is None else float(found.p())
