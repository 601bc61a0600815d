"""The global random generators, such as dropout draws from: seeded at the start, and for every update anew."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from data.randomness import seed_of


def seed_everything(seed: int) -> None:
    """Seeds Python, numpy and torch; on the CPU the same seed and number of threads give the same bits."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} must lie in [0, 2**32)")
    _seed_all(seed)
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        # Filling fresh memory would only make reads of uninitialised memory repeatable, at a cost in every step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seeds one process for the update that follows `step`.

    What it draws then depends on nothing that happened before. So a resume needs no state of the generators, and may
    have another number of processes. And processes do not draw the same for their different samples.
    """
    _seed_all(seed_of(seed, "update", step, rank))


def seed_objective(seed: int) -> None:
    """Seeds what an objective draws when it is prepared, which then depends on no model."""
    _seed_all(seed_of(seed, "objective"))


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed % 2**63)


def random_state() -> dict[str, Any]:
    """The state of all generators."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Continues from a state that `random_state` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Whatever runs inside leaves the generators as they were, so that evaluation cannot change training."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
