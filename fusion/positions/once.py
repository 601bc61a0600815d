"""Where the tokens of a forward pass stand, and what is computed from that once for all layers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

from fusion.folding import Folding

Made = TypeVar("Made")


class Positions:
    """Places of tokens in their documents, [B, L], from 0, and what position embeddings make of them.

    All layers of a forward pass are given the same object, as they are given the same `Visibility`. The first one that
    asks for the rotation of its queries computes it, the others find it, and so does a block whose activations are
    computed again for the backward pass.
    """

    def __init__(self, places_BL: Tensor) -> None:
        self.places = places_BL
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[Tensor], Made]) -> Made:
        """`make(places)`, computed when `key` is asked for the first time; `key` must say all that it depends on."""
        if key not in self._made:
            self._made[key] = make(self.places)
        return self._made[key]

    @torch.compiler.disable  # looks up what another layer has computed
    def folded(self, folding: Folding) -> list[Positions]:
        """The places of the tokens in each bucket of a folding."""
        return self.once(folding, lambda places: [Positions(part) for part in folding.fold(places.flatten())])
