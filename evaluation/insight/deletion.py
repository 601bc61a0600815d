"""Deletion curves: whether what an attribution calls important is what the answer depends on.

The regions with the highest scores are replaced by neutral content, more and more of them (Samek et al.,
arXiv:1509.06321; Petsiuk et al., arXiv:1806.07421). Each time the probability of the model's own answer is measured
again. As often the same number of random regions is replaced. An attribution that means something hurts more than
chance.

Patches become the mean colour of their image, frames the mean spectrum of their sound; words are left out.

Shape legend: B rows of a batch, N items (samples), v steps of a curve (shares of the regions), W regions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from data.batching.collate import collate_prompts
from data.batching.document import Document
from data.batching.interleave import Interleaver
from data.chat import ChatTokenizer
from data.randomness import generator
from data.tokenizer import TOOL_CALL
from evaluation.answering.predict import Prediction, chunks, clusters
from evaluation.insight.attribution import Answered, Region, answer_scores, answered, attribute, neutral
from evaluation.metrics.scores import bootstrap, bootstrap_mean
from evaluation.settings import Attribution, Settings
from fusion.model import FusionModel

RANDOM = "random"
# Order of the regions -> probability of the answer, and whether it stays the answer: two arrays [v].
Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def deletion(
    model: FusionModel,
    tokenizer: ChatTokenizer,
    interleaver: Interleaver,
    task: str,
    predictions: Sequence[Prediction],
    settings: Settings,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """The part of a report about one task: modality -> curves of every attribution method and of random orders.

    n: samples. regions: their mean number of regions. shares: of the regions that are deleted. full: probability of the
    answer when nothing is. curves: order -> probability, and unchanged: how often the answer stays, at each share.
    harm: method -> probability under random deletion minus that under its own, averaged over the shares.
    """
    options = settings.attribution
    assert options is not None
    rng = generator(options.seed, "deletion", task)
    predictions = [item for item in predictions if TOOL_CALL not in item.answer]  # scored as words alone
    size = min(options.max_samples or len(predictions), len(predictions))
    chosen = [predictions[place] for place in np.sort(rng.choice(len(predictions), size, replace=False))]
    found: dict[str, list[tuple[Prediction, int, float, Curves]]] = {}
    for batch in chunks(chosen, settings.batch_size):
        items = [answered(model, tokenizer, interleaver, item.sample, item.answer) for item in batch]
        full = probabilities(model, [item.document for item in items], settings.batch_size)[0]
        for prediction, item, scores, before in zip(batch, items, attribute(model, items), full, strict=True):
            for modality in dict.fromkeys(region.modality for region in item.regions):
                places = np.array([i for i, region in enumerate(item.regions) if region.modality == modality])
                orders = {name: [places[np.argsort(-values[places], kind="stable")]] for name, values in scores.items()}
                orders[RANDOM] = [rng.permutation(places) for _ in range(options.random_orders)]
                curves = {
                    name: follow(model, item, found_orders, options, settings.batch_size)
                    for name, found_orders in orders.items()
                }
                found.setdefault(modality, []).append((prediction, len(places), float(before), curves))
            advance(1)
    return {modality: summary(rows, settings) for modality, rows in found.items()}


def follow(
    model: FusionModel, item: Answered, orders: Sequence[np.ndarray], options: Attribution, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the answer and whether it stays, [v] each, averaged over `orders` of the same regions."""
    documents = [
        deleted(item.document, [item.regions[place] for place in order[: max(1, round(share * len(order)))]])
        for order in orders
        for share in options.shares
    ]
    probability, stays = probabilities(model, documents, batch_size)
    shape = (len(orders), len(options.shares))
    return probability.reshape(shape).mean(0), stays.reshape(shape).mean(0)


@torch.no_grad()
def probabilities(model: FusionModel, documents: Sequence[Document], batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the labelled tokens of each document, and 1 where greedy decoding gives them, else 0."""
    device = next(model.parameters()).device
    found = []
    for part in chunks(documents, batch_size):
        batch = collate_prompts(part).to(device)
        log_probability_B, stays_B = answer_scores(model, batch, model(batch).states)
        found.append((log_probability_B.exp().cpu().numpy(), stays_B.float().cpu().numpy()))
    return np.concatenate([p for p, _ in found]), np.concatenate([s for _, s in found])


def deleted(document: Document, regions: Sequence[Region]) -> Document:
    """The document with these regions made neutral; the original is left as it was."""
    media = [(modality, values) for modality, values in document.media]
    layouts = {region.item: region.layout for region in regions if region.item is not None}
    for number, layout in layouts.items():
        assert layout is not None
        modality, values = media[number]
        values, filler = values.clone(), neutral(values, layout)
        for region in regions:
            if region.item == number:
                values[region.part] = filler[region.part]
        media[number] = (modality, values)
    gone = [place for region in regions if region.item is None for place in region.tokens]
    names = ("token_ids", "modality_ids", "labels", "label_groups")
    kept: dict[str, Any] = {name: np.delete(getattr(document, name), gone) for name in names}
    return replace(document, media=tuple(media), **kept)


def summary(rows: Sequence[tuple[Prediction, int, float, Curves]], settings: Settings) -> dict[str, Any]:
    """Curves and harm with intervals."""
    options = settings.attribution
    assert options is not None
    resampled, boot = clusters([prediction for prediction, _, _, _ in rows]), settings.bootstrap

    def score(values_N: Sequence[float] | np.ndarray) -> dict[str, float | int]:
        return bootstrap_mean(values_N, resampled, boot.resamples, boot.seed).to_json()

    def share(hits_N: np.ndarray) -> dict[str, float | int]:
        return bootstrap(hits_N, resampled, boot.resamples, boot.seed).to_json()

    names = [name for name in rows[0][3] if all(name in curves for _, _, _, curves in rows)]
    # [N, 2, v]: probability and whether the answer stays.
    tables = {name: np.array([curves[name] for _, _, _, curves in rows]) for name in names}
    return {
        "n": len(rows),
        "regions": float(np.mean([count for _, count, _, _ in rows])),
        "shares": list(options.shares),
        "full": score([before for _, _, before, _ in rows]),
        "curves": {
            name: {
                "probability": [score(column) for column in table[:, 0].T],
                "unchanged": [share(column) for column in table[:, 1].T],
            }
            for name, table in tables.items()
        },
        "harm": {
            name: score((tables[RANDOM][:, 0] - table[:, 0]).mean(axis=1))
            for name, table in tables.items()
            if name != RANDOM
        },
    }
