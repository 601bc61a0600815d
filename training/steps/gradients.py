"""Norms of gradients by part of the model, and their scaling."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from training.distributed import Processes, local, local_part


def parts(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Parameters by part: the model's children, and in place of a dictionary of modules its members."""
    dictionaries = {name for name, child in model.named_children() if isinstance(child, nn.ModuleDict)}
    result: dict[str, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        first, *rest = name.split(".")
        result[rest[0] if first in dictionaries else first].append(parameter)
    return dict(result)


@torch.no_grad()
def norms(parts: dict[str, list[nn.Parameter]], processes: Processes) -> dict[str, float]:
    """The 2-norm of the gradient of each part, over all processes, and `total`.

    What is not sharded, every process has whole, and the main one counts it.
    """
    found = []
    for parameters in parts.values():
        mine = [p for p in parameters if processes.is_main or isinstance(p, DTensor)]
        gradients = [local(p.grad) for p in mine if p.grad is not None]
        none = torch.zeros(0, device=processes.device)
        found.append(torch.stack(torch._foreach_norm(gradients)) if gradients else none)
    # One transfer for all parts; on the CPU, for not every device has float64.
    squares = torch.cat(found).cpu().double().square()
    by_part = processes.sum([float(part.sum()) for part in squares.split([len(part) for part in found])])
    named = {name: square**0.5 for name, square in zip(parts, by_part, strict=True)}
    return {**named, "total": sum(by_part) ** 0.5}


@torch.no_grad()
def unused(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Those of `parameters`, each with a gradient, that have a gradient of 0 everywhere; every process must call this.

    What a batch does not use, such as the encoder of an absent modality, has one, too. No optimizer moves it, though
    momentum would; its weights decay all the same, so that decay does not depend on how often something is used.
    """
    found = used(parameters, [1] * len(parameters))
    return [parameter for parameter, is_used in zip(parameters, found, strict=True) if not is_used]


@torch.no_grad()
def used(parameters: Sequence[Tensor], numbers: Sequence[int]) -> list[Tensor]:
    """Of each of `parameters`, seen as so many matrices, which have a gradient that is not 0, [number]; likewise."""
    if not parameters:
        return []
    # Of a parameter with fewer rows than there are processes some processes hold nothing, which counts as 0.
    counts = torch.cat([_nonzeros(p, number) for p, number in zip(parameters, numbers, strict=True)])
    if isinstance(parameters[0], DTensor):
        dist.all_reduce(counts)
    return list((counts > 0).split(list(numbers)))


def _nonzeros(parameter: Tensor, number: int) -> Tensor:
    """How many entries of the gradient that lie in this process are not 0, of each matrix of the whole, [number]."""
    assert parameter.grad is not None
    gradient = local(parameter.grad)
    if number == 1:  # perhaps a single number, which has no rows
        return gradient.count_nonzero()[None]
    rows = len(parameter)
    # A row holds some matrices, or a matrix some rows. Processes hold whole rows.
    each = max(number // rows, 1)
    counts = gradient.reshape(len(gradient), each, parameter[0].numel() // each).count_nonzero(-1)
    here = local_part(torch.arange(rows, device=gradient.device), parameter)
    return counts.new_zeros(rows, each).index_copy(0, here, counts).reshape(number, -1).sum(1)


@torch.no_grad()
def sum_whole(module: nn.Module, processes: Processes) -> None:
    """Sums over processes the gradients of a module that each of them has whole; every process must call this.

    What nothing used has a gradient of 0 afterwards, and not none, as in a sharded model.
    """
    for parameter in module.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if processes.mesh is not None:
                dist.all_reduce(parameter.grad)


@torch.no_grad()
def scale(model: nn.Module, factor: float) -> None:
    """Multiplies every gradient by `factor`."""
    gradients: list[Tensor] = [local(p.grad) for p in model.parameters() if p.grad is not None]
    if gradients and factor != 1.0:
        torch._foreach_mul_(gradients, factor)


def clip(model: nn.Module, norm: float, limit: float | None) -> None:
    """Shrinks a gradient to the norm `limit` if its `norm` exceeds that; None: leaves it."""
    if limit is not None and norm > limit:
        scale(model, limit / norm)
