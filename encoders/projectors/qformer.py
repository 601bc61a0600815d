"""The Q-Former of BLIP-2 (arXiv:2301.12597): any number of features to a fixed number of tokens.

Shape legend: N items, T places in an item, Q queries, C width of the features, D `d_model`.
"""

from __future__ import annotations

from torch import Tensor, nn

from encoders.projector import padding_mask
from encoders.query_projector import QueryProjector

EPSILON = 1e-12  # BERT's


class QFormer(QueryProjector):
    """[N, T, C] -> [N, Q, D]: M learned queries see one another and an item's features, layer by layer.

        x = norm(queries)
        x = norm(x + attention(x, x))
        x = norm(x + attention(x, norm(features)))         in every `cross_every`-th layer, from the first on
        x = norm(x + feed_forward(x))                      num_layers times, then a linear map

    Differences from the paper: The text branch is left out, because text meets the queries in the fusion method. The
    width is that of the model, where BLIP-2 has the one of BERT. Nothing is pretrained.
    """

    def __init__(
        self,
        d_input: int,
        d_model: int,
        num_queries: int = 16,
        num_layers: int = 2,
        num_heads: int = 4,
        cross_every: int = 2,
        expansion: float = 4.0,
    ) -> None:
        super().__init__(d_model, num_queries, num_layers, num_heads, expansion)
        if cross_every < 1:
            raise ValueError(f"cross_every={cross_every} must be 1 or more")
        self.query_norm = nn.LayerNorm(d_model, eps=EPSILON)
        self.feature_norm = nn.LayerNorm(d_input)
        self.layers = nn.ModuleList(
            _Layer(d_model, num_heads, int(expansion * d_model), d_input if index % cross_every == 0 else None)
            for index in range(num_layers)
        )
        self.output = nn.Linear(d_model, d_model)

    def forward(self, features_NTC: Tensor, counts_N: Tensor) -> Tensor:
        """Tokens [N, Q, D]."""
        features_NTC = self.feature_norm(features_NTC)
        padding_NT = padding_mask(features_NTC, counts_N)
        x_NQD = self.query_norm(self.queries_MD).expand(len(features_NTC), -1, -1)
        for layer in self.layers:
            x_NQD = layer(x_NQD, features_NTC, padding_NT)
        return self.output(x_NQD)


class _Layer(nn.Module):
    """A layer of BERT with its norms after the sums; `d_input` is None where the features are not read."""

    def __init__(self, d_model: int, num_heads: int, d_hidden: int, d_input: int | None) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(d_model, num_heads, batch_first=True)
        self.self_norm = nn.LayerNorm(d_model, eps=EPSILON)
        self.cross_attention = None
        if d_input is not None:
            self.cross_attention = nn.MultiheadAttention(
                d_model, num_heads, kdim=d_input, vdim=d_input, batch_first=True
            )
            self.cross_norm = nn.LayerNorm(d_model, eps=EPSILON)
        self.up = nn.Linear(d_model, d_hidden)
        self.down = nn.Linear(d_hidden, d_model)
        self.norm = nn.LayerNorm(d_model, eps=EPSILON)

    def forward(self, x_NQD: Tensor, features_NTC: Tensor, padding_NT: Tensor) -> Tensor:
        x_NQD = self.self_norm(x_NQD + self.self_attention(x_NQD, x_NQD, x_NQD, need_weights=False)[0])
        if self.cross_attention is not None:
            seen, _ = self.cross_attention(
                x_NQD, features_NTC, features_NTC, key_padding_mask=padding_NT, need_weights=False
            )
            x_NQD = self.cross_norm(x_NQD + seen)
        return self.norm(x_NQD + self.down(nn.functional.gelu(self.up(x_NQD))))
