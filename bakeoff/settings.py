"""What a bake-off compares: the `bakeoff` node of the config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BUDGETS = ("flops", "parameters")


@dataclass(frozen=True)
class Tuning:
    """The tuning that every method gets, the same for all.

    option: what is tuned, such as "optimizer.lr"; values: what is tried; overrides: of train.py, beside those of the
    method, for instance fewer steps; seed: one that no compared run has; metric: the last value of this in
    summary.json, of validation data, decides.
    """

    option: str
    values: Sequence[float]
    overrides: Sequence[str] = ()
    seed: int = 1000
    metric: str = "val/accuracy"

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("tuning.values is empty; give at least one, with which nothing is tuned")
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"tuning.values={list(self.values)} names a value twice")


@dataclass(frozen=True)
class Bakeoff:
    """Methods at equal cost.

    base: overrides of train.py that all runs share. methods: name -> overrides that make the method.
    reference: the method whose cost, as it is configured, all others are brought to. budgets: what is made equal,
    "flops" of the forward pass of a training sample and "parameters", each a comparison of its own. baselines: methods
    that every other one is tested against, corrected for the number of tests. seeds: of the runs that are compared.
    parallel: trainings at a time, which share the cores; their seconds are those of trainings with such neighbours.
    """

    base: Sequence[str]
    methods: Mapping[str, Sequence[str]]
    tuning: Tuning
    reference: str = "early"
    baselines: Sequence[str] = ("early",)
    budgets: Sequence[str] = BUDGETS
    seeds: Sequence[int] = (0, 1, 2)
    resamples: int = 10_000
    parallel: int = 1

    @property
    def tuned_budget(self) -> str:
        """The budget at whose size methods are tuned; their size at another budget takes the same value."""
        return next(budget for budget in BUDGETS if budget in self.budgets)

    def __post_init__(self) -> None:
        for name in (self.reference, *self.baselines):
            if name not in self.methods:
                raise ValueError(
                    f"{name!r} is a reference or baseline, but not one of methods: {', '.join(self.methods)}"
                )
        for budget in self.budgets:
            if budget not in BUDGETS:
                raise ValueError(f"budgets: {budget!r} must be one of {', '.join(BUDGETS)}")
        if len(set(self.budgets)) < len(self.budgets) or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"budgets={list(self.budgets)} and seeds={list(self.seeds)} must not repeat anything")
        if not self.budgets or not self.seeds:
            raise ValueError("budgets and seeds must each name at least one")
        if self.tuning.seed in self.seeds:
            raise ValueError(f"tuning.seed={self.tuning.seed} must not be one of seeds={list(self.seeds)}")
        if self.resamples < 1000:
            raise ValueError(f"resamples={self.resamples} must be at least 1000")
        if self.parallel < 1:
            raise ValueError(f"parallel={self.parallel} must be at least 1")
