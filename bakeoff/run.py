"""A bake-off from settings to report: reference, tuning, sizing, trainings, tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from bakeoff.execute import Runner
from bakeoff.prepare import prepared
from bakeoff.results import Results, gather
from bakeoff.settings import Bakeoff
from bakeoff.trials import Trial, best_value, costs, entries, first_entries, size_of, tuning_trials
from data.progress import Progress
from data.storage.run_log import read_summary
from data.types import BadInputError

# Method -> tuned value -> validation score.
Scores = dict[str, dict[float, float]]


def run(bakeoff: Bakeoff, runs: Path, name: str, visible: bool = True) -> Results:
    """Trains what is missing in `<runs>/<name>` and compares.

    Raises `BadInputError` when a training fails, a method cannot be brought to the reference's cost, or diverges with
    every value of the tuning.
    """
    bakeoff = prepared(bakeoff)
    with Progress("trainings", count(bakeoff), shown=visible) as progress:

        def advance(trial: str, done: bool) -> None:
            progress.stage(trial)
            progress.advance(1 if done else 0)

        runner = Runner(runs, name, advance, bakeoff.parallel)
        tuning, sizes, targets = tune(bakeoff, runner) if bakeoff.tuning else ({}, *find_sizes(bakeoff, runner))
        metric = bakeoff.tuning.metric if bakeoff.tuning else ""
        tuned = {method: best_value(scores, metric) for method, scores in tuning.items()}
        planned = entries(bakeoff, tuned, sizes, targets)
        trials = {entry.trial.name: entry.trial for entry in planned}
        runner.run(trials.values())
    folders = {trial: runner.run_folder(trials[trial]) for trial in trials}
    return gather(bakeoff, planned, folders, tuned, tuning)


def tune(bakeoff: Bakeoff, runner: Runner) -> tuple[Scores, dict[str, tuple[str, ...]], Mapping[str, float]]:
    """Scores by method and value; the overrides of each method's size; the cost of the reference by budget.

    Every method tries the same values for as long; the reference is first, for its cost is everybody's. Raises
    `BadInputError` if a run has no such metric, or every value of a method diverged.
    """
    reference = tuning_trials(bakeoff, bakeoff.reference, {})
    runner.run(reference.values(), may_diverge=True)
    _scores(bakeoff, runner, bakeoff.reference, reference)  # before anything is trained that rests on it
    targets = costs(runner.run_folder(next(iter(reference.values()))))
    trials = {
        method: reference if method == bakeoff.reference else tuning_trials(bakeoff, method, targets)
        for method in bakeoff.methods
    }
    others = [tried for method, tried in trials.items() if method != bakeoff.reference]
    runner.run([trial for tried in others for trial in tried.values()], may_diverge=True)
    scores = {method: _scores(bakeoff, runner, method, tried) for method, tried in trials.items()}
    sizes = {method: size_of(runner.run_folder(next(iter(tried.values())))) for method, tried in trials.items()}
    return scores, sizes, targets


def find_sizes(bakeoff: Bakeoff, runner: Runner) -> tuple[dict[str, tuple[str, ...]], Mapping[str, float]]:
    """As `tune` where nothing is tuned: the runs of the first seed find the sizes for those of the others."""
    reference = first_entries(bakeoff)[bakeoff.reference]
    runner.run([reference])
    targets = costs(runner.run_folder(reference))
    trials = first_entries(bakeoff, targets)
    runner.run(trials.values())
    return {method: size_of(runner.run_folder(trial)) for method, trial in trials.items()}, targets


def _scores(bakeoff: Bakeoff, runner: Runner, method: str, tried: Mapping[float, Trial]) -> dict[float, float]:
    assert bakeoff.tuning is not None
    scores = {value: _score(runner, trial, bakeoff.tuning.metric) for value, trial in tried.items()}
    if not any(math.isfinite(score) for score in scores.values()):
        values = ", ".join(f"{value:g}" for value in scores)
        raise BadInputError(
            f"{method} diverged with every value of {bakeoff.tuning.option} that was tried ({values}); "
            "give others, usually smaller ones, in bakeoff.tuning.values"
        )
    return scores


def _score(runner: Runner, trial: Trial, metric: str) -> float:
    if runner.diverged(trial):
        return math.nan
    summary = read_summary(runner.run_folder(trial))
    if metric not in summary:
        raise BadInputError(f"{runner.run_folder(trial)}: summary.json has no {metric!r}, which tuning.metric names")
    score = float(summary[metric])
    return score if math.isfinite(score) else math.nan


def count(bakeoff: Bakeoff) -> int:
    """Trainings in all."""
    compared = len(bakeoff.seeds) * (1 + (len(bakeoff.methods) - 1) * len(bakeoff.budgets))
    if bakeoff.tuning is None:  # the runs of the first seed are asked for their sizes, and then again as compared ones
        return compared + 1 + len(bakeoff.methods)
    return compared + len(bakeoff.methods) * len(bakeoff.tuning.values)
