"""Vectors that another model made, as they are: nothing of them is trained here but the projector after them.

Shape legend: N items (vectors), C width of the features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data.types import Layout, MediaBatch
from encoders.base import Encoder


class VectorEncoder(Encoder):
    """[N, C] -> one feature of the same direction and of length sqrt(C), [N, 1, C].

    size: the width of the vectors, C. A vector of zeros stays one.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size={size} must be 1 or more")
        self.d_output = size
        self.example_shape = (size,)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """One place. Raises `ValueError` for a vector of another width."""
        if shape != self.example_shape:
            raise ValueError(f"a vector of shape {shape} does not fit the encoder, which takes {self.example_shape}")
        return Layout(1)

    def forward(self, media: MediaBatch) -> Tensor:
        """Features [N, 1, C]."""
        return nn.functional.normalize(media.values, dim=-1)[:, None] * self.d_output**0.5

    def example_features(self) -> Tensor:
        """Zeros [1, 1, C]; no weight is trained."""
        return torch.zeros((1, 1, self.d_output))
