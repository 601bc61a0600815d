"""What may come next in an answer: rules from scores to scores, one after the other.

A rule is called once for each new token, with the scores of all rows and what each row has answered so far. What it
sets to minus infinity is not chosen; of what is left the largest is. A grammar is such a rule too. Rules do not depend
on their order as long as they only forbid, or change scores by what does not depend on the other rules.

Shape legend: B rows of a batch (prompts), V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# (scores [B, V], the tokens of each row's answer so far) -> scores [B, V]
Rule = Callable[[Tensor, Sequence[Sequence[int]]], Tensor]


class Forbidden:
    """Tokens that are never chosen (see `forbidden_in_answers` of a tokenizer)."""

    def __init__(self, ids: Sequence[int]) -> None:
        if any(token < 0 for token in ids):
            raise ValueError(f"ids={list(ids)} must be 0 or more")
        self.ids = tuple(ids)

    def __call__(self, logits_BV: Tensor, answers: Sequence[Sequence[int]]) -> Tensor:
        """The scores without those of the tokens."""
        ids = torch.tensor(self.ids, dtype=torch.long, device=logits_BV.device)
        return logits_BV.index_fill(-1, ids, -torch.inf)


class Sampling:
    """Draws from softmax(scores / temperature) instead of taking the likeliest; temperature 0 takes the likeliest.

    By the Gumbel-max trick: the largest of scores with noise is a draw. So it may stand before or after any rule that
    forbids. The draws of a row depend on how many rows there are.
    """

    def __init__(self, temperature: float, generator: torch.Generator | None = None) -> None:
        if not 0 <= temperature < math.inf:  # else scores become NaN, of which forbidden tokens are not the smallest
            raise ValueError(f"temperature={temperature} must be 0 or more, and finite")
        self.temperature, self.generator = temperature, generator

    def __call__(self, logits_BV: Tensor, answers: Sequence[Sequence[int]]) -> Tensor:
        """The scores with noise."""
        if self.temperature == 0:
            return logits_BV
        waiting_BV = torch.empty_like(logits_BV, dtype=torch.float32).exponential_(generator=self.generator)
        return logits_BV.float() / self.temperature - waiting_BV.log()
