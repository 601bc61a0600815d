"""Scores of a model on the tasks of an evaluation: accuracy, breakdown, confusion, modality audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from data.collate import collate
from data.interleave import Interleaver
from data.tokenizer import Tokenizer
from data.types import BadSampleError, Sample
from evaluation.audit import Prior, question_text
from evaluation.conditions import condition_name
from evaluation.costs import model_costs
from evaluation.deletion import deletion
from evaluation.identity import data_fingerprint
from evaluation.metrics import bootstrap, interval_words
from evaluation.predict import Prediction, clusters, predict
from evaluation.progress import question_progress
from evaluation.questions import Questions, context_of, long_answers, read_samples
from evaluation.reply import canonical
from evaluation.robustness import curves, points
from evaluation.settings import Settings
from fusion.model import FusionModel

# Parts of a report that are by task.
TASK_KEYS = (
    "tasks", "breakdown", "audit", "audited_rows", "omitted", "confusion", "context", "clusters", "long_answers"
)  # fmt: skip
FLOPS_SAMPLES = 16
MAX_REASONS = 20
# The field of metadata that says which family of synthesisers spoke.
FAMILY = "synthesiser"
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
    report: dict[str, Any] = {key: {} for key in TASK_KEYS} | {"withheld": sorted(interleaver.withheld)}
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
            predictions = task.tagged(ask(name, task.samples), range(len(task.samples)))
            skipped += [prediction.skipped for prediction in predictions if prediction.skipped]
            answered = readable(predictions, name, skipped)
            keep(name, answered)
            report["tasks"][name] = {"accuracy": score(answered, settings)}
            report["breakdown"][name] = breakdown(answered, settings)
            report["confusion"][name] = confusion(answered)
            report["context"][name] = context_of(task.samples)
            report["clusters"][name] = task.clusters.to_json()
            report["long_answers"] |= long_answers(name, task.samples, tokenizer, settings.max_new_tokens)
            found = audit(name, task, predictions, prior, settings, ask)
            report["audit"][name], report["audited_rows"][name], report["omitted"][name] = found
            if robust is not None:
                # What damage makes unreadable (a prompt that grew too long) is a wrong answer, not an end.
                lenient = partial(ask, unreadable="skip")
                measured = curves(name, answered, prior, settings, lenient, interleaver.background)
                report.setdefault("robustness", {})[name] = measured
            if settings.attribution is not None:
                bar.stage(f"{name}, deletion curves")
                measured = deletion(model, tokenizer, interleaver, name, answered, settings, bar.advance)
                report.setdefault("attribution", {})[name] = measured
    if families := by_family(report["breakdown"]):
        report["families"] = families
    everything = [sample for task in tasks.values() for sample in task.samples]
    report["model"] = model_facts(model, interleaver, [task.samples for task in tasks.values()])
    report["data"] = {"skipped": 0, "skipped_in_evaluation": len(skipped), "reasons": skipped[:MAX_REASONS]}
    report["provenance"] = {
        "data_hash": data_fingerprint(everything),
        "interval": interval_words(settings.bootstrap.resamples),
    }
    return report


def extra_size(samples: Sequence[Sample], settings: Settings) -> int:
    """Questions that robustness and attribution ask beside the others."""
    asked = points(samples, settings.robustness) if settings.robustness else 0
    if settings.attribution is not None:
        asked += min(settings.attribution.max_samples or len(samples), len(samples))
    return asked


def audit(
    name: str,
    task: Questions,
    predictions: Sequence[Prediction],
    prior: Prior | None,
    settings: Settings,
    ask: Callable[[str, Sequence[Sample]], list[Prediction]],
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Scores of the blind baselines and of the model under every condition; what the model scores on the same rows
    as they are, `predictions` being those of all rows; and what was left out, and why.
    """
    if not settings.audit:
        return {}, {}, {}
    found = blind_predictions([item for item in predictions if not item.skipped], prior)
    omitted = dict(task.omitted)
    if prior is None:
        omitted["majority"] = omitted["question_majority"] = "no training answers were given (evaluation.prior)"
    elif not found["question_majority"]:
        del found["question_majority"]
        omitted["question_majority"] = "the words of the questions are not known"
    unchanged, context = {}, context_of(task.samples)
    for condition, changed in task.changed.items():
        asked = task.tagged(ask(f"{name}, {condition_name(condition, context)}", changed.samples), changed.places)
        pairs = [(item, predictions[place]) for item, place in zip(asked, changed.places, strict=True)]
        if pairs := [(item, before) for item, before in pairs if not item.skipped and not before.skipped]:
            found[condition] = [item for item, _ in pairs]
            unchanged[condition] = score([before for _, before in pairs], settings)
    return {condition: score(items, settings) for condition, items in found.items()}, unchanged, omitted


def blind_predictions(answered: Sequence[Prediction], prior: Prior | None) -> dict[str, list[Prediction]]:
    """What is answered without a model, to every question or to those with known words."""
    if prior is None:
        return {}
    worded = [item for item in answered if question_text(item.sample)]
    return {
        "majority": [replace(item, answer=prior.majority) for item in answered],
        "question_majority": [replace(item, answer=prior.answer(item.sample)) for item in worded],
    }


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
    return bootstrap(correct, clusters(predictions), settings.bootstrap.resamples, settings.bootstrap.seed).to_json()


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


def by_family(breakdowns: dict[str, Scores]) -> Scores:
    """Scores of spoken tasks by family of synthesisers, taken out of their breakdowns: family -> task -> score."""
    families: Scores = {}
    for task, fields in breakdowns.items():
        for family, found in fields.pop(FAMILY, {}).items():
            families.setdefault(family, {})[task] = found
    return families


def confusion(predictions: Sequence[Prediction]) -> dict[str, dict[str, int]]:
    """How often each answer was given where another was expected: expected -> given -> number."""
    counts: dict[str, Counter[str]] = {}
    for prediction in predictions:
        row = counts.setdefault(canonical(prediction.expected), Counter())
        row[canonical(prediction.answer)] += 1
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
