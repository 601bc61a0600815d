"""Rotary position embedding of Su et al. (arXiv:2104.09864).

Shape legend: B rows of a batch, H heads, L tokens in a row, A axes of positions, K `head_dim`.
The two halves of a head are rotated against each other, as in Llama and Qwen, where the paper takes
neighbouring pairs.
"""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor, nn

from fusion.positions.once import Positions

# Where angles are computed on the CPU instead.
DEVICES_WITHOUT_FLOAT64 = ("mps",)


class Rope(nn.Module):
    """Rotates queries and keys [B, H, L, K] by angles that grow with their position.

    Angles are computed in float64: in float32 an angle of 1,048,575 is off by up to 0.03, its cosine likewise. That is
    done once a forward pass and not in every layer. On devices without float64 it is done on the CPU.

    It reads positions of one axis, and raises `ValueError` for others.
    """

    def __init__(self, head_dim: int, theta: float = 10_000.0) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"head_dim={head_dim}, which is d_model over num_heads, must be even for rotary positions")
        if theta <= 1:
            raise ValueError(f"theta={theta} must be above 1")
        self.head_dim, self.theta = head_dim, theta

    @torch.compiler.disable  # looks up what another layer has computed
    def rotation(self, positions: Positions, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines [B, 1, L, K] of the angles, for activations of `dtype`; in float32 for lower precisions.

        Layers of equal `head_dim` and `theta` share them; a subclass may depend on more, and shares with none.
        """
        dtype = torch.promote_types(dtype, torch.float32)
        sharing: Hashable = (self.head_dim, self.theta) if type(self) is Rope else self
        return positions.once((sharing, dtype), lambda: self._computed(positions.coordinates, dtype))

    def angles(self, positions_BLA: Tensor) -> Tensor:
        """[B, L, K / 2] in float64, on the CPU where the device has none."""
        if positions_BLA.shape[-1] != 1:
            raise ValueError(
                f"positions have {positions_BLA.shape[-1]} axes, but {type(self).__name__} rotates along 1"
            )
        device = (
            positions_BLA.device if positions_BLA.device.type not in DEVICES_WITHOUT_FLOAT64 else torch.device("cpu")
        )
        exponents = torch.arange(0, self.head_dim, 2, device=device, dtype=torch.float64) / self.head_dim
        return positions_BLA.to(device) * self.theta**-exponents

    def _computed(self, positions_BLA: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        angles = self.angles(positions_BLA)[:, None]
        cos, sin = (torch.cat([half, half], dim=-1).to(dtype) for half in (angles.cos(), angles.sin()))
        return cos.to(positions_BLA.device), sin.to(positions_BLA.device)

    def forward(self, x_BHLK: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """The rotated tensor, of the same shape and type; a lower precision is rounded to once, at the end."""
        cos, sin = rotation
        first, second = x_BHLK.chunk(2, dim=-1)
        return (x_BHLK * cos + torch.cat([-second, first], dim=-1) * sin).to(x_BHLK.dtype)
