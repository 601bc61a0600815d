"""What a model looks at: attention weights of every layer of its fusion method, by the dense reference.

Shape legend: B rows of a batch, L tokens in a row, F tokens of the flattened batch, R rows laid out anew, T places in
an item, G groups, H heads, Q queries, J keys or candidates (keys), K `head_dim`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT, InterleavedBatch
from fusion.attention.masked import dense_probabilities
from fusion.folding import Folding, fold_pairs
from fusion.mixers.attention import GroupAttention
from fusion.mixers.cross_attention import PairAttention, folded_places, sees
from fusion.model import FusionModel
from fusion.positions.places import TokenPlaces
from fusion.sequence import Visibility


@dataclass(frozen=True)
class AttentionMap:
    """Who gives how much attention to whom: some groups of similar size, in one call of one layer.

    layer: where it stands in the fusion method, counted from 1: `layer_2` is `blocks.1`, `cross_1` is `cross.0`,
        `media_layer_1` is `media.blocks.0`.
    weights [G, H, Q, J]: those of a query sum to 1 over the keys that it may see; zero for padding and where it sees
        none.
    queries [G, Q], keys [G, J]: which tokens they are: places in the flattened batch, and from B * L on tokens that the
        method adds to it, such as bottlenecks. Padding may have any number.
    """

    layer: str
    weights: Tensor
    queries: Tensor
    keys: Tensor


# Weights, queries and keys of some groups: what an `AttentionMap` holds in addition to the layer.
Groups = tuple[Tensor, Tensor, Tensor]


@torch.no_grad()
def attention_maps(model: FusionModel, batch: InterleavedBatch) -> list[AttentionMap]:
    """All maps, in the order that the layers are computed in; none of a layer with a mixer without attention weights.

    A layer has one map or more: for each size of its groups, and for each of its calls, if there are several. The
    forward pass runs uncompiled, with hooks that are gone afterwards.

    Raises `ValueError` for rows of tokens if it is not known what tokens they are (see `Visibility`).
    """
    maps: list[AttentionMap] = []

    def record(layer: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        found: Callable[..., Iterator[Groups]] = _of_groups if isinstance(module, GroupAttention) else _of_pairs
        maps.extend(AttentionMap(layer, *groups) for groups in found(batch, *inputs))

    hooks = [
        module.register_forward_pre_hook(partial(record, layer_name(path)))
        for path, module in model.fusion.named_modules()
        if isinstance(module, GroupAttention | PairAttention)
    ]
    try:
        with torch.compiler.set_stance("force_eager"):  # hooks would have it compiled anew
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return maps


def layer_name(path: str) -> str:
    """`media_layer_2` of `media.blocks.1.experts.0.mixer.attend`: what stands before the first number, and that."""
    parts = path.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    if number is None:
        return "_".join(parts)
    names = ["layer" if part == "blocks" else part for part in parts[:number]]
    return "_".join([*names, str(int(parts[number]) + 1)])


def _of_groups(
    batch: InterleavedBatch, q_RHTK: Tensor, k_RHTK: Tensor, _: Tensor, visibility: Visibility, *rest: Any
) -> Iterator[Groups]:
    """Attention within groups, for each bucket of groups of similar length."""
    folding = visibility.folding
    if not folding.shapes:  # all is padding
        return
    group_ids = visibility.group_ids
    segment_ids = torch.zeros_like(group_ids) if visibility.segment_ids is None else visibility.segment_ids
    parts = zip(
        _heads(folding, q_RHTK),
        _heads(folding, k_RHTK),
        folding.fold(group_ids.flatten() - PADDING_DOCUMENT),  # which makes padding 0
        folding.fold(segment_ids.flatten()),
        folding.fold(_tokens(batch, visibility).flatten()),
        strict=True,
    )
    for q, k, groups, segments, tokens_GQ in parts:
        mask_GQQ = Visibility(groups + PADDING_DOCUMENT, segments).mask
        yield dense_probabilities(q, k, mask_GQQ), tokens_GQ, tokens_GQ


def _of_pairs(
    batch: InterleavedBatch,
    q_RHTK: Tensor,
    k_RHTK: Tensor,
    _: Tensor,
    queries: TokenPlaces,
    memory: TokenPlaces,
    *rest: Any,
) -> Iterator[Groups]:
    """Attention of the queries of each document to its memory, for each bucket of documents."""
    of_queries, of_memory = fold_pairs(queries.documents, memory.documents)
    if not of_queries.shapes:  # nobody sees anything
        return
    parts = zip(
        _heads(of_queries, q_RHTK),
        _heads(of_memory, k_RHTK),
        folded_places(of_queries, queries),
        folded_places(of_memory, memory),
        strict=True,
    )
    for q, k, asking, asked in parts:
        yield dense_probabilities(q, k, sees(asking, asked)), _found(batch, asking), _found(batch, asked)


def _heads(folding: Folding, x_RHTK: Tensor) -> list[Tensor]:
    """Queries or keys of each bucket, [G, H, Q, K]."""
    return [part.transpose(1, 2) for part in folding.fold(x_RHTK.transpose(1, 2).flatten(0, 1))]


def _tokens(batch: InterleavedBatch, visibility: Visibility) -> Tensor:
    """Which tokens [R, T] are: places in the flattened batch."""
    if visibility.tokens is not None:
        return visibility.tokens
    if visibility.group_ids.shape != batch.token_ids.shape:
        raise ValueError(
            f"tokens=None of a Visibility stands for the whole batch of {tuple(batch.token_ids.shape)} tokens, but it "
            f"has {tuple(visibility.group_ids.shape)}: say which they are, as Selection.visibility does"
        )
    return torch.arange(batch.token_ids.numel(), device=batch.token_ids.device).view_as(batch.token_ids)


def _found(batch: InterleavedBatch, tokens: TokenPlaces) -> Tensor:
    """Which tokens they are: those at the same place of the same document."""
    length = int(batch.places.max()) + 1
    sorted_F, order_F = (batch.document_ids * length + batch.places).flatten().sort()
    return order_F[torch.searchsorted(sorted_F, tokens.documents * length + tokens.places)]
