"""Answers of a model: cached decoding in batches of mixed length.

Shape legend: B rows of a batch (prompts), L tokens in a row, D `d_model`, V vocabulary, A axes of positions, N items
(forbidden tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from data.types import PADDING_DOCUMENT, UNSUPERVISED, InterleavedBatch
from fusion.generation.rules import Forbidden, Rule
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
    rules: Sequence[Rule] = (),
) -> list[list[int]]:
    """New tokens of each prompt, without the end token.

    `prompts` holds one document per row, padded on the right. `rules` say what may come next (see
    `fusion.generation.rules`); of what they leave the likeliest token is taken. The other rows and the padding do not
    change a row's answer, if they do not change what a rule says of it. The model is in evaluation mode meanwhile.

    Raises `ValueError` if an answer could not end, or if rules leave a row nothing.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens={max_new_tokens} must be 1 or more")
    if any(isinstance(rule, Forbidden) and end_id in rule.ids for rule in rules):
        raise ValueError(f"rules forbid end_id={end_id}; no answer could end")
    with switched(model, training=False):
        return _decode(model, prompts, end_id, max_new_tokens, rules)


def _decode(
    model: FusionModel,
    prompts: InterleavedBatch,
    end_id: int,
    max_new_tokens: int,
    rules: Sequence[Rule],
) -> list[list[int]]:
    lengths_B = (prompts.document_ids != PADDING_DOCUMENT).sum(1)
    rows_B = torch.arange(len(lengths_B), device=lengths_B.device)
    cache = model.make_cache(len(lengths_B), prompts.token_ids.shape[1] + max_new_tokens)
    hidden_BD = model(prompts, cache).states[rows_B, lengths_B - 1]
    last = prompts
    answers: list[list[int]] = [[] for _ in range(len(lengths_B))]
    finished_B = torch.zeros_like(lengths_B, dtype=torch.bool)
    for step in range(max_new_tokens):
        token_B = _choose(model.logits(hidden_BD), answers, rules, finished_B)
        finished_B |= token_B == end_id
        for row, token in enumerate(token_B.tolist()):
            if not finished_B[row]:
                answers[row].append(token)
        if bool(finished_B.all()) or step == max_new_tokens - 1:
            break
        last = next_step(last, token_B)
        hidden_BD = model(last, cache).states[:, 0]
    return answers


def _choose(logits_BV: Tensor, answers: Sequence[Sequence[int]], rules: Sequence[Rule], finished_B: Tensor) -> Tensor:
    """The token [B] that rules leave and that is likeliest; any token of a row that has finished."""
    for rule in rules:
        logits_BV = rule(logits_BV, answers)
    best_B, token_B = logits_BV.max(-1)
    stuck_B = (best_B == -torch.inf) & ~finished_B
    if bool(stuck_B.any()):
        row = int(stuck_B.nonzero()[0])
        raise ValueError(
            f"rules leave row {row} no token after {list(answers[row])}; one must be possible at every step"
        )
    return token_B


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
