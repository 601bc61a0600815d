"""Learning curves on validation data, by samples seen, and how many samples a method needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bakeoff.methods import Terms
from bakeoff.trainings.sizes import samples_per_step
from bakeoff.trainings.trials import Entry
from data.storage.run_log import METRICS, curves

# What is counted as solved: this share of the ceiling.
SOLVED = 0.9


@dataclass(frozen=True)
class Curve:
    """Validation accuracy of one method in one task on some terms, of each seed.

    samples: seen so far [p]; accuracy [s, p].
    """

    method: str
    terms: Terms
    task: str
    samples: tuple[float, ...]
    accuracy: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Needed:
    """Samples that a method needed for `SOLVED` of the ceiling of a task: the median over seeds, and the extremes.

    None: not within its training.
    """

    median: float | None
    least: float | None
    most: float | None


def read_curves(entries: Sequence[Entry], folders: Mapping[str, Path]) -> tuple[Curve, ...]:
    """The curves `val/<task>/accuracy` of all trainings; tasks are those of the validation."""
    grouped: dict[tuple[str, Terms], list[Path]] = {}
    for entry in entries:
        if not entry.members:
            grouped.setdefault((entry.method, entry.terms), []).append(folders[entry.trial.name])
    found = []
    for (method, terms), runs in grouped.items():
        logged, a_step = [curves(run / METRICS, _is_accuracy) for run in runs], samples_per_step(runs[0])
        for name in logged[0]:
            steps = [tuple(run[name][:, 0]) for run in logged if name in run]
            if len(set(steps)) == 1 and len(steps) == len(runs):
                samples = tuple(float(step) * a_step for step in steps[0])
                values = tuple(tuple(map(float, run[name][:, 1])) for run in logged)
                found.append(Curve(method, terms, name.removeprefix("val/").rpartition("/")[0], samples, values))
    return tuple(found)


def _is_accuracy(name: str) -> bool:
    return name.startswith("val/") and name.endswith("/accuracy") and name.count("/") > 1


def needed(curve: Curve, ceiling: float) -> Needed:
    """Samples at which a curve first reaches `SOLVED` of the ceiling, between two validations by a straight line."""
    found = [_reached(curve.samples, values, SOLVED * ceiling) for values in curve.accuracy]
    last = np.inf
    ordered = sorted(last if value is None else value for value in found)
    # With an even number the upper one of both in the middle: a mean with a run that never got there says nothing.
    chosen = (ordered[len(ordered) // 2], ordered[0], ordered[-1])
    return Needed(*(None if value == last else float(value) for value in chosen))


def _reached(samples: Sequence[float], values: Sequence[float], goal: float) -> float | None:
    before, earlier = 0.0, 0.0
    for seen, value in zip(samples, values, strict=True):
        if value >= goal:
            share = (goal - earlier) / (value - earlier) if value > earlier and before > 0 else 1.0
            return before + share * (seen - before)
        before, earlier = seen, value
    return None
