"""The caches of cached decoding: what layers keep of tokens that they were given, and how new tokens see it.

Shape legend: B rows of a batch, H heads, L tokens in a row, J keys or candidates (keys, in slots), K `head_dim`, Q
queries, N items (numbers of rows).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from data.types import PADDING_DOCUMENT
from fusion.attention.masked import masked_attention
from fusion.positions.places import TokenPlaces
from fusion.sequence import Visibility


class Cache:
    """What one layer keeps: keys and values in slots, a state, or anything else; a base class.

    A cache attends: `attend` takes what the layer's `meet` takes of the new tokens, keeps what later tokens need of it,
    and gives what each new token sees, of earlier calls and of this one. A call may bring any number of tokens for each
    row, and padding (group -1) anywhere among them. It may bring nothing but padding for some rows: these stay as they
    are.

    Rows are apart: no row is seen by another, even where two have the same group ids. A row may hold several groups
    (documents, or the modalities of one), which are apart too. So who keeps a state instead of tokens keeps one for
    each row and group, and finds it by `Visibility.group_ids`.

    Into an empty cache a call is computed as in training (`alone`), by the same fast path.
    """

    def attend(self, *parts: Any, **how: Any) -> Any:
        """What each of the new tokens sees, zero at padding. Raises `ValueError` where there is no room for them."""
        raise NotImplementedError(f"{type(self).__name__} must define attend")

    def reset(self, rows_N: Tensor) -> None:
        """Empties some rows (their numbers), so that they are as new."""
        raise NotImplementedError(f"{type(self).__name__} must define reset")

    def copy_rows(self, source_N: Tensor, target_N: Tensor) -> None:
        """Lets row `target[i]` hold what row `source[i]` held before the call, under the same group ids.

        To fork an answer, or to reorder beams. Whoever goes on with a row gives it the document of its source.
        """
        raise NotImplementedError(f"{type(self).__name__} must define copy_rows")

    def trim(self, lengths_B: Tensor) -> None:
        """Forgets, in each row, the tokens at place `lengths[row]` and later, as if they had never been given.

        So tokens that were only tried are taken back. Lengths are counted in the document, also where the layer was
        given some of its tokens only. A cache that keeps states may refuse by `ValueError` to go back further than the
        beginning of the latest call.
        """
        raise NotImplementedError(f"{type(self).__name__} must define trim")

    @property
    def bytes(self) -> int:
        """Memory that it takes now."""
        raise NotImplementedError(f"{type(self).__name__} must define bytes")


class CacheList(list[Any], Cache):
    """The caches of several layers, or of several streams of layers, as one; it attends by its members."""

    def reset(self, rows_N: Tensor) -> None:
        """In each."""
        for cache in self:
            cache.reset(rows_N)

    def copy_rows(self, source_N: Tensor, target_N: Tensor) -> None:
        """In each."""
        for cache in self:
            cache.copy_rows(source_N, target_N)

    def trim(self, lengths_B: Tensor) -> None:
        """In each."""
        for cache in self:
            cache.trim(lengths_B)

    @property
    def bytes(self) -> int:
        """Of all."""
        return sum(cache.bytes for cache in self)


class TokenSlots(Cache):
    """Tensors of tokens, `kept` [B, J, ..] each, in slots that are set aside once.

    Rows may have different lengths: each writes after its own last token. So prompts of mixed length decode together
    although they are padded on the right. Padding is not kept: it goes to a slot after the last, which nobody reads.

    shapes: of what is kept of one token. like: its type and device.
    """

    def __init__(self, batch_size: int, max_length: int, shapes: Sequence[tuple[int, ...]], like: Tensor) -> None:
        self.max_length = max_length
        self.kept = [like.new_zeros((batch_size, max_length + 1, *shape)) for shape in shapes]
        ids = torch.full((batch_size, max_length + 1), PADDING_DOCUMENT, dtype=torch.long, device=like.device)
        self.groups, self.places = ids, ids.clone()
        self.lengths_B = torch.zeros(batch_size, dtype=torch.long, device=like.device)

    @property
    def is_empty(self) -> bool:
        """Whether no row holds a token."""
        return not bool(self.lengths_B.any())

    def store(self, values: Sequence[Tensor], groups_BL: Tensor, places_BL: Tensor | None = None) -> Tensor:
        """Keeps new tokens, `values` [B, L, ..] each; returns their slots [B, L].

        Without places they come in the order of their slots. Raises `ValueError` when the slots do not suffice.
        """
        valid_BL = groups_BL != PADDING_DOCUMENT
        lengths_B = self.lengths_B + valid_BL.sum(1)
        if int(lengths_B.max()) > self.max_length:
            raise ValueError(
                f"max_length={self.max_length} of the cache is too short for {int(lengths_B.max())} tokens"
            )
        slots_BL = torch.where(valid_BL, self.lengths_B[:, None] + valid_BL.cumsum(1) - 1, self.max_length)
        for kept, new in zip(self.kept, values, strict=True):
            index = slots_BL.view(*slots_BL.shape, *[1] * (new.ndim - 2)).expand_as(new)
            kept.scatter_(1, index, new.to(kept.dtype))
        self.groups.scatter_(1, slots_BL, groups_BL)
        self.places.scatter_(1, slots_BL, slots_BL if places_BL is None else places_BL)
        self.lengths_B = lengths_B
        return slots_BL

    def reset(self, rows_N: Tensor) -> None:
        """Their slots are free."""
        self.groups[rows_N] = PADDING_DOCUMENT
        self.lengths_B[rows_N] = 0

    def copy_rows(self, source_N: Tensor, target_N: Tensor) -> None:
        """All slots of a row."""
        for held in (*self.kept, self.groups, self.places, self.lengths_B):
            held[target_N] = held[source_N]

    def trim(self, lengths_B: Tensor) -> None:
        """Slots are free again from the last token on that is left."""
        self.groups.masked_fill_(self.places >= lengths_B[:, None], PADDING_DOCUMENT)
        numbers_J = torch.arange(1, self.max_length + 2, device=self.groups.device)
        self.lengths_B = ((self.groups != PADDING_DOCUMENT) * numbers_J).amax(1)

    @property
    def bytes(self) -> int:
        """Of all slots, whether they hold a token or not."""
        return sum(held.nbytes for held in (*self.kept, self.groups, self.places, self.lengths_B))


class KeyValueSlots(TokenSlots):
    """Keys and values of the tokens of one layer of attention."""

    def __init__(self, batch_size: int, max_length: int, num_kv_heads: int, head_dim: int, like: Tensor) -> None:
        super().__init__(batch_size, max_length, [(num_kv_heads, head_dim)] * 2, like)

    def held(self, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, count, K] of the first slots."""
        keys, values = (kept[:, :count].transpose(1, 2).to(dtype) for kept in self.kept)
        return keys, values


