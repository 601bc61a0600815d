"""Evaluation during training, and which checkpoint it makes the best."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.types import BadInputError
from fusion.checkpoint import best_step, read_manifest, step_folders
from fusion.mode import switched
from training.distributed import Processes
from training.options import TrainerOptions
from training.runs.random_state import preserved_random_state

Evaluate = Callable[[nn.Module, int], dict[str, float]]


class Validation:
    """Calls `evaluate(model, step)` in the first process, with a whole model in evaluation mode.

    Sharded weights cannot generate, averaged ones must not be trained, and compiled blocks would be compiled anew for
    every length. In these cases a copy of the model is evaluated. So make this before the model is changed.
    """

    def __init__(
        self, model: nn.Module, evaluate: Evaluate | None, options: TrainerOptions, processes: Processes
    ) -> None:
        self.model, self.evaluate, self.options, self.processes = model, evaluate, options, processes
        self.needs_copy = options.ema_decay is not None or options.compile or processes.world_size > 1
        self.copy = copy.deepcopy(model) if self.needs_copy and evaluate and processes.is_main else None
        self.metrics: dict[str, float] = {}
        self.step = -1
        # The best score so far, and how many evaluations have not been better since.
        self.best: float | None = None
        self.stale = 0

    def __call__(self, step: int, weights: dict[str, Tensor] | None) -> dict[str, float]:
        """The metrics, the same in every process; `weights` are those of the copy."""
        metrics: dict[str, float] = {}
        if self.processes.is_main and self.evaluate is not None:
            model = self.model
            if self.copy is not None and weights is not None:
                self.copy.load_state_dict(weights)
                model = self.copy
            with switched(model, training=False), preserved_random_state(), torch.no_grad():
                metrics = self.evaluate(model, step)
        self.step, self.metrics = step, self.processes.gather(metrics)[0]
        self._compare()
        return self.metrics

    @property
    def out_of_patience(self) -> bool:
        """Whether the last `patience` evaluations in a row were not better than the best one."""
        return self.options.patience is not None and self.stale >= self.options.patience

    @property
    def why_stopped(self) -> str:
        """What ran out of patience."""
        found = f"{self.options.best_metric} has not been better than {self.best:.4g}"
        return f"{found} in the last {self.stale} evaluations (trainer.patience={self.options.patience})"

    def _compare(self) -> None:
        value = self.metrics.get(self.options.best_metric or "")
        if value is None:
            return
        better = self.best is None or (value < self.best if self.options.mode == "min" else value > self.best)
        self.best, self.stale = (value, 0) if better else (self.best, self.stale + 1)

    def score(self, step: int) -> dict[str, Any] | None:
        """By what the checkpoint of this step is compared with others; None if it was not evaluated.

        Raises `BadInputError` if the evaluation does not have the metric that is configured.
        """
        name = self.options.best_metric
        if name is None or self.step != step or not self.metrics:
            return None
        if name not in self.metrics:
            raise BadInputError(f"trainer.best_metric={name} must be one of {', '.join(self.metrics)}")
        return {"name": name, "value": self.metrics[name], "mode": self.options.mode}

    def is_best(self, step: int, checkpoints: Path) -> bool:
        """Whether this step was just evaluated and beats all checkpoints."""
        score = self.score(step)
        best = best_step(step_folders(checkpoints)) if score else None
        if score is None or best is None:
            return score is not None
        value = read_manifest(best)["score"]["value"]
        return score["value"] < value if score["mode"] == "min" else score["value"] > value

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"step": self.step, "metrics": self.metrics, "best": self.best, "stale": self.stale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`."""
        self.step, self.metrics = state["step"], dict(state["metrics"])
        self.best, self.stale = state.get("best"), state.get("stale", 0)  # older ones did not count
