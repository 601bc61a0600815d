"""Concatenation: a multi-layer perceptron joins the pooled states of unimodal models.

Shape legend: B rows of a batch, L tokens in a row, F tokens of the flattened batch, M modalities, R rows laid out
anew, T places in an item, D `d_model`, N items (numbers of rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT
from fusion.generation.cache import CacheList, TokenSlots
from fusion.hidden import Hidden
from fusion.method import FusionMethod
from fusion.methods.selection import select_text_and_media
from fusion.sequence import EmbeddedSequence


class ConcatFusion(FusionMethod):
    """Each modality alone in all layers, then at every text token an MLP over [text, pooled media]: the baseline.

    A medium's pooled state is the one at its last token, which has seen all of its modality in the document so
    far: a text token gets that of the latest token of each modality before it, and zeros where there is none.
    The usual baseline averages the states of one image and one text and classifies; taking the last state instead
    of a mean makes it causal, so that it can generate.

    weights: of the layers; "per_modality" makes unimodal models of them, as in the baseline.
    """

    def __init__(
        self,
        d_model: int,
        num_modalities: int,
        d_hidden: int | None = None,
        weights: str | Sequence[str] = "per_modality",
        **stack: Any,
    ) -> None:
        super().__init__(d_model, num_modalities, weights=weights, **stack)
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

    def make_cache(self, batch_size: int, max_length: int) -> CacheList:
        """Caches of the layers, and the states of media."""
        states = LatestStates(batch_size, max_length, self.down.out_features, like=self.down.weight)
        return CacheList([super().make_cache(batch_size, max_length), states])

    def forward(self, sequence: EmbeddedSequence, cache: list[Any] | None = None) -> Hidden:
        """Hidden states [B, L, D]; media keep those of their own layers."""
        layer_caches, latest = cache or (None, None)
        hidden_BLD, aux = super().forward(sequence, layer_caches)
        nothing = (torch.zeros_like(hidden_BLD[:, :1]), torch.full_like(sequence.document_ids[:, :1], PADDING_DOCUMENT))
        text, _ = select_text_and_media(sequence, in_rows=False)
        x_FD = hidden_BLD.flatten(0, 1)
        text_RTD = text.take(x_FD)
        states = (
            latest_states(hidden_BLD, sequence, [nothing] * (self.num_modalities - 1))
            if latest is None
            else latest.attend(hidden_BLD, sequence, self.num_modalities)
        )
        pooled = [state.flatten(0, 1)[text.index_RT] for state in states]
        joined = self.norm(torch.cat([text_RTD, *pooled], dim=-1))
        text_RTD = text_RTD + self.down(nn.functional.gelu(self.up(joined)))
        return Hidden(text.put(x_FD, text_RTD).view_as(hidden_BLD), aux)


class LatestStates(TokenSlots):
    """The states of all media tokens in a row, with their modality: the latest of each is what text is joined with."""

    def __init__(self, batch_size: int, max_length: int, d_model: int, like: Tensor) -> None:
        super().__init__(batch_size, max_length, [(d_model,)], like)
        self.modality_ids = torch.zeros_like(self.groups)

    def attend(self, hidden_BLD: Tensor, sequence: EmbeddedSequence, num_modalities: int) -> list[Tensor]:
        """For each medium [B, L, D]: the state of its latest token at or before each token, in the same document."""
        earlier = [self._latest(modality, hidden_BLD.dtype) for modality in range(1, num_modalities)]
        is_medium = (sequence.modality_ids > 0) & (sequence.document_ids != PADDING_DOCUMENT)
        documents = sequence.document_ids.masked_fill(~is_medium, PADDING_DOCUMENT)
        slots_BL = self.store([hidden_BLD], documents, sequence.places)
        self.modality_ids.scatter_(1, slots_BL, sequence.modality_ids)
        return latest_states(hidden_BLD, sequence, earlier)

    def copy_rows(self, source_N: Tensor, target_N: Tensor) -> None:
        """With their modalities."""
        super().copy_rows(source_N, target_N)
        self.modality_ids[target_N] = self.modality_ids[source_N]

    @property
    def bytes(self) -> int:
        """With the modalities."""
        return super().bytes + self.modality_ids.nbytes

    def _latest(self, modality: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The last state of a medium in each row [B, 1, D], and its document [B, 1]."""
        held = (self.groups != PADDING_DOCUMENT) & (self.modality_ids == modality)
        last_B1 = torch.where(held, torch.arange(held.shape[1], device=held.device), -1).amax(1, keepdim=True)
        last_B1 = last_B1.masked_fill(last_B1 < 0, self.max_length)  # the slot of padding, of no document
        (states,) = self.kept
        found = states.gather(1, last_B1[..., None].expand(-1, -1, states.shape[-1])).to(dtype)
        return found, self.groups.gather(1, last_B1)


def latest_states(
    hidden_BLD: Tensor, sequence: EmbeddedSequence, earlier: Sequence[tuple[Tensor, Tensor]]
) -> list[Tensor]:
    """For each medium [B, L, D]: the state of its latest token at or before each token, in the same document.

    earlier: for each medium, its last state of earlier calls [B, 1, D] and the document of that [B, 1].
    """
    result = []
    for modality, (state_B1D, document_B1) in enumerate(earlier, start=1):
        states_BTD = torch.cat([state_B1D, hidden_BLD], dim=1)
        documents_BT = torch.cat([document_B1, sequence.document_ids], dim=1)
        valid_BL = (sequence.modality_ids == modality) & (sequence.document_ids != PADDING_DOCUMENT)
        numbers = torch.arange(1, valid_BL.shape[1] + 1, device=valid_BL.device)
        latest_BL = torch.where(valid_BL, numbers, 0).cummax(dim=1).values
        same = documents_BT.gather(1, latest_BL) == sequence.document_ids
        found = states_BTD.gather(1, latest_BL[..., None].expand_as(hidden_BLD))
        result.append(found * same[..., None])
    return result
