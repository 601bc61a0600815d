"""What every fusion method offers.

Shape legend: B rows of a batch, L tokens in a row, D `d_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from data.types import PADDING_DOCUMENT
from encoders.transformer import MOST_LAYERS
from fusion.block import Block, ModalityBlock, layers_of
from fusion.block import over_layers as weights_over_layers
from fusion.feed_forward.base import for_modalities
from fusion.folding import Folding, fold_by_modality
from fusion.generation.cache import CacheList
from fusion.hidden import Aux, Hidden, joined, of_layer
from fusion.mixers.base import Mixer, over_layers, refuse_unused
from fusion.positions.once import Positions
from fusion.sequence import EmbeddedSequence, Visibility


class FusionMethod(nn.Module):
    """A stack of blocks; a method decides which tokens see one another, layer by layer, and which weights they use.

        EmbeddedSequence -> block 0 .. block n-1, each with the groups of its layer -> hidden states [B, L, D]

    A subclass defines `groups`, or `forward` and `make_cache` where blocks do not run over the whole sequence.
    Everything else (embedding, positions, heads, packing, the objective) is shared, so that methods differ in the
    method alone.

    mixer: one for all layers, or a list that is repeated over them, from the first layer on: layer i has number
    `i % len(mixer)`. Raises `ValueError` for a list that is empty, or longer than `num_layers`.
    weights: "shared", or "per_modality": a set for each of the `num_modalities`, text included. One for all layers, or
    a list with one for each, from the first layer on. Raises `ValueError` for a list of another length.
    bidirectional_media: whether the tokens of one medium (an image, a clip) see one another in both directions. Raises
    `ValueError` for a mixer that cannot.
    """

    def __init__(
        self,
        d_model: int,
        num_modalities: int,
        num_layers: int,
        mixer: Callable[..., Mixer] | Sequence[Callable[..., Mixer]],
        feed_forward: Callable[..., nn.Module],
        weights: str | Sequence[str] = "shared",
        bidirectional_media: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= num_layers <= MOST_LAYERS:
            raise ValueError(f"num_layers={num_layers} must be from 1 to {MOST_LAYERS}")
        refuse_unused(mixer, num_layers)
        self.num_modalities, self.weights, self.bidirectional_media = num_modalities, weights, bidirectional_media
        feed_forward = for_modalities(feed_forward, num_modalities)
        self.blocks = nn.ModuleList(
            Block(d_model, own, feed_forward)
            if whose == "shared"
            else ModalityBlock(d_model, num_modalities, own, feed_forward)
            for own, whose in zip(over_layers(mixer, num_layers), weights_over_layers(weights, num_layers), strict=True)
        )
        if bidirectional_media:
            refuse_one_way_mixers(self.blocks)

    def layers(self) -> list[nn.Module]:
        """The blocks that run over the whole sequence, in order."""
        return list(self.blocks)

    def groups(self, layer: int, sequence: EmbeddedSequence) -> Tensor:
        """Group ids [B, L] of `layer`: tokens see one another only where these are equal; -1 is padding.

        Layers with the same groups must give the same tensor, which is then laid out once.
        """
        raise NotImplementedError(f"{type(self).__name__} must define groups")

    def visibilities(self, sequence: EmbeddedSequence) -> list[Visibility]:
        """One `Visibility` per layer; layers with the same groups share one."""
        segment_ids = sequence.segment_ids if self.bidirectional_media else None
        by_modality = self.by_modality(sequence) if self._any_per_modality else None
        shared: list[Visibility] = []
        result = []
        for layer in range(len(self.blocks)):
            groups = self.groups(layer, sequence)
            known = next((item for item in shared if item.group_ids is groups), None)
            if known is None:
                known = Visibility(
                    groups, segment_ids, by_modality, places_BL=sequence.places, modality_ids_BL=sequence.modality_ids
                )
                shared.append(known)
            result.append(known)
        return result

    @property
    def _any_per_modality(self) -> bool:
        return any(isinstance(block, ModalityBlock) for block in self.blocks)

    def by_modality(self, sequence: EmbeddedSequence) -> Folding:
        """The tokens of each modality as a row."""
        padding = sequence.document_ids == PADDING_DOCUMENT
        return fold_by_modality(sequence.modality_ids, padding, self.num_modalities)

    def make_cache(self, batch_size: int, max_length: int) -> CacheList:
        """An empty cache, one entry a layer."""
        return CacheList(block.make_cache(batch_size, max_length) for block in layers_of(self.blocks))

    def forward(self, sequence: EmbeddedSequence, cache: list[Any] | None = None) -> Hidden:
        """Hidden states [B, L, D], before the model's final normalisation."""
        hidden, positions = sequence.hidden, Positions(sequence.positions)
        caches = cache or [None] * len(self.blocks)
        told: list[Aux | None] = []
        for block, visibility, layer_cache in zip(self.blocks, self.visibilities(sequence), caches, strict=True):
            hidden, aux = block(hidden, visibility, positions, layer_cache)
            told.append(of_layer(aux, f"layer_{len(told) + 1}"))
        return Hidden(hidden, joined(told))


def refuse_one_way_mixers(blocks: nn.ModuleList) -> None:
    """Raises `ValueError` for the first mixer that does not look both ways: it would ignore the option in silence."""
    for block in blocks.modules():
        if isinstance(block, Block) and not block.mixer.sees_both_ways:
            raise ValueError(
                f"bidirectional_media=True needs a mixer that sees both ways; {type(block.mixer).__name__} does not "
                "(its sees_both_ways is False); choose bidirectional_media=false, or mixer=attention"
            )
