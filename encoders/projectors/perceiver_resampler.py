"""The Perceiver resampler of Flamingo (arXiv:2204.14198): any number of features to a fixed number of tokens.

Shape legend: N items, T places in an item, Q queries, C width of the features, D `d_model`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from encoders.projector import padding_mask
from encoders.query_projector import QueryProjector


class PerceiverResampler(QueryProjector):
    """[N, T, C] -> [N, Q, D]: M learned queries read an item's features, layer by layer.

        x = queries
        x = x + attention(norm(x), [norm(features); norm(x)])
        x = x + feed_forward(norm(x))         num_layers times, then norm

    Differences from the paper: features are first mapped from C to D, and get no place embedding, for the encoders
    here have added places of their own.
    """

    def __init__(
        self,
        d_input: int,
        d_model: int,
        num_queries: int = 16,
        num_layers: int = 2,
        num_heads: int = 4,
        expansion: float = 4.0,
    ) -> None:
        super().__init__(d_model, num_queries, num_layers, num_heads, expansion)
        self.input_norm = nn.LayerNorm(d_input)
        self.input = nn.Linear(d_input, d_model)
        self.layers = nn.ModuleList(_Layer(d_model, num_heads, int(expansion * d_model)) for _ in range(num_layers))
        self.norm = nn.LayerNorm(d_model)

    def forward(self, features_NTC: Tensor, counts_N: Tensor) -> Tensor:
        """Tokens [N, Q, D]."""
        features_NTD = self.input(self.input_norm(features_NTC))
        x_NQD = self.queries_MD.expand(len(features_NTD), -1, -1)
        padding_NT = padding_mask(features_NTD, counts_N)
        for layer in self.layers:
            x_NQD = layer(x_NQD, features_NTD, padding_NT)
        return self.norm(x_NQD)


class _Layer(nn.Module):
    """No biases and a squared ReLU (arXiv:2109.08668), as in the paper."""

    def __init__(self, d_model: int, num_heads: int, d_hidden: int) -> None:
        super().__init__()
        self.feature_norm = nn.LayerNorm(d_model)
        self.query_norm = nn.LayerNorm(d_model)
        self.attention = nn.MultiheadAttention(d_model, num_heads, bias=False, batch_first=True)
        self.norm = nn.LayerNorm(d_model)
        self.up = nn.Linear(d_model, d_hidden, bias=False)
        self.down = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x_NQD: Tensor, features_NTD: Tensor, padding_NT: Tensor) -> Tensor:
        queries = self.query_norm(x_NQD)
        seen = torch.cat([self.feature_norm(features_NTD), queries], dim=1)
        padding = torch.cat([padding_NT, padding_NT.new_zeros(queries.shape[:2])], dim=1)
        x_NQD = x_NQD + self.attention(queries, seen, seen, key_padding_mask=padding, need_weights=False)[0]
        return x_NQD + self.down(nn.functional.relu(self.up(self.norm(x_NQD))).square())
