"""What the trainer says to a tracker, and nothing about where it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

Array = np.ndarray | Tensor


@dataclass(frozen=True)
class ImageCell:
    """A picture in a table: uint8 or float in 0..1, [H, W], [H, W, 3] or [3, H, W]."""

    image: Array
    caption: str = ""


@dataclass(frozen=True)
class AudioCell:
    """A playable clip in a table: float samples in -1..1, [samples], at `rate` Hz."""

    samples: Array
    rate: int
    caption: str = ""


Cell = str | int | float | bool | None | ImageCell | AudioCell


class Tracker(Protocol):
    """Receives everything that a run reports; `step` is the optimizer step that it belongs to.

    Several calls may share a step. Names are flat, with slashes: `train/loss`, `validation/samples`.
    """

    def start(self, run_name: str, config: Mapping[str, Any], resume_step: int | None = None) -> None:
        """Begin the run, or continue it as it was after `resume_step`: what was logged later is forgotten."""
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Scalars; 0-d arrays and tensors count as scalars."""
        ...

    def image(self, step: int, name: str, image: Array, caption: str = "") -> None:
        """One picture, as in `ImageCell`."""
        ...

    def audio(self, step: int, name: str, samples: Array, rate: int, caption: str = "") -> None:
        """One playable clip, as in `AudioCell`."""
        ...

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Rows of text, numbers, pictures and clips."""
        ...

    def histogram(self, step: int, name: str, values: Array) -> None:
        """How the finite entries of `values` are distributed."""
        ...

    def alert(self, title: str, text: str, level: str = "warn") -> None:
        """Something that a person should look at; `level` is info, warn or error."""
        ...

    def summary(self, values: Mapping[str, Any]) -> None:
        """Facts about the whole run, for tables that compare runs; later calls add to earlier ones."""
        ...

    def finish(self) -> None:
        """Write everything out; the tracker is not used afterwards."""
        ...
