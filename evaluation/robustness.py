"""Corruption curves: accuracy as an image, a sound or a text is damaged more and more, and two numbers that sum it up.

Relative robustness is accuracy under corruption over clean accuracy, both on the same questions; accuracy under
corruption is its mean over the severities.

Effective robustness after Taori et al. (arXiv:2007.00644) is the accuracy beyond what the clean accuracy of a model
predicts, where the prediction is fitted over many models. One run has no such fit. Its number here is corrected for
the floor instead: (corrupted - floor) / (clean - floor), where the floor is what is reached blindly, without the
medium that is damaged and without a model. So 1 means that nothing is lost, and 0 that nothing is left of what the
medium contributes.

Shape legend: N questions, S severities.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.absence import user_modalities
from data.corruptions import SEVERITIES, Corruption, corrupted
from data.types import Sample
from evaluation.audit import CONTEXT, Prior, expected_answer
from evaluation.identity import clusters_of
from evaluation.metrics import Score, bootstrap, bootstrap_ratio, exact_match
from evaluation.predict import Prediction
from evaluation.settings import Robustness, Settings

Ask = Callable[[str, Sequence[Sample]], list[Prediction]]


def curves(
    task: str, answered: Sequence[Prediction], prior: Prior | None, settings: Settings, ask: Ask
) -> dict[str, Any]:
    """The part of a report about one task; `answered` are the predictions for its unchanged samples.

    n: questions per point. clean: accuracy on them. corruptions: name -> modality, unit, levels, the accuracy at each
    severity, and relative and effective robustness; the latter two also over all corruptions together, as a mean.
    """
    robustness = settings.robustness
    assert robustness is not None
    chosen = drawn(task, answered, robustness)
    samples = [prediction.sample for prediction in chosen]
    clusters = clusters_of(samples, settings.cluster)
    clean_N = hits(chosen)
    found: dict[str, Any] = {"n": len(chosen), "clean": interval(clean_N, clusters, settings), "corruptions": {}}
    means_N, floors_N = [], []
    for name, corruption in applicable(samples, robustness).items():
        hits_SN = np.stack(
            [
                hits(ask(f"{task}, {name} {severity}", damaged(task, samples, name, corruption, severity, robustness)))
                for severity in SEVERITIES
            ]
        )
        floor_N = None if prior is None else blind_hits(samples, corruption.modality, prior)
        found["corruptions"][name] = {
            "modality": corruption.modality,
            "unit": corruption.unit,
            "levels": list(corruption.levels),
            "accuracy": [interval(hits_N, clusters, settings) for hits_N in hits_SN],
            "floor": None if floor_N is None else interval(floor_N, clusters, settings),
            **ratios(hits_SN.mean(axis=0), clean_N, floor_N, clusters, settings),
        }
        means_N.append(hits_SN.mean(axis=0))
        floors_N.append(floor_N)
    if means_N:
        floor_N = None if prior is None else np.mean([x for x in floors_N if x is not None], axis=0)
        found |= ratios(np.mean(means_N, axis=0), clean_N, floor_N, clusters, settings)
    return found


def ratios(
    corrupted_N: np.ndarray,
    clean_N: np.ndarray,
    floor_N: np.ndarray | None,
    clusters: Sequence[str],
    settings: Settings,
) -> dict[str, Any]:
    """Relative and effective robustness with intervals.

    corrupted_N: how often each question was answered rightly, as a share of the severities. None where the model does
    not stand above the floor without any damage, or no floor is known.
    """
    boot = settings.bootstrap
    relative = bootstrap_ratio(corrupted_N, clean_N, clusters, boot.resamples, boot.seed)
    effective = None
    if floor_N is not None:
        effective = bootstrap_ratio(corrupted_N - floor_N, clean_N - floor_N, clusters, boot.resamples, boot.seed)
    return {"relative": as_json(relative), "effective": as_json(effective)}


def as_json(score: Score | None) -> dict[str, float | int] | None:
    """The form that `report.json` holds."""
    return None if score is None else score.to_json()


def interval(hits_N: np.ndarray, clusters: Sequence[str], settings: Settings) -> dict[str, float | int]:
    """A mean with its interval."""
    return bootstrap(hits_N, clusters, settings.bootstrap.resamples, settings.bootstrap.seed).to_json()


def hits(predictions: Sequence[Prediction]) -> np.ndarray:
    """1 for each right answer, else 0: [N]."""
    return np.array([float(prediction.correct) for prediction in predictions])


def blind_hits(samples: Sequence[Sample], modality: str, prior: Prior) -> np.ndarray:
    """Right answers [N] without a model and without `modality`: per question if it is not the question that is lost."""
    answers = [prior.answer(sample) if modality in CONTEXT else prior.majority for sample in samples]
    return np.array([float(exact_match(a, expected_answer(s))) for a, s in zip(answers, samples, strict=True)])


def drawn(task: str, answered: Sequence[Prediction], robustness: Robustness) -> list[Prediction]:
    """At most `max_samples` of them, at random, in order; the same for the same seed and task name."""
    size = min(robustness.max_samples or len(answered), len(answered))
    rng = np.random.default_rng([robustness.seed, zlib.crc32(task.encode())])
    return [answered[place] for place in np.sort(rng.choice(len(answered), size, replace=False))]


def damaged(
    task: str, samples: Sequence[Sample], name: str, corruption: Corruption, severity: int, robustness: Robustness
) -> list[Sample]:
    """Every sample damaged, by a generator of its own that is the same at every severity."""
    words = [robustness.seed, zlib.crc32(task.encode()), zlib.crc32(name.encode())]
    return [
        corrupted(sample, corruption, severity, np.random.default_rng([*words, place]))
        for place, sample in enumerate(samples)
    ]


def applicable(samples: Sequence[Sample], robustness: Robustness) -> Mapping[str, Corruption]:
    """The corruptions of modalities that a user of these samples uses."""
    there = set().union(*(user_modalities(sample) for sample in samples))
    return {name: item for name, item in robustness.corruptions.items() if item.modality in there}


def points(samples: Sequence[Sample], robustness: Robustness) -> int:
    """Questions that `curves` will ask."""
    size = min(robustness.max_samples or len(samples), len(samples))
    return size * len(SEVERITIES) * len(applicable(samples, robustness))
