"""What every mixer offers: the part of a block in which tokens see one another."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fusion.positions.once import Positions
from fusion.sequence import Visibility


class Mixer(nn.Module):
    """Base class. A mixer must not let a token be influenced by another group, by padding, or by the future.

    A mixer (or any other module) that computes the same in several ways names them in `implementations`, the slow
    reference first, and reads its attribute `implementation`; certification compares them all.

    sees_both_ways: whether it heeds the `segment_ids` of a `Visibility`: the tokens of one segment then see those that
    come after them too. One that runs from left to right only cannot, and is refused by `bidirectional_media`.
    """

    implementations: tuple[str, ...] = ()
    sees_both_ways: bool = False

    def make_cache(self, batch_size: int, max_length: int) -> Any:
        """An empty cache or state of this layer for cached decoding."""
        raise NotImplementedError(f"{type(self).__name__} must define make_cache")

    def forward(self, x_BLD: Tensor, visibility: Visibility, positions: Positions, cache: Any = None) -> Tensor:
        """Mixed tokens [B, L, D]; with a `cache`, tokens that it already holds are seen too, and it is updated."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")
