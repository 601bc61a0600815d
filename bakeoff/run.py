"""A bake-off from settings to report: reference, tuning, sizing, trainings, tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bakeoff.execute import Runner
from bakeoff.results import Results, gather
from bakeoff.settings import Bakeoff
from bakeoff.trials import costs, entries, read_summary, size_of, tuning_trials
from data.types import BadInputError

# Method -> tuned value -> validation score.
Scores = dict[str, dict[float, float]]


def run(bakeoff: Bakeoff, runs: Path, name: str, visible: bool = True) -> Results:
    """Trains what is missing in `<runs>/<name>` and compares.

    Raises `BadInputError` when a training fails, or a method cannot be brought to the reference's cost.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, disable=not visible) as progress:
        bar = progress.add_task("bake-off", total=count(bakeoff))

        def advance(trial: str, done: bool) -> None:
            progress.update(bar, description=trial, advance=1 if done else 0)

        runner = Runner(runs, name, advance)
        tuning, sizes, targets = tune(bakeoff, runner)
        tuned = {method: max(scores, key=lambda value: scores[value]) for method, scores in tuning.items()}
        planned = entries(bakeoff, tuned, sizes, targets)
        trials = {entry.trial.name: entry.trial for entry in planned}
        runner.run(trials.values())
    folders = {trial: runner.run_folder(trials[trial]) for trial in trials}
    return gather(bakeoff, planned, folders, tuned, tuning)


def tune(bakeoff: Bakeoff, runner: Runner) -> tuple[Scores, dict[str, tuple[str, ...]], Mapping[str, float]]:
    """Scores by method and value; the overrides of each method's size; the cost of the reference by budget.

    Every method tries the same values for as long. Raises `BadInputError` if a run has no such metric.
    """
    methods = [bakeoff.reference, *(method for method in bakeoff.methods if method != bakeoff.reference)]
    targets: Mapping[str, float] = {}
    scores: Scores = {}
    sizes: dict[str, tuple[str, ...]] = {}
    for method in methods:
        trials = tuning_trials(bakeoff, method, targets)
        runner.run(trials.values(), may_diverge=True)
        for value, trial in trials.items():
            folder = runner.run_folder(trial)
            targets = targets or costs(folder)
            sizes[method] = size_of(folder)
            if runner.diverged(trial):
                scores.setdefault(method, {})[value] = -math.inf
                continue
            summary = read_summary(folder)
            if bakeoff.tuning.metric not in summary:
                raise BadInputError(
                    f"{folder}: summary.json has no {bakeoff.tuning.metric!r}, which tuning.metric names"
                )
            scores.setdefault(method, {})[value] = float(summary[bakeoff.tuning.metric])
    return {method: scores[method] for method in bakeoff.methods}, sizes, targets


def count(bakeoff: Bakeoff) -> int:
    """Trainings in all."""
    compared = len(bakeoff.seeds) * (1 + (len(bakeoff.methods) - 1) * len(bakeoff.budgets))
    return compared + len(bakeoff.methods) * len(bakeoff.tuning.values)
