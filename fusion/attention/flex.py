"""FlexAttention (arXiv:2412.05496): attention that leaves out the blocks of a mask where nobody sees anybody.

The mask is a function of two places; blocks follow from it.

Shape legend: B rows of a batch, H heads, Q queries, J keys or candidates (keys), L tokens in a row, K `head_dim`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import flex_attention as flex
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, create_mask

from data.types import PADDING_DOCUMENT
from fusion.attention.varlen import working_dtype
from fusion.positions.places import TokenPlaces
from fusion.sequence import Visibility

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Triton multiplies matrices of at least 16 columns.
LEAST_HEAD_DIM, MOST_HEAD_DIM = 16, 256


def flex_runs(device: str, dtype: torch.dtype, head_dim: int, has_compiler: bool | None = None) -> bool:
    """Whether the kernel takes such queries; it is compiled for the GPU, so that there must be a compiler (triton)."""
    has_compiler = find_spec("triton") is not None if has_compiler is None else has_compiler
    return device == "cuda" and dtype in DTYPES and LEAST_HEAD_DIM <= head_dim <= MOST_HEAD_DIM and has_compiler


def block_mask(visibility: Visibility) -> BlockMask:
    """Which blocks of queries and keys are to be computed, once for all layers."""
    groups_BL, segments_BL = visibility.group_ids, visibility.segment_ids
    places_BL = visibility.places if visibility.places is not None else torch.zeros_like(groups_BL)

    def not_later(b: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own, other = places_BL[b, query], places_BL[b, key]
        return (other < own) | ((other == own) & (key <= query))

    def causal(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        group = groups_BL[b, query]
        return (group == groups_BL[b, key]) & not_later(b, query, key) & (group != PADDING_DOCUMENT)

    def both_ways(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert segments_BL is not None
        group, segment = groups_BL[b, query], segments_BL[b, query]
        reached = not_later(b, query, key) | ((segment == segments_BL[b, key]) & (segment > 0))
        return (group == groups_BL[b, key]) & reached & (group != PADDING_DOCUMENT)

    rule = causal if segments_BL is None else both_ways
    batch, length = groups_BL.shape
    return visibility.once("block mask", lambda: _blocks(rule, (batch, length, length), groups_BL.device))


def pair_mask(queries: TokenPlaces, memory: TokenPlaces) -> BlockMask:
    """Likewise for queries [B, Q] that see the memory [B, J] of their document that stands before them."""

    def before(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        document = queries.documents[b, query]
        same = (document == memory.documents[b, key]) & (document != PADDING_DOCUMENT)
        return same & (memory.places[b, key] < queries.places[b, query])

    batch, num_queries = queries.documents.shape
    return _blocks(before, (batch, num_queries, memory.documents.shape[1]), queries.documents.device)


def attend(q_BHQK: Tensor, k_BHJK: Tensor, v_BHJK: Tensor, mask: BlockMask) -> Tensor:
    """[B, H, Q, K], zero for a query that sees nothing. Query heads may share keys and values.

    Outside of a GPU there is no kernel: torch then computes it from the function of the mask, without gradients.
    """
    dtype = working_dtype(q_BHQK)
    q, k, v = (x.to(dtype) for x in (q_BHQK, k_BHJK, v_BHJK))
    kernel: Any = _compiled() if flex_runs(q.device.type, dtype, q.shape[-1]) else flex.flex_attention
    return kernel(q, k, v, block_mask=mask, enable_gqa=q.shape[1] != k.shape[1])


def written_out(mask: BlockMask) -> Tensor:
    """[B, Q, J]: the pairs that the kernel computes: those that the rule allows, in the blocks that are computed."""
    batch, _, num_queries, num_keys = mask.shape
    rule = create_mask(mask.mask_mod, batch, None, num_queries, num_keys, device=mask.kv_num_blocks.device)
    computed = mask.to_dense().bool()
    for axis, size in zip((2, 3), mask.BLOCK_SIZE, strict=True):
        computed = computed.repeat_interleave(size, dim=axis)
    return (rule & computed[:, :, :num_queries, :num_keys])[:, 0]


def _blocks(rule: Callable[..., Tensor], shape: tuple[int, int, int], device: torch.device) -> BlockMask:
    batch, num_queries, num_keys = shape
    return create_block_mask(rule, batch, None, num_queries, num_keys, device=device)


@cache
def _compiled() -> Callable[..., Any]:
    """One for all layers and calls: torch compiles it again where shapes of another kind come."""
    return torch.compile(flex.flex_attention)
