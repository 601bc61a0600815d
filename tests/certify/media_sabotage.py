"""Models whose media see themselves otherwise than `bidirectional_media` says."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from certify.context import Context
from fusion.mixers import attention
from fusion.sequence import EmbeddedSequence, Visibility

Patch = pytest.MonkeyPatch


def media_look_both_ways_unasked(context: Context, patch: Patch) -> None:
    """Every mixer is told of the media, although the option is off."""
    original = context.model.fusion.visibilities

    def visibilities(sequence: EmbeddedSequence) -> list[Visibility]:
        return [
            Visibility(seen.group_ids, sequence.segment_ids, modality_ids_BL=seen.modality_ids)
            for seen in original(sequence)
        ]

    patch.setattr(context.model.fusion, "visibilities", visibilities)


def mixers_ignore_media(context: Context, patch: Patch) -> None:
    """The option is on, and no mixer looks at which tokens are of one medium."""
    patch.setattr(context.model.fusion, "bidirectional_media", True)
    for block in context.model.fusion.layers():
        original = block.mixer.forward

        def forward(x: Tensor, visibility: Visibility, *rest: Any, forward: Any = original) -> Tensor:
            return forward(x, Visibility(visibility.group_ids), *rest)

        patch.setattr(block.mixer, "forward", forward)


def folded_attention_ignores_media(context: Context, patch: Patch) -> None:
    """As above, where rows hold several documents, and nowhere else."""
    patch.setattr(context.model.fusion, "bidirectional_media", True)
    original = attention.folded_attention

    def folded(q: Tensor, k: Tensor, v: Tensor, visibility: Visibility) -> Tensor:
        return original(q, k, v, Visibility(visibility.group_ids))

    patch.setattr(attention, "folded_attention", folded)
