"""Activation checkpointing: a block keeps its input alone, and is computed again where its gradient needs the rest.

Chen et al., arXiv:1604.06174. A step takes about a third more operations, and far less memory where blocks are many.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

RECOMPUTE = ("none", "blocks")


def recompute(blocks: Iterable[nn.Module], compiled: bool = False) -> None:
    """Makes blocks compute their activations again in the backward pass; call it before sharding.

    Nothing else changes: the names of the weights, what dropout draws (its state is kept), and what a pass without
    gradients does. compiled: with torch.compile, which does not look into what is computed again, and so comes first.
    """
    for block in blocks:
        forward = torch.compile(block.forward, dynamic=True) if compiled else block.forward
        block.forward = partial(checkpoint, forward, use_reentrant=False)
