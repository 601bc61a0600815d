"""The options of the training loop."""

from __future__ import annotations

from dataclasses import dataclass

from data.device import Device
from training.steps.recompute import RECOMPUTE

PRECISIONS = ("float32", "bfloat16")
# Metrics of a validation by the last part of their name: those that are better when lower, and when higher.
LOWER_IS_BETTER = ("loss", "perplexity", "wer", "median_rank", "skipped")
HIGHER_IS_BETTER = ("accuracy", "chrf", "choice", "recall@10")


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """How long, how precisely and how carefully to train.

    max_steps: updates; the schedule refers to it. max_epochs: passes over the samples; `training.preparation.length`
    makes steps of them. None for both: as many as the samples need. max_seconds: stops earlier; time before a resume
    counts. accumulation_steps: micro-batches in one update. clip_norm: largest norm of the whole gradient; None: no
    clipping. precision: `bfloat16` runs the model under autocast, with weights and optimizer in float32. recompute:
    `blocks` keeps the inputs of the blocks of the fusion method alone, and computes the rest again for the gradients:
    less memory, more time, the same numbers; `none`.
    compile: compile the blocks of the fusion method with torch.compile, for rows of any length.
    ema_decay: keep an exponential moving average of the weights and evaluate with it; None: no average.
    evaluate_every, checkpoint_every: in steps; None: at the end only. keep_checkpoints: how many of the newest stay.
    best_metric: name of a metric of the evaluation; its best checkpoint stays too. best_mode: `max` or `min`;
    None: as the metric is better, `min` for losses (see `LOWER_IS_BETTER`).
    patience: stop after so many evaluations in a row that were not better than the best one; None: never.
    on_anomaly: `stop` or `skip` the update when the loss or gradient is not finite, or when the gradient's norm exceeds
    `spike_factor` times the median of the last updates (None: no limit); max_consecutive_skips: stop after so
    many updates in a row that were not made, also for want of usable samples.
    device: `auto`, `cpu`, `cuda`, ...
    """

    max_steps: int | None = None
    max_epochs: float | None = None
    max_seconds: float | None = None
    accumulation_steps: int = 1
    clip_norm: float | None = 1.0
    precision: str = "float32"
    recompute: str = "none"
    compile: bool = False
    ema_decay: float | None = None
    log_every: int = 20
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    keep_checkpoints: int = 2
    best_metric: str | None = None
    best_mode: str | None = None
    patience: int | None = None
    on_anomaly: str = "stop"
    spike_factor: float | None = None
    max_consecutive_skips: int = 10
    device: Device = "auto"

    def __post_init__(self) -> None:
        for name in ("accumulation_steps", "log_every", "keep_checkpoints", "max_consecutive_skips"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more")
        for name in ("max_steps", "patience"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more, or null")
        for name in ("max_epochs", "max_seconds", "clip_norm", "evaluate_every", "checkpoint_every"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive, or null for none")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay} must lie between 0 and 1, or be null for none")
        if self.spike_factor is not None and self.spike_factor <= 1:
            raise ValueError(f"spike_factor={self.spike_factor} must be above 1, or null for no limit")
        for name, allowed in (
            ("precision", PRECISIONS),
            ("recompute", RECOMPUTE),
            ("best_mode", ("max", "min", None)),
            ("on_anomaly", ("stop", "skip")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} must be one of {', '.join(map(str, filter(None, allowed)))}"
                )
        if self.patience is not None and (self.best_metric is None or self.evaluate_every is None):
            raise ValueError(f"patience={self.patience} counts evaluations; it needs best_metric and evaluate_every")
        name = (self.best_metric or "").rpartition("/")[2]
        for mode, other, better, names in (
            ("max", "min", "lower", LOWER_IS_BETTER),
            ("min", "max", "higher", HIGHER_IS_BETTER),
        ):
            if self.best_mode == mode and name in names:
                raise ValueError(
                    f"best_mode={mode} must be {other}, or null: {self.best_metric} is better when {better}"
                )

    @property
    def mode(self) -> str:
        """`best_mode`; where it is None, `min` if the best metric is better when lower, else `max`."""
        name = (self.best_metric or "").rpartition("/")[2]
        return self.best_mode or ("min" if name in LOWER_IS_BETTER else "max")
