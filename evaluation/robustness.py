"""Corruption curves: accuracy as an image, a sound or a text is damaged more and more, and two numbers that sum it up.

Relative robustness is accuracy under corruption over clean accuracy, both on the same questions; accuracy under
corruption is its mean over the severities.

Effective robustness after Taori et al. (arXiv:2007.00644) is the accuracy beyond what the clean accuracy of a model
predicts, where the prediction is fitted over many models. One run has no such fit. Its number here is corrected for
the floor instead: (corrupted - floor) / (clean - floor), where the floor is what is reached blindly, without the
medium that is damaged and without a model. So 1 means that nothing is lost, and 0 that nothing is left of what the
medium contributes. Whether the damage hits the question or its context follows from each sample. Where only some
samples have the modality, all numbers of its corruptions are about these.

Shape legend: N questions, S severities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from data.absence import user_modalities
from data.corruptions import SEVERITIES, Corruption, corrupted
from data.pixels import WHITE, Colour
from data.randomness import generator
from data.types import Sample
from evaluation.audit import Prior, expected_answer
from evaluation.context import modalities, roles
from evaluation.metrics import Score, bootstrap, bootstrap_ratio
from evaluation.predict import Prediction, clusters
from evaluation.reply import same_reply
from evaluation.settings import Robustness, Settings

Ask = Callable[[str, Sequence[Sample]], list[Prediction]]


def curves(
    task: str,
    answered: Sequence[Prediction],
    prior: Prior | None,
    settings: Settings,
    ask: Ask,
    background: Colour = WHITE,
) -> dict[str, Any]:
    """The part of a report about one task; `answered` are the predictions for its unchanged samples.

    background: on what the model sees transparent pictures.

    n: questions per point. clean: accuracy on them. corruptions: name -> modality, unit, levels, the accuracy at each
    severity, and relative and effective robustness; the latter two also over all corruptions together, as a mean.
    """
    robustness = settings.robustness
    assert robustness is not None
    chosen = drawn(task, answered, robustness)
    resampled, clean_N = clusters(chosen), hits(chosen)
    found: dict[str, Any] = {"n": len(chosen), "clean": interval(clean_N, resampled, settings), "corruptions": {}}
    # Of all corruptions, [corruptions, N]; not a number where a question does not have the modality.
    means, floors = [], []
    for name, corruption in applicable([item.sample for item in chosen], robustness).items():
        places = holding(chosen, corruption.modality)
        samples = [chosen[place].sample for place in places]
        spoilt = partial(damaged, task, samples, name, corruption, robustness=robustness, background=background)
        hits_SN = np.stack(
            [hits(ask(f"{task}, {name} {severity}", spoilt(severity=severity))) for severity in SEVERITIES]
        )
        floor_N = None if prior is None else blind_hits(samples, corruption.modality, prior)
        own = [resampled[place] for place in places]
        found["corruptions"][name] = {
            "modality": corruption.modality,
            "unit": corruption.unit,
            "levels": list(corruption.levels),
            "n": len(places),
            "clean": interval(clean_N[places], own, settings),
            "accuracy": [interval(hits_N, own, settings) for hits_N in hits_SN],
            "floor": None if floor_N is None else interval(floor_N, own, settings),
            **ratios(hits_SN.mean(axis=0), clean_N[places], floor_N, own, settings),
        }
        means.append(spread_out(hits_SN.mean(axis=0), places, len(chosen)))
        if floor_N is not None:
            floors.append(spread_out(floor_N, places, len(chosen)))
    if means:
        hit = np.flatnonzero(~np.isnan(means).all(axis=0))
        own = [resampled[place] for place in hit]
        mean_N = np.nanmean(np.array(means)[:, hit], axis=0)
        floor_N = np.nanmean(np.array(floors)[:, hit], axis=0) if floors else None
        found |= ratios(mean_N, clean_N[hit], floor_N, own, settings)
    return found


def holding(predictions: Sequence[Prediction], modality: str) -> list[int]:
    """The places of those whose user gives something of this modality."""
    return [place for place, item in enumerate(predictions) if modality in user_modalities(item.sample)]


def spread_out(values: np.ndarray, places: Sequence[int], size: int) -> np.ndarray:
    """The values at their places of `size`, not a number elsewhere."""
    found_N = np.full(size, np.nan)
    found_N[places] = values
    return found_N


def ratios(
    corrupted_N: np.ndarray,
    clean_N: np.ndarray,
    floor_N: np.ndarray | None,
    resampled: Sequence[str],
    settings: Settings,
) -> dict[str, Any]:
    """Relative and effective robustness with intervals.

    corrupted_N: how often each question was answered rightly, as a share of the severities. None where the model does
    not stand above the floor without any damage, or no floor is known.
    """
    boot = settings.bootstrap
    relative = bootstrap_ratio(corrupted_N, clean_N, resampled, boot.resamples, boot.seed)
    effective = None
    if floor_N is not None:
        effective = bootstrap_ratio(corrupted_N - floor_N, clean_N - floor_N, resampled, boot.resamples, boot.seed)
    return {"relative": as_json(relative), "effective": as_json(effective)}


def as_json(score: Score | None) -> dict[str, float | int] | None:
    """The form that `report.json` holds."""
    return None if score is None else score.to_json()


def interval(hits_N: np.ndarray, resampled: Sequence[str], settings: Settings) -> dict[str, float | int]:
    """A mean with its interval."""
    return bootstrap(hits_N, resampled, settings.bootstrap.resamples, settings.bootstrap.seed).to_json()


def hits(predictions: Sequence[Prediction]) -> np.ndarray:
    """1 for each right answer, else 0: [N]."""
    return np.array([float(prediction.correct) for prediction in predictions])


def blind_hits(samples: Sequence[Sample], modality: str, prior: Prior) -> np.ndarray:
    """Right answers [N] without a model and without `modality`: per question if it is not the question that is lost."""
    answers = [
        prior.majority if modality in modalities(sample, roles(sample).question) else prior.answer(sample)
        for sample in samples
    ]
    return np.array([float(same_reply(a, expected_answer(s))) for a, s in zip(answers, samples, strict=True)])


def drawn(task: str, answered: Sequence[Prediction], robustness: Robustness) -> list[Prediction]:
    """At most `max_samples` of them, at random, in order; the same for the same seed and task name."""
    size = min(robustness.max_samples or len(answered), len(answered))
    rng = generator(robustness.seed, "samples to damage", task)
    return [answered[place] for place in np.sort(rng.choice(len(answered), size, replace=False))]


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
