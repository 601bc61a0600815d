"""Concatenation: unimodal models whose pooled states are joined by a multi-layer perceptron.

Shape legend: B rows, L tokens in a row, N = B * L, M modalities, R rows and T places of text tokens, D `d_model`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT
from fusion.hidden import Hidden
from fusion.method import FusionMethod
from fusion.selection import select_text_and_media
from fusion.sequence import EmbeddedSequence


class ConcatFusion(FusionMethod):
    """Each modality alone in all layers, then at every text token an MLP over [text, pooled media]: the baseline.

    A medium's pooled state is the one at its last token, which has seen all of its modality in the document so
    far: a text token gets that of the latest token of each modality before it, and zeros where there is none.
    The usual baseline averages the states of one image and one text and classifies; taking the last state instead
    of a mean makes it causal, so that it can generate.
    """

    def __init__(self, d_model: int, num_modalities: int, d_hidden: int | None = None, **stack: Any) -> None:
        super().__init__(d_model, num_modalities, weights="per_modality", **stack)
        d_hidden = d_hidden or 4 * d_model
        if d_hidden < 1:
            raise ValueError(f"d_hidden={d_hidden} must be positive")
        self.norm = nn.RMSNorm(num_modalities * d_model, eps=1e-6)
        self.up = nn.Linear(num_modalities * d_model, d_hidden)
        self.down = nn.Linear(d_hidden, d_model)
        nn.init.zeros_(self.down.weight)  # at first it adds nothing, as the layers of every method
        nn.init.zeros_(self.down.bias)

    def groups(self, layer: int, sequence: EmbeddedSequence) -> Tensor:
        """Modalities of documents, in every layer."""
        return sequence.modality_groups

    def make_cache(self, batch_size: int, max_length: int) -> list[Any]:
        """Caches of the layers, and the latest state of each modality."""
        return [super().make_cache(batch_size, max_length), LatestStates()]

    def forward(self, sequence: EmbeddedSequence, cache: list[Any] | None = None) -> Hidden:
        """Hidden states [B, L, D]; media keep those of their own layers."""
        layer_caches, latest = cache or (None, LatestStates())
        hidden_BLD, aux = super().forward(sequence, layer_caches)
        text, _ = select_text_and_media(sequence, in_rows=False)
        x_ND = hidden_BLD.flatten(0, 1)
        text_RTD = text.take(x_ND)
        pooled = [
            state.flatten(0, 1)[text.index_RT] for state in latest.update(hidden_BLD, sequence, self.num_modalities)
        ]
        joined = self.norm(torch.cat([text_RTD, *pooled], dim=-1))
        text_RTD = text_RTD + self.down(nn.functional.gelu(self.up(joined)))
        return Hidden(text.put(x_ND, text_RTD).view_as(hidden_BLD), aux)


class LatestStates:
    """The latest state of each medium in a row, and the document that it belongs to; kept for cached decoding."""

    def __init__(self) -> None:
        self._states: list[tuple[Tensor, Tensor]] = []

    def update(self, hidden_BLD: Tensor, sequence: EmbeddedSequence, num_modalities: int) -> list[Tensor]:
        """For each medium [B, L, D]: the state of its latest token before or at each place of the same document."""
        if not self._states:
            nothing = torch.full_like(sequence.document_ids[:, :1], PADDING_DOCUMENT)
            self._states = [(torch.zeros_like(hidden_BLD[:, :1]), nothing) for _ in range(1, num_modalities)]
        result = []
        for modality, (state_B1D, document_B1) in enumerate(self._states, start=1):
            states_BTD = torch.cat([state_B1D, hidden_BLD], dim=1)
            documents_BT = torch.cat([document_B1, sequence.document_ids], dim=1)
            valid_BL = (sequence.modality_ids == modality) & (sequence.document_ids != PADDING_DOCUMENT)
            places = torch.arange(1, valid_BL.shape[1] + 1, device=valid_BL.device)
            latest_BL = torch.where(valid_BL, places, 0).cummax(dim=1).values
            same = documents_BT.gather(1, latest_BL) == sequence.document_ids
            found = states_BTD.gather(1, latest_BL[..., None].expand_as(hidden_BLD))
            result.append(found * same[..., None])
            last_B1 = latest_BL[:, -1:]
            last_BD = states_BTD.gather(1, last_B1[..., None].expand_as(state_B1D))
            self._states[modality - 1] = (last_BD, documents_BT.gather(1, last_B1))
        return result
