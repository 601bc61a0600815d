"""Cached decoding against the full forward pass.

Shape legend: B rows of a batch, L tokens in a row, V vocabulary, A axes of positions.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from certify.context import Context, logits
from certify.documents import extended, spans
from certify.result import EXACT, ROUNDING, Result, at_most, deviation, largest_deviation
from data.batching.document import Document
from data.types import PADDING_DOCUMENT, InterleavedBatch
from fusion.generation.cache import CacheList
from fusion.generation.decoding import generate, next_step
from fusion.generation.rules import Forbidden
from fusion.mode import switched
from fusion.positions.following import following

NEW_TOKENS = 6
# Some tokens that must not be chosen, as special ones must not in the answers of a tokenizer.
FORBIDDEN = tuple(range(0, 24, 2))


def cached_equals_full(context: Context) -> Result:
    """Prompts of mixed length are prefilled together, then go on token by token: against full forward passes."""
    documents, rng = context.documents(), context.rng()
    new_BL = torch.from_numpy(rng.integers(context.vocab_size, size=(len(documents), NEW_TOKENS)))
    full = logits(
        context.model,
        context.batched([extended(d, tokens.numpy()) for d, tokens in zip(documents, new_BL, strict=True)]),
    )
    values = _decode(context, documents, new_BL)
    largest = max(deviation(values[d.sample_id], full[d.sample_id]) for d in documents)
    lengths = [len(document) for document in documents]
    detail = f"prompts of {min(lengths)} to {max(lengths)} tokens, then {NEW_TOKENS} one by one"
    return at_most("cached decoding = full forward", largest, ROUNDING, detail)


def prefill_in_two_parts(context: Context) -> Result:
    """A cache that is filled in two calls, the second perhaps with media, as a second turn does: against one."""
    largest, rng, documents = 0.0, context.rng(), context.documents()
    for document in documents:
        starts = [start for start, _ in spans(context.model, document)][1:]
        cut = int(rng.choice(starts))
        first, second = halves(context, document, cut)
        cache = context.model.make_cache(1, len(document))
        with switched(context.model, training=False), torch.no_grad():
            parts = [context.model.logits(context.model(part, cache).states)[0] for part in (first, second)]
        full = logits(context.model, context.batched([document]))[document.sample_id]
        largest = max(largest, deviation(torch.cat(parts), full))
    return at_most("prefill in two parts = at once", largest, ROUNDING, f"{len(documents)} documents, each cut once")


def cached_equals_fresh_after_edits(context: Context) -> Result:
    """A cache after rows were copied or emptied, or tokens taken back, then decoded: against full forward passes.

    Every edit is one that would show: the rows go on with other documents than they began with.
    """
    documents, rng = context.documents(), context.rng()
    new_BL = torch.from_numpy(rng.integers(context.vocab_size, size=(len(documents), NEW_TOKENS)))
    edits = {"copied": _copied, "emptied": _emptied, "taken back": _taken_back}
    deviations = {}
    for name, edit in edits.items():
        owners, after = edit(context, documents)
        answered = [extended(documents[owner], new.numpy()) for owner, new in zip(owners, new_BL, strict=True)]
        answered = [replace(document, sample_id=f"row {row}") for row, document in enumerate(answered)]
        full = logits(context.model, context.batched(answered))
        steps = _steps(context, *after, new_BL)
        pairs = [(steps[row], full[f"row {row}"][-NEW_TOKENS:]) for row in range(len(owners))]
        deviations[name] = largest_deviation(pairs)
    detail = ", ".join(f"{name} {value:.0e}" for name, value in deviations.items())
    return at_most("cached decoding after edits = full forward", max(deviations.values()), ROUNDING, detail)


def greedy_is_argmax_of_full(context: Context) -> Result:
    """`generate` against the slow way: a full forward pass for every new token, without a cache.

    Some tokens are forbidden.
    """
    documents, end_id = _prompts(context)
    answers = _generate(context, documents, end_id)
    slow = _slowly(context, documents, end_id)
    wrong = sum(a != b for a, b in zip(answers, slow, strict=True))
    detail = f"{len(documents)} answers of {min(map(len, answers))} to {max(map(len, answers))} tokens"
    return at_most("greedy decoding = argmax of full forward", wrong, EXACT, detail)


def answers_do_not_depend_on_batch(context: Context) -> Result:
    """Greedy answers of prompts of mixed length, one at a time and all together."""
    documents, end_id = _prompts(context)
    together = _generate(context, documents, end_id)
    one = [answer for document in documents for answer in _generate(context, [document], end_id)]
    wrong = sum(a != b for a, b in zip(one, together, strict=True))
    name = f"answers at batch 1 = at batch {len(documents)}"
    return at_most(name, wrong, EXACT, f"{wrong} of {len(documents)} answers differ")


def halves(context: Context, document: Document, cut: int) -> tuple[InterleavedBatch, InterleavedBatch]:
    """One row as two batches, of the tokens before and from `cut` on, each with its own media. Not padded."""
    starts = [start for start, _ in spans(context.model, document)]
    before = sum(start < cut and bool(document.modality_ids[start] > 0) for start in starts)
    result = []
    for place, media in ((slice(0, cut), document.media[:before]), (slice(cut, None), document.media[before:])):
        part = replace(
            document,
            token_ids=document.token_ids[place],
            modality_ids=document.modality_ids[place],
            labels=document.labels[place],
            label_groups=document.label_groups[place],
            media=media,
        )
        batch, start = _without_padding(context.prompts([part]), len(part)), place.start or 0
        result.append(replace(batch, places=batch.places + start, positions=batch.positions + start))
    return result[0], result[1]


def _without_padding(batch: InterleavedBatch, length: int) -> InterleavedBatch:
    return batch.map(lambda tensor: tensor[:, :length])


@torch.no_grad()
def _decode(context: Context, documents: list[Document], new_BL: Tensor) -> dict[str, Tensor]:
    """Logits [its tokens, V] of each document with its new tokens, by prefill and then a step per token."""
    model, prompts = context.model, context.prompts(documents)
    valid_BL = prompts.document_ids != PADDING_DOCUMENT
    cache = model.make_cache(len(documents), prompts.token_ids.shape[1] + NEW_TOKENS)
    with switched(model, training=False):
        first = model.logits(model(prompts, cache).states)
    rest = _steps(context, cache, prompts, new_BL)
    return {d.sample_id: torch.cat([first[i][valid_BL[i]], rest[i]]) for i, d in enumerate(documents)}


# For each row, the document that it holds after an edit; and the cache, with the batch of the last tokens in it.
Edited = tuple[list[int], tuple[CacheList, InterleavedBatch]]


def _copied(context: Context, documents: list[Document]) -> Edited:
    """Every row holds what another one held, some of them twice."""
    cache, prompts = _prefilled(context, [[document] for document in documents], len(documents))
    rows = torch.arange(len(documents), device=context.weight.device)
    source = (rows + 1) % max(len(documents) - 1, 1)
    cache.copy_rows(source, rows)
    return source.tolist(), (cache, prompts.map(lambda tensor: tensor[source]))


def _emptied(context: Context, documents: list[Document]) -> Edited:
    """Every second row is emptied and given another document, while the others hold still."""
    owners = [(row + 2) % len(documents) if row % 2 else row for row in range(len(documents))]
    cache, _ = _prefilled(context, [[document] for document in documents], len(documents))
    cache.reset(torch.arange(1, len(documents), 2, device=context.weight.device))
    rows = [[documents[owner]] if row % 2 else [] for row, owner in enumerate(owners)]
    _prefilled(context, rows, len(documents), cache)
    return owners, (cache, context.prompts([documents[owner] for owner in owners]))


def _taken_back(context: Context, documents: list[Document]) -> Edited:
    """Some tokens are tried in one call, of another number in each row, and taken back."""
    cache, prompts = _prefilled(context, [[document] for document in documents], len(documents))
    place_B1, position_B1A = following(prompts)
    device = context.weight.device
    tried = torch.arange(NEW_TOKENS, device=device).expand(len(documents), -1)
    padding = tried > torch.arange(len(documents), device=device)[:, None] % NEW_TOKENS
    step = next_step(prompts, tried[:, 0])
    step = replace(
        step,
        **{name: getattr(step, name).expand_as(tried) for name in ("modality_ids", "labels", "label_groups")},
        token_ids=tried,
        document_ids=step.document_ids.expand_as(tried).masked_fill(padding, PADDING_DOCUMENT),
        places=place_B1 + tried,
        positions=position_B1A + tried[..., None],
    )
    with switched(context.model, training=False), torch.no_grad():
        context.model(step, cache)
    cache.trim(place_B1[:, 0])
    return list(range(len(documents))), (cache, prompts)


@torch.no_grad()
def _prefilled(
    context: Context, rows: list[list[Document]], num_rows: int, cache: CacheList | None = None
) -> tuple[CacheList, InterleavedBatch]:
    """A cache with the document of each row, if there is one; documents are numbered by their rows."""
    prompts = context.collated(rows)
    longest = 2 * (max(len(document) for document in context.documents()) + NEW_TOKENS)
    cache = cache or context.model.make_cache(num_rows, longest)
    numbers = torch.arange(num_rows, device=context.weight.device)[:, None].expand_as(prompts.document_ids)
    padding = prompts.document_ids == PADDING_DOCUMENT
    with switched(context.model, training=False):
        context.model(replace(prompts, document_ids=numbers.masked_fill(padding, PADDING_DOCUMENT)), cache)
    return cache, prompts


@torch.no_grad()
def _steps(context: Context, cache: CacheList, last: InterleavedBatch, new_BL: Tensor) -> Tensor:
    """Logits [B, NEW_TOKENS, V] of new tokens, one by one."""
    steps = []
    with switched(context.model, training=False):
        for column_B in new_BL.to(last.token_ids.device).unbind(1):
            last = next_step(last, column_B)
            steps.append(context.model.logits(context.model(last, cache).states))
    return torch.cat(steps, dim=1)


def _prompts(context: Context) -> tuple[list[Document], int]:
    """Prompts and an end token that at least one of them produces after a while, so that rows end apart."""
    documents = context.documents()[-5:]
    longest = max(_generate(context, documents, end_id=-1), key=lambda answer: len(set(answer)))
    return documents, longest[len(longest) // 2]


def _generate(context: Context, documents: list[Document], end_id: int) -> list[list[int]]:
    prompts, longest = context.prompts(documents), 2 * NEW_TOKENS
    return generate(context.model, prompts, end_id=end_id, max_new_tokens=longest, rules=[Forbidden(FORBIDDEN)])


def _slowly(context: Context, documents: list[Document], end_id: int) -> list[list[int]]:
    answers = np.zeros((len(documents), 0), dtype=np.int64)
    allowed = [token for token in range(context.vocab_size) if token not in FORBIDDEN]
    for _ in range(2 * NEW_TOKENS):
        sequences = [extended(document, answer) for document, answer in zip(documents, answers, strict=True)]
        scores = logits(context.model, context.batched(sequences))
        likeliest = [[allowed[int(scores[d.sample_id][-1, allowed].argmax())]] for d in documents]
        answers = np.append(answers, likeliest, axis=1)
    return [list(takewhile(lambda token: token != end_id, answer)) for answer in answers.tolist()]
