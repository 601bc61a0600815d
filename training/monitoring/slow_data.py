"""Whether steps wait for data, and what may help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig
from torch import nn

from data.types import Modality, Processor
from training.distributed import share_of_cores

# Above this share of its time, a window of steps is slow.
SLOW = 0.2
# Slow windows in a row, and steps in them, before anything is said: a file system may be slow for once.
WINDOWS, STEPS = 2, 10


class DataWatch:
    """Told of every window of steps, and answers once: when data has been slow for long.

    The first window is never slow: it waits for the loader to start, and for files that are not in memory yet.
    """

    def __init__(self) -> None:
        self.begun, self.told = False, False
        self._windows, self._steps, self._seconds, self._waited = 0, 0, 0.0, 0.0

    def slow_share(self, steps: int, seconds: float, waited: float) -> float | None:
        """The share of the time that was spent waiting, over all slow windows, when it is to be told, else None."""
        slow = self.begun and waited > SLOW * seconds
        self.begun = True
        if not slow:
            self._windows, self._steps, self._seconds, self._waited = 0, 0, 0.0, 0.0
            return None
        self._windows, self._steps = self._windows + 1, self._steps + steps
        self._seconds, self._waited = self._seconds + seconds, self._waited + waited
        if self.told or self._windows < WINDOWS or self._steps < STEPS:
            return None
        self.told = True
        return self._waited / self._seconds


def remedy(
    config: DictConfig, encoders: nn.ModuleDict, processors: Mapping[Modality, Processor], workers: int, on_cpu: bool
) -> str:
    """What may help this training, as options to add to its command.

    Features of frozen encoders, if they could be kept and are not; else more workers, as far as there are cores. A
    model on the CPU gives them a core of its own, so that on c cores its part of a step takes c / (c - 1) times as
    long.
    """
    frozen = [name for name in encoders if could_keep(encoders[name].encoder, processors.get(name))]
    if frozen:
        options = " ".join(f"encoders.{name}.cache=true" for name in frozen)
        return f"keep the features of frozen encoders: {options}"
    cores, threads = share_of_cores(), config.get("compute_threads")
    more = min(max(2 * workers, 1 if on_cpu else 4), cores - 1 if on_cpu else cores)
    if more <= workers:
        return f"data.num_workers={workers} already has all cores: smaller pictures and shorter clips are read faster"
    beside = f" compute_threads={cores - more}" if on_cpu and not threads else ""
    now = f"now data.num_workers={workers}"
    if on_cpu and workers == 0 and 1 / cores > SLOW:
        now += f"; it takes one of {cores} cores from the model, which pays above {1 / cores:.0%}"
    return f"data.num_workers={more}{beside} ({now})"


def could_keep(encoder: Any, processor: Processor | None) -> bool:
    """Whether an encoder's features could be cached and are not: it is frozen, and its media are not augmented."""
    if getattr(encoder, "cache", True) or getattr(processor, "augments", True):
        return False
    weights = [parameter.requires_grad for parameter in encoder.parameters()]
    return bool(weights) and not any(weights)
