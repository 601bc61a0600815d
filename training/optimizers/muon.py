"""Muon: momentum with matrices that are orthogonalised before they are applied.

Shape legend: N items (matrices of one shape), O outputs, I inputs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.distributed import local, local_part, to_full
from training.steps.gradients import used

# Of the quintic iteration x <- a x + b (x x^T) x + c (x x^T)^2 x: steep at 0, and it keeps singular values near 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SCALES = ("spectral", "match_rms_adamw", "none")


def orthogonalize(x_NOI: Tensor, steps: int = 5, eps: float = 1e-7) -> Tensor:
    """The nearest (semi-)orthogonal matrices, approximately: singular values go to about 0.7 to 1.2.

    Newton-Schulz iteration in the precision of `x_NOI`, on a whole batch of matrices at once.
    """
    wide_NOI = x_NOI.mT if x_NOI.shape[-2] > x_NOI.shape[-1] else x_NOI
    x = wide_NOI / (wide_NOI.norm(dim=(-2, -1), keepdim=True) + eps)
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram_NOO = x @ x.mT
        polynomial_NOO = torch.baddbmm(gram_NOO, gram_NOO, gram_NOO, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial_NOO, x, beta=a)
    return x.mT if x_NOI.shape[-2] > x_NOI.shape[-1] else x


def orthogonalize_flops(shape: tuple[int, int, int], steps: int) -> int:
    """Operations of `orthogonalize` for matrices of shape (N, R, C); each step has three products."""
    count, short, long = shape[0], min(shape[1:]), max(shape[1:])
    return count * steps * (2 * 2 * short * short * long + 2 * short**3)


def update_scale(rows: int, columns: int, scale: str) -> float:
    """By what an orthogonal update of this shape is multiplied.

    `spectral`: sqrt(max(1, rows / columns)), so that outputs of any width move alike (K. Jordan);
    `match_rms_adamw`: 0.2 sqrt(max(rows, columns)), so that learning rates of AdamW fit (arXiv:2502.16982).
    """
    if scale == "spectral":
        return max(1.0, rows / columns) ** 0.5
    if scale == "match_rms_adamw":
        return 0.2 * max(rows, columns) ** 0.5
    return 1.0


class Muon(torch.optim.Optimizer):
    """Muon (K. Jordan et al., https://kellerjordan.github.io/posts/muon/), with decoupled weight decay.

        m <- momentum * m + (1 - momentum) * g
        w <- (1 - lr * weight_decay) * w - lr * scale * orthogonalize(nesterov(g, m))   the last term unless g is 0

    Each entry of `params` is a dict with one parameter and `matrices`, the shape (N, R, C) that it is seen as. A weight
    that stacks several matrices is several matrices, each with a `g` of its own. So an expert that no token chose stays
    where it is. Differences from `torch.optim.Muon`: matrices of one shape are orthogonalised together, which matters
    where they are many and small. The iteration runs in `dtype`, not always bfloat16. Kernels of convolutions and
    stacked matrices are allowed. Sharded parameters are gathered, and every process repeats the iteration.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        steps: int = 5,
        scale: str = "spectral",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if lr < 0:
            raise ValueError(f"lr={lr} must be 0 or more")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum} must lie in [0, 1)")
        if scale not in SCALES:
            raise ValueError(f"scale={scale!r} must be one of {', '.join(SCALES)}")
        self.nesterov, self.steps, self.scale, self.dtype = nesterov, steps, scale, dtype
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        by_shape: dict[tuple[int, ...], list[tuple[dict[str, Any], Tensor, Tensor, Tensor]]] = defaultdict(list)
        moved = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        # What is not used must not move, by a full step even: orthogonalisation makes any momentum equally long.
        in_use = used([parameter for _, parameter in moved], [group["matrices"][0] for group, _ in moved])
        for (group, parameter), used_N in zip(moved, in_use, strict=True):
            direction = self._direction(parameter, parameter.grad, group["momentum"])
            matrices = to_full(direction).reshape(group["matrices"]).to(self.dtype)
            by_shape[matrices.shape[1:]].append((group, parameter, matrices, used_N))
        for (rows, columns), members in by_shape.items():
            updates = orthogonalize(torch.cat([matrices for _, _, matrices, _ in members]), self.steps)
            factor = update_scale(rows, columns, self.scale)
            parts = updates.split([len(matrices) for _, _, matrices, _ in members])
            for (group, parameter, _, used_N), update in zip(members, parts, strict=True):
                weights = local(parameter)
                weights.mul_(1 - group["lr"] * group["weight_decay"])
                if bool(used_N.any()):
                    moves = update.masked_fill(~used_N[:, None, None], 0.0)
                    full = moves.reshape(parameter.shape).to(parameter.dtype)
                    weights.add_(local_part(full, parameter), alpha=-group["lr"] * factor)

    def flops(self) -> int:
        """Operations of one update, those of the iteration; what is done number by number is free, as everywhere."""
        shapes = [group["matrices"] for group in self.param_groups for _ in group["params"]]
        return sum(orthogonalize_flops(shape, self.steps) for shape in shapes)

    def _direction(self, parameter: nn.Parameter, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum"], momentum) if self.nesterov else state["momentum"]
