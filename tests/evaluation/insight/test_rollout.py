"""What reaches a position, against numbers by hand and against matrices multiplied."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from evaluation.insight.rollout import attention_by_layer, rollout
from fusion.attention_maps import AttentionMap, attention_maps
from fusion.methods.bottleneck import BottleneckFusion
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.methods.mid import MidFusion
from tests.fusion.methods.test_methods import CROSS, model_and_batch


def one_map(layer: str, queries: list[int], keys: list[int], weights: list[list[float]]) -> AttentionMap:
    """Two heads, whose mean is `weights`."""
    mean_QT = torch.tensor(weights)
    return AttentionMap(
        layer, torch.stack([0.5 * mean_QT, 1.5 * mean_QT])[None], torch.tensor([queries]), torch.tensor([keys])
    )


# Token 0 is a patch, 1 and 2 are words, 3 is a bottleneck, which the words see and which sees the patch.
THROUGH = [
    one_map("layer_1", [0, 3], [0, 3], [[1.0, 0.0], [0.75, 0.25]]),
    one_map("layer_1", [3, 1, 2], [3, 1, 2], [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]),
]


def shares(maps: list[AttentionMap], position: int) -> list[float]:
    return pytest.approx(rollout(maps, torch.tensor([position]), 3).tolist(), abs=1e-6)


def test_a_bottleneck_passes_on_what_it_has_seen() -> None:
    """Of the bottleneck's 0.1, its own beginning keeps 0.0625 and the patch gets 0.0375."""
    assert shares(THROUGH, 2) == [0.0375, 0.15, 0.75]
    assert shares(THROUGH[:1], 2) == [0, 0, 1]
    assert shares(THROUGH[::-1], 2) == [0, 0.15, 0.75], "what is seen later is not passed on"


def test_a_query_that_sees_nothing_keeps_all() -> None:
    crossing = one_map("cross_1", [1, 2], [0], [[0.0], [1.0]])
    assert shares([crossing], 1) == [0, 1, 0]
    assert shares([crossing], 2) == [0.5, 0, 0.5]


def test_attention_of_each_layer_is_what_the_position_gives_itself() -> None:
    crossing = one_map("cross_1", [1, 2], [0], [[0.0], [1.0]])
    found = attention_by_layer([*THROUGH, crossing], 2, 3)
    assert list(found) == ["layer_1", "cross_1"]
    torch.testing.assert_close(found["layer_1"], torch.tensor([0.0, 0.3, 0.5]))
    torch.testing.assert_close(found["cross_1"], torch.tensor([1.0, 0.0, 0.0]))


def matrix_of(part: AttentionMap, size: int) -> Tensor:
    step = torch.eye(size)
    for weights_QT, queries, keys in zip(part.weights.float().mean(1), part.queries, part.keys, strict=True):
        for weights_T, query in zip(weights_QT, queries.tolist(), strict=True):
            if weights_T.any():
                step[query] *= 0.5
                step[query].index_add_(0, keys, 0.5 * weights_T)
    return step


@pytest.mark.parametrize(
    "fusion",
    [MidFusion, partial(BottleneckFusion, fusion_layer=1), partial(CrossAttentionFusion, media_layers=1, **CROSS)],
)
def test_rollout_is_the_product_of_the_matrices_of_all_calls(fusion: Any) -> None:
    """For the last positions of two documents at once, which do not mix."""
    model, batch = model_and_batch(fusion, num_layers=3)
    maps, num_tokens = attention_maps(model, batch), batch.token_ids.numel()
    total = torch.eye(num_tokens + 4 * 6)  # room for the bottlenecks of 6 items
    for part in maps:
        total = matrix_of(part, len(total)) @ total
    documents = batch.document_ids.flatten()
    last = torch.tensor([int((documents == document).nonzero().max()) for document in (0, 3)])
    found = rollout(maps, last, num_tokens)
    torch.testing.assert_close(found, total[last, :num_tokens].sum(0))
    assert (found[(documents == 1) | (documents == 2) | (documents < 0)] == 0).all()
    assert (found[(documents == 0) | (documents == 3)] > 0).all(), "all media come before the last position"
