"""Who may influence whom: the future, other documents, padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from certify.context import Context, by_document, logits, training_logits
from certify.documents import changed, spans
from certify.result import EFFECT, ROUNDING, Result, at_least, at_most, deviation, largest_deviation
from data.batching.document import Document
from data.types import InterleavedBatch
from fusion.mode import switched
from fusion.model import FusionModel
from fusion.sequence import EmbeddedSequence

CUTS_PER_DOCUMENT = 3


def future_does_not_reach_past(context: Context) -> Result:
    """Everything from a place on is replaced: logits before that place must not move. Media are replaced whole."""
    documents, rng = context.documents(), context.rng()
    reference = training_logits(context.model, context.batched(documents))
    largest = 0.0
    for _ in range(CUTS_PER_DOCUMENT):
        cuts = {d.sample_id: rng.choice([start for start, _ in spans(context.model, d)][1:]) for d in documents}
        others = [changed(context.model, context.vocab_size, d, cuts[d.sample_id], len(d), rng) for d in documents]
        moved = training_logits(context.model, context.batched(others))
        pairs = [(moved[name][:cut], reference[name][:cut]) for name, cut in cuts.items()]
        largest = max(largest, largest_deviation(pairs))
    detail = f"{CUTS_PER_DOCUMENT * len(documents)} futures replaced in {len(documents)} documents"
    return at_most("the future does not reach the past", largest, ROUNDING, detail)


def past_reaches_present(context: Context) -> Result:
    """The converse, without which the check of causality would pass on a model that sees nothing.

    Each medium, and the first text token, that comes before a document's last text token is replaced in turn, and
    that last token must move.
    """
    documents, rng = context.documents(), context.rng()
    reference = logits(context.model, context.batched(documents))
    variants: list[tuple[Document, int]] = []
    for document in documents:
        text_places = (document.modality_ids == 0).nonzero()[0].tolist()
        last_text = text_places[-1]
        for start, stop in spans(context.model, document):
            if stop <= last_text and (document.modality_ids[start] or start == text_places[0]):
                other = changed(context.model, context.vocab_size, document, start, stop, rng)
                variants.append((replace(other, sample_id=f"{document.sample_id}:{start}"), last_text))
    moved = logits(context.model, context.batched([variant for variant, _ in variants]))
    effects = [
        deviation(moved[variant.sample_id][place], reference[variant.sample_id.rpartition(":")[0]][place])
        for variant, place in variants
    ]
    detail = f"{len(variants)} segments replaced, smallest movement of a later text token"
    return at_least("the past reaches the present", min(effects), EFFECT, detail)


def media_see_themselves_as_configured(context: Context) -> Result:
    """The last token of every medium is replaced: with `bidirectional_media` all earlier ones move, without it none.

    It is replaced after the encoder: the encoder lets the tokens of a medium see one another in any case. Documents are
    packed, and each in a row of its own: these are different paths of attention.
    """
    documents, asked = context.documents(), context.model.fusion.bidirectional_media
    batches = (context.batched(documents), context.packed(documents))
    moves = [move for batch in batches for move in _moves_within_media(context.model, batch)]
    detail = f"last token of {len(moves)} media replaced, bidirectional_media={str(asked).lower()}"
    if asked and moves:
        smallest = min(float(move.min()) for move in moves)
        return at_least("later tokens of a medium reach earlier ones", smallest, EFFECT, detail)
    largest = max((float(move.max()) for move in moves), default=0.0)
    return at_most("later tokens of a medium do not reach earlier ones", largest, ROUNDING, detail)


@torch.no_grad()
def _moves_within_media(model: FusionModel, batch: InterleavedBatch) -> Iterator[Tensor]:
    """For each medium of two tokens or more: how far each but the last moves when the last is replaced, relatively."""
    generator = torch.Generator().manual_seed(0)
    with switched(model, training=False):
        sequence = model.embed(batch)
        reference = model.fusion(sequence).states
        for media in _one_of_each_document(sequence):
            hidden = sequence.hidden.clone()
            for places in media:
                row, place = places[-1]
                hidden[row, place] += torch.randn(hidden.shape[-1], generator=generator).to(hidden)
            moved = (model.fusion(replace(sequence, hidden=hidden)).states - reference).abs().amax(-1)
            largest = reference.abs().max()
            yield from (moved[places[:-1, 0], places[:-1, 1]] / largest for places in media)


def _one_of_each_document(sequence: EmbeddedSequence) -> Iterator[list[Tensor]]:
    """The first, then the second, ... medium of every document, as (row, place) of its tokens; not those of one."""
    of_document: dict[int, list[Tensor]] = {}
    for segment in sequence.segment_ids.unique().tolist():
        places = (sequence.segment_ids == segment).nonzero()
        if segment > 0 and len(places) > 1:
            of_document.setdefault(int(sequence.document_ids[tuple(places[0])]), []).append(places)
    for number in range(max(map(len, of_document.values()), default=0)):
        yield [media[number] for media in of_document.values() if number < len(media)]


def documents_are_isolated(context: Context) -> Result:
    """Every second document of packed rows is replaced: the others must not move. Then the other way round."""
    documents, rng = context.documents(), context.rng()
    batch = context.packed(documents)
    reference = training_logits(context.model, batch)
    pairs: list[tuple[Tensor, Tensor]] = []
    for remainder in (0, 1):
        replaced = set(batch.sample_ids[remainder::2])
        others = [
            changed(context.model, context.vocab_size, d, 0, len(d), rng) if d.sample_id in replaced else d
            for d in documents
        ]
        moved = training_logits(context.model, context.packed(others))
        pairs += [(moved[name], reference[name]) for name in reference if name not in replaced]
    detail = f"{len(documents)} documents in {len(batch.token_ids)} rows"
    return at_most("packed documents do not see one another", largest_deviation(pairs), ROUNDING, detail)


def packed_equals_unpacked(context: Context) -> Result:
    """Logits of documents that share rows, against each document in a batch of its own."""
    documents = context.documents()
    batch = context.packed(documents)
    detail = f"{len(documents)} documents in {len(batch.token_ids)} rows, {batch.packing_efficiency:.0%} full"
    values = logits(context.model, batch)
    return at_most("packed = unpacked", _against_alone(context, documents, values), ROUNDING, detail)


def batched_equals_alone(context: Context) -> Result:
    """Logits of documents in rows padded to the longest, media padded to the largest, against each alone."""
    documents = context.documents()
    values = logits(context.model, context.batched(documents))
    lengths = [len(document) for document in documents]
    detail = f"{len(documents)} rows of {min(lengths)} to {max(lengths)} tokens"
    return at_most("batched = alone", _against_alone(context, documents, values), ROUNDING, detail)


def evaluation_equals_training(context: Context) -> Result:
    """Logits without gradients against those with: libraries take other paths when no gradient is asked for.

    Both in evaluation mode, so that dropout, where configured, is off.
    """
    batch = context.packed(context.documents())
    with switched(context.model, training=False):
        reference = by_document(batch, context.model.logits(context.model(batch).states).detach())
    values = logits(context.model, batch)
    largest = largest_deviation((values[name], reference[name]) for name in reference)
    return at_most("without gradients = with gradients", largest, ROUNDING, f"{batch.num_tokens} tokens")


def _against_alone(context: Context, documents: list[Document], values: dict[str, Tensor]) -> float:
    largest = 0.0
    for document, batch in zip(documents, context.alone(documents), strict=True):
        reference = logits(context.model, batch)[document.sample_id]
        largest = max(largest, deviation(values[document.sample_id], reference))
    return largest
