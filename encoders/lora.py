"""LoRA: a frozen linear map with a trained update of low rank (arXiv:2106.09685).

Shape legend: I inputs, O outputs, k a chosen few (the rank).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

# Queries and values, as in the paper, by the names that timm, transformers and torchaudio give them.
ATTENTION = ("*query", "*value", "*q_proj", "*v_proj", "*qkv")


class LoraLinear(nn.Module):
    """base(x) + alpha / rank * x A^T B^T, [..., I] -> [..., O]; B starts at zero, so that nothing changes at first.

    Differences from the paper: A starts as `nn.Linear` does (uniform), and there is no dropout.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.lora_a_RI = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_b_OR = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a_RI, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """The updated map."""
        update = nn.functional.linear(nn.functional.linear(x, self.lora_a_RI), self.lora_b_OR)
        return self.base(x) + self.scale * update

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One linear map that computes the same, with the update added to its weights."""
        linear = nn.Linear(self.base.in_features, self.base.out_features, self.base.bias is not None)
        linear = linear.to(self.base.weight)
        linear.weight.copy_(self.base.weight + self.scale * self.lora_b_OR @ self.lora_a_RI)
        if self.base.bias is not None:
            linear.bias.copy_(self.base.bias)
        return linear.requires_grad_(False)


class Lora:
    """Freezes a backbone. Every `nn.Linear` with a name that matches one of `targets` gets an update of its own."""

    def __init__(self, rank: int = 8, alpha: float = 16.0, targets: Sequence[str] = ATTENTION) -> None:
        if rank < 1 or alpha <= 0:
            raise ValueError(f"rank={rank} must be 1 or more, and alpha={alpha} positive")
        self.rank, self.alpha, self.targets = rank, alpha, tuple(targets)

    def __call__(self, backbone: nn.Module) -> None:
        """Replaces the matching layers in place. Raises `ValueError` if there is none."""
        backbone.requires_grad_(False)
        linears = [(name, module) for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
        chosen = [item for item in linears if any(fnmatchcase(item[0], target) for target in self.targets)]
        if not chosen:
            some = ", ".join([name for name, _ in linears][:4]) or "none"
            raise ValueError(f"targets={list(self.targets)} match no linear layer of the backbone, which has {some}")
        for name, linear in chosen:
            _replace(backbone, name, LoraLinear(linear, self.rank, self.alpha))


def merge(backbone: nn.Module) -> None:
    """Turns every LoRA layer inside `backbone` into one plain linear map, in place."""
    for name, module in list(backbone.named_modules()):
        if isinstance(module, LoraLinear):
            _replace(backbone, name, module.merged())


def _replace(backbone: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(backbone.get_submodule(parent), child, module)
