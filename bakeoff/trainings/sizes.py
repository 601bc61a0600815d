"""How large each method is, and what its training costs: found by runs of one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from data.storage.run_log import SUMMARY, read_summary
from data.types import BadInputError
from fusion.cost.sizing import EXPANSION

# Where train.py writes what a budget equalises; the second names are older.
SUMMARY_KEYS = {
    "flops": ("flops/inference", "flops_per_training_sample"),
    "fusion_flops": ("flops/inference/fusion",),
    "parameters": ("parameters/total",),
}


@dataclass(frozen=True)
class Size:
    """The size of a method.

    overrides: of train.py, which give another run this size. costs: by budget, those that the summary says. step_flops:
    operations of one step of its training (forward, backward, optimizer).
    """

    overrides: tuple[str, ...]
    costs: Mapping[str, float]
    step_flops: float


def costs(run_folder: Path) -> dict[str, float]:
    """What a run costs, by budget. Raises `BadInputError` if its summary does not say."""
    summary, found = read_summary(run_folder), {}
    for budget, keys in SUMMARY_KEYS.items():
        key = next((key for key in keys if key in summary), None)
        if key is not None:
            found[budget] = float(summary[key])
        elif budget != "fusion_flops":  # older runs do not say it
            raise BadInputError(f"{run_folder / SUMMARY}: lacks {keys[0]}")
    return found


def size_of(run_folder: Path) -> Size:
    """The size of a run. Raises `BadInputError` if it cannot be read."""
    config, summary = _config(run_folder), read_summary(run_folder)
    if "flops/training" not in summary:
        raise BadInputError(f"{run_folder / SUMMARY}: lacks flops/training")
    expansion = OmegaConf.select(config, EXPANSION)
    beside = () if expansion is None else (f"{EXPANSION}={expansion}",)
    overrides = (f"d_model={OmegaConf.select(config, 'd_model')}", *beside)
    return Size(overrides, costs(run_folder), float(summary["flops/training"]) * samples_per_step(run_folder))


def samples_per_step(run_folder: Path) -> int:
    """How many samples a step of a run learns from."""
    config = _config(run_folder)
    return int(config.data.samples_per_batch * config.trainer.get("accumulation_steps", 1))


def _config(run_folder: Path) -> DictConfig:
    try:
        config = OmegaConf.load(run_folder / "config.yaml")
    except OSError as error:
        raise BadInputError(f"{run_folder / 'config.yaml'}: cannot be read: {error.strerror}") from error
    assert isinstance(config, DictConfig)
    return config
