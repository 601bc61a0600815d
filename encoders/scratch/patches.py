"""Images without an encoder: patches of pixels, each embedded by one linear map.

Shape legend: N items (images), T places in an item (patches, row by row), I inputs (pixels of a patch, all channels), C
width of the features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data.types import Layout, MediaBatch
from encoders.base import Encoder


class PatchEncoder(Encoder):
    """[N, num_channels, h, w] -> patches [N, T, I] -> linear -> norm -> + place -> [N, T, C].

    No patch sees another: whatever needs two of them is left to the fusion method, as in Fuyu (Adept, 2023) and EVE
    (arXiv:2406.11832). All images have `image_size` pixels a side, and patches `patch_size`. With `projector=linear`
    nothing but linear maps and norms stands before the first layer.

    Fuyu takes pictures of any size, and marks where a row of patches ends. Here all are of one size, and a learned
    place is added, as the convolutional encoder adds it. EVE has attention among the patches, and a teacher.
    """

    def __init__(self, image_size: int, patch_size: int, d_output: int, num_channels: int = 3) -> None:
        super().__init__()
        for name, value in (("patch_size", patch_size), ("d_output", d_output), ("num_channels", num_channels)):
            if value < 1:
                raise ValueError(f"{name}={value} must be 1 or more")
        if image_size < 1 or image_size % patch_size:
            raise ValueError(f"image_size={image_size} must be a positive multiple of patch_size={patch_size}")
        self.patch_size, self.d_output = patch_size, d_output
        self.example_shape = (num_channels, image_size, image_size)
        self.side = image_size // patch_size
        self.embed = nn.Linear(num_channels * patch_size**2, d_output)
        self.norm = nn.LayerNorm(d_output)
        self.place_TC = nn.Parameter(0.02 * torch.randn(self.side**2, d_output))

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """The square of patches of an image of `shape` (num_channels, h, w)."""
        if shape != self.example_shape:
            raise ValueError(f"an image of shape {shape} does not fit the encoder, which takes {self.example_shape}")
        return Layout(self.side**2, (self.side, self.side))

    def forward(self, media: MediaBatch) -> Tensor:
        """Features [N, T, C], patches row by row."""
        rows_and_columns = media.values.unflatten(3, (self.side, self.patch_size)).unflatten(
            2, (self.side, self.patch_size)
        )
        patches_NTI = rows_and_columns.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return self.norm(self.embed(patches_NTI)) + self.place_TC
