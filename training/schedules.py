"""Learning-rate schedules: pure functions from a step to the factor by which learning rates are multiplied.

`step` counts the updates that came before: 0 is the first one, and the last is `max_steps - 1`, so that no update is
spent at a rate of zero. `max_steps` comes from the trainer; a run that is shorter than its warm-up ends in it.
"""

from __future__ import annotations

import math


def cosine(step: int, max_steps: int, *, warmup_steps: int, final_factor: float = 0.0) -> float:
    """Linear warm-up to 1, then half a cosine that reaches `final_factor` at `max_steps` (SGDR, arXiv:1608.03983)."""
    _check(warmup_steps, final_factor)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min((step - warmup_steps) / max(max_steps - warmup_steps, 1), 1.0)
    return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * progress))


def trapezoid(
    step: int, max_steps: int, *, warmup_steps: int, decay_fraction: float, final_factor: float = 0.0
) -> float:
    """Linear warm-up to 1, constant, then linear to `final_factor` over the last `decay_fraction` of the steps.

    Also called warm-up, stable, decay (arXiv:2404.06395).
    """
    _check(warmup_steps, final_factor)
    if not 0 <= decay_fraction <= 1:
        raise ValueError(f"decay_fraction={decay_fraction} must lie in [0, 1]")
    decay_steps = decay_fraction * max_steps
    factor = min((max_steps - step) / decay_steps, 1.0) if decay_steps else 1.0
    factor = final_factor + (1 - final_factor) * max(factor, 0.0)
    return min((step + 1) / warmup_steps, factor) if step < warmup_steps else factor


def _check(warmup_steps: int, final_factor: float) -> None:
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps={warmup_steps} must be 0 or more")
    if not 0 <= final_factor <= 1:
        raise ValueError(f"final_factor={final_factor} must lie in [0, 1]")
