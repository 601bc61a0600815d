"""Scores of a model on the tasks of an evaluation: accuracy, breakdown, confusion, modality audit."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from data.collate import collate
from data.interleave import Interleaver
from data.mixture import Source
from data.tokenizer import Tokenizer
from data.types import AlignedSample, BadSampleError, Sample
from evaluation.audit import Prior, conditions, expected_answer, question_text
from evaluation.costs import model_costs
from evaluation.deletion import deletion
from evaluation.identity import clusters_of, data_fingerprint
from evaluation.metrics import bootstrap, normalise
from evaluation.predict import Prediction, predict
from evaluation.progress import question_progress
from evaluation.robustness import curves, points
from evaluation.settings import Settings
from fusion.model import FusionModel

FLOPS_SAMPLES = 16
MAX_REASONS = 20
Scores = dict[str, dict[str, Any]]


def evaluate(
    model: FusionModel,
    tokenizer: Tokenizer,
    interleaver: Interleaver,
    settings: Settings,
    on_bad_sample: str = "error",
    progress: bool = True,
    keep: Callable[[str, Sequence[Prediction]], None] = lambda task, predictions: None,
) -> dict[str, Any]:
    """Everything in a report that depends only on model, data and settings; the same at every batch size.

    `keep` is told the answers to the questions of each task as they are, without those of the audit.
    Samples that cannot be read count as skipped, and take no part in any score, if `on_bad_sample` is "skip".
    """
    skipped: list[str] = []
    unread = skipped if on_bad_sample == "skip" else None
    tasks = {
        name: Questions.prepare(name, read_samples(source, unread), settings) for name, source in settings.tasks.items()
    }
    prior = None
    if (settings.audit or settings.robustness is not None) and settings.prior is not None:
        prior = Prior.fit(read_samples(settings.prior, []))  # rows of other kinds may be among the training data
    report: dict[str, Any] = {key: {} for key in ("tasks", "breakdown", "audit", "omitted", "confusion")}
    robust = settings.robustness
    size = sum(task.size + extra_size(task.samples, settings) for task in tasks.values())
    with question_progress(size, progress) as bar:

        def ask(stage: str, samples: Sequence[Sample], unreadable: str = on_bad_sample) -> list[Prediction]:
            bar.stage(stage)
            return predict(
                model,
                tokenizer,
                interleaver,
                samples,
                batch_size=settings.batch_size,
                max_new_tokens=settings.max_new_tokens,
                on_bad_sample=unreadable,
                advance=bar.advance,
            )

        for name, task in tasks.items():
            predictions = ask(name, task.samples)
            skipped += [prediction.skipped for prediction in predictions if prediction.skipped]
            answered = readable(predictions, name, skipped)
            keep(name, answered)
            report["tasks"][name] = {"accuracy": score(answered, settings)}
            report["breakdown"][name] = breakdown(answered, settings)
            report["confusion"][name] = confusion(answered)
            report["audit"][name], report["omitted"][name] = audit(name, task, answered, prior, settings, ask)
            if robust is not None:
                # What damage makes unreadable (a prompt that grew too long) is a wrong answer, not an end.
                found = curves(name, answered, prior, settings, partial(ask, unreadable="skip"))
                report.setdefault("robustness", {})[name] = found
            if settings.attribution is not None:
                bar.stage(f"{name}, deletion curves")
                found = deletion(model, tokenizer, interleaver, name, answered, settings, bar.advance)
                report.setdefault("attribution", {})[name] = found
    everything = [sample for task in tasks.values() for sample in task.samples]
    report["model"] = model_facts(model, interleaver, [task.samples for task in tasks.values()])
    report["data"] = {"skipped": 0, "skipped_in_evaluation": len(skipped), "reasons": skipped[:MAX_REASONS]}
    report["provenance"] = {
        "data_hash": data_fingerprint(everything),
        "interval": f"95 % percentile bootstrap, {settings.bootstrap.resamples} resamples of {settings.cluster}s",
    }
    return report


def extra_size(samples: Sequence[Sample], settings: Settings) -> int:
    """Questions that robustness and attribution ask beside the others."""
    asked = points(samples, settings.robustness) if settings.robustness else 0
    if settings.attribution is not None:
        asked += min(settings.attribution.max_samples or len(samples), len(samples))
    return asked


@dataclass(frozen=True)
class Questions:
    """The samples of a task, and what the audit makes of a random part of them."""

    samples: list[Sample]
    changed: dict[str, list[Sample]]
    omitted: dict[str, str]

    @staticmethod
    def prepare(task: str, samples: list[Sample], settings: Settings) -> Questions:
        """Draws the audit's samples and applies its conditions; the same for the same seed and task name."""
        if not settings.audit:
            return Questions(samples, {}, {})
        rng = np.random.default_rng([settings.bootstrap.seed, zlib.crc32(task.encode())])
        size = min(settings.audit_samples or len(samples), len(samples))
        places = np.sort(rng.choice(len(samples), size, replace=False))
        return Questions(samples, *conditions([samples[place] for place in places], rng))

    @property
    def size(self) -> int:
        """Questions to ask in all."""
        return len(self.samples) + sum(len(found) for found in self.changed.values())


