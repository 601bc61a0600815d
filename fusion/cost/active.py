"""How many parameters a token uses, where a module has some for other tokens."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def active_parameters(model: nn.Module) -> int:
    """Parameters that one token uses: all of them, but where a module says fewer by a method `active_parameters`.

    Raises `ValueError` for a module that says more than it has.
    """
    return _size(model) - sum(_idle(module) for module in _saying(model))


def _saying(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules that say so themselves."""
    if hasattr(module, "active_parameters"):
        yield module
    else:
        for child in module.children():
            yield from _saying(child)


def _idle(module: nn.Module) -> int:
    active, size = module.active_parameters(), _size(module)  # type: ignore[operator]
    if not 0 <= active <= size:
        raise ValueError(
            f"{type(module).__name__}.active_parameters()={active} must be from 0 to its {size} parameters"
        )
    return size - active


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
