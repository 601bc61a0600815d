"""How a feed-forward layer is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

from torch import nn


def for_modalities(feed_forward: Callable[..., nn.Module], num_modalities: int) -> Callable[..., nn.Module]:
    """`feed_forward` with the `num_modalities` of the model, text included, if it has an argument of that name."""
    if "num_modalities" in inspect.signature(feed_forward).parameters:
        return partial(feed_forward, num_modalities=num_modalities)
    return feed_forward
