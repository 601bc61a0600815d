"""The key-value caches of cached decoding.

Shape legend: B rows, H key-value heads, L new tokens, T slots, K `head_dim`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.types import PADDING_DOCUMENT
from fusion.positions.once import Positions
from fusion.sequence import Visibility


class AttentionCache:
    """Keys, values and group ids of one attention layer, in slots that are set aside once.

    Rows may have different lengths: each writes behind its own last token, so prompts of mixed length decode
    together although they are padded on the right.
    """

    def __init__(self, batch_size: int, max_length: int, num_kv_heads: int, head_dim: int, like: Tensor) -> None:
        shape = (batch_size, num_kv_heads, max_length, head_dim)
        self.keys_BHTK = like.new_zeros(shape)
        self.values_BHTK = like.new_zeros(shape)
        self.groups_BT = torch.full((batch_size, max_length), PADDING_DOCUMENT, dtype=torch.long, device=like.device)
        self.lengths_B = torch.zeros(batch_size, dtype=torch.long, device=like.device)

    def append(self, keys_BHLK: Tensor, values_BHLK: Tensor, visibility: Visibility) -> Tensor:
        """Stores new tokens; returns the mask [B, L, T] of the slots that each of them may see.

        Padding at the end of a row (group -1) is stored too, but is overwritten by the next call. A segment comes in
        one call: what is seen backwards is among the new tokens. Raises `ValueError` when the slots do not suffice.
        """
        groups_BL = visibility.group_ids
        new, slots = groups_BL.shape[1], self.groups_BT.shape[1]
        slots_BL = self.lengths_B[:, None] + torch.arange(new, device=groups_BL.device)
        if int(slots_BL.max()) >= slots:
            raise ValueError(f"max_length={slots} of the cache is too short for {int(slots_BL.max()) + 1} tokens")
        index_BHLK = slots_BL[:, None, :, None].expand(keys_BHLK.shape)
        self.keys_BHTK.scatter_(2, index_BHLK, keys_BHLK.to(self.keys_BHTK.dtype))
        self.values_BHTK.scatter_(2, index_BHLK, values_BHLK.to(self.values_BHTK.dtype))
        self.groups_BT.scatter_(1, slots_BL, groups_BL)
        self.lengths_B = self.lengths_B + (groups_BL != PADDING_DOCUMENT).sum(1)
        allowed_BLT = torch.arange(slots, device=groups_BL.device) <= slots_BL[:, :, None]
        if visibility.segment_ids is not None:
            segments_BL = visibility.segment_ids
            segments_BT = segments_BL.new_zeros(self.groups_BT.shape).scatter_(1, slots_BL, segments_BL)
            allowed_BLT |= (segments_BT[:, None] == segments_BL[:, :, None]) & (segments_BL > 0)[:, :, None]
        same_BLT = self.groups_BT[:, None, :] == groups_BL[:, :, None]
        return same_BLT & allowed_BLT & (groups_BL != PADDING_DOCUMENT)[:, :, None]


@dataclass(frozen=True, eq=False)
class TokenPlaces:
    """Where tokens stand in the order: the document of each (-1 is padding) and its place in it, both [B, T]."""

    documents: Tensor
    places: Tensor


@dataclass(frozen=True, eq=False)
class StandingTokens(TokenPlaces):
    """The same, with what rotations read."""

    positions: Positions


class MemoryCache:
    """Keys and values of the tokens that other ones attend to, which grow as media arrive."""

    def __init__(self) -> None:
        self._held: tuple[Tensor, Tensor, TokenPlaces] | None = None

    def append(self, keys_BHTK: Tensor, values_BHTK: Tensor, tokens: TokenPlaces) -> tuple[Tensor, Tensor, TokenPlaces]:
        """All keys, values and places so far, with the new ones at the end; rows may hold padding anywhere.

        Where nothing is new, as for nearly every token that is decoded, they are those that are held, not copies.
        """
        if self._held is not None and keys_BHTK.shape[2] == 0:
            return self._held
        new = (keys_BHTK, values_BHTK, tokens)
        if self._held is not None:
            keys, values, held = self._held
            pairs = ((held.documents, tokens.documents), (held.places, tokens.places))
            places = TokenPlaces(*(torch.cat(pair, dim=1) for pair in pairs))
            new = (torch.cat([keys, keys_BHTK], dim=2), torch.cat([values, values_BHTK], dim=2), places)
        self._held = new
        return new
