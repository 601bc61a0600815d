"""Answers of a model: cached decoding in batches of mixed length.

Shape legend: B prompts, L tokens of the longest prompt, V vocabulary, F forbidden tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from data.types import PADDING_DOCUMENT, UNSUPERVISED, InterleavedBatch
from fusion.mode import switched
from fusion.model import FusionModel
from fusion.positions.following import following


@torch.no_grad()
def generate(
    model: FusionModel,
    prompts: InterleavedBatch,
    *,
    end_id: int,
    max_new_tokens: int,
    forbidden_ids: Sequence[int] = (),
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """New tokens of each prompt, without the end token.

    `prompts` holds one document per row, padded on the right. Temperature 0 takes the likeliest token, anything
    above samples with `generator`. Tokens in `forbidden_ids` are never chosen (see `Tokenizer.forbidden_in_answers`).
    Neither the other rows nor the padding change a row's answer. The model is in evaluation mode meanwhile.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens={max_new_tokens} must be 1 or more")
    if temperature < 0:
        raise ValueError(f"temperature={temperature} must be 0 or more")
    if end_id in forbidden_ids:
        raise ValueError(f"forbidden_ids holds end_id={end_id}; no answer could end")
    choose = partial(_choose, temperature=temperature, generator=generator)
    with switched(model, training=False):
        return _decode(model, prompts, end_id, max_new_tokens, forbidden_ids, choose)


def _decode(
    model: FusionModel,
    prompts: InterleavedBatch,
    end_id: int,
    max_new_tokens: int,
    forbidden_ids: Sequence[int],
    choose: Callable[[Tensor], Tensor],
) -> list[list[int]]:
    lengths_B = (prompts.document_ids != PADDING_DOCUMENT).sum(1)
    rows_B = torch.arange(len(lengths_B), device=lengths_B.device)
    cache = model.make_cache(len(lengths_B), prompts.token_ids.shape[1] + max_new_tokens)
    hidden_BD = model(prompts, cache).states[rows_B, lengths_B - 1]
    last = prompts
    answers: list[list[int]] = [[] for _ in range(len(lengths_B))]
    finished_B = torch.zeros_like(lengths_B, dtype=torch.bool)
    forbidden_F = torch.tensor(forbidden_ids, dtype=torch.long, device=lengths_B.device)
    for step in range(max_new_tokens):
        logits_BV = model.logits(hidden_BD).index_fill(-1, forbidden_F, -torch.inf)
        token_B = choose(logits_BV)
        finished_B |= token_B == end_id
        for row, token in enumerate(token_B.tolist()):
            if not finished_B[row]:
                answers[row].append(token)
        if bool(finished_B.all()) or step == max_new_tokens - 1:
            break
        last = next_step(last, token_B)
        hidden_BD = model(last, cache).states[:, 0]
    return answers


def _choose(logits_BV: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    if temperature == 0:
        return logits_BV.argmax(-1)
    probabilities = (logits_BV.float() / temperature).softmax(-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def next_step(last: InterleavedBatch, token_B: Tensor) -> InterleavedBatch:
    """A batch of one text token a row, which follows what is in `last`, in the row's document."""
    column, (place_B1, position_B1A) = token_B[:, None], following(last)
    return replace(
        last,
        token_ids=column,
        modality_ids=torch.zeros_like(column),
        document_ids=last.document_ids[:, :1],
        places=place_B1,
        positions=position_B1A,
        labels=torch.full_like(column, UNSUPERVISED),
        label_groups=torch.full_like(column, -1),
        media={},
    )
