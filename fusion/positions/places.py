"""Where tokens stand that look at others, or are looked at.

Shape legend: B rows of a batch, L tokens in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fusion.positions.once import Positions


@dataclass(frozen=True, eq=False)
class TokenPlaces:
    """Where tokens stand in the order: the document of each (-1 is padding) and its place in it, both [B, L]."""

    documents: Tensor
    places: Tensor


@dataclass(frozen=True, eq=False)
class StandingTokens(TokenPlaces):
    """The same, with what rotations read."""

    positions: Positions
