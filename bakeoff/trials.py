"""The trainings of a bake-off, and where each lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import OmegaConf

from bakeoff.settings import Bakeoff
from data.storage.run_log import SUMMARY, read_summary
from data.types import BadInputError
from evaluation.metrics.metric_names import LOWER_IS_BETTER
from fusion.cost.sizing import EXPANSION

# Where train.py writes what a budget equalises: "flops" are those of the forward pass. The second names are older.
SUMMARY_KEYS = {"flops": ("flops/inference", "flops_per_training_sample"), "parameters": ("parameters/total",)}


@dataclass(frozen=True)
class Trial:
    """One training: its name, which is that of its run folder, and its overrides of train.py."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One of the compared runs."""

    method: str
    budget: str
    seed: int
    trial: Trial


def tuning_trials(bakeoff: Bakeoff, method: str, targets: Mapping[str, float]) -> dict[float, Trial]:
    """Value -> the short training that tries it, at the size of the tuned budget and without a final evaluation."""
    tuning = bakeoff.tuning
    assert tuning is not None
    return {
        value: Trial(
            f"tune-{method}-{value:g}",
            (
                *bakeoff.shared,
                *bakeoff.methods[method],
                *targeted(bakeoff, method, bakeoff.tuned_budget, targets),
                *tuning.changes,
                f"{tuning.option}={value}",
                f"seed={tuning.seed}",
                "evaluation.tasks=null",
            ),
        )
        for value in tuning.values
    }


def entries(
    bakeoff: Bakeoff,
    tuned: Mapping[str, float],
    sizes: Mapping[str, Sequence[str]],
    targets: Mapping[str, float],
) -> list[Entry]:
    """All compared runs, seed by seed; the reference meets every budget as it is, and is trained once.

    `sizes` are those that tuning found, or else the runs of the first seed. Operations depend a little on the data,
    and the first samples on the seed, so a method would be of another width for every seed if each were sized anew;
    parameters depend on nothing.
    """
    found = []
    for seed in bakeoff.seeds:
        for budget in bakeoff.budgets:
            for method, overrides in bakeoff.methods.items():
                finds_it = method == bakeoff.reference or (bakeoff.tuning is None and seed == bakeoff.seeds[0])
                found_size = budget == bakeoff.tuned_budget and not finds_it
                size = tuple(sizes[method]) if found_size else targeted(bakeoff, method, budget, targets)
                value = () if bakeoff.tuning is None else (f"{bakeoff.tuning.option}={tuned[method]}",)
                given = (*bakeoff.shared, *overrides, *size, *value, f"seed={seed}")
                name = f"{method}-{budget}-seed{seed}" if size else f"{method}-seed{seed}"
                found.append(Entry(method, budget, seed, Trial(name, given)))
    return found


def first_entries(bakeoff: Bakeoff, targets: Mapping[str, float] | None = None) -> dict[str, Trial]:
    """Method -> its run of the first seed at the tuned budget, which finds its size where nothing is tuned.

    Without `targets` only that of the reference, which gives them.
    """
    alone = replace(bakeoff, seeds=bakeoff.seeds[:1], budgets=(bakeoff.tuned_budget,))
    if targets is None:
        alone = replace(
            alone, methods={bakeoff.reference: bakeoff.methods[bakeoff.reference]}, contrasts=(), baselines=()
        )
    return {entry.method: entry.trial for entry in entries(alone, {}, {}, targets or {})}


def size_of(run_folder: Path) -> tuple[str, ...]:
    """The overrides that give another run the size of this one. Raises `BadInputError` if it cannot be read."""
    try:
        config = OmegaConf.load(run_folder / "config.yaml")
    except OSError as error:
        raise BadInputError(f"{run_folder / 'config.yaml'}: cannot be read: {error.strerror}") from error
    expansion = OmegaConf.select(config, EXPANSION)
    beside = () if expansion is None else (f"{EXPANSION}={expansion}",)
    return (f"d_model={OmegaConf.select(config, 'd_model')}", *beside)


def targeted(bakeoff: Bakeoff, method: str, budget: str, targets: Mapping[str, float]) -> tuple[str, ...]:
    """The override that brings a method to the reference's cost; none for the reference."""
    return () if method == bakeoff.reference else (f"target.{budget}={targets[budget]:.0f}",)


def best_value(scores: Mapping[float, float], metric: str) -> float:
    """The tuned value with the best score of those that did not diverge; the first one of several."""
    sign = -1.0 if metric.rpartition("/")[2] in LOWER_IS_BETTER else 1.0
    return max((value for value in scores if math.isfinite(scores[value])), key=lambda value: sign * scores[value])


def costs(run_folder: Path) -> dict[str, float]:
    """What a run costs, by budget. Raises `BadInputError` if its summary does not say."""
    summary, found = read_summary(run_folder), {}
    for budget, keys in SUMMARY_KEYS.items():
        key = next((key for key in keys if key in summary), None)
        if key is None:
            raise BadInputError(f"{run_folder / SUMMARY}: lacks {keys[0]}")
        found[budget] = float(summary[key])
    return found
