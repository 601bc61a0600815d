"""Sizes and tuned values of all methods: every method searches within the same number of settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bakeoff.methods import Method
from bakeoff.settings import Bakeoff
from bakeoff.trainings.execute import Runner
from bakeoff.trainings.sizes import Size, size_of
from bakeoff.trainings.trials import Trial, Values, size_trial, tuning_trial
from bakeoff.tuning.search import Found, Setting, TunedOption, search
from data.storage.run_log import read_summary
from data.types import BadInputError
from evaluation.metrics.metric_names import LOWER_IS_BETTER

# What is sized: a method with tuned values, at a budget; and what tells it from other sizes.
Sized = tuple[Method, Values, str]
Key = tuple[str, tuple[tuple[str, Any], ...], str]


@dataclass(frozen=True)
class Tuned:
    """What the tuning of a method found.

    values: option -> best value, those of the method that it is like included. tried: the settings in the order of
    their trial, each with its mean validation score over the seeds, NaN where one diverged. unsettled, edges: options
    with a best value next to one that was not tried, and at the end of their grid.
    """

    values: dict[str, Any]
    tried: tuple[tuple[dict[str, Any], float], ...] = ()
    unsettled: tuple[str, ...] = ()
    edges: tuple[str, ...] = ()


@dataclass
class Sizer:
    """Brings methods to the cost of the reference; every size is found once."""

    bakeoff: Bakeoff
    runner: Runner
    found: dict[Key, Size] = field(default_factory=dict)

    def find(self, wanted: Iterable[Sized]) -> None:
        """Finds what is missing, after what it rests on: the reference, or the method that it is like."""
        missing = {self._key(item): item for item in wanted}
        missing = {key: item for key, item in missing.items() if key not in self.found}
        if not missing:
            return
        self.find(before for item in missing.values() if (before := self._before(item)) is not None)
        trials = {
            key: size_trial(
                self.bakeoff, method, budget, self._own(method, values), self._fixed((method, values, budget))
            )
            for key, (method, values, budget) in missing.items()
        }
        self.runner.run(trials.values(), "sizes")
        self.found |= {key: size_of(self.runner.run_folder(trial)) for key, trial in trials.items()}

    def size(self, method: Method, values: Values, budget: str) -> Size:
        """The size of a method with these tuned values."""
        self.find([(method, values, budget)])
        return self.found[self._key((method, values, budget))]

    def _own(self, method: Method, values: Values) -> dict[str, Any]:
        """The values of its own options, and of those of the method that it is like: they may change what it costs."""
        like = self.bakeoff.all_methods[method.like].tuned if method.like else ()
        own = {option.option for option in (*method.tuned, *like)}
        return {option: value for option, value in values.items() if option in own}

    def _key(self, item: Sized) -> Key:
        method, values, budget = item
        # The reference is as it is, whatever is made equal.
        of_budget = "" if method.name == self.bakeoff.reference else budget
        return method.name, tuple(self._own(method, values).items()), of_budget

    def _before(self, item: Sized) -> Sized | None:
        method, values, budget = item
        if method.name == self.bakeoff.reference:
            return None
        if method.like is not None and method.share == 1:
            return self.bakeoff.all_methods[method.like], values, budget
        return self.bakeoff.all_methods[self.bakeoff.reference], {}, budget

    def _fixed(self, item: Sized) -> tuple[str, ...]:
        """The overrides of its size: none, those of the method that it is like, or a share of the reference's cost."""
        before = self._before(item)
        if before is None:
            return ()
        found, (method, _, budget) = self.size(*before), item
        if method.like is not None and method.share == 1:
            return found.overrides
        return (f"target.{budget}={method.share * found.costs[budget]:.0f}",)


def tune(bakeoff: Bakeoff, sizer: Sizer, runner: Runner) -> dict[str, Tuned]:
    """What is best for each method that is trained; those that are like another one come after it.

    Raises `BadInputError` if a run has no such metric, or everything that was tried for a method diverged.
    """
    found: dict[str, Tuned] = {}
    for likes in (False, True):
        methods = [method for method in bakeoff.trained if (method.like is not None) == likes]
        found |= _tune(bakeoff, methods, sizer, runner, found)
    return found


