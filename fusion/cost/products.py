"""What a module multiplies in one call, from shapes: its matrix products, and how many gradients each has.

A module that computes more than what its children do defines

    def flops(self, *inputs) -> int | list[Product]

for the operations of its own, given what its `forward` was given. It must take widths from itself, and from the inputs
nothing but how many tokens there are and who sees whom (tensors of numbers are on the meta device, with the
`requires_grad` that they had). A mere number stands for one product where both factors need a gradient.

Who overrides `forward` must say anew what it costs: a count is taken from a class or its parents only where `forward`
is theirs too.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from data.types import PADDING_DOCUMENT, BadInputError
from fusion.mixers.attention import GroupAttention
from fusion.mixers.cross_attention import PairAttention
from fusion.positions.places import TokenPlaces
from fusion.sequence import Visibility


class Product(NamedTuple):
    """Operations of a product of two factors, and of how many of these the backward pass computes the gradient.

    A gradient is a product too, of as many operations.
    """

    operations: int
    gradients: int

    @property
    def backward(self) -> int:
        """Operations of its gradients."""
        return self.operations * self.gradients


# A module, the module around it, and the inputs of a call -> products.
Rule = Callable[..., list[Product]]


def rule_of(module: nn.Module) -> Rule | None:
    """What counts a module's own products; None if nothing does.

    Raises `BadInputError` for a class that overrides the `forward` of what was counted.
    """
    own = type(module)
    counted = _definer(own, "flops") if hasattr(own, "flops") else _known_parent(own)
    if counted is None:
        return None
    computed = _definer(own, "forward")
    if computed is not counted and issubclass(computed, counted):
        raise BadInputError(
            f"{own.__name__} computes in a forward of its own what is counted as {counted.__name__}: say what it costs "
            "by a method flops (see fusion/cost/products.py)"
        )
    return _own_flops if hasattr(own, "flops") else RULES[counted]


def _known_parent(kind: type) -> type | None:
    return next((known for known in RULES if issubclass(kind, known)), None)


def _definer(kind: type, name: str) -> type:
    return next(parent for parent in kind.__mro__ if name in vars(parent))


def _own_flops(m: Any, around: nn.Module, *inputs: Any, **keywords: Any) -> list[Product]:
    found = m.flops(*inputs, **keywords)
    if not isinstance(found, int):
        return list(found)
    tensors = [*inputs, *keywords.values(), *m.parameters()]
    return [Product(found, 2 * any(isinstance(x, Tensor) and x.requires_grad for x in tensors))]


def _linear(m: nn.Linear, around: nn.Module | None, x: Tensor) -> list[Product]:
    operations = 2 * prod(x.shape[:-1]) * m.in_features * m.out_features
    return [Product(operations, x.requires_grad + m.weight.requires_grad)]


def _convolution(m: Any, around: nn.Module | None, x: Tensor) -> list[Product]:
    """Every output place is a product with a kernel over the channels of its group."""
    paddings = m.padding if m.padding != "same" else [d * (k - 1) / 2 for d, k in zip(m.dilation, m.kernel_size)]  # noqa: B905
    paddings = paddings if m.padding != "valid" else [0] * len(m.kernel_size)
    sizes = zip(x.shape[2:], paddings, m.dilation, m.kernel_size, m.stride, strict=True)
    places = prod(int(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, p, d, k, s in sizes)
    operations = 2 * len(x) * places * m.out_channels * m.in_channels // m.groups * prod(m.kernel_size)
    return [Product(operations, x.requires_grad + m.weight.requires_grad)]


def _multihead_attention(
    m: nn.MultiheadAttention, around: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> list[Product]:
    """Four projections, and the products with keys and with values."""
    axis = 1 if m.batch_first else 0
    batch, queries, keys = query.shape[1 - axis], query.shape[axis], key.shape[axis]
    width, joint = m.embed_dim, m.in_proj_weight
    weights = (m.q_proj_weight, m.k_proj_weight, m.v_proj_weight) if joint is None else (joint, joint, joint)
    inputs = ((query, queries, width), (key, keys, m.kdim or width), (value, keys, m.vdim or width))
    projections = [
        Product(2 * batch * tokens * width * size, x.requires_grad + weight.requires_grad)
        for (x, tokens, size), weight in zip(inputs, weights, strict=True)
    ]
    learns = [product.gradients > 0 for product in projections]
    seen = _attention(2 * batch * queries * keys * width, *learns)
    out = Product(2 * batch * queries * width * width, any(learns) + m.out_proj.weight.requires_grad)
    return [*projections, *seen, out]


def _attention(operations: int, q: bool, k: bool, v: bool) -> list[Product]:
    """Queries with keys, and what they see with values; which of them need a gradient."""
    return [Product(operations, q + k), Product(operations, (q or k) + v)]


def _group_attention(
    m: GroupAttention, around: nn.Module, q: Tensor, k: Tensor, v: Tensor, visibility: Visibility, *_: Any, **__: Any
) -> list[Product]:
    """Pairs of tokens of one group, both orders and each with itself; padding (-1) has none."""
    groups_BL = visibility.group_ids
    _, counts = torch.unique(groups_BL[groups_BL != PADDING_DOCUMENT], return_counts=True)
    return _pairs(around, int((counts**2).sum()), q, k, v)


def _pair_attention(
    m: PairAttention,
    around: nn.Module,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    queries: TokenPlaces,
    memory: TokenPlaces,
    *_: Any,
    **__: Any,
) -> list[Product]:
    """Every query with all memory of its document."""
    same = queries.documents.flatten()[:, None] == memory.documents.flatten()
    pairs = int((same & (queries.documents.flatten() != PADDING_DOCUMENT)[:, None]).sum())
    return _pairs(around, pairs, q, k, v)


def _pairs(around: Any, pairs: int, q: Tensor, k: Tensor, v: Tensor) -> list[Product]:
    """Attention without weights of its own takes its width from the module around it."""
    try:
        operations = 2 * around.num_heads * around.head_dim * pairs
    except AttributeError as error:
        name = type(around).__name__
        raise BadInputError(f"{name} holds attention, so it must have num_heads and head_dim ({error})") from error
    return _attention(operations, q.requires_grad, k.requires_grad, v.requires_grad)


# What a module of a kind computes by itself, in addition to what its children do. Attention of torch's does not call
# its child `out_proj`, but takes its weights.
RULES: dict[type, Rule] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.MultiheadAttention: _multihead_attention,
    GroupAttention: _group_attention,
    PairAttention: _pair_attention,
}
