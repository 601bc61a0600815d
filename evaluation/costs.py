"""What a model costs, as reports say it: parameters and operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.storage.run_log import read_summary
from data.types import BadInputError, InterleavedBatch
from fusion.cost.active import active_parameters
from fusion.cost.counting import parameter_counts, sample_flops
from fusion.model import FusionModel


def model_costs(model: FusionModel, batch: InterleavedBatch) -> dict[str, Any]:
    """Parameters, and operations of the forward pass of a sample of `batch` (inference), in all and by part.

    What the training of a sample took, with backward pass and optimizer, only its run knows: see `training_flops`.
    """
    found = sample_flops(model, batch)
    return {
        "parameters": parameter_counts(model)["total"],
        "active_parameters": active_parameters(model),
        "flops": {"inference": found.inference, "training": None, "by_part": dict(found.forward)},
    }


def training_flops(run_folder: Path) -> float | None:
    """Operations that the training of a sample took, from the run's summary; None if there is none, or an older one."""
    try:
        value = read_summary(run_folder).get("flops/training")
    except BadInputError:
        return None
    return None if value is None else float(value)


def renamed(report: dict[str, Any]) -> dict[str, Any]:
    """A report with today's names: operations of the forward pass used to be `flops_per_sample`, and the only ones."""
    model = report.get("model")
    if isinstance(model, dict) and "flops_per_sample" in model:
        inference = model.pop("flops_per_sample")
        model["flops"] = {"inference": inference, "training": None, "by_part": {}}
    return report
