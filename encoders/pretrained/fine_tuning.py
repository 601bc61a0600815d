"""Which weights of a pretrained backbone are trained: none, all, or a part (for LoRA see
`encoders/lora.py`).

Each is called once with the backbone, and sets `requires_grad` of its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

FineTuning = Callable[[nn.Module], None]


class Frozen:
    """Nothing is trained."""

    def __call__(self, backbone: nn.Module) -> None:
        """Freezes every parameter."""
        backbone.requires_grad_(False)


class Full:
    """Everything is trained."""

    def __call__(self, backbone: nn.Module) -> None:
        """Frees every parameter."""
        backbone.requires_grad_(True)


class Partial:
    """The last `last_blocks` blocks, and every parameter with a name that matches one of `patterns` (`*.norm.*`)."""

    def __init__(self, last_blocks: int = 0, patterns: Sequence[str] = ()) -> None:
        if last_blocks < 0 or (last_blocks == 0 and not patterns):
            raise ValueError(f"last_blocks={last_blocks} must be 1 or more, or patterns name what is trained")
        self.last_blocks, self.patterns = last_blocks, tuple(patterns)

    def __call__(self, backbone: nn.Module) -> None:
        """Frees the chosen parameters alone. Raises `ValueError` where a pattern or the number fits nothing."""
        backbone.requires_grad_(False)
        if self.last_blocks:
            blocks = find_blocks(backbone)
            if self.last_blocks > len(blocks):
                raise ValueError(f"last_blocks={self.last_blocks} must be at most {len(blocks)}, the backbone's blocks")
            for block in list(blocks)[-self.last_blocks :]:
                block.requires_grad_(True)
        for pattern in self.patterns:
            chosen = [p for name, p in backbone.named_parameters() if fnmatchcase(name, pattern)]
            if not chosen:
                names = ", ".join([name for name, _ in backbone.named_parameters()][:3])
                raise ValueError(f"patterns: {pattern!r} matches no parameter of the backbone ({names}, ...)")
            for parameter in chosen:
                parameter.requires_grad_(True)


def find_blocks(backbone: nn.Module) -> nn.ModuleList | nn.Sequential:
    """The backbone's blocks (or stages): of all lists of modules of one class, the one with the most parameters.

    Raises `ValueError` if there is none.
    """
    lists = [module for module in backbone.modules() if isinstance(module, nn.ModuleList | nn.Sequential)]
    stacks = [stack for stack in lists if len({type(block) for block in stack}) == 1 and _size(stack)]
    if not stacks:
        raise ValueError(f"{type(backbone).__name__} has no list of blocks; choose parameters by patterns")
    return max(stacks, key=_size)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
