"""Training and evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def switched(model: nn.Module, training: bool) -> Iterator[None]:
    """The model in training or evaluation mode; afterwards, after an error too, every part is in the mode it was in."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
