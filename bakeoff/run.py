"""A bake-off from settings to report: sizes, tuning, trainings, tests."""

from __future__ import annotations

from pathlib import Path

from bakeoff.prepare import check
from bakeoff.results.ensembles import answer_together
from bakeoff.results.gather import Results, gather
from bakeoff.settings import Bakeoff
from bakeoff.trainings.execute import Runner
from bakeoff.trainings.trials import entries
from bakeoff.tuning.tune import Sizer, tune


def run(bakeoff: Bakeoff, runs: Path, name: str, visible: bool = True) -> Results:
    """Trains what is missing in `<runs>/<name>` and compares.

    Raises `BadInputError` when a training fails, a method cannot be brought to the reference's cost, or diverges with
    every value of the tuning; and `OutOfTimeError` when `max_minutes` are over before everything has been trained.
    """
    check(bakeoff)
    runner = Runner(runs, name, bakeoff.parallel, bakeoff.max_minutes, visible)
    sizer = Sizer(bakeoff, runner)
    tuned = tune(bakeoff, sizer, runner)
    values = {method: found.values for method, found in tuned.items()}
    wanted = {
        (method.name, budget): (method, values[method.name], budget)
        for method in bakeoff.trained
        for budget in bakeoff.budgets
        if any(method.takes_part(terms) for terms in bakeoff.terms if terms.budget == budget)
    }
    sizer.find(wanted.values())
    sizes = {key: sizer.size(method, values[method.name], budget) for key, (method, _, budget) in wanted.items()}
    planned = entries(bakeoff, sizes, values)
    runner.run({entry.trial.name: entry.trial for entry in planned if not entry.members}.values())
    folders = {entry.trial.name: runner.run_folder(entry.trial) for entry in planned}
    for entry in planned:
        if entry.members:
            answer_together([folders[name] for name in entry.members], folders[entry.trial.name])
    return gather(bakeoff, planned, folders, tuned)
