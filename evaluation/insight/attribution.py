"""What an answer rests on: scores of image patches, spans of sound and words, by gradient and by attention.

gradient: gradient times input (Shrikumar et al., arXiv:1605.01713) of the log-probability of the answer, summed over a
region. The input of a medium is what sets its raw values apart from its neutral content (the mean colour of the image,
the mean spectrum of the sound). So a score says, to first order, what is lost when the region becomes neutral. The
input of a word is its embedding. Exact for a model that is linear.
magnitude: the same products, their absolute values summed. A normalised network hardly changes when a feature is
scaled, so that signed products of what matters cancel; their size still tells where it is.
attention: rollout to the position that begins the answer (see `evaluation/insight/rollout.py`), through bottlenecks and
cross-attention too. It says nothing where media come to the answer by other ways, as in concatenation.

Shape legend: B rows of a batch (documents, one a row), L tokens in a row, W regions, D `d_model`, N items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from data.batching.collate import collate_prompts
from data.batching.document import Document
from data.batching.interleave import Interleaver
from data.chat import ChatTokenizer, speakers
from data.types import TEXT, UNSUPERVISED, InterleavedBatch, Layout, Message, Modality, Sample, Text
from evaluation.insight.rollout import rollout
from fusion.attention_maps import attention_maps
from fusion.model import FusionModel

GRADIENT, MAGNITUDE, ATTENTION = "gradient", "magnitude", "attention"


@dataclass(frozen=True)
class Region:
    """A part of a document that is scored and can be deleted.

    item: place in `document.media`, None for a word. part: where in its values. layout: how the features of the item
    lie. tokens: places in the document; empty where a projector mixes the features of an item into other tokens, so
    that attention does not say its place.
    """

    modality: Modality
    label: str
    tokens: tuple[int, ...]
    item: int | None = None
    part: tuple[slice, ...] = ()
    layout: Layout | None = None


@dataclass(frozen=True)
class Answered:
    """A document with one answer as its only target, the regions of its prompt, and where the answer begins.

    begin: the position that predicts the first token of the answer.
    """

    document: Document
    regions: tuple[Region, ...]
    begin: int


def answered(
    model: FusionModel, tokenizer: ChatTokenizer, interleaver: Interleaver, sample: Sample, answer: str
) -> Answered:
    """The prompt of a sample followed by `answer`, whatever answer the sample expects.

    Raises `BadSampleError` when a medium cannot be read, or the prompt leaves no room for the answer.
    """
    (document,) = interleaver.answered(sample, [Message("assistant", (Text(answer),))])
    begin = int(np.flatnonzero(document.labels != UNSUPERVISED)[0])
    regions = (*_media_regions(model, document), *_words(tokenizer, document, begin))
    return Answered(document, regions, begin)


def _media_regions(model: FusionModel, document: Document) -> list[Region]:
    """A region for each feature of each encoder that has a place, in the order of the media."""
    found: list[Region] = []
    taken = dict.fromkeys(model.modalities, 0)
    for item, (modality, values) in enumerate(document.media):
        layout = model.feature_layouts[modality](tuple(values.shape))
        count = model.layouts[modality](tuple(values.shape)).count
        places = np.flatnonzero(document.modality_ids == model.modalities.index(modality))[taken[modality] :][:count]
        taken[modality] += count
        parts = parts_of(values, layout)
        kept = [[place] for place in places[layout.without_place :].tolist()]
        by_part = kept if count == layout.count else [[]] * len(parts)
        for number, (part, mine) in enumerate(zip(parts, by_part, strict=True)):
            found.append(Region(modality, f"{modality} {number + 1}", tuple(mine), item, part, layout))
    return found


def parts_of(values: Tensor, layout: Layout) -> list[tuple[slice, ...]]:
    """Where in its values each feature lies: a patch of the last two axes, row by row, or a span of the first axis."""
    if layout.grid is None:
        return [(span,) for span in _spans(len(values), layout.count)]
    rows, columns = (_spans(size, number) for size, number in zip(values.shape[-2:], layout.grid, strict=True))
    return [(..., row, column) for row in rows for column in columns]  # type: ignore[misc]


def _spans(size: int, number: int) -> list[slice]:
    edges = np.linspace(0, size, number + 1).round().astype(int).tolist()
    return [slice(begin, end) for begin, end in pairwise(edges)]


def _words(tokenizer: ChatTokenizer, document: Document, begin: int) -> list[Region]:
    """The words that a user wrote before the answer, each with its punctuation."""
    words: list[list[int]] = []
    last, token_ids = -2, document.token_ids[:begin].tolist()
    for place, (token, speaker) in enumerate(zip(token_ids, speakers(tokenizer, token_ids), strict=True)):
        if speaker == "user" and not document.modality_ids[place]:
            if last != place - 1 or tokenizer.decode([token])[:1].isspace():
                words.append([])
            words[-1].append(place)
            last = place
    return [
        Region(TEXT, tokenizer.decode(document.token_ids[places].tolist()).strip(), tuple(places)) for places in words
    ]


def neutral(values: Tensor, layout: Layout) -> Tensor:
    """What a region becomes when it is deleted: the mean over the grid (an image's mean colour), else over the time.

    Of whole numbers, such as the tokens of a sentence, it is the first, for they have no mean.
    """
    if not values.is_floating_point():
        return values[:1].expand_as(values)
    return values.mean(dim=0 if layout.grid is None else (-2, -1), keepdim=True).expand_as(values)


def answer_scores(model: FusionModel, batch: InterleavedBatch, hidden_BLD: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability [B] of the labelled tokens of each row, and whether greedy decoding would give them [B]."""
    target_BL = batch.labels != UNSUPERVISED
    log_probabilities = model.logits(hidden_BLD[target_BL]).float().log_softmax(-1)
    labels = batch.labels[target_BL]
    picked = log_probabilities.gather(-1, labels[:, None])[:, 0]
    rows = target_BL.nonzero()[:, 0]
    wrong = (log_probabilities.argmax(-1) != labels).float()
    zeros = picked.new_zeros(len(target_BL))
    return zeros.index_add(0, rows, picked), zeros.index_add(0, rows, wrong) == 0


def attribute(model: FusionModel, items: Sequence[Answered]) -> list[dict[str, np.ndarray]]:
    """For each item: method -> scores [W]. A method is left out where it cannot tell all regions apart.

    Attention is left out where a projector mixes regions. It is also left out where no attention leads from the answer
    to some modality: zeros are no ranking. The model must be in evaluation mode, where no item influences another.
    """
    batch = collate_prompts([item.document for item in items]).to(next(model.parameters()).device)
    found = _gradients(model, batch, items)
    for item, scores, seen_L in zip(items, found, _attention(model, batch, items), strict=True):
        seen = np.array([seen_L[list(region.tokens)].sum() for region in item.regions])
        modalities = np.array([region.modality for region in item.regions])
        reached = (seen[modalities == modality].any() for modality in np.unique(modalities))
        if all(region.tokens for region in item.regions) and all(reached):
            scores[ATTENTION] = seen
    return found


def _gradients(model: FusionModel, batch: InterleavedBatch, items: Sequence[Answered]) -> list[dict[str, np.ndarray]]:
    """Gradient times input of every region, with and without signs."""
    kept: list[Tensor] = []
    # Whole numbers, such as the tokens of a sentence, have no gradient: they are scored where their features enter.
    real = {name: found for name, found in batch.media.items() if found.buckets[0].values.is_floating_point()}
    media = {name: found.map(lambda values: values.clone().requires_grad_()) for name, found in real.items()}
    hook = model.fusion.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].hidden))
    try:
        with torch.enable_grad():
            total = answer_scores(model, batch, model(replace(batch, media={**batch.media, **media})).states)[0].sum()
            inputs = [kept[0], *(bucket.values for found in media.values() for bucket in found.buckets)]
            gradient_BLD, *gradients = torch.autograd.grad(total, inputs, allow_unused=True)
    finally:
        hook.remove()
    by_token_BLD = (gradient_BLD * kept[0]).detach().cpu()
    by_modality: dict[Modality, Iterator[Tensor] | None] = dict.fromkeys(batch.media)
    given = iter(gradients)
    for name, found in media.items():
        mine = [next(given) for _ in found.buckets]
        if all(gradient is not None for gradient in mine):
            # `map` goes through the buckets in their order.
            by_modality[name] = found.map(partial(_next, iter(mine))).items()
    result = []
    for item, by_token_LD in zip(items, by_token_BLD, strict=True):
        products = [
            _product(by_modality[modality], values, model.feature_layouts[modality](tuple(values.shape)))
            for modality, values in item.document.media
        ]
        inside = []
        for region in item.regions:
            product = None if region.item is None else products[region.item]
            inside.append(by_token_LD[list(region.tokens)] if product is None else product[region.part])
        signed = np.array([float(values.sum()) for values in inside])
        result.append({GRADIENT: signed, MAGNITUDE: np.array([float(values.abs().sum()) for values in inside])})
    return result


def _next(gradients: Iterator[Tensor], values: Tensor) -> Tensor:
    """The gradient of a bucket in place of its values."""
    return next(gradients).cpu()


def _product(gradients: Iterator[Tensor] | None, values: Tensor, layout: Layout) -> Tensor | None:
    """Gradient times input of the next item of a modality; items come in the order of the documents, each in its size.

    None for an encoder that lets no gradient through: its regions are scored where their tokens enter the sequence.
    """
    if gradients is None:
        return None
    return next(gradients) * (values - neutral(values, layout))


def _attention(model: FusionModel, batch: InterleavedBatch, items: Sequence[Answered]) -> np.ndarray:
    """[B, L]: how much of each token reaches the position that begins the answer; zeros where none does."""
    num_rows, length = batch.token_ids.shape
    begins_B = torch.tensor([row * length + item.begin for row, item in enumerate(items)])
    share_N = rollout(attention_maps(model, batch), begins_B.to(batch.token_ids.device), num_rows * length)
    return share_N.view(num_rows, length).cpu().numpy()
