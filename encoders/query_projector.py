"""Projectors with learned queries: any number of features to a fixed number of tokens.

Shape legend: Q queries, D `d_model`.
"""

from __future__ import annotations

import torch
from torch import nn

from data.types import Layout
from encoders.projector import Projector
from encoders.transformer import MOST_LAYERS


class QueryProjector(Projector):
    """Base class: M learned queries [Q, D] read an item's features and become its tokens.

    A subclass adds `num_layers` layers where they read, of `num_heads` heads and `expansion * d_model` hidden units.
    Raises `ValueError` for sizes that no layers can be made of.
    """

    def __init__(self, d_model: int, num_queries: int, num_layers: int, num_heads: int, expansion: float) -> None:
        super().__init__()
        sizes = {"num_queries": num_queries, "num_layers": num_layers, "num_heads": num_heads}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name}={value} must be 1 or more")
        if num_layers > MOST_LAYERS:
            raise ValueError(f"num_layers={num_layers} must be at most {MOST_LAYERS}")
        if d_model % num_heads:
            raise ValueError(f"num_heads={num_heads} of the projector must divide d_model={d_model}")
        if int(expansion * d_model) < 1:
            raise ValueError(f"expansion={expansion} must be positive")
        self.queries_MD = nn.Parameter(0.02 * torch.randn(num_queries, d_model))

    def layout(self, features: Layout) -> Layout:
        """M tokens in the order of their queries, whatever the item; each has read all of it, so none has a time."""
        return Layout(len(self.queries_MD))
