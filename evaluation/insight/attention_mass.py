"""How attention is divided between modalities, layer by layer.

Shape legend: B rows of a batch, L tokens in a row, F tokens of the flattened batch, M modalities (kinds of tokens), G
groups, H heads, Q queries, J keys or candidates (keys).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from data.types import UNSUPERVISED, InterleavedBatch
from fusion.attention_maps import attention_maps
from fusion.model import FusionModel

# Tokens without a modality, which a fusion method adds to the sequence.
ADDED = "bottleneck"
# Of the attention of one kind of tokens (first name), what falls on another (second name).
Masses = dict[tuple[str, str], float]


@torch.no_grad()
def attention_mass(model: FusionModel, batch: InterleavedBatch) -> dict[str, Masses]:
    """For each layer (see `AttentionMap`): of the attention of a modality's queries, what falls on each modality.

    Queries of text are the positions that predict the answer; those of a medium are all its tokens. Means over heads
    and over the queries that see anything, so that what they give sums to 1. Tokens that the fusion method adds are a
    kind of their own, `ADDED`. A layer has the kinds that ask or are seen in it.
    """
    names = (*model.modalities, ADDED)
    ids_BL = batch.modality_ids.abs()
    asks_BL = (ids_BL > 0) | (batch.labels != UNSUPERVISED)
    # One entry more, for all that is not in the batch.
    kinds_FM = one_hot(torch.cat([ids_BL.flatten(), ids_BL.new_tensor([len(model.modalities)])]), len(names)).float()
    asks_F = torch.cat([asks_BL.flatten(), asks_BL.new_tensor([True])])
    sums: dict[str, Tensor] = {}
    for part in attention_maps(model, batch):
        queries_GQ, keys_GJ = (places.clamp(max=ids_BL.numel()) for places in (part.queries, part.keys))
        asking_GQM = kinds_FM[queries_GQ] * asks_F[queries_GQ][..., None]
        mass_GQM = part.weights.float().mean(1) @ kinds_FM[keys_GJ]
        sums_MM = torch.einsum("gqm,gqn->mn", asking_GQM, mass_GQM)
        sums[part.layer] = sums.get(part.layer, 0) + sums_MM
    return {layer: _shares(sums_MM.cpu(), names) for layer, sums_MM in sums.items()}


def mass_scalars(masses: Mapping[str, Masses]) -> dict[str, float]:
    """`attention/layer_2/text_to_image` and so on."""
    return {
        f"attention/{layer}/{query}_to_{key}": mass
        for layer, found in masses.items()
        for (query, key), mass in found.items()
    }


def _shares(sums_MM: Tensor, names: tuple[str, ...]) -> Masses:
    """Each row over its sum, which is the number of its queries that see anything."""
    takes_part_M = sums_MM.any(0) | sums_MM.any(1)
    return {
        (query, key): float(row_M[column] / row_M.sum())
        for query, row_M in zip(names, sums_MM, strict=True)
        if row_M.any()
        for column, key in enumerate(names)
        if takes_part_M[column]
    }
