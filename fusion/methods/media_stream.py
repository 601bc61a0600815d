"""A stream of media alone: what becomes of them before text sees them.

Shape legend: F tokens of the flattened batch, R rows laid out anew, T places in an item, D `d_model`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from data.types import PADDING_DOCUMENT
from fusion.block import Block, ModalityBlock, layers_of
from fusion.folding import fold_by_modality
from fusion.generation.cache import CacheList
from fusion.hidden import Aux, Hidden, joined, of_layer
from fusion.methods.selection import Selection
from fusion.sequence import EmbeddedSequence, Visibility


class MediaStream(nn.Module):
    """Layers over the media of a document, each of the `num_media` seeing only itself.

    A `ModalityBlock` has weights for each medium, a `Block` the same for all.
    """

    def __init__(self, num_media: int, blocks: Iterable[Block | ModalityBlock], bidirectional: bool) -> None:
        super().__init__()
        if num_media < 1:
            raise ValueError("encoders names no medium, but this fusion method needs one or more beside text")
        self.num_media, self.bidirectional = num_media, bidirectional
        self.blocks = nn.ModuleList(blocks)

    def make_cache(self, batch_size: int, max_length: int) -> CacheList:
        """An empty cache for each layer."""
        return CacheList(block.make_cache(batch_size, max_length) for block in layers_of(self.blocks))

    def forward(
        self, sequence: EmbeddedSequence, media: Selection, x_RTD: Tensor, cache: list[Any] | None = None
    ) -> Hidden:
        """Hidden states [R, T, D] of the chosen `media`."""
        groups = media.ids(sequence.modality_groups.flatten(), PADDING_DOCUMENT)
        modality_ids = media.ids(sequence.modality_ids.flatten(), 1)
        by_modality = fold_by_modality(modality_ids - 1, groups == PADDING_DOCUMENT, self.num_media)
        segment_ids = media.ids(sequence.segment_ids.flatten()) if self.bidirectional else None
        places = media.ids(sequence.places.flatten())
        visibility = Visibility(groups, segment_ids, by_modality, media.index_RT, places, modality_ids)
        positions = media.positions(sequence.positions)
        told: list[Aux | None] = []
        for layer, block in enumerate(self.blocks):
            x_RTD, aux = block(x_RTD, visibility, positions, cache[layer] if cache else None)
            told.append(of_layer(aux, f"media_layer_{layer + 1}"))
        return Hidden(x_RTD, joined(told))
