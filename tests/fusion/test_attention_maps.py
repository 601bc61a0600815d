"""Attention maps equal a softmax written out, pair by pair, for layers over all tokens, over some, and between some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from data.types import InterleavedBatch
from fusion.attention_maps import AttentionMap, attention_maps, layer_name
from fusion.hidden import Hidden
from fusion.methods.bottleneck import BottleneckFusion
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.methods.early import EarlyFusion
from fusion.methods.mid import MidFusion
from fusion.methods.mixture_of_transformers import MixtureOfTransformers
from fusion.mixers.attention import GroupAttention
from fusion.mixers.cross_attention import PairAttention
from fusion.model import FusionModel
from fusion.positions.once import Positions
from fusion.sequence import EmbeddedSequence, Visibility
from tests.fusion.builders import batch_of, small_model
from tests.fusion.methods.test_methods import AUDIO, CROSS, IMAGE, TEXT, model_and_batch

NUM_BOTTLENECKS = 3


@torch.no_grad()
def heads_of(model: FusionModel, batch: InterleavedBatch) -> list[tuple[Tensor, Tensor]]:
    """Queries [H, tokens, K] and keys of every call of attention, in the order of the calls; rows one after another."""
    found: list[tuple[Tensor, Tensor]] = []

    def record(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        q, k = (x.transpose(1, 2).flatten(0, 1).transpose(0, 1) for x in inputs[:2])
        found.append((q, k.repeat_interleave(len(q) // len(k), dim=0)))

    attention = [part for part in model.fusion.modules() if isinstance(part, GroupAttention | PairAttention)]
    hooks = [module.register_forward_pre_hook(record) for module in attention]
    model(batch)
    for hook in hooks:
        hook.remove()
    return found


def written_out(
    heads: tuple[Tensor, Tensor], queries: Sequence[int], keys: Sequence[int], sees: Callable[..., bool], size: int
) -> Tensor:
    """[H, size, size]: softmax over what each query sees; `queries` and `keys` say which tokens these are."""
    q_HQK, k_HTK = heads
    allowed_QT = torch.tensor([[sees(query, key) for key in keys] for query in queries])
    weights_HQT = (q_HQK @ k_HTK.transpose(1, 2) / q_HQK.shape[-1] ** 0.5).exp() * allowed_QT
    weights_HQT = weights_HQT / weights_HQT.sum(-1, keepdim=True).clamp(min=1e-300)
    whole = torch.zeros(len(q_HQK), size, size, dtype=q_HQK.dtype)
    whole[:, torch.tensor(queries)[:, None], torch.tensor(keys)] = weights_HQT
    return whole


def found_in(maps: Sequence[AttentionMap], layer: str, size: int) -> Tensor:
    """[H, size, size]: the maps of a layer in one matrix; several calls of a layer are added."""
    mine = [part for part in maps if part.layer == layer]
    whole = torch.zeros(mine[0].weights.shape[1], size, size, dtype=mine[0].weights.dtype)
    for part in mine:
        for weights_HQT, queries_Q, keys_T in zip(part.weights, part.queries, part.keys, strict=True):
            for place, query in enumerate(queries_Q.tolist()):
                whole[:, query].index_add_(1, keys_T, weights_HQT[:, place])
    return whole


def flat(batch: InterleavedBatch, name: str) -> list[int]:
    return getattr(batch, name).flatten().tolist()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("fusion", [EarlyFusion, MixtureOfTransformers, partial(MidFusion, fusion_layer=1)])
def test_layers_over_the_whole_sequence(fusion: Any, bidirectional: bool) -> None:
    model, batch = model_and_batch(fusion, bidirectional_media=bidirectional)
    documents, kinds = flat(batch, "document_ids"), flat(batch, "modality_ids")
    items, size = model.embed(batch).segment_ids.flatten().tolist(), batch.token_ids.numel()
    tokens = range(size)
    maps = attention_maps(model, batch)
    assert list(dict.fromkeys(part.layer for part in maps)) == ["layer_1", "layer_2"]
    for layer, heads in enumerate(heads_of(model, batch)):
        alone = isinstance(fusion, partial) and layer < 1

        def sees(query: int, key: int, alone: bool = alone) -> bool:
            together = documents[query] == documents[key] >= 0 and (kinds[query] == kinds[key] or not alone)
            return together and (key <= query or (bidirectional and items[query] == items[key] > 0))

        expected = written_out(heads, tokens, tokens, sees, size)
        found = found_in(maps, f"layer_{layer + 1}", size)
        torch.testing.assert_close(found, expected)
        is_token = torch.tensor(documents) >= 0
        torch.testing.assert_close(found.sum(-1), is_token.double().expand(len(found), -1))


def test_text_that_sees_media_and_text_beside_it() -> None:
    model, batch = model_and_batch(CrossAttentionFusion, media_layers=1, **CROSS)
    documents, places, kinds = (flat(batch, name) for name in ("document_ids", "places", "modality_ids"))
    size = len(documents)
    text = [token for token in range(size) if documents[token] >= 0 and kinds[token] == TEXT]
    media = [token for token in range(size) if documents[token] >= 0 and kinds[token] != TEXT]

    def same(query: int, key: int) -> bool:
        return documents[query] == documents[key] and places[key] <= places[query]

    def same_kind(query: int, key: int) -> bool:
        return same(query, key) and kinds[query] == kinds[key]

    maps = attention_maps(model, batch)
    expected = {
        "media_layer_1": (media, media, same_kind),
        "cross_1": (text, media, same),
        "layer_1": (text, text, same),
        "cross_2": (text, media, same),
        "layer_2": (text, text, same),
    }
    assert list(dict.fromkeys(part.layer for part in maps)) == list(expected)
    for (layer, (queries, keys, sees)), heads in zip(expected.items(), heads_of(model, batch), strict=True):
        torch.testing.assert_close(found_in(maps, layer, size), written_out(heads, queries, keys, sees, size))
    blind = [token for token in text if not any(same(token, key) for key in media)]
    assert 0 < len(blind) < len(text), "text before any medium"
    assert (found_in(maps, "cross_1", size)[:, blind] == 0).all()


@pytest.mark.parametrize("weights", ["shared", "per_modality"])
def test_bottlenecks_are_tokens_of_their_own(weights: str) -> None:
    """They stand behind each item of a medium, and are numbered from the end of the batch on."""
    options = {"num_bottlenecks": NUM_BOTTLENECKS, "fusion_layer": 1, "weights": weights}
    model, batch = model_and_batch(BottleneckFusion, **options)
    documents, kinds = flat(batch, "document_ids"), flat(batch, "modality_ids")
    size = len(documents)
    items = model.embed(batch).segment_ids.flatten().tolist()
    kinds += [-1] * max(items) * NUM_BOTTLENECKS
    order: list[int] = []
    for token, (item, following) in enumerate(pairwise([*items, 0])):
        order += [token] if documents[token] >= 0 else []
        if item and item != following:
            order += range(len(documents), len(documents) + NUM_BOTTLENECKS)
            documents += [documents[token]] * NUM_BOTTLENECKS
    whole = len(documents)
    assert whole == size + max(items) * NUM_BOTTLENECKS

    def sees(query: int, key: int) -> bool:
        return documents[query] == documents[key] and order.index(key) <= order.index(query)

    maps, heads = attention_maps(model, batch), heads_of(model, batch)
    assert list(dict.fromkeys(part.layer for part in maps)) == ["layer_1", "layer_2"]
    assert len(heads) == 1 + 3, "one call for all, then one for each modality"
    expected = torch.zeros_like(found_in(maps, "layer_2", whole))
    for modality, mine in zip((AUDIO, IMAGE, TEXT), heads[1:], strict=True):
        members = [token for token in order if kinds[token] in (modality, -1)]
        expected += written_out(mine, members, members, sees, whole)
    torch.testing.assert_close(found_in(maps, "layer_2", whole), expected)


@pytest.mark.parametrize("fusion", [BottleneckFusion, partial(CrossAttentionFusion, media_layers=1, **CROSS)])
def test_text_alone_is_looked_at_like_any_other(fusion: Any) -> None:
    model = small_model(fusion=fusion)
    maps = attention_maps(model, batch_of(model, [[[5], [3]]]))
    assert list(dict.fromkeys(part.layer for part in maps)) == ["layer_1", "layer_2"]
    for part in maps:
        torch.testing.assert_close(part.weights.sum(-1), torch.ones_like(part.weights.sum(-1)))


def test_layers_are_named_by_where_they_stand() -> None:
    assert layer_name("blocks.0.mixer.attend") == "layer_1"
    assert layer_name("blocks.11.experts.0.mixer.attend") == "layer_12"
    assert layer_name("media.blocks.1.experts.0.mixer.attend") == "media_layer_2"
    assert layer_name("cross.0.cross_attention.attend") == "cross_1"
    assert layer_name("head.attend") == "head_attend"


def test_a_compiled_model_is_looked_at_without_compiling_it_anew() -> None:
    compiled = []

    def count(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        compiled.append(graph)
        return graph.forward

    model = small_model(num_layers=1).eval()
    batch = batch_of(model, [[["image", 3], [4]]])
    size = batch.token_ids.numel()
    before = found_in(attention_maps(model, batch), "layer_1", size)
    for block in model.fusion.blocks:
        block.compile(dynamic=True, backend=count)
    with torch.no_grad():
        model(batch)
    graphs = len(compiled)
    assert graphs > 0
    torch.testing.assert_close(found_in(attention_maps(model, batch), "layer_1", size), before)
    assert len(compiled) == graphs


class OneRow(EarlyFusion):
    """Lays the batch out as one row, and doesn't say so."""

    def forward(self, sequence: EmbeddedSequence, cache: Any = None) -> Hidden:
        groups, kinds = (ids.flatten()[None] for ids in (sequence.document_ids, sequence.modality_ids))
        x, visibility = sequence.hidden.flatten(0, 1)[None], Visibility(groups, modality_ids_BL=kinds)
        for block in self.blocks:
            x, _ = block(x, visibility, Positions(sequence.positions.flatten(0, 1)[None]))
        return Hidden(x.view_as(sequence.hidden))


def test_rows_of_unknown_tokens_are_refused_and_no_hook_is_left() -> None:
    model = small_model(fusion=OneRow)
    with pytest.raises(ValueError, match=r"tokens=None .* whole batch of \(2, 8\) tokens, but it has \(1, 16\)"):
        attention_maps(model, batch_of(model, [[["image", 3]], [[4]]], width=8))
    assert not any(module._forward_pre_hooks for module in model.modules())
