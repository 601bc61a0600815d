"""Caches of cached decoding that are broken in one way each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from certify.context import Context
from fusion.generation import cache
from fusion.sequence import Visibility

Patch = pytest.MonkeyPatch


def wrap_mask(patch: Patch, change: Callable[..., Tensor]) -> None:
    """Replaces what new tokens see of a cache by `change(mask, cache)`."""
    original = cache.AttentionCache.mask

    def mask(self: Any, slots: Tensor, visibility: Visibility) -> Tensor:
        return change(original(self, slots, visibility), self)

    patch.setattr(cache.AttentionCache, "mask", mask)


def cache_forgets_its_first_slot(context: Context, patch: Patch) -> None:
    wrap_mask(patch, lambda mask, _: mask & (torch.arange(mask.shape[-1]) > 0))


def cache_forgets_everything(context: Context, patch: Patch) -> None:
    """Each new token sees itself alone."""

    def own(mask: Tensor, held: Any) -> Tensor:
        mine = torch.arange(mask.shape[-1]) == held.lengths_B[:, None, None] - 1
        return mask & mine if mask.shape[1] == 1 else mask

    wrap_mask(patch, own)


def trimming_leaves_the_last(context: Context, patch: Patch) -> None:
    """One of the tokens that are taken back stays."""
    original = cache.TokenSlots.trim
    patch.setattr(cache.TokenSlots, "trim", lambda self, lengths: original(self, lengths + 1))


def copies_share_their_groups_alone(context: Context, patch: Patch) -> None:
    """Keys and values stay where they were."""

    def copy_rows(self: Any, source: Tensor, target: Tensor) -> None:
        for held in (self.groups, self.places, self.lengths_B):
            held[target] = held[source]

    patch.setattr(cache.TokenSlots, "copy_rows", copy_rows)


def reset_keeps_what_was_there(context: Context, patch: Patch) -> None:
    """The new prompt follows the old one of the row."""
    patch.setattr(cache.TokenSlots, "reset", lambda self, rows: None)


def cache_counts_padding(context: Context, patch: Patch) -> None:
    """Rows that were padded on the right go on behind their padding, which is then seen."""
    original = cache.AttentionCache.append

    def append(self: Any, keys: Tensor, values: Tensor, visibility: Visibility) -> Tensor:
        groups = visibility.group_ids
        return original(self, keys, values, Visibility(groups[:, :1].expand(groups.shape)))

    patch.setattr(cache.AttentionCache, "append", append)


def second_prefill_overwrites_the_first(context: Context, patch: Patch) -> None:
    original = cache.AttentionCache.append

    def append(self: Any, keys: Tensor, values: Tensor, visibility: Visibility) -> Tensor:
        if keys.shape[2] > 1:
            self.lengths_B = torch.zeros_like(self.lengths_B)
        return original(self, keys, values, visibility)

    patch.setattr(cache.AttentionCache, "append", append)
