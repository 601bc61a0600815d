"""Cached decoding against the full forward pass.

Shape legend: B rows, L tokens in a row, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from certify.context import Context, batched, logits
from certify.documents import extended, spans
from certify.result import EXACT, ROUNDING, Result, at_most, deviation
from data.collate import collate_prompts
from data.document import Document
from data.types import PADDING_DOCUMENT, UNSUPERVISED, InterleavedBatch
from fusion.decoding_rules import Forbidden
from fusion.generation import generate
from fusion.mode import switched

NEW_TOKENS = 6
# Some tokens that must not be chosen, as special ones must not in the answers of a tokenizer.
FORBIDDEN = tuple(range(0, 24, 2))


def cached_equals_full(context: Context) -> Result:
    """Prompts of mixed length are prefilled together, then go on token by token: against full forward passes."""
    documents, rng = context.documents(), context.rng()
    new_BL = torch.from_numpy(rng.integers(context.vocab_size, size=(len(documents), NEW_TOKENS)))
    full = logits(
        context.model,
        batched([extended(d, tokens.numpy()) for d, tokens in zip(documents, new_BL, strict=True)]),
    )
    values = _decode(context, documents, new_BL)
    largest = max(deviation(values[d.sample_id], full[d.sample_id]) for d in documents)
    lengths = [len(document) for document in documents]
    detail = f"prompts of {min(lengths)} to {max(lengths)} tokens, then {NEW_TOKENS} one by one"
    return at_most("cached decoding = full forward", largest, ROUNDING, detail)


def prefill_in_two_parts(context: Context) -> Result:
    """A cache that is filled in two calls, the second perhaps with media, as a second turn does: against one."""
    largest, cut_documents = 0.0, 0
    rng = context.rng()
    for document in context.documents():
        starts = [start for start, _ in spans(context.model, document)][1:]
        cut = int(rng.choice(starts))
        first, second = halves(context, document, cut)
        cache = context.model.make_cache(1, len(document))
        with switched(context.model, training=False), torch.no_grad():
            parts = [context.model.logits(context.model(part, cache))[0] for part in (first, second)]
        full = logits(context.model, batched([document]))[document.sample_id]
        largest = max(largest, deviation(torch.cat(parts), full))
        cut_documents += 1
    return at_most("prefill in two parts = at once", largest, ROUNDING, f"{cut_documents} documents, each cut once")


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
    before = int(
        sum(1 for start, _ in spans(context.model, document) if start < cut and document.modality_ids[start] > 0)
    )
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
        batch = _without_padding(collate_prompts([part]), len(part))
        result.append(replace(batch, positions=batch.positions + (place.start or 0)))
    return result[0], result[1]


def _without_padding(batch: InterleavedBatch, length: int) -> InterleavedBatch:
    names = ("token_ids", "modality_ids", "document_ids", "positions", "labels", "label_groups")
    return replace(batch, **{name: getattr(batch, name)[:, :length] for name in names})


@torch.no_grad()
def _decode(context: Context, documents: list[Document], new_BL: Tensor) -> dict[str, Tensor]:
    """Logits [its tokens, V] of each document with its new tokens, by prefill and then a step per token."""
    model, prompts = context.model, collate_prompts(documents)
    valid_BL = prompts.document_ids != PADDING_DOCUMENT
    cache = model.make_cache(len(documents), prompts.token_ids.shape[1] + NEW_TOKENS)
    with switched(model, training=False):
        first = model.logits(model(prompts, cache))
        steps = [
            model.logits(model(one_token(prompts, column[:, None], valid_BL.sum(1) + step), cache))
            for step, column in enumerate(new_BL.unbind(1))
        ]
    rest = torch.cat(steps, dim=1)
    return {d.sample_id: torch.cat([first[i][valid_BL[i]], rest[i]]) for i, d in enumerate(documents)}


def one_token(prompts: InterleavedBatch, token_B1: Tensor, positions_B: Tensor) -> InterleavedBatch:
    """A batch of one text token for each row, in the row's document."""
    return replace(
        prompts,
        token_ids=token_B1,
        modality_ids=torch.zeros_like(token_B1),
        document_ids=prompts.document_ids[:, :1],
        positions=positions_B[:, None],
        labels=torch.full_like(token_B1, UNSUPERVISED),
        label_groups=torch.full_like(token_B1, -1),
        media={},
    )


def _prompts(context: Context) -> tuple[list[Document], int]:
    """Prompts and an end token that at least one of them produces after a while, so that rows end apart."""
    documents = context.documents()[-5:]
    longest = max(_generate(context, documents, end_id=-1), key=lambda answer: len(set(answer)))
    return documents, longest[len(longest) // 2]


def _generate(context: Context, documents: list[Document], end_id: int) -> list[list[int]]:
    prompts, longest = collate_prompts(documents), 2 * NEW_TOKENS
    return generate(context.model, prompts, end_id=end_id, max_new_tokens=longest, rules=[Forbidden(FORBIDDEN)])


def _slowly(context: Context, documents: list[Document], end_id: int) -> list[list[int]]:
    answers = np.zeros((len(documents), 0), dtype=np.int64)
    allowed = [token for token in range(context.vocab_size) if token not in FORBIDDEN]
    for _ in range(2 * NEW_TOKENS):
        sequences = [extended(document, answer) for document, answer in zip(documents, answers, strict=True)]
        scores = logits(context.model, batched(sequences))
        likeliest = [[allowed[int(scores[d.sample_id][-1, allowed].argmax())]] for d in documents]
        answers = np.append(answers, likeliest, axis=1)
    return [list(takewhile(lambda token: token != end_id, answer)) for answer in answers.tolist()]
