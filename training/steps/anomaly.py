"""Losses and gradients that must not reach the weights."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from data.types import BadInputError

HISTORY = 100
MIN_HISTORY = 20


class AnomalyError(BadInputError):
    """Training cannot go on: the loss or the gradient is not usable. A command ends with a code of its own."""

    exit_code = 3


class AnomalyGuard:
    """Judges each update by its loss and gradient norm.

    `spike_factor` is compared with the median of the last 100 accepted norms, once there are 20 of them: early
    norms change by themselves. None judges finiteness only.
    """

    def __init__(self, spike_factor: float | None = None) -> None:
        self.spike_factor = spike_factor
        self.norms: list[float] = []
        self.consecutive = 0

    def judge(self, loss: float, grad_norm: float) -> str | None:
        """Why this update must not be made, or None; remembers what it is shown."""
        reason = self._reason(loss, grad_norm)
        if reason is None:
            self.norms = [*self.norms, grad_norm][-HISTORY:]
        self.consecutive = self.consecutive + 1 if reason else 0
        return reason

    def pass_over(self) -> str:
        """Why an update without a single supervised token must not be made; counts it, too."""
        self.consecutive += 1
        return "no supervised tokens"

    def _reason(self, loss: float, grad_norm: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(grad_norm):
            return f"the gradient's norm is {grad_norm}"
        if self.spike_factor is not None and len(self.norms) >= MIN_HISTORY:
            usual = median(self.norms)
            if grad_norm > self.spike_factor * usual:
                return f"the gradient's norm is {grad_norm:.3g}, usually {usual:.3g}"
        return None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"norms": self.norms, "consecutive": self.consecutive}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`."""
        self.norms, self.consecutive = list(state["norms"]), state["consecutive"]
