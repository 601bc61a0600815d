"""How attention is divided between modalities, layer by layer.

Shape legend: B rows, L tokens in a row, M modalities.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from data.types import PADDING_DOCUMENT, UNSUPERVISED, InterleavedBatch, Modality
from fusion.attention_maps import attention_layers, attention_maps
from fusion.model import FusionModel


@torch.no_grad()
def attention_mass(model: FusionModel, batch: InterleavedBatch) -> dict[int, Tensor]:
    """Layer, counted from 0 -> [M, M]: of the attention of queries of a modality (row), what falls on each (column).

    Queries of text are the positions that predict the answer; those of a medium are all its tokens. Means over queries
    and heads, so that each row sums to 1; rows of modalities that the batch does not have are not a number. Layers
    whose mixer has no attention weights are left out.
    """
    ids_BL = batch.modality_ids.abs()
    keys_BLM = torch.nn.functional.one_hot(ids_BL, len(model.modalities)).float()
    answering_BL = batch.labels != UNSUPERVISED
    asks_BL = torch.where(ids_BL == 0, answering_BL, batch.document_ids != PADDING_DOCUMENT)
    queries_BLM = keys_BLM * asks_BL[..., None]
    found = {}
    for layer, weights_BHLL in zip(attention_layers(model), attention_maps(model, batch), strict=True):
        mass_BLM = weights_BHLL.float().mean(1) @ keys_BLM
        sums_MM = torch.einsum("blq,blk->qk", queries_BLM, mass_BLM)
        found[layer] = sums_MM / queries_BLM.sum((0, 1))[:, None]
    return found


def mass_scalars(masses: dict[int, Tensor], modalities: Sequence[Modality]) -> dict[str, float]:
    """`attention/layer_2/text_to_image` and so on, layers counted from 1, without the modalities that are not there."""
    there = {
        name
        for mass_MM in masses.values()
        for name, row in zip(modalities, mass_MM, strict=True)
        if bool(row.isfinite().all())
    }
    return {
        f"attention/layer_{layer + 1}/{query}_to_{key}": float(mass_MM[row, column])
        for layer, mass_MM in masses.items()
        for row, query in enumerate(modalities)
        for column, key in enumerate(modalities)
        if query in there and key in there
    }
