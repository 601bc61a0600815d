"""Scores of a model on the tasks of an evaluation: metrics, breakdown, confusion, modality audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from data.batching.collate import collate
from data.batching.interleave import Interleaver
from data.chat import ChatTokenizer
from data.progress import Progress
from data.types import BadSampleError, Sample
from evaluation.agreement.measure import Plan, measure
from evaluation.answering.answer_metrics import AnswerMetric, score
from evaluation.answering.asking import Asker
from evaluation.answering.audit import Prior, question_text
from evaluation.answering.candidates import chance
from evaluation.answering.identity import data_fingerprint
from evaluation.answering.predict import Prediction
from evaluation.answering.questions import Questions, context_of, long_answers, read_samples
from evaluation.answering.reply import canonical
from evaluation.conditions import condition_name
from evaluation.costs import model_costs
from evaluation.insight.deletion import deletion
from evaluation.metrics.metric_names import CHOICE, title
from evaluation.metrics.scores import interval_words
from evaluation.reports.free_text import spread_of_scores
from evaluation.robustness import curves, points
from evaluation.settings import Settings
from evaluation.skipped_rows import skipped_json
from fusion.model import FusionModel

# Parts of a report that are by task.
TASK_KEYS = (
    "tasks", "breakdown", "audit", "audited_rows", "omitted", "confusion", "context", "clusters", "long_answers"
)  # fmt: skip
FLOPS_SAMPLES = 16
Facts = Callable[[FusionModel, Interleaver, Sequence[Sequence[Sample]]], dict[str, Any]]
MAX_REASONS = 20
# A task that expects more distinct answers has no table of those that are confused.
MOST_CLASSES = 100
# The field of metadata that says which family of synthesisers spoke.
FAMILY = "synthesiser"
Scores = dict[str, dict[str, Any]]


def evaluate(
    model: FusionModel,
    tokenizer: ChatTokenizer,
    interleaver: Interleaver,
    settings: Settings,
    on_bad_sample: str = "error",
    progress: bool = True,
    keep: Callable[[str, Sequence[Prediction], Sequence[AnswerMetric]], None] = lambda *answered: None,
    asker: Callable[..., Asker] = Asker,
    facts: Facts | None = None,
) -> dict[str, Any]:
    """Everything in a report that depends only on model, data and settings; the same at every batch size.

    `keep` is told the answers to the questions of each task as they are, without those of the audit, and its metrics.
    Samples that cannot be read count as skipped, and take no part in any score, if `on_bad_sample` is "skip".
    asker: what asks; facts: what says the costs, None: `model_facts`.
    """
    skipped: dict[str, list[str]] = {name: [] for name in settings.tasks}
    tasks = {
        name: Questions.prepare(
            name, read_samples(source, skipped[name] if on_bad_sample == "skip" else None), settings
        )
        for name, source in settings.tasks.items()
    }
    prior = None
    if (settings.audit or settings.robustness is not None) and settings.prior is not None:
        prior = Prior.fit(read_samples(settings.prior, []))  # rows of other kinds may be among the training data
    report: dict[str, Any] = {key: {} for key in TASK_KEYS} | {"withheld": sorted(interleaver.withheld)}
    robust = settings.robustness
    compared = Plan.of(tasks, settings.agreement, interleaver.withheld)
    answers: dict[str, list[Prediction]] = {}
    size = compared.size + sum(task.size + extra_size(task.samples, settings) for task in tasks.values())
    with Progress("questions", size, shown=progress) as bar:
        ask = asker(model, tokenizer, interleaver, settings, on_bad_sample, bar.stage, bar.advance)
        for name, task in tasks.items():
            found = ask(name, task.samples, task.metrics, task.candidates, answers=True)
            predictions = answers[name] = task.tagged(found, range(len(task.samples)))
            skipped[name] += [prediction.skipped for prediction in predictions if prediction.skipped]
            answered = readable(predictions, name, skipped[name])
            keep(name, answered, task.metrics)
            report["tasks"][name], unmeasured = task_scores(answered, task, settings)
            report["breakdown"][name] = breakdown(answered, task.main, settings)
            describe(report, name, task, answered)
            report["context"][name] = context_of(task.samples)
            report["clusters"][name] = task.clusters.to_json()
            report["long_answers"] |= long_answers(name, task.samples, tokenizer, settings.max_new_tokens)
            audited = audit(name, task, predictions, prior, settings, ask)
            report["audit"][name], report["audited_rows"][name], report["omitted"][name] = audited
            report["omitted"][name] |= unmeasured
            if robust is not None:
                # What damage makes unreadable (a prompt that grew too long) is a wrong answer, not an end.
                kept = [own for own, item in zip(task.candidates, predictions, strict=True) if not item.skipped]
                lenient, ground = partial(ask, on_bad_sample="skip"), interleaver.background
                measured = curves(name, task.main, answered, kept, prior, settings, lenient, ground)
                report.setdefault("robustness", {})[name] = measured
            if settings.attribution is not None:
                bar.stage(f"{name}, deletion curves")
                measured = deletion(model, tokenizer, interleaver, name, answered, settings, bar.advance)
                report.setdefault("attribution", {})[name] = measured
        if (agreement := measure(compared, answers, ask, settings.bootstrap)) is not None:
            report["agreement"] = agreement
    if families := by_family(report["breakdown"]):
        report["families"] = families
    everything = [sample for task in tasks.values() for sample in task.samples]
    report["model"] = (facts or model_facts)(model, interleaver, [task.samples for task in tasks.values()])
    rows = {name: len(source) for name, source in settings.tasks.items()}
    report["data"] = skipped_json(rows, skipped, MAX_REASONS)
    report["provenance"] = {
        "data_hash": data_fingerprint(everything),
        "interval": interval_words(settings.bootstrap.resamples),
    }
    return report


def extra_size(samples: Sequence[Sample], settings: Settings) -> int:
    """Questions that robustness and attribution ask in addition to the others."""
    asked = points(samples, settings.robustness) if settings.robustness else 0
    if settings.attribution is not None:
        asked += min(settings.attribution.max_samples or len(samples), len(samples))
    return asked


def task_scores(
    answered: Sequence[Prediction], task: Questions, settings: Settings
) -> tuple[dict[str, Any], dict[str, str]]:
    """The scores of all metrics, the main one first; and why others have none.

    Raises:
        BadSampleError: the main metric is one of these.
    """
    scores: dict[str, Any] = {}
    omitted: dict[str, str] = {}
    for metric in task.metrics:
        if (found := score(answered, metric, settings.bootstrap)) is not None:
            scores[metric.name] = found
            continue
        few = "no question has a second candidate: the task expects the same answer everywhere"
        omitted[metric.name] = few if metric.uses_candidates else "no expected answer fits behind its prompt"
    if task.main.name in omitted:
        raise BadSampleError(f"evaluation.metrics: {task.main.name} cannot be measured: {omitted[task.main.name]}")
    return scores, omitted


def describe(report: dict[str, Any], name: str, task: Questions, answered: Sequence[Prediction]) -> None:
    """What a reader looks at next to the numbers: which answers are confused, or how the scores of free text spread."""
    if task.main.is_mean_of_hits:
        found = confusion(answered) if task.main.uses_answer else {}
        report["confusion"][name] = found if len(found) <= MOST_CLASSES else {}
    else:
        report["confusion"][name] = {}
        report.setdefault("spread", {})[name] = spread_of_scores(answered, task.main)
    if any(metric.uses_candidates for metric in task.metrics) and (random := chance(task.candidates)) is not None:
        report.setdefault("chance", {})[name] = {CHOICE: random}


def audit(
    name: str,
    task: Questions,
    predictions: Sequence[Prediction],
    prior: Prior | None,
    settings: Settings,
    ask: Asker,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Scores of the blind baselines and of the model under every condition; what the model scores on the same rows as
    they are; and what was left out, and why. `predictions` are those of all rows.
    """
    if not settings.audit:
        return {}, {}, {}
    main = task.main
    found, missing = blind(main, [item for item in predictions if not item.skipped], prior)
    omitted = {**task.omitted, **missing}
    unchanged, context = {}, context_of(task.samples)
    for condition, changed in task.changed.items():
        candidates = [task.candidates[place] for place in changed.places]
        stage = f"{name}, {condition_name(condition, context)}"
        asked = task.tagged(ask(stage, changed.samples, [main], candidates), changed.places)
        pairs = [(item, predictions[place]) for item, place in zip(asked, changed.places, strict=True)]
        if pairs := [(item, before) for item, before in pairs if not item.skipped and not before.skipped]:
            found[condition] = [item for item, _ in pairs]
            unchanged[condition] = score([before for _, before in pairs], main, settings.bootstrap)
    scores = {condition: score(items, main, settings.bootstrap) for condition, items in found.items()}
    return known(scores), known(unchanged), omitted


