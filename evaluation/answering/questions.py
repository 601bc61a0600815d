"""The questions of an evaluation as samples, read and checked, with what an audit makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.chat import ChatTokenizer
from data.randomness import generator
from data.sources.base import Source, read_sample
from data.types import AlignedSample, BadSampleError, Message, Sample
from evaluation.answering.answer_metrics import METRICS, AnswerMetric
from evaluation.answering.audit import Condition, conditions, expected_answer
from evaluation.answering.candidates import candidates_of
from evaluation.answering.clusters import Clusters, clusters_of
from evaluation.answering.context import modalities, roles
from evaluation.answering.metric_choice import default_metrics
from evaluation.answering.predict import Prediction
from evaluation.answering.reply import answer_length, canonical
from evaluation.settings import Settings


def read_samples(source: Source, skipped: list[str] | None = None, first: int | None = None) -> list[Sample]:
    """All samples of a source of questions, or the `first` ones, in order; evaluation sources use no randomness.

    Where `skipped` is a list, samples that cannot be used are left out and the reasons added to it.

    Raises:
        BadSampleError: a sample is not a conversation that ends with an answer, and `skipped` is None.
    """
    samples = []
    for index in range(len(source) if first is None else min(first, len(source))):
        try:
            samples.append(with_answer(read_sample(source, index, generator(0, "evaluated sample", index))))
        except BadSampleError as reason:
            if skipped is None:
                raise
            skipped.append(str(reason))
    return samples


def with_answer(sample: Sample | AlignedSample) -> Sample:
    """The sample itself.

    Raises:
        BadSampleError: no answer is expected, or saying nothing would be right; or the question is not where the
            sample says (see `evaluation.answering.context`).
    """
    if isinstance(sample, AlignedSample):
        raise BadSampleError(
            f"{sample.name}: is aligned, with no expected answer to score (for aligned rows choose "
            "evaluation=retrieval_manifest)"
        )
    if not sample.messages or sample.messages[-1].role != "assistant":
        raise BadSampleError(f"{sample.name}: must end with the assistant's expected answer to be evaluated")
    if not canonical(expected_answer(sample)):
        raise BadSampleError(f"{sample.name}: expects an answer without words or tool calls, so silence would be right")
    if sample.choices and canonical(expected_answer(sample)) not in map(canonical, sample.choices):
        raise BadSampleError(f"{sample.name}: choices: must hold the expected answer {expected_answer(sample)[:60]!r}")
    roles(sample)
    return sample


@dataclass(frozen=True)
class Questions:
    """The samples of a task with their clusters, and what the audit makes of a random part of them.

    metrics: what is measured, the main one first. candidates: of each sample, for a choice; the expected answer first.
    changed: the places of the samples of a condition are those in `samples`.
    """

    samples: list[Sample]
    clusters: Clusters
    metrics: tuple[AnswerMetric, ...]
    candidates: list[tuple[Message, ...]]
    changed: dict[str, Condition]
    omitted: dict[str, str]

    @staticmethod
    def prepare(task: str, samples: list[Sample], settings: Settings) -> Questions:
        """Draws the audit's samples and applies its conditions; the same for the same seed and task name."""
        found = clusters_of(samples, settings.cluster)
        metrics = tuple(METRICS[name] for name in settings.metrics or default_metrics(samples))
        if any(metric.uses_candidates for metric in metrics):
            candidates = candidates_of(task, samples, found.names, settings.choices, settings.bootstrap.seed)
        else:
            candidates = [(sample.messages[-1],) for sample in samples]
        if not settings.audit:
            return Questions(samples, found, metrics, candidates, {}, {})
        rng = generator(settings.bootstrap.seed, "audited samples", task)
        size = min(settings.audit_samples or len(samples), len(samples))
        drawn = np.sort(rng.choice(len(samples), size, replace=False)).tolist()
        changed, omitted = conditions(
            [samples[place] for place in drawn], generator(settings.bootstrap.seed, "exchange", task)
        )
        placed = {
            name: Condition([drawn[place] for place in item.places], item.samples) for name, item in changed.items()
        }
        return Questions(samples, found, metrics, candidates, placed, omitted)

    @property
    def main(self) -> AnswerMetric:
        """The audit, breakdowns and curves are scored by it."""
        return self.metrics[0]

    @property
    def size(self) -> int:
        """Questions to ask in all."""
        return len(self.samples) + sum(len(found.samples) for found in self.changed.values())

    def tagged(self, predictions: Sequence[Prediction], places: Sequence[int]) -> list[Prediction]:
        """Predictions of the samples at some places with the cluster of each, however it was changed."""
        names = self.clusters.of(places)
        return [replace(item, cluster=name) for item, name in zip(predictions, names, strict=True)]


def context_of(samples: Sequence[Sample]) -> list[str]:
    """The modalities of what the questions of a task are about, sorted."""
    return sorted(set().union(*(modalities(sample, roles(sample).context) for sample in samples)))


def long_answers(
    task: str, samples: Sequence[Sample], tokenizer: ChatTokenizer, limit: int
) -> dict[str, dict[str, int]]:
    """task -> number of expected answers of more than `limit` tokens, of how many, and the tokens of the longest. No
    model can give such answers. Nothing if there are none.
    """
    lengths = [answer_length(tokenizer, sample.messages[-1]) for sample in samples]
    if not (count := sum(length > limit for length in lengths)):
        return {}
    return {task: {"count": count, "n": len(samples), "longest": max(lengths), "max_new_tokens": limit}}
