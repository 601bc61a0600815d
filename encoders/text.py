"""Text: how its tokens enter the sequence, and how hidden states become scores of the next one.

Shape legend: D `d_model`, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TextInterface(nn.Module):
    """Base class: what a model asks of text. Embeddings and head of a pretrained decoder are another subclass.

    A subclass is built with `vocab_size` (ids of the tokenizer) and `d_model`, sets both, and defines `embed`, `logits`
    and `head`. What scales tokens of text, or marks them as text, is up to it:

    - `embed` gives them as loud as they enter the sequence. Media are brought to `loudness`, their root mean square.
    - `is_marked`: whether the model's embedding of the modality is added to tokens of text.
    """

    d_model: int
    vocab_size: int
    loudness: float = 1.0
    is_marked: bool = True

    def embed(self, x: Tensor) -> Tensor:
        """Token ids [...] as they enter the sequence, [..., D]."""
        raise NotImplementedError(f"{type(self).__name__} must define embed")

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token, [..., V] with V = `vocab_size`, of hidden states [..., D]."""
        raise NotImplementedError(f"{type(self).__name__} must define logits")

    @property
    def head(self) -> Tensor:
        """The weights that `logits` multiplies hidden states with; its operations are counted by them."""
        raise NotImplementedError(f"{type(self).__name__} must define head")

    def forward(self, x: Tensor) -> Tensor:
        """As `embed`."""
        return self.embed(x)


class TokenEmbedding(TextInterface):
    """A learned embedding, scaled to a root mean square of 1, with weights that the head shares.

    Tied weights follow Press and Wolf (arXiv:1608.05859).
    """

    def __init__(self, vocab_size: int, d_model: int, init_std: float = 0.02) -> None:
        super().__init__()
        for name, value in (("vocab_size", vocab_size), ("d_model", d_model), ("init_std", init_std)):
            if value <= 0:
                raise ValueError(f"{name}={value} must be positive")
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model))
        nn.init.normal_(self.weight, std=init_std)
        self.vocab_size, self.d_model = vocab_size, d_model

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings [..., D] at a root mean square of 1."""
        return unit(nn.functional.embedding(x, self.weight))

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token of the vocabulary, [..., V]."""
        return nn.functional.linear(hidden, self.weight)

    @property
    def head(self) -> Tensor:
        """The embedding itself, [V, D]."""
        return self.weight


def unit(x: Tensor) -> Tensor:
    """Scaled to a root mean square of 1, so that tokens of every modality enter the first block equally loud."""
    return nn.functional.rms_norm(x, x.shape[-1:], eps=1e-6)
