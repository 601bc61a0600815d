"""Where the next token of a text that is being written stands.

Shape legend: B rows of a batch, L tokens in a row, A axes of positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from data.types import PADDING_DOCUMENT, InterleavedBatch


def following(batch: InterleavedBatch) -> tuple[Tensor, Tensor]:
    """The place [B, 1] and the position [B, 1, A] of the token that is written after each row, of one document.

    Its place is the next one. Its position is the same along every axis: one more than any token has along any axis, so
    that text goes on after all of a medium, however it lies (Qwen2-VL, arXiv:2409.12191). Of a row of padding both are
    0.
    """
    padding_BL = batch.document_ids == PADDING_DOCUMENT
    place_B1 = batch.places.masked_fill(padding_BL, -1).amax(1, keepdim=True) + 1
    furthest_B = batch.positions.masked_fill(padding_BL[..., None], -1).flatten(1).amax(1) + 1
    return place_B1, torch.ones_like(batch.positions[:, :1]) * furthest_B[:, None, None]
