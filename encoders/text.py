"""Text: a learned embedding of tokens, which the language-model head shares."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TokenEmbedding(nn.Module):
    """Token ids [...] to embeddings [..., D], and hidden states back to logits with the same weights.

    Tied weights follow Press and Wolf (arXiv:1608.05859).
    """

    def __init__(self, vocab_size: int, d_model: int, init_std: float = 0.02) -> None:
        super().__init__()
        for name, value in (("vocab_size", vocab_size), ("d_model", d_model), ("init_std", init_std)):
            if value <= 0:
                raise ValueError(f"{name}={value} must be positive")
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model))
        nn.init.normal_(self.weight, std=init_std)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Embeddings [..., D]."""
        return nn.functional.embedding(token_ids, self.weight)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token of the vocabulary, [..., V]."""
        return nn.functional.linear(hidden, self.weight)
