"""Images: a convolutional stem, then a small transformer over the patches that it leaves.

Shape legend: N items (images), h height in pixels, w width in pixels, C width of the features, T places in an item
(patches, row by row).
Early convolutions instead of one patch embedding follow Xiao et al. (arXiv:2106.14881).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from data.types import Layout, MediaBatch
from encoders.base import Encoder, check_convolutions
from encoders.scratch.precision import full_precision_on_cpu
from encoders.transformer import BidirectionalTransformer

NUM_GROUPS = 8


class ImageEncoder(Encoder):
    """[N, 3, h, w] -> strided convolutions -> [N, C, h, w] -> + place -> transformer -> [N, h * w, C].

    `channels`, `strides` and `kernels` name one convolution an entry. All images have `image_size` pixels a side. Group
    normalisation has the statistics of one image alone, so that none influences another.
    """

    def __init__(
        self,
        image_size: int,
        channels: Sequence[int],
        strides: Sequence[int],
        kernels: Sequence[int],
        num_layers: int,
        num_heads: int,
    ) -> None:
        super().__init__()
        check_convolutions(channels, strides, kernels)
        if any(width % NUM_GROUPS for width in channels):
            raise ValueError(f"channels={list(channels)} must be multiples of {NUM_GROUPS}, the groups of its norms")
        if image_size < 1 or image_size % math.prod(strides):
            raise ValueError(
                f"image_size={image_size} must be a positive multiple of the product of strides={list(strides)}"
            )
        self.image_size = image_size
        self.example_shape = (3, image_size, image_size)
        self.d_output = channels[-1]
        self.side = image_size // math.prod(strides)
        inputs = [3, *channels[:-1]]
        self.stem = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(i, o, k, stride=s, padding=k // 2), nn.GroupNorm(NUM_GROUPS, o), nn.GELU())
                for i, o, s, k in zip(inputs, channels, strides, kernels, strict=True)
            )
        )
        self.place_TC = nn.Parameter(0.02 * torch.randn(self.side**2, self.d_output))
        self.transformer = BidirectionalTransformer(self.d_output, num_layers, num_heads)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """The square of patches of an image of `shape` (3, H, W)."""
        if shape != self.example_shape:
            raise ValueError(f"an image of shape {shape} does not fit the encoder, which takes {self.example_shape}")
        return Layout(self.side**2, (self.side, self.side))

    def forward(self, media: MediaBatch) -> Tensor:
        """Features [N, T, C], patches row by row."""
        with full_precision_on_cpu(media.values):
            x_NChw = self.stem(media.values)
        x_NTC = x_NChw.flatten(2).transpose(1, 2) + self.place_TC
        return self.transformer(x_NTC)
