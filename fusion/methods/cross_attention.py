"""Cross-attention fusion: text looks at media between its own layers, media never look at text.

Shape legend: B rows of a batch, L tokens in a row, F tokens of the flattened batch, R rows laid out anew, T places in
an item, D `d_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT
from encoders.transformer import MOST_LAYERS
from fusion.block import WEIGHTS, Block, ModalityBlock
from fusion.feed_forward.base import for_modalities
from fusion.generation.cache import CacheList, MemoryCache
from fusion.hidden import Aux, Hidden, as_hidden, joined, of_layer
from fusion.method import FusionMethod
from fusion.methods.media_stream import MediaStream
from fusion.methods.selection import Selection, select_text_and_media
from fusion.mixers.base import Mixer, over_layers
from fusion.mixers.cross_attention import CrossAttention
from fusion.positions.places import StandingTokens
from fusion.sequence import EmbeddedSequence


class GatedCrossAttention(nn.Module):
    """x + tanh(gate) * cross_attention(norm(x), memory), then the same with a feed-forward layer (Flamingo)."""

    def __init__(
        self,
        d_model: int,
        cross_attention: Callable[..., CrossAttention],
        feed_forward: Callable[..., nn.Module],
        gate_init: float,
    ) -> None:
        super().__init__()
        self.norm, self.memory_norm = nn.RMSNorm(d_model, eps=1e-6), nn.RMSNorm(d_model, eps=1e-6)
        self.cross_attention: CrossAttention = cross_attention(d_model=d_model)
        self.feed_forward_norm = nn.RMSNorm(d_model, eps=1e-6)
        self.feed_forward = feed_forward(d_model=d_model)
        self.gate = nn.Parameter(torch.full((1,), float(gate_init)))
        self.feed_forward_gate = nn.Parameter(torch.full((1,), float(gate_init)))
        if gate_init == 0:
            # The gates make this start as the identity: with a second zero after them nothing would ever learn.
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    module.reset_parameters()

    def forward(
        self,
        x_RTD: Tensor,
        text: StandingTokens,
        modality_ids_RT: Tensor,
        media_RTD: Tensor,
        media: StandingTokens,
        cache: MemoryCache | None,
    ) -> Hidden:
        """Hidden states of the text [R, T, D]."""
        seen = self.cross_attention(self.norm(x_RTD), text, self.memory_norm(media_RTD), media, cache)
        x_RTD = x_RTD + self.gate.tanh() * seen
        y_RTD, aux = as_hidden(self.feed_forward(self.feed_forward_norm(x_RTD), modality_ids_RT))
        return Hidden(x_RTD + self.feed_forward_gate.tanh() * y_RTD, aux)


class CrossAttentionFusion(FusionMethod):
    """A text stream with gated cross-attention to the media before it (Flamingo, arXiv:2204.14198).

    Before every `cross_every`-th text layer stands a `GatedCrossAttention`. Media pass `media_layers` layers of their
    own weights, modality by modality. Text layers see text alone. A list of mixers is repeated over the text layers,
    and from its start over the media layers.

    gate_init: 0 as in Flamingo, where the language model is pretrained and must not be disturbed. Another value leaves
    the gates open. The output projections then start at zero, as in every other method, and open at the rate of the
    optimizer's matrices instead of that of its scalars.

    weights: "per_modality" gives each medium media layers of its own, "shared" gives all media the same. Text has its
    own layers in either case, for it alone looks at others. Raises `ValueError` for "shared" without media layers.

    Three things differ from Flamingo. Nothing is pretrained or frozen. A token sees all earlier media of its document
    and not the last image only. Resampling is left to the projector.
    """

    def __init__(
        self,
        d_model: int,
        num_modalities: int,
        num_layers: int,
        mixer: Callable[..., Mixer] | Sequence[Callable[..., Mixer]],
        feed_forward: Callable[..., nn.Module],
        cross_attention: Callable[..., CrossAttention],
        media_layers: int = 2,
        cross_every: int = 1,
        gate_init: float = 0.0,
        weights: str = "per_modality",
        bidirectional_media: bool = False,
    ) -> None:
        super().__init__(
            d_model, num_modalities, num_layers, mixer, feed_forward, bidirectional_media=bidirectional_media
        )
        if not 0 <= media_layers <= MOST_LAYERS:
            raise ValueError(f"media_layers={media_layers} must be from 0 to {MOST_LAYERS}")
        if weights not in WEIGHTS:
            raise ValueError(f"weights={weights!r} must be one of {', '.join(WEIGHTS)}")
        if weights == "shared" and not media_layers:
            raise ValueError("weights='shared' needs media_layers of 1 or more, for only these are shared by media")
        if bidirectional_media and not media_layers:
            raise ValueError("bidirectional_media=True needs media_layers of 1 or more, for text layers see no media")
        if not 1 <= cross_every <= num_layers:
            raise ValueError(f"cross_every={cross_every} must be from 1 to num_layers={num_layers}")
        self.cross_every = cross_every
        num_media, feed_forward = num_modalities - 1, for_modalities(feed_forward, num_modalities)
        media_blocks = [
            Block(d_model, own, feed_forward)
            if weights == "shared"
            else ModalityBlock(d_model, num_media, own, feed_forward)
            for own in over_layers(mixer, media_layers)
        ]
        self.media = MediaStream(num_media, media_blocks, bidirectional_media)
        self.cross = nn.ModuleList(
            GatedCrossAttention(d_model, cross_attention, feed_forward, gate_init)
            for _ in range(0, num_layers, cross_every)
        )

    def layers(self) -> list[nn.Module]:
        """None: text and media have layers of their own."""
        return []

    def make_cache(self, batch_size: int, max_length: int) -> CacheList:
        """Caches of the media layers, of the text layers, and of the media that each cross-attention sees."""
        text = super().make_cache(batch_size, max_length)
        crossing = [gated.cross_attention for gated in self.cross if isinstance(gated, GatedCrossAttention)]
        memory = CacheList(attention.make_cache(batch_size, max_length) for attention in crossing)
        return CacheList([self.media.make_cache(batch_size, max_length), text, memory])

    def forward(self, sequence: EmbeddedSequence, cache: list[Any] | None = None) -> Hidden:
        """Hidden states [B, L, D]."""
        x_FD = sequence.hidden.flatten(0, 1)
        text, media = select_text_and_media(sequence, in_rows=cache is not None)
        media_cache, text_caches, memory_caches = cache or (None, None, None)
        media_RTD = media.take(x_FD)
        told: list[Aux | None] = []
        if len(media) or cache is None:
            media_RTD, aux = self.media(sequence, media, media_RTD, media_cache)
            told.append(aux)
        text_places, media_places = (_standing(sequence, tokens) for tokens in (text, media))
        documents, places, kinds = (
            ids.flatten() for ids in (sequence.document_ids, sequence.places, sequence.modality_ids)
        )
        text_RTD, visibility = text.take(x_FD), text.visibility(documents, places, kinds)
        for layer, block in enumerate(self.blocks):
            if layer % self.cross_every == 0:
                index = layer // self.cross_every
                memory_cache = memory_caches[index] if memory_caches else None
                text_RTD, aux = self.cross[index](
                    text_RTD, text_places, visibility.modality_ids, media_RTD, media_places, memory_cache
                )
                told.append(of_layer(aux, f"cross_{index + 1}"))
            if len(text) or cache is None:
                text_RTD, aux = block(
                    text_RTD, visibility, text_places.positions, text_caches[layer] if text_caches else None
                )
                told.append(of_layer(aux, f"layer_{layer + 1}"))
        return Hidden(text.put(media.put(x_FD, media_RTD), text_RTD).view_as(sequence.hidden), joined(told))


def _standing(sequence: EmbeddedSequence, tokens: Selection) -> StandingTokens:
    """Where the chosen tokens stand."""
    documents = tokens.ids(sequence.document_ids.flatten(), PADDING_DOCUMENT)
    return StandingTokens(documents, tokens.ids(sequence.places.flatten()), tokens.positions(sequence.positions))
