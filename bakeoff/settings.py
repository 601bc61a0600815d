"""What a bake-off compares: the `bakeoff` node of the config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from bakeoff.overrides import flattened
from data.configuration.schema import Seed

BUDGETS = ("flops", "parameters")
# Contrasts that are tested; more of them leave each with little power after the correction.
MOST_CONTRASTS = 12


@dataclass(frozen=True)
class Contrast:
    """A question named before the runs: does `method` differ from `against` in `task`, at equal `budget`?"""

    method: str
    against: str
    task: str
    budget: str

    @property
    def pair(self) -> frozenset[str]:
        """The two methods, in whatever order."""
        return frozenset((self.method, self.against))


@dataclass(frozen=True)
class Tuning:
    """The tuning that every method gets, the same for all.

    option: what is tuned, such as "optimizer.lr". values: what is tried. overrides: of train.py, in addition to those
    of the method, for instance fewer steps. options: the same as nested options, as in `Bakeoff`. seed: one that
    no compared run has. metric: the last value of this in summary.json decides. It is of validation data, and a loss is
    better when lower.
    """

    option: str
    values: Sequence[float]
    overrides: Sequence[str] = ()
    seed: Seed = 1000
    metric: str = "val/accuracy"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> tuple[str, ...]:
        """The overrides of the tuning alone."""
        return (*self.overrides, *flattened(self.options))

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("tuning.values is empty; give at least one, with which nothing is tuned")
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"tuning.values={list(self.values)} names a value twice")


@dataclass(frozen=True)
class Bakeoff:
    """Methods at equal cost.

    base: overrides of train.py that all runs share; options: more of them, as nested options with their values, so
    that `+bakeoff.options.trainer.max_steps=500` needs no quotes on a command line. methods: name -> overrides that
    make the method. reference: a method; all others are brought to the cost that it has as it is configured. budgets:
    what is made equal, "flops" of the forward pass of a training sample and "parameters", each a comparison of its own.
    contrasts: the primary ones, each {method, against, task, budget}, at most 12; they alone are tested, corrected
    for their number. tuning: None tunes nothing, so that every method has the value of the configuration. baselines:
    methods that every other one is compared with; the difference is shown with an interval and without a test. seeds:
    of the runs that are compared. parallel: trainings at a time, which share the cores; their seconds are those of
    trainings with such neighbours.
    """

    base: Sequence[str]
    methods: Mapping[str, Sequence[str]]
    tuning: Tuning | None = None
    reference: str = "early"
    baselines: Sequence[str] = ("early",)
    budgets: Sequence[str] = BUDGETS
    seeds: Sequence[Seed] = (0, 1, 2)
    parallel: int = 1
    contrasts: Sequence[Mapping[str, str]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shared(self) -> tuple[str, ...]:
        """The overrides of all runs."""
        return (*self.base, *flattened(self.options))

    @property
    def primary(self) -> tuple[Contrast, ...]:
        """The contrasts that are tested."""
        return tuple(Contrast(**contrast) for contrast in self.contrasts)

    @property
    def tuned_budget(self) -> str:
        """Methods are tuned at their size of this budget; their size at another budget takes the same value."""
        return next(budget for budget in BUDGETS if budget in self.budgets)

    def __post_init__(self) -> None:
        for option, names in (("reference", (self.reference,)), ("baselines", self.baselines)):
            for name in names:
                if name not in self.methods:
                    raise ValueError(f"{option}: {name} must be one of methods, which are {', '.join(self.methods)}")
        for budget in self.budgets:
            if budget not in BUDGETS:
                raise ValueError(f"budgets: {budget!r} must be one of {', '.join(BUDGETS)}")
        if len(set(self.budgets)) < len(self.budgets) or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"budgets={list(self.budgets)} and seeds={list(self.seeds)} must not repeat anything")
        if not self.budgets or not self.seeds:
            raise ValueError("budgets and seeds must each name at least one")
        if self.tuning is not None and self.tuning.seed in self.seeds:
            raise ValueError(f"tuning.seed={self.tuning.seed} must not be one of seeds={list(self.seeds)}")
        if self.parallel < 1:
            raise ValueError(f"parallel={self.parallel} must be at least 1")
        self._check_contrasts()

    def _check_contrasts(self) -> None:
        if len(self.contrasts) > MOST_CONTRASTS:
            raise ValueError(f"contrasts names {len(self.contrasts)}; it may name at most {MOST_CONTRASTS}")
        names = {item.name for item in fields(Contrast)}
        seen = set()
        for place, given in enumerate(self.contrasts):
            where = f"contrasts[{place}]"
            if set(given) != names:
                raise ValueError(f"{where}={dict(given)} must have method, against, task and budget, and nothing else")
            contrast = Contrast(**given)
            for role in ("method", "against"):
                if given[role] not in self.methods:
                    raise ValueError(f"{where}: {role}={given[role]} must be one of {', '.join(self.methods)}")
            if contrast.method == contrast.against:
                raise ValueError(f"{where}: method and against are both {contrast.method}; they must differ")
            if contrast.budget not in self.budgets:
                raise ValueError(f"{where}: budget={contrast.budget} must be one of {', '.join(self.budgets)}")
            key = (contrast.pair, contrast.task, contrast.budget)
            if key in seen:
                raise ValueError(f"{where}: {contrast.method} and {contrast.against} are compared in it a second time")
            seen.add(key)
