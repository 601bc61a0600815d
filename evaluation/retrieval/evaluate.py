"""Retrieval and zero-shot classification of a model with a shared space, as a report.

Shape legend: Q queries, J keys or candidates (candidates), E width of the shared space.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from data.batching.interleave import Interleaver
from data.display.drawing import attempt
from data.progress import Progress
from data.sources.base import Source
from data.types import AlignedSample, BadSampleError, Modality
from evaluation.answering.clusters import Clusters, clusters_of
from evaluation.answering.context import WORDS
from evaluation.answering.identity import data_fingerprint
from evaluation.costs import model_costs
from evaluation.metrics.ranking import chance_curve, curve_points, recall_curve, retrieval_scores
from evaluation.metrics.scores import bootstrap, interval_words
from evaluation.page.examples import Example
from evaluation.retrieval.answers import Direction, retrieval_rows, words_of
from evaluation.retrieval.embedding import Embedded, embed, embed_texts, first_batch, read_aligned
from evaluation.retrieval.examples import class_examples, retrieval_examples
from evaluation.retrieval.frozen_baseline import RidgeBaseline, frozen_modalities
from evaluation.retrieval.shared_space import embedding_map, modality_gap
from evaluation.settings import Bootstrap, check_tasks
from evaluation.skipped_rows import skipped_json
from fusion.model import FusionModel

FLOPS_SAMPLES = 16
MAX_REASONS = 20
# The modalities that can name a class.


@dataclass(frozen=True)
class RetrievalSettings:
    """One evaluation of a shared space.

    tasks: name -> source of aligned samples. Every modality is asked for every other: the task "emoji" is reported as
    "emoji/image_to_text" and so on. Candidates are what all samples of the task have of the modality, each once; all
    that some sample holds together with the query are right (see `evaluation.retrieval.partners`).
    classes: the field of metadata that zero-shot classification predicts, as "emoji/image_to_group"; None: none.
    prompt: the text of a class, where {} is its name.
    cluster: a field of metadata. Samples with equal values of it are drawn together for intervals; where it is
        missing, samples that share a medium are.
    map_samples: how many samples the map of embeddings shows.
    ridge: training samples. A ridge regression between the features of every two frozen encoders is fitted on them,
        as a baseline; None leaves it out.
    """

    tasks: Mapping[str, Source]
    batch_size: int = 128
    classes: str | None = "group"
    prompt: str = "{}"
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    cluster: str = "concept"
    map_samples: int = 150
    ridge: Source | None = None

    def __post_init__(self) -> None:
        check_tasks(self.tasks)
        for name in ("batch_size", "map_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.ridge is not None and len(self.ridge) == 0:
            raise ValueError("ridge: the source has no samples")
        if "{}" not in self.prompt:
            raise ValueError(f"prompt={self.prompt!r} must hold {{}}, where the name of the class goes")


def evaluate_retrieval(
    model: FusionModel,
    interleaver: Interleaver,
    settings: RetrievalSettings,
    on_bad_sample: str = "error",
    progress: bool = True,
    keep: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
    show: Callable[[list[Example]], None] = lambda examples: None,
) -> dict[str, Any]:
    """Everything in a report that depends only on model, data and settings.

    `keep` is told the answers to the queries of each direction, and the classes that were given, as rows; `show` some
    of them with their media.
    Samples that cannot be read count as skipped, and are no candidates either, if `on_bad_sample` is "skip".
    """
    skipped: dict[str, list[str]] = {name: [] for name in settings.tasks}
    fitted: list[str] = []  # samples of the regression that cannot be used; no row of a task
    skips = on_bad_sample == "skip"
    tasks = {name: read_aligned(source, skipped[name] if skips else None) for name, source in settings.tasks.items()}
    rows = {name: len(samples) + len(skipped[name]) for name, samples in tasks.items()}
    report: dict[str, Any] = {"sources": list(tasks), "tasks": {}, "chance": {}, "audit": {}, "omitted": {}}
    report |= {"embedding_map": {}, "modality_gap": {}, "baselines": {}, "clusters": {}, "recall_curves": {}}
    frozen = frozen_modalities(model)
    unread = fitted if skips else None
    training = read_aligned(settings.ridge, unread) if settings.ridge is not None and len(frozen) > 1 else []
    with Progress("samples", _num_questions(tasks, training), shown=progress) as bar:
        size, done = settings.batch_size, bar.advance
        if training:
            bar.stage("training features")
        ridge = RidgeBaseline(model, interleaver, training, batch_size=size, skipped=unread, advance=done)
        for name, samples in tasks.items():
            bar.stage(name)
            embedded = embed(
                model, interleaver, samples, batch_size=size, skipped=skipped[name] if skips else None, advance=done
            )
            if len(embedded) < 2:
                reason = f"; the first: {skipped[name][0]}" if skipped[name] else ""
                raise BadSampleError(f"{name}: has no samples of two modalities that can be used{reason}")
            drawn = clusters_of(samples, settings.cluster)
            report["clusters"][name] = drawn.to_json()
            for direction in directions(embedded).values():
                _add_direction(report, name, drawn, direction, settings)
                keep(retrieval_rows(name, direction, embedded, samples, drawn.of(direction.asked)))
                shown = partial(retrieval_examples, name, direction, embedded, samples)
                show(attempt(f"examples of {name}/{direction.name}", shown) or [])
            if settings.ridge is not None:
                _add_ridge(report, name, drawn, ridge.directions(samples, embedded), settings, frozen)
            if settings.classes is not None:
                encoder = (model, interleaver)
                keep(_add_classification(report, name, samples, drawn, embedded, settings, encoder, show))
            seed = settings.bootstrap.seed
            key = settings.classes or settings.cluster
            report["embedding_map"][name] = embedding_map(embedded, samples, key, settings.map_samples, seed)
            report["modality_gap"][name] = modality_gap(embedded)
    everything = [sample for samples in tasks.values() for sample in samples]
    batch = first_batch(interleaver, everything, FLOPS_SAMPLES).to(next(model.parameters()).device)
    report["model"] = model_costs(model, batch)
    report["data"] = skipped_json(rows, skipped, MAX_REASONS)
    report["provenance"] = {
        "data_hash": data_fingerprint(everything),
        "interval": interval_words(settings.bootstrap.resamples),
    }
    return report


def directions(embedded: Mapping[Modality, Embedded]) -> dict[str, Direction]:
    """Every modality to every other that some sample has with it, by name ("image_to_text")."""
    found = (Direction.ask(embedded, first, second) for first, second in permutations(embedded, 2))
    return {asked.name: asked for asked in found if asked is not None}


def possible_directions(samples: Sequence[AlignedSample], modalities: Sequence[Modality]) -> list[str]:
    """The names that `directions` can have: pairs of modalities that some sample has both of."""
    present = [{segment.modality for segment in sample.segments} for sample in samples]
    return [f"{a}_to_{b}" for a, b in permutations(modalities, 2) if any({a, b} <= found for found in present)]


def _add_direction(
    report: dict[str, Any], task: str, drawn: Clusters, found: Direction, settings: RetrievalSettings
) -> None:
    options, name = (settings.bootstrap.resamples, settings.bootstrap.seed), f"{task}/{found.name}"
    clusters = drawn.of(found.asked)
    scores = retrieval_scores(found.ranks, clusters, *options)
    report["tasks"][name] = {metric: score.to_json() for metric, score in scores.items()}
    counts = {"candidates": found.num_candidates, "right": float(found.num_right.mean())}
    report["chance"][name] = {**counts, **found.chance()}
    points = curve_points(found.num_candidates)
    report["recall_curves"][name] = {
        "candidates": found.num_candidates,
        "k": points,
        "model": [score.to_json() for score in recall_curve(found.ranks, points, clusters, *options)],
        "chance": chance_curve(found.num_candidates, found.num_right, points),
    }


def _add_ridge(
    report: dict[str, Any],
    task: str,
    drawn: Clusters,
    found: Mapping[str, tuple[np.ndarray, np.ndarray]],
    settings: RetrievalSettings,
    frozen: Sequence[Modality],
) -> None:
    """The regression next to the model: the same queries, candidates and intervals; or why there is none."""
    if not found:
        report["omitted"].setdefault(task, {})["ridge regression"] = _why_no_ridge(frozen)
    options = (settings.bootstrap.resamples, settings.bootstrap.seed)
    for direction, (placed, asked) in found.items():
        name, clusters = f"{task}/{direction}", drawn.of(asked)
        scores = retrieval_scores(placed, clusters, *options)
        report["baselines"].setdefault(name, {})["ridge"] = {key: score.to_json() for key, score in scores.items()}
        if name in report["recall_curves"]:
            curve = recall_curve(placed, report["recall_curves"][name]["k"], clusters, *options)
            report["recall_curves"][name]["ridge"] = [score.to_json() for score in curve]


def _why_no_ridge(frozen: Sequence[Modality]) -> str:
    if not frozen:
        return "no frozen encoders"
    if len(frozen) == 1:
        return f"only one frozen encoder, that of {frozen[0]}"
    return f"the samples for training or evaluation have no two of {', '.join(frozen)}"


def _num_questions(tasks: Mapping[str, Sequence[AlignedSample]], training: Sequence[AlignedSample]) -> int:
    """Samples that are embedded, and those that are read for a regression."""
    asked = sum(map(len, tasks.values()))
    return 2 * asked + len(training) if training else asked


def _add_classification(
    report: dict[str, Any],
    task: str,
    samples: Sequence[AlignedSample],
    drawn: Clusters,
    embedded: Mapping[Modality, Embedded],
    settings: RetrievalSettings,
    encoder: tuple[FusionModel, Interleaver],
    show: Callable[[list[Example]], None],
) -> list[dict[str, Any]]:
    """Zero-shot accuracy of every medium: the class with the most similar name is chosen, and no class has been taught.

    Returns the classes that were given, as rows of answers.
    """
    key = str(settings.classes)
    names = sorted({sample.metadata[key] for sample in samples if key in sample.metadata})
    words = next((name for name in WORDS if name in embedded), None)
    if len(names) < 2 or words is None:
        why = f"the samples have {len(names)} values of {key}" if len(names) < 2 else "the samples have no words"
        report["omitted"].setdefault(task, {})[f"classes by {key}"] = why
        return []
    rows: list[dict[str, Any]] = []
    prompts_JE = embed_texts(*encoder, [settings.prompt.replace("{}", name) for name in names], words)
    options = (settings.bootstrap.resamples, settings.bootstrap.seed)
    for modality, found in embedded.items():
        labelled = np.array([key in samples[place].metadata for place in found.samples])
        if modality in WORDS or not labelled.any():
            continue
        asked = found.samples[labelled]
        truth_Q = np.array([names.index(samples[place].metadata[key]) for place in asked])
        chosen_Q = (found.values[labelled] @ prompts_JE.T).argmax(axis=1)
        clusters = drawn.of(asked)
        name = f"{task}/{modality}_to_{key}"
        report["tasks"][name] = {"accuracy": bootstrap(chosen_Q == truth_Q, clusters, *options).to_json()}
        most = Counter(truth_Q.tolist()).most_common(1)[0][0]
        report["audit"][name] = {"largest_class": bootstrap(truth_Q == most, clusters, *options).to_json()}
        report["chance"][name] = {"candidates": len(names), "accuracy": 1 / len(names)}
        labels = ([names[place] for place in found_Q.tolist()] for found_Q in (truth_Q, chosen_Q))
        shown = partial(class_examples, name, modality, [samples[place] for place in asked.tolist()], *labels)
        show(attempt(f"examples of {name}", shown) or [])
        given = zip(asked.tolist(), clusters, truth_Q.tolist(), chosen_Q.tolist(), strict=True)
        rows += [
            {
                "task": name,
                "id": samples[place].id,
                "cluster": own,
                "query": words_of(samples[place], modality),
                "expected": names[truth],
                "answer": names[chosen],
                "correct": truth == chosen,
            }
            for place, own, truth, chosen in given
        ]
    return rows