def audit(
    name: str,
    task: Questions,
    answered: Sequence[Prediction],
    prior: Prior | None,
    settings: Settings,
    ask: Callable[[str, Sequence[Sample]], list[Prediction]],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Scores of the blind baselines and of the model under every condition; and what was left out, and why."""
    if not settings.audit:
        return {}, {}
    scores: dict[str, Any] = {}
    omitted = dict(task.omitted)
    samples = [prediction.sample for prediction in answered]
    if prior is None:
        omitted["majority"] = omitted["question_majority"] = "no training answers were given (evaluation.prior)"
    else:
        scores["majority"] = score([blind(sample, prior.majority) for sample in samples], settings)
        if all(question_text(sample) for sample in samples):
            scores["question_majority"] = score([blind(item, prior.answer(item)) for item in samples], settings)
        else:
            omitted["question_majority"] = "the words of the questions are not known"
    for condition, changed in task.changed.items():
        predictions = [item for item in ask(f"{name}, {condition}", changed) if not item.skipped]
        if predictions:
            scores[condition] = score(predictions, settings)
    return scores, omitted


def blind(sample: Sample, answer: str) -> Prediction:
    """An answer that was given without a model."""
    return Prediction(sample, expected_answer(sample), answer)


def read_samples(source: Source, skipped: list[str] | None = None) -> list[Sample]:
    """All samples of a source of questions, in order; evaluation sources use no randomness.

    Where `skipped` is a list, samples that cannot be used are left out and the reasons added to it.

    Raises:
        BadSampleError: a sample is not a conversation that ends with an answer, and `skipped` is None.
    """
    rng = np.random.default_rng(0)
    samples = []
    for index in range(len(source)):
        try:
            samples.append(with_answer(source.sample(index, rng)))
        except BadSampleError as reason:
            if skipped is None:
                raise
            skipped.append(str(reason))
    return samples


def with_answer(sample: Sample | AlignedSample) -> Sample:
    """The sample itself. Raises `BadSampleError` if no answer is expected."""
    if not isinstance(sample, Sample) or not sample.messages or sample.messages[-1].role != "assistant":
        raise BadSampleError(f"{sample.name}: must end with the assistant's expected answer to be evaluated")
    return sample


def readable(predictions: Sequence[Prediction], task: str, skipped: Sequence[str]) -> list[Prediction]:
    """Predictions that were not skipped.

    Raises:
        BadSampleError: none is left.
    """
    answered = [prediction for prediction in predictions if not prediction.skipped]
    if not answered:
        raise BadSampleError(f"{task}: no sample can be used; the first: {skipped[0]}")
    return answered


def score(predictions: Sequence[Prediction], settings: Settings) -> dict[str, float | int]:
    """Accuracy with its interval."""
    correct = [prediction.correct for prediction in predictions]
    clusters = clusters_of([item.sample for item in predictions], settings.cluster)
    return bootstrap(correct, clusters, settings.bootstrap.resamples, settings.bootstrap.seed).to_json()


def breakdown(predictions: Sequence[Prediction], settings: Settings) -> Scores:
    """Scores by each value of each field; fields that no sample has are left out."""
    fields: Scores = {}
    for field in settings.breakdown:
        groups: dict[str, list[Prediction]] = {}
        for prediction in predictions:
            if field in prediction.sample.metadata:
                groups.setdefault(prediction.sample.metadata[field], []).append(prediction)
        if groups:
            fields[field] = {key: score(groups[key], settings) for key in sorted(groups)}
    return fields


def confusion(predictions: Sequence[Prediction]) -> dict[str, dict[str, int]]:
    """How often each answer was given where another was expected: expected -> given -> number."""
    counts: dict[str, Counter[str]] = {}
    for prediction in predictions:
        row = counts.setdefault(normalise(prediction.expected), Counter())
        row[normalise(prediction.answer)] += 1
    return {expected: dict(sorted(counts[expected].items())) for expected in sorted(counts)}


def model_facts(model: FusionModel, interleaver: Interleaver, tasks: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    """Parameters, and operations of the forward pass of a question and its answer, averaged over the first ones."""
    documents = []
    for samples in tasks:
        readable_documents = (document for sample in samples if (document := document_of(interleaver, sample)))
        documents += list(islice(readable_documents, FLOPS_SAMPLES))
    device = next(model.parameters()).device
    batch = collate([[document] for document in documents]).to(device)
    return model_costs(model, batch)


def document_of(interleaver: Interleaver, sample: Sample) -> Any:
    """The whole sample as a document, None if it cannot be read."""
    try:
        return interleaver.document(sample)
    except BadSampleError:
        return None