def _tune(
    bakeoff: Bakeoff, methods: Sequence[Method], sizer: Sizer, runner: Runner, before: Mapping[str, Tuned]
) -> dict[str, Tuned]:
    """All methods side by side, round by round: a round tries what each search asks for next."""
    fixed = {m.name: dict(before[m.like].values) if m.like else {} for m in methods}
    options = {m.name: _options(bakeoff, m) for m in methods}
    scores: dict[str, dict[Setting, float]] = {m.name: {} for m in methods}
    while True:
        stands = {m.name: _stand(bakeoff, options[m.name], scores[m.name]) for m in methods}
        wanted = [(m, setting) for m in methods for setting in stands[m.name].wanted]
        if not wanted:
            break
        values = [fixed[m.name] | _values(options[m.name], setting) for m, setting in wanted]
        scored = _scored(bakeoff, sizer, runner, [(m, own) for (m, _), own in zip(wanted, values, strict=True)])
        for (method, setting), score in zip(wanted, scored, strict=True):
            scores[method.name][setting] = score
    return {m.name: _tuned(bakeoff, m, fixed[m.name], options[m.name], scores[m.name], stands[m.name]) for m in methods}


def _options(bakeoff: Bakeoff, method: Method) -> tuple[TunedOption, ...]:
    """What is searched for a method: what it shares with another method was searched there."""
    if bakeoff.tuning is None:
        return ()
    return method.tuned if method.like else (*bakeoff.tuning.shared, *method.tuned)


def _stand(bakeoff: Bakeoff, options: Sequence[TunedOption], scores: Mapping[Setting, float]) -> Found:
    if not options or bakeoff.tuning is None:
        return Found((), (), (), ())
    lower = bakeoff.tuning.metric.rpartition("/")[2] in LOWER_IS_BETTER
    return search(options, {s: -score if lower else score for s, score in scores.items()}, bakeoff.tuning.settings)


def _values(options: Sequence[TunedOption], setting: Setting) -> dict[str, Any]:
    return {option.option: option.value(place) for option, place in zip(options, setting, strict=True)}


def _scored(bakeoff: Bakeoff, sizer: Sizer, runner: Runner, wanted: Sequence[tuple[Method, Values]]) -> list[float]:
    """The mean validation score over the seeds of each method with these values; NaN where one diverged."""
    tuning, budget = bakeoff.tuning, bakeoff.tuned_terms.budget
    assert tuning is not None
    sizer.find((method, values, budget) for method, values in wanted)
    trials = [
        [tuning_trial(bakeoff, method, sizer.size(method, values, budget), values, seed) for seed in tuning.seeds]
        for method, values in wanted
    ]
    runner.run([trial for own in trials for trial in own], "tuning", may_diverge=True)
    return [float(np.mean([_score(runner, trial, tuning.metric) for trial in own])) for own in trials]


def _score(runner: Runner, trial: Trial, metric: str) -> float:
    if runner.diverged(trial):
        return math.nan
    summary = read_summary(runner.run_folder(trial))
    if metric not in summary:
        raise BadInputError(f"{runner.run_folder(trial)}: summary.json has no {metric!r}, which tuning.metric names")
    return float(summary[metric])


def _tuned(
    bakeoff: Bakeoff,
    method: Method,
    fixed: Mapping[str, Any],
    options: Sequence[TunedOption],
    scores: Mapping[Setting, float],
    stand: Found,
) -> Tuned:
    if scores and not any(math.isfinite(score) for score in scores.values()):
        names = ", ".join(option.option for option in options)
        raise BadInputError(
            f"{method.name} diverged with every value of {names} that was tried; give bakeoff.tuning.options another "
            "start, usually a smaller one"
        )
    tried = tuple((_values(options, setting), score) for setting, score in scores.items())
    return Tuned({**fixed, **_values(options, stand.best)}, tried, stand.unsettled, stand.edges)
