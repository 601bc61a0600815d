"""The cache of a layer that sums up what it has read: a state for each row and group, which does not grow.

Shape legend: B rows of a batch, L tokens in a row, G groups, T places in an item (a group), F tokens of the flattened
batch, N items (numbers of rows).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from data.types import PADDING_DOCUMENT
from fusion.generation.cache import Cache
from fusion.sequence import Visibility


@dataclass(frozen=True)
class Row:
    """What a row holds. Nothing in it is ever changed, so that rows may share it.

    states: of each group, when the latest call began. length: how many places were taken then. tokens: of each group,
    what that call brought: places [T], then parts [T, ..] each, in the order of places.
    """

    states: Mapping[int, Tensor] = field(default_factory=dict)
    length: int = 0
    tokens: Mapping[int, tuple[Tensor, ...]] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """How many places are taken, with the latest call."""
        return max([self.length, *(int(tokens[0].max()) + 1 for tokens in self.tokens.values())])

    def until(self, length: int) -> Row:
        """Without the tokens at place `length` and later."""
        kept = {group: tuple(part[tokens[0] < length] for part in tokens) for group, tokens in self.tokens.items()}
        return replace(self, tokens={group: tokens for group, tokens in kept.items() if len(tokens[0])})


class GroupStates(Cache):
    """States, by two functions that say what a state is. The tokens of a group come in the order of their places.

    read: (states [G, ..], *parts [G, T, ..]) -> the states after these tokens were read.
    see: the same -> what each of these tokens sees [G, T, ..], of the states and of the tokens up to itself.

    The tokens of a row's latest call are kept as they came, and read when the next call comes. Until then they can be
    taken back, and no further. A state begins as zeros of `shape`, of the type and on the device of `like`.
    """

    def __init__(
        self,
        batch_size: int,
        shape: tuple[int, ...],
        like: Tensor,
        read: Callable[..., Tensor],
        see: Callable[..., Tensor],
    ) -> None:
        self.shape, self.like, self.read, self.see = shape, like, read, see
        self.rows = [Row() for _ in range(batch_size)]

    def attend(self, *parts: Tensor, visibility: Visibility, alone: Callable[..., Tensor]) -> Tensor:
        """[B, L, ..], zero at padding; by `alone(*parts, visibility=..)` as long as nothing was read."""
        empty = not any(row.states or row.tokens for row in self.rows)
        where = _where(visibility)
        self._read_latest(where)
        flat = [part.flatten(0, 1) for part in (visibility.places, *parts) if part is not None]
        for row, groups in where.items():
            tokens = {group: tuple(part[index_T] for part in flat) for group, index_T in groups.items()}
            self.rows[row] = replace(self.rows[row], tokens=tokens)
        if empty or not where:
            return alone(*parts, visibility=visibility)
        members, seen = zip(*((keys, self.see(*inputs)) for keys, inputs in self._alike(where)), strict=True)
        index_F = torch.cat([where[row][group] for keys in members for row, group in keys])
        seen_F = torch.cat([values.flatten(0, 1) for values in seen])
        shape = visibility.group_ids.shape
        return seen_F.new_zeros(shape.numel(), *seen_F.shape[1:]).index_copy(0, index_F, seen_F).unflatten(0, shape)

    def _read_latest(self, rows: Iterable[int]) -> None:
        """Some rows are about to be given new tokens: their latest ones go into states."""
        after = {row: dict(self.rows[row].states) for row in rows}
        for keys, inputs in self._alike(after):
            for (row, group), state in zip(keys, self.read(*inputs).to(self.like.dtype), strict=True):
                after[row][group] = state
        for row, states in after.items():
            self.rows[row] = Row(states, self.rows[row].end)

    def _alike(self, rows: Iterable[int]) -> Iterator[tuple[list[tuple[int, int]], list[Tensor]]]:
        """Rows and groups of equally many latest tokens: their states [G, ..], and the parts [G, T, ..] of those."""
        by_length = defaultdict(list)
        for row in rows:
            for group, (places, *_) in self.rows[row].tokens.items():
                by_length[len(places)].append((row, group))
        for keys in by_length.values():
            states = [self.rows[row].states.get(group, self.like.new_zeros(self.shape)) for row, group in keys]
            tokens = [self.rows[row].tokens[group][1:] for row, group in keys]
            yield keys, [torch.stack(states), *map(torch.stack, zip(*tokens, strict=True))]

    def reset(self, rows_N: Tensor) -> None:
        """No state, no token."""
        for row in rows_N.tolist():
            self.rows[row] = Row()

    def copy_rows(self, source_N: Tensor, target_N: Tensor) -> None:
        """With the way back."""
        held = [self.rows[row] for row in source_N.tolist()]
        for row, copied in zip(target_N.tolist(), held, strict=True):
            self.rows[row] = copied

    def trim(self, lengths_B: Tensor) -> None:
        """Raises `ValueError` for a row that would go back further than the beginning of its latest call."""
        for number, (row, length) in enumerate(zip(self.rows, lengths_B.tolist(), strict=True)):
            if length < row.length:
                raise ValueError(f"lengths[{number}]={length} must be {row.length} or more: states are kept no longer")
        self.rows = [row.until(length) for row, length in zip(self.rows, lengths_B.tolist(), strict=True)]

    @property
    def bytes(self) -> int:
        """Of the states, and of the tokens that are not read yet."""
        parts = [part for row in self.rows for tokens in row.tokens.values() for part in tokens]
        held = [*parts, *(state for row in self.rows for state in row.states.values())]
        return sum({id(tensor): tensor.nbytes for tensor in held}.values())


def _where(visibility: Visibility) -> dict[int, dict[int, Tensor]]:
    """Row -> group -> where its tokens are in the flattened batch [T], in the order of their places."""
    if visibility.places is None:
        raise ValueError("places=None of a Visibility: a cache of states must know the order of tokens, say places_BL")
    found: dict[int, dict[int, Tensor]] = defaultdict(dict)
    for row, (groups_L, places_L) in enumerate(zip(visibility.group_ids, visibility.places, strict=True)):
        for group in groups_L[groups_L != PADDING_DOCUMENT].unique().tolist():
            index_T = (groups_L == group).nonzero()[:, 0]
            found[row][group] = row * len(groups_L) + index_T[places_L[index_T].argsort(stable=True)]
    return found