class AttentionCache(KeyValueSlots):
    """Keys, values and groups of one layer of self-attention."""

    def attend(
        self,
        q_BHLK: Tensor,
        k_BHLK: Tensor,
        v_BHLK: Tensor,
        visibility: Visibility,
        alone: Callable[..., Tensor],
    ) -> Tensor:
        """[B, H, L, K]: new queries over all keys of their group that do not come after them.

        A segment comes in one call: what is seen backwards is among the new tokens.
        """
        empty = self.is_empty
        slots_BL = self.append(k_BHLK, v_BHLK, visibility)
        if empty:
            return alone(q_BHLK, k_BHLK, v_BHLK, visibility)
        k_BHJK, v_BHJK = self.held(self.max_length, q_BHLK.dtype)
        return masked_attention(q_BHLK, k_BHJK, v_BHJK, self.mask(slots_BL, visibility))

    def append(self, k_BHLK: Tensor, v_BHLK: Tensor, visibility: Visibility) -> Tensor:
        """Keeps new tokens; returns their slots [B, L]."""
        values = (k_BHLK.transpose(1, 2), v_BHLK.transpose(1, 2))
        return self.store(values, visibility.group_ids, visibility.places)

    def mask(self, slots_BL: Tensor, visibility: Visibility) -> Tensor:
        """[B, L, J], true where one of the tokens in `slots_BL` may see a slot."""
        groups_BL, places_BL = visibility.group_ids, visibility.places if visibility.places is not None else slots_BL
        groups_BJ, places_BJ = self.groups[:, None, :-1], self.places[:, None, :-1]
        first_BLJ = torch.arange(self.max_length, device=groups_BL.device) <= slots_BL[:, :, None]
        allowed_BLJ = (places_BJ < places_BL[:, :, None]) | ((places_BJ == places_BL[:, :, None]) & first_BLJ)
        if visibility.segment_ids is not None:
            segments_BL = visibility.segment_ids
            segments_BJ = segments_BL.new_zeros(self.groups.shape).scatter_(1, slots_BL, segments_BL)[:, None, :-1]
            allowed_BLJ |= (segments_BJ == segments_BL[:, :, None]) & (segments_BL > 0)[:, :, None]
        return (groups_BJ == groups_BL[:, :, None]) & allowed_BLJ & (groups_BL != PADDING_DOCUMENT)[:, :, None]


class MemoryCache(KeyValueSlots):
    """Keys and values of the tokens that other ones attend to, which grow as media arrive."""

    def attend(
        self,
        q_BHQK: Tensor,
        k_BHJK: Tensor,
        v_BHJK: Tensor,
        queries: TokenPlaces,
        memory: TokenPlaces,
        alone: Callable[..., Tensor],
    ) -> Tensor:
        """[B, H, Q, K]: queries over all memory so far; what they do not see costs nothing.

        Where no memory is new, as for nearly every token that is decoded, what is held stays where it lies.
        """
        if k_BHJK.shape[2]:
            self.store((k_BHJK.transpose(1, 2), v_BHJK.transpose(1, 2)), memory.documents, memory.places)
        used = int(self.lengths_B.max())
        k_BHJK, v_BHJK = self.held(used, q_BHQK.dtype)
        held = TokenPlaces(_of_row(self.groups[:, :used]), self.places[:, :used])
        asking = TokenPlaces(_of_row(queries.documents), queries.places)
        return alone(q_BHQK, k_BHJK, v_BHJK, asking, held)


def _of_row(documents_BJ: Tensor) -> Tensor:
    """Document numbers that differ from row to row, as a copied row has those of its source; padding stays -1."""
    rows_B1 = torch.arange(len(documents_BJ), device=documents_BJ.device)[:, None]
    numbered = documents_BJ * len(documents_BJ) + rows_B1
    return numbered.masked_fill(documents_BJ == PADDING_DOCUMENT, PADDING_DOCUMENT)
