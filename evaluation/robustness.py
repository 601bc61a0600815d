"""Corruption curves: the score as an image, a sound or a text is damaged more and more, and two numbers that sum it up.

Relative robustness is the score under corruption over the clean score, both on the same questions; the score under
corruption is its mean over the severities. It is accuracy, or the main metric of the task (see `evaluation.settings`).

Effective robustness after Taori et al. (arXiv:2007.00644) is the accuracy beyond what the clean accuracy of a model
predicts, where the prediction is fitted over many models. One run has no such fit. Its number here is corrected for
the floor instead: (corrupted - floor) / (clean - floor), where the floor is what is reached blindly, without the
medium that is damaged and without a model. So 1 means that nothing is lost, and 0 that nothing is left of what the
medium contributes. Whether the damage hits the question or its context follows from each sample. Where only some
samples have the modality, all numbers of its corruptions are about these.

Shape legend: N items (questions), v steps of a curve (severities), x sums of a metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from data.batching.absence import user_modalities
from data.media.corruptions import SEVERITIES, Corruption, corrupted
from data.media.pixels import WHITE, Colour
from data.randomness import generator
from data.types import Message, Sample
from evaluation.answering.answer_metrics import AnswerMetric, interval
from evaluation.answering.audit import Prior, expected_answer
from evaluation.answering.context import modalities, roles
from evaluation.answering.predict import Prediction, clusters
from evaluation.metrics.corpus_scores import corpus_ratio
from evaluation.metrics.metric_names import LOWER_IS_BETTER
from evaluation.metrics.scores import Score, bootstrap_ratio
from evaluation.settings import Bootstrap, Robustness, Settings

# As `evaluation.answering.asking.Asker`.
Ask = Callable[..., list[Prediction]]


def curves(
    task: str,
    metric: AnswerMetric,
    answered: Sequence[Prediction],
    candidates: Sequence[Sequence[Message]],
    prior: Prior | None,
    settings: Settings,
    ask: Ask,
    background: Colour = WHITE,
) -> dict[str, Any]:
    """The part of a report about one task; `answered` are the predictions for its unchanged samples, and `candidates`
    those of each for a choice.

    background: on what the model sees transparent pictures.

    n: questions per point. metric: its name. clean: the score on them. corruptions: name -> modality,
    unit, levels, the score at each severity (under the name of the metric), and relative and effective robustness.
    These two are also given over all corruptions together, as a mean.
    """
    robustness = settings.robustness
    assert robustness is not None
    places = drawn(task, answered, robustness)
    chosen = [answered[place] for place in places]
    resampled, clean_Nx = clusters(chosen), metric.table(chosen)
    found: dict[str, Any] = {
        "n": len(chosen),
        "metric": metric.name,
        "clean": interval(clean_Nx, resampled, metric, settings.bootstrap),
        "corruptions": {},
    }
    every: list[Damaged] = []
    for name, corruption in applicable([item.sample for item in chosen], robustness).items():
        held = holding(chosen, corruption.modality)
        samples = [chosen[place].sample for place in held]
        own_candidates = [candidates[places[place]] for place in held]
        spoilt = partial(damaged, task, samples, name, corruption, robustness=robustness, background=background)
        tables = [
            metric.table(ask(f"{task}, {name} {severity}", spoilt(severity=severity), [metric], own_candidates))
            for severity in SEVERITIES
        ]
        floor_Nx = None if prior is None else blind_table(samples, corruption.modality, prior, metric)
        own, part = [resampled[place] for place in held], Damaged(held, tables, clean_Nx[held], floor_Nx)
        found["corruptions"][name] = {
            "modality": corruption.modality,
            "unit": corruption.unit,
            "levels": list(corruption.levels),
            "n": len(held),
            "clean": interval(part.clean, own, metric, settings.bootstrap),
            metric.name: [interval(table, own, metric, settings.bootstrap) for table in tables],
            "floor": None if floor_Nx is None else interval(floor_Nx, own, metric, settings.bootstrap),
            **robustness_of([part], part.held, own, metric, settings.bootstrap),
        }
        every.append(part)
    if every:
        hit = sorted(set().union(*(part.held for part in every)))
        own = [resampled[place] for place in hit]
        found |= robustness_of(every, hit, own, metric, settings.bootstrap)
    return found


@dataclass(frozen=True)
class Damaged:
    """What a corruption leaves: statistics [N, x] of the questions at the places `held`, at each severity (`tables`),
    without damage (`clean`), and without a model (`floor`).
    """

    held: Sequence[int]
    tables: Sequence[np.ndarray]
    clean: np.ndarray
    floor: np.ndarray | None


def holding(predictions: Sequence[Prediction], modality: str) -> list[int]:
    """The places of those where the user gives something of this modality."""
    return [place for place, item in enumerate(predictions) if modality in user_modalities(item.sample)]


def robustness_of(
    parts: Sequence[Damaged], places: Sequence[int], resampled: Sequence[str], metric: AnswerMetric, boot: Bootstrap
) -> dict[str, Any]:
    """Relative and effective robustness over all parts together. Their questions are those at `places`.

    None of metrics that are better when lower: no share of a loss or of errors is left.
    """
    if metric.name in LOWER_IS_BETTER:
        return {"relative": None, "effective": None}
    at = {place: row for row, place in enumerate(places)}
    rows = [[at[place] for place in part.held] for part in parts]
    floors = [part.floor for part in parts if part.floor is not None]
    if metric.is_mean_of_hits:
        damaged_N = mean_hits([np.mean([table[:, 0] for table in part.tables], axis=0) for part in parts], rows)
        clean_N = mean_hits([part.clean[:, 0] for part in parts], rows)
        return ratios(
            damaged_N, clean_N, mean_hits([f[:, 0] for f in floors], rows) if floors else None, resampled, boot
        )

    def corpora(tables: Sequence[np.ndarray], rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
        return [spread_out(table, row, len(places), 0.0) for table, row in zip(tables, rows, strict=True)]

    above = [
        item for part, row in zip(parts, rows, strict=True) for item in corpora(part.tables, [row] * len(SEVERITIES))
    ]
    below = corpora([part.clean for part in parts], rows)
    found = {
        "relative": corpus_ratio(above, below, None, metric.value, resampled, boot.resamples, boot.seed),
        "effective": corpus_ratio(
            above, below, corpora(floors, rows), metric.value, resampled, boot.resamples, boot.seed
        )
        if floors
        else None,
    }
    return {name: as_json(score) for name, score in found.items()}


def mean_hits(hits: Sequence[np.ndarray], rows: Sequence[Sequence[int]]) -> np.ndarray:
    """The mean over parts of what each has at its rows, of the questions that any part has."""
    size = 1 + max(max(own) for own in rows)
    return np.nanmean([spread_out(part, own, size, np.nan) for part, own in zip(hits, rows, strict=True)], axis=0)


def spread_out(values: np.ndarray, places: Sequence[int], size: int, missing: float) -> np.ndarray:
    """The values at their places of `size`, and what stands elsewhere."""
    found = np.full((size, *values.shape[1:]), missing)
    found[places] = values
    return found


def ratios(
    corrupted_N: np.ndarray,
    clean_N: np.ndarray,
    floor_N: np.ndarray | None,
    resampled: Sequence[str],
    boot: Bootstrap,
) -> dict[str, Any]:
    """Relative and effective robustness with intervals, of a mean of hits.

    corrupted_N: how often each question was answered rightly, as a share of the severities. None where the model does
    not stand above the floor without any damage, or no floor is known.
    """
    relative = bootstrap_ratio(corrupted_N, clean_N, resampled, boot.resamples, boot.seed)
    effective = None
    if floor_N is not None:
        effective = bootstrap_ratio(corrupted_N - floor_N, clean_N - floor_N, resampled, boot.resamples, boot.seed)
    return {"relative": as_json(relative), "effective": as_json(effective)}


def as_json(score: Score | None) -> dict[str, float | int] | None:
    """The form that `report.json` holds."""
    return None if score is None else score.to_json()


def blind_table(samples: Sequence[Sample], modality: str, prior: Prior, metric: AnswerMetric) -> np.ndarray | None:
    """Statistics [N, x] of what is answered without a model and without `modality`: per question if it is not the
    question that is lost. None of a metric that such answers do not have.
    """
    if not metric.uses_answer:
        return None
    answers = [
        prior.majority if modality in modalities(sample, roles(sample).question) else prior.answer(sample)
        for sample in samples
    ]
    return metric.table([Prediction(s, expected_answer(s), a) for a, s in zip(answers, samples, strict=True)])


def drawn(task: str, answered: Sequence[Prediction], robustness: Robustness) -> list[int]:
    """The places of at most `max_samples` of them, at random, in order; the same for the same seed and task name."""
    size = min(robustness.max_samples or len(answered), len(answered))
    rng = generator(robustness.seed, "samples to damage", task)
    return np.sort(rng.choice(len(answered), size, replace=False)).tolist()


def damaged(
    task: str,
    samples: Sequence[Sample],
    name: str,
    corruption: Corruption,
    severity: int,
    robustness: Robustness,
    background: Colour = WHITE,
) -> list[Sample]:
    """Every sample damaged, by a generator of its own that is the same at every severity."""
    return [
        corrupted(sample, corruption, severity, generator(robustness.seed, "damage", task, name, place), background)
        for place, sample in enumerate(samples)
    ]


def applicable(samples: Sequence[Sample], robustness: Robustness) -> Mapping[str, Corruption]:
    """The corruptions of modalities that a user of these samples uses."""
    there = set().union(*(user_modalities(sample) for sample in samples))
    return {name: item for name, item in robustness.corruptions.items() if item.modality in there}


def points(samples: Sequence[Sample], robustness: Robustness) -> int:
    """Questions that `curves` will ask at most; fewer, if those without a modality are among the ones it draws."""
    size = min(robustness.max_samples or len(samples), len(samples))
    there = [user_modalities(sample) for sample in samples]
    asked = [min(size, sum(item.modality in names for names in there)) for item in robustness.corruptions.values()]
    return sum(asked) * len(SEVERITIES)