def blind(
    metric: AnswerMetric, answered: Sequence[Prediction], prior: Prior | None
) -> tuple[dict[str, list[Prediction]], dict[str, str]]:
    """What is answered without a model, to every question or to those with known words; and why it is not."""
    names = ("majority", "question_majority")
    if not metric.uses_answer:
        return {}, dict.fromkeys(names, f"what is answered without a model has no {title(metric.name)}")
    if prior is None:
        return {}, dict.fromkeys(names, "no training answers were given (evaluation.prior)")
    found = {names[0]: [replace(item, answer=prior.majority) for item in answered]}
    if not (worded := [item for item in answered if question_text(item.sample)]):
        return found, {names[1]: "the words of the questions are not known"}
    return found | {names[1]: [replace(item, answer=prior.answer(item.sample)) for item in worded]}, {}


def readable(predictions: Sequence[Prediction], task: str, skipped: Sequence[str]) -> list[Prediction]:
    """Predictions that were not skipped.

    Raises:
        BadSampleError: none is left.
    """
    answered = [prediction for prediction in predictions if not prediction.skipped]
    if not answered:
        raise BadSampleError(f"{task}: no sample can be used; the first: {skipped[0]}")
    return answered


def known(scores: dict[str, Any]) -> dict[str, Any]:
    """Those that could be measured."""
    return {name: found for name, found in scores.items() if found is not None}


def breakdown(predictions: Sequence[Prediction], metric: AnswerMetric, settings: Settings) -> Scores:
    """Scores by each value of each field; fields that no sample has are left out."""
    fields: Scores = {}
    for field in settings.breakdown:
        groups: dict[str, list[Prediction]] = {}
        for prediction in predictions:
            if field in prediction.sample.metadata:
                groups.setdefault(prediction.sample.metadata[field], []).append(prediction)
        if groups:
            fields[field] = known({key: score(groups[key], metric, settings.bootstrap) for key in sorted(groups)})
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
