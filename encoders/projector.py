"""Projectors: features of an encoder to tokens of the shared width.

Shape legend: N items, T places in an item, C width of the features, D `d_model`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data.types import Layout


class Projector(nn.Module):
    """Base class: features [N, T, C] to tokens [N, T', D].

    Item n has `counts_N[n]` features, at least one; what follows is padding and must not influence its tokens. A
    projector that changes the number of tokens, or their places, overrides `layout`, as `QueryProjector` does.
    """

    def layout(self, features: Layout) -> Layout:
        """How the tokens lie that an item's features become; a feature becomes a token in its place."""
        return features

    def forward(self, features_NTC: Tensor, counts_N: Tensor) -> Tensor:
        """Tokens [N, T', D]; item n has as many as `layout` says."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")


def padding_mask(features_NTC: Tensor, counts_N: Tensor) -> Tensor:
    """[N, T], true where an item has ended."""
    return torch.arange(features_NTC.shape[1], device=counts_N.device) >= counts_N[:, None]


class LinearProjector(Projector):
    """One linear map after a normalisation: [N, T, C] -> [N, T, D]; the number of tokens stays."""

    def __init__(self, d_input: int, d_model: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_input)
        self.linear = nn.Linear(d_input, d_model)

    def forward(self, features_NTC: Tensor, counts_N: Tensor) -> Tensor:
        """Tokens [N, T, D]."""
        return self.linear(self.norm(features_NTC))


class MlpProjector(Projector):
    """Two linear maps with a GELU between, as in LLaVA-1.5 (arXiv:2310.03744), after a normalisation."""

    def __init__(self, d_input: int, d_model: int, expansion: float = 2.0) -> None:
        super().__init__()
        if expansion <= 0:
            raise ValueError(f"expansion={expansion} must be positive")
        d_hidden = int(expansion * d_model)
        self.norm = nn.LayerNorm(d_input)
        self.up = nn.Linear(d_input, d_hidden)
        self.down = nn.Linear(d_hidden, d_model)

    def forward(self, features_NTC: Tensor, counts_N: Tensor) -> Tensor:
        """Tokens [N, T, D]."""
        return self.down(nn.functional.gelu(self.up(self.norm(features_NTC))))
