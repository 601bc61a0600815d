"""The bidirectional transformer that follows the convolutions of the image and audio encoders.

Shape legend: N items, T places in an item, C width of the features.
"""

from __future__ import annotations

from torch import Tensor, nn

MOST_LAYERS = 1000  # deeper ones take minutes to make, for nothing


class BidirectionalTransformer(nn.Module):
    """`num_layers` pre-norm layers of torch's own `TransformerEncoderLayer`, [N, T, C] -> [N, T, C].

    Zero layers are allowed: then this is the identity, for encoders that are convolutions alone.
    """

    def __init__(self, width: int, num_layers: int, num_heads: int, expansion: float = 4.0) -> None:
        super().__init__()
        if not 0 <= num_layers <= MOST_LAYERS:
            raise ValueError(f"num_layers={num_layers} must be from 0 to {MOST_LAYERS}")
        if num_heads < 1:
            raise ValueError(f"num_heads={num_heads} must be 1 or more")
        if num_layers and width % num_heads:
            raise ValueError(f"num_heads={num_heads} must divide the encoder's width {width}")
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                num_heads,
                dim_feedforward=int(expansion * width),
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(num_layers)
        )

    def forward(self, x_NTC: Tensor, padding_NT: Tensor | None = None) -> Tensor:
        """`padding_NT` is true where an item has ended; nothing attends there."""
        for layer in self.layers:
            x_NTC = layer(x_NTC, src_key_padding_mask=padding_NT)
        return x_NTC
