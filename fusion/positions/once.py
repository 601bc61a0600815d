"""Where the tokens of a forward pass stand, and what is computed from that once for all layers.

Shape legend: B rows of a batch, L tokens in a row, A axes of positions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

from fusion.folding import Folding

Made = TypeVar("Made")


class Once:
    """What all layers of a forward pass are given: what one of them computes of it, the others find."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """`make()`, computed when `key` is asked for first; `key` must say all that it depends on."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


class Positions(Once):
    """What rotations read of tokens, and what position embeddings make of it.

    coordinates [B, L, A]: where each token stands along each axis, as `positions` of an `InterleavedBatch`. They say
    how far tokens are apart. Who comes before whom is said by `Visibility`, which does not read them.

    All layers of a forward pass are given the same object, as they are given the same `Visibility`. The first one that
    asks for the rotation of its queries computes it, and the others find it. A block finds it, too, if its activations
    are computed again for the backward pass.
    """

    def __init__(self, coordinates_BLA: Tensor) -> None:
        if coordinates_BLA.ndim != 3:
            raise ValueError(f"coordinates of shape {tuple(coordinates_BLA.shape)} must be [rows, tokens, axes]")
        super().__init__()
        self.coordinates = coordinates_BLA

    @torch.compiler.disable  # looks up what another layer has computed
    def folded(self, folding: Folding) -> list[Positions]:
        """The positions of the tokens in each bucket of a folding."""
        tokens = self.coordinates.flatten(0, 1)
        return self.once(folding, lambda: [Positions(part) for part in folding.fold(tokens)])
