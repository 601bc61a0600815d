"""Learning-rate schedules: pure functions from a step to the factor that learning rates are multiplied by.

`step` counts the updates that came before: 0 is the first one, and the last is `max_steps - 1`, so that no update is
spent at a rate of zero. `max_steps` comes from the trainer. Warm-up and decay are fractions of it, so that a shorter
run has the same schedule in small. A warm-up may be given as a number of steps instead; that does not scale. At least
one update has the whole rate: a schedule is refused if its parts overlap, so that none would.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int, int], float]


def cosine(
    step: int,
    max_steps: int,
    *,
    warmup_fraction: float = 0.0,
    warmup_steps: int | None = None,
    final_factor: float = 0.0,
) -> float:
    """Linear warm-up to 1, then half a cosine that reaches `final_factor` at `max_steps` (SGDR, arXiv:1608.03983).

    Raises:
        ValueError: an argument out of its range, or a warm-up that is longer than the run.
    """
    warmup = warmup_length(max_steps, warmup_fraction, warmup_steps, 0.0, final_factor)
    if step < warmup:
        return (step + 1) / warmup
    progress = min((step - warmup) / max(max_steps - warmup, 1), 1.0)
    return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * progress))


def trapezoid(
    step: int,
    max_steps: int,
    *,
    decay_fraction: float,
    warmup_fraction: float = 0.0,
    warmup_steps: int | None = None,
    final_factor: float = 0.0,
) -> float:
    """Linear warm-up to 1, constant, then linear to `final_factor` over the last `decay_fraction` of the steps.

    Also called warm-up, stable, decay (arXiv:2404.06395).

    Raises:
        ValueError: an argument out of its range, or a warm-up that the decay overlaps.
    """
    warmup = warmup_length(max_steps, warmup_fraction, warmup_steps, decay_fraction, final_factor)
    if step < warmup:
        return (step + 1) / warmup
    decay = decay_fraction * max_steps
    left = min((max_steps - step) / decay, 1.0) if decay else 1.0
    return final_factor + (1 - final_factor) * max(left, 0.0)


def warmup_length(
    max_steps: int, warmup_fraction: float, warmup_steps: int | None, decay_fraction: float, final_factor: float
) -> int:
    """The steps of the warm-up: `warmup_steps`, or where it is None the nearest whole number to the fraction.

    Raises:
        ValueError: an argument is out of its range, or the decay begins before the warm-up has reached 1.
    """
    fractions = {"warmup_fraction": warmup_fraction, "decay_fraction": decay_fraction, "final_factor": final_factor}
    for name, value in fractions.items():
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{name}={value} must lie in [0, 1]")
    if warmup_steps is None:
        if warmup_fraction + decay_fraction > 1:
            raise ValueError(
                f"warmup_fraction={warmup_fraction} and decay_fraction={decay_fraction} overlap; "
                "their sum must be at most 1"
            )
        return round(warmup_fraction * max_steps)
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps={warmup_steps} must be 0 or more")
    # The last update of the warm-up has the whole rate, and the first of the decay too; they may be the same one.
    longest = min(max_steps - math.ceil(decay_fraction * max_steps) + 1, max_steps)
    if warmup_steps > longest:
        rest = f" and decay_fraction={decay_fraction} overlap" if decay_fraction else " is too long"
        raise ValueError(
            f"warmup_steps={warmup_steps}{rest} in max_steps={max_steps}, so that no step has the whole rate; "
            f"give at most {longest}, or warmup_fraction with warmup_steps=null, which scales with the run"
        )
    return warmup_steps
