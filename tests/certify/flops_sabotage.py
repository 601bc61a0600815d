"""Counters of operations that are wrong."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from certify.context import Context
from fusion.cost import products
from fusion.mixers import attention

Patch = pytest.MonkeyPatch


def values_are_not_multiplied(context: Context, patch: Patch) -> None:
    """Attention is counted as queries with keys alone."""
    original = products.RULES[attention.GroupAttention]
    patch.setitem(products.RULES, attention.GroupAttention, lambda *call: original(*call)[:1])


def weights_get_no_gradient(context: Context, patch: Patch) -> None:
    """Right in the forward pass; in the backward pass the gradients of inputs alone are counted."""
    original = products.RULES[nn.Linear]

    def linear(*call: Any) -> list[products.Product]:
        return [products.Product(operations, 1) for operations, _ in original(*call)]

    patch.setitem(products.RULES, nn.Linear, linear)
