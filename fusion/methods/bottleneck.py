"""Bottleneck fusion: modalities exchange information through a few extra tokens only.

Shape legend: B rows of a batch, L tokens in a row, S segments (media), T places in an item (bottleneck tokens of a
segment), D `d_model`, F tokens of the flattened batch (those of media at the end).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT
from fusion.block import ModalityBlock, layers_of
from fusion.generation.cache import CacheList
from fusion.hidden import Aux, Hidden, joined, of_layer
from fusion.methods.mid import MidFusion
from fusion.methods.selection import Selection
from fusion.positions.once import Positions
from fusion.sequence import EmbeddedSequence, Visibility


@dataclass(frozen=True)
class _Tokens:
    """What is known of all N tokens. `order` sorts them as they stand in the batch; modality -1 is a bottleneck.

    A bottleneck has the place and the position of the token that it stands after.
    """

    modality_ids: Tensor
    document_ids: Tensor
    places: Tensor
    positions: Tensor
    segment_ids: Tensor | None
    order: Tensor
    rows: Tensor


class BottleneckFusion(MidFusion):
    """Mid fusion with upper layers that meet in bottleneck tokens alone (MBT, arXiv:2107.00135).

    Media see their own modality and bottleneck tokens; text sees text and bottleneck tokens. These belong to every
    group. So a layer makes one pass for each modality, over its tokens and the bottleneck tokens of the document, media
    first and text last. Each pass updates the bottleneck tokens. They count as tokens of its modality, in weights and
    for feed-forward layers. Layers below `fusion_layer` keep modalities apart altogether, as in the paper.

    Two things differ from MBT, which classifies a fixed pair of inputs. `num_bottlenecks` tokens stand after every item
    of a medium and all attention is causal, so that interleaved sequences can be generated. And the passes follow one
    another, where the paper averages their updates.
    """

    def __init__(self, d_model: int, num_bottlenecks: int = 4, fusion_layer: int = 0, **stack: Any) -> None:
        super().__init__(d_model, fusion_layer, **stack)
        if num_bottlenecks < 1:
            raise ValueError(f"num_bottlenecks={num_bottlenecks} must be 1 or more")
        self.num_bottlenecks = num_bottlenecks
        self.bottlenecks_KD = nn.Parameter(torch.randn(num_bottlenecks, d_model))  # as loud as other tokens

    def layers(self) -> list[nn.Module]:
        """The layers without bottleneck tokens."""
        return list(self.blocks[: self.fusion_layer])

    def make_cache(self, batch_size: int, max_length: int) -> CacheList:
        """One cache for each layer below `fusion_layer`, from there on one for each modality of a layer."""
        longest = max_length * (1 + self.num_bottlenecks)  # as if every token were a medium
        return CacheList(
            block.make_cache(batch_size, max_length)
            if layer < self.fusion_layer
            else CacheList(block.make_cache(batch_size, longest) for _ in range(self.num_modalities))
            for layer, block in enumerate(layers_of(self.blocks))
        )

    def forward(self, sequence: EmbeddedSequence, cache: list[Any] | None = None) -> Hidden:
        """Hidden states [B, L, D]."""
        hidden_BLD, caches = sequence.hidden, cache or [None] * len(self.blocks)
        lower, positions = slice(0, self.fusion_layer), Positions(sequence.positions)
        told: list[Aux | None] = []
        for block, visibility, layer_cache in zip(
            self.blocks[lower], self.visibilities(sequence)[lower], caches[lower], strict=True
        ):
            hidden_BLD, aux = block(hidden_BLD, visibility, positions, layer_cache)
            told.append(of_layer(aux, f"layer_{len(told) + 1}"))
        tokens = self._tokens(sequence)
        num_items = (len(tokens.order) - hidden_BLD[..., 0].numel()) // self.num_bottlenecks
        extra_STD = self.bottlenecks_KD.to(hidden_BLD.dtype).expand(num_items, -1, -1)
        x_FD = torch.cat([hidden_BLD.flatten(0, 1), extra_STD.flatten(0, 1)])
        passes = [self._pass(tokens, m, len(hidden_BLD) if cache else None) for m in self._modalities_text_last()]
        for layer in range(self.fusion_layer, len(self.blocks)):
            for modality, (selection, visibility, positions) in zip(self._modalities_text_last(), passes, strict=True):
                own_cache = cache[layer][modality] if cache else None
                if own_cache is not None and not len(selection):
                    continue
                block = self.blocks[layer]
                whose = {"only": modality} if isinstance(block, ModalityBlock) else {}
                chosen, aux = block(selection.take(x_FD), visibility, positions, own_cache, **whose)
                x_FD = selection.put(x_FD, chosen)
                told.append(of_layer(aux, f"layer_{layer + 1}"))
        return Hidden(x_FD[: hidden_BLD[..., 0].numel()].view_as(hidden_BLD), joined(told))

    def _modalities_text_last(self) -> list[int]:
        return [*range(1, self.num_modalities), 0]

    def _pass(self, tokens: _Tokens, modality: int, num_rows: int | None) -> tuple[Selection, Visibility, Positions]:
        """The tokens of a modality with all bottleneck tokens; in rows, if there is a cache."""
        of_pass = (tokens.modality_ids == modality) | (tokens.modality_ids == -1)
        chosen_F = of_pass & (tokens.document_ids != PADDING_DOCUMENT)
        rows = tokens.rows if num_rows is not None else None
        selection = Selection(chosen_F, tokens.order, rows, num_rows or 1)
        as_of_pass = torch.full_like(tokens.modality_ids, modality)
        visibility = selection.visibility(tokens.document_ids, tokens.places, as_of_pass, tokens.segment_ids)
        return selection, visibility, selection.positions(tokens.positions)

    def _tokens(self, sequence: EmbeddedSequence) -> _Tokens:
        """All tokens: those of the sequence, then the bottleneck tokens of each item, which stand after its last."""
        length = sequence.document_ids.shape[1]
        segments = sequence.segment_ids.flatten()
        following = torch.cat(
            [sequence.segment_ids[:, 1:], torch.zeros_like(segments[: len(sequence.hidden), None])], 1
        )
        ends_S = ((segments > 0) & (segments != following.flatten())).nonzero()[:, 0]
        extra_T = torch.arange(self.num_bottlenecks, device=segments.device)
        owners = ends_S.repeat_interleave(self.num_bottlenecks)
        indices = torch.arange(len(segments), device=segments.device)
        stride = self.num_bottlenecks + 1

        def extended(ids_BL: Tensor) -> Tensor:
            ids_F = ids_BL.flatten(0, 1)
            return torch.cat([ids_F, ids_F[owners]])

        return _Tokens(
            modality_ids=torch.cat([sequence.modality_ids.flatten(), torch.full_like(owners, -1)]),
            document_ids=extended(sequence.document_ids),
            places=extended(sequence.places),
            positions=extended(sequence.positions),
            segment_ids=torch.cat([segments, torch.zeros_like(owners)]) if self.bidirectional_media else None,
            order=torch.cat([indices * stride, owners * stride + 1 + extra_T.repeat(len(ends_S))]),
            rows=torch.cat([indices, owners]) // length,
        )
