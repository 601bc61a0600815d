"""Rotary position embedding of Su et al. (arXiv:2104.09864).

Shape legend: B rows, H heads, L tokens, K `head_dim`.
The two halves of a head are rotated against each other, as in Llama and Qwen, where the paper takes
neighbouring pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rope(nn.Module):
    """Rotates queries and keys [B, H, L, K] by angles that grow with their position."""

    def __init__(self, head_dim: int, theta: float = 10_000.0) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"head_dim={head_dim} must be even for rotary positions")
        if theta <= 1:
            raise ValueError(f"theta={theta} must be above 1")
        self.head_dim, self.theta = head_dim, theta

    def rotation(self, positions_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [B, 1, L, K] of the angles, in float32."""
        exponents = torch.arange(0, self.head_dim, 2, device=positions_BL.device) / self.head_dim
        angles = positions_BL[:, None, :, None] * self.theta**-exponents
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()

    def forward(self, x_BHLK: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """The rotated tensor, of the same shape and type."""
        cos, sin = rotation
        first, second = x_BHLK.chunk(2, dim=-1)
        return (x_BHLK * cos + torch.cat([-second, first], dim=-1) * sin).to(x_BHLK.dtype)
