"""AdamW that leaves alone what a batch does not use."""

from __future__ import annotations

from typing import Any

import torch

from training.distributed import local
from training.steps.gradients import unused


class AdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` (arXiv:1711.05101), fused, but for parameters with a gradient that is 0 everywhere.

    Momentum would move these; here they only decay, as in `training.optimizers.muon.Muon`: w <- (1 - lr *
    weight_decay) * w. Their moments go on as if the gradient were a measured 0.
    """

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, fused=True, **options)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        moved = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        still = {id(parameter) for parameter in unused([parameter for _, parameter in moved])}
        kept = [(group, p, local(p).clone()) for group, p in moved if id(p) in still]
        super().step()
        for group, parameter, weights in kept:
            local(parameter).copy_(weights.mul_(1 - group["lr"] * group["weight_decay"]))
