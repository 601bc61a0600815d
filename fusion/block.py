"""One layer of a fusion method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from fusion.mixers.base import Mixer
from fusion.sequence import Visibility


class Block(nn.Module):
    """x + mixer(norm(x)), then x + feed_forward(norm(x)): tokens see one another, then each is alone.

    `mixer` and `feed_forward` are called with `d_model`, so that no size is written twice.
    """

    def __init__(self, d_model: int, mixer: Callable[..., Mixer], feed_forward: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(d_model, eps=1e-6)
        self.mixer: Mixer = mixer(d_model=d_model)
        self.feed_forward_norm = nn.RMSNorm(d_model, eps=1e-6)
        self.feed_forward = feed_forward(d_model=d_model)

    def forward(self, x_BLD: Tensor, visibility: Visibility, positions_BL: Tensor, cache: Any = None) -> Tensor:
        """Hidden states [B, L, D]."""
        x_BLD = x_BLD + self.mixer(self.mixer_norm(x_BLD), visibility, positions_BL, cache)
        return x_BLD + self.feed_forward(self.feed_forward_norm(x_BLD))
