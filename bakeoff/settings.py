"""What a bake-off compares: the `bakeoff` node of the config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from bakeoff.methods import WHOLE, Method, Terms, read_methods, read_options
from bakeoff.overrides import flattened
from bakeoff.tuning.search import TunedOption
from data.configuration.schema import Seed

# What can be made equal: operations of the forward pass of a training sample, in all or of the fusion part alone.
BUDGETS = ("flops", "fusion_flops", "parameters")
# Contrasts that are tested; more of them leave each with little power after the correction.
MOST_CONTRASTS = 12


@dataclass(frozen=True)
class Contrast:
    """A question named before the runs: does `method` differ from `against` in `task`, on these terms?"""

    method: str
    against: str
    task: str
    budget: str
    length: str = WHOLE

    @property
    def pair(self) -> frozenset[str]:
        """The two methods, in whatever order."""
        return frozenset((self.method, self.against))

    @property
    def terms(self) -> Terms:
        """Budget and length."""
        return Terms(self.budget, self.length)


@dataclass(frozen=True)
class Tuning:
    """The tuning that every method gets.

    options: what is tuned for every method, each `{option, start, factor, least, most}` or `{option, start, values}`
    (see `TunedOption`); a method's own come after them. settings: how many a method may try, which is the same for all,
    so that each has the same operations for it. seeds: of the trainings that try a setting; no compared run has
    one of them. metric: the last value of this in summary.json decides, as a mean over the seeds. It is of validation
    data, and a loss is better when lower. length: the one that is tuned for; its values are taken for all lengths.
    """

    options: Sequence[Mapping[str, Any]]
    settings: int = 12
    seeds: Sequence[Seed] = (1000, 1001)
    metric: str = "val/accuracy"
    length: str | None = None

    @cached_property
    def shared(self) -> tuple[TunedOption, ...]:
        """The options that are tuned for every method."""
        return read_options(self.options, "tuning.options")

    def __post_init__(self) -> None:
        if not self.shared:
            raise ValueError("tuning.options is empty; name at least one, or give tuning=null")
        if self.settings < 1 or not self.seeds:
            raise ValueError(f"tuning.settings={self.settings} and tuning.seeds={list(self.seeds)}: at least one each")


@dataclass(frozen=True)
class Bakeoff:
    """Methods at equal cost.

    base: overrides of train.py that all runs share; options: more of them, as nested options with their values, so
    that `+bakeoff.options.trainer.max_steps=500` needs no quotes on a command line. methods: name -> what makes the
    method, see `bakeoff.methods`. reference: a method; all others are brought to the cost that it has as it is
    configured. budgets: what is made equal (see `BUDGETS`), each a comparison of its own. lengths: name -> operations
    of a whole training (forward, backward, optimizer), each a comparison of its own; every method makes as many steps
    as they allow; None: as long as `base` says, for all. points: validations of a training, evenly spaced, for learning
    curves; None: as `base` says. contrasts: the primary ones, each {method, against, task, budget, length}, at most 12;
    they alone are tested, corrected for their number. tuning: None tunes nothing, so that every method has the values
    of the configuration. baselines: methods that every other one is compared with; the difference is shown with an
    interval and without a test. seeds: of the runs that are compared. parallel: trainings at a time, which share the
    cores; their seconds are those of trainings with such neighbours. ceilings: task -> the best score that there can
    be, by the making of the data. pooled: name -> tasks; their questions together are one more task. max_minutes: no
    training is begun after so many; the same command goes on.
    """

    base: Sequence[str]
    methods: Mapping[str, Any]
    tuning: Tuning | None = None
    reference: str = "early"
    baselines: Sequence[str] = ("early",)
    budgets: Sequence[str] = ("flops", "parameters")
    lengths: Mapping[str, float] | None = None
    points: int | None = None
    seeds: Sequence[Seed] = (0, 1, 2, 3, 4)
    parallel: int = 1
    contrasts: Sequence[Mapping[str, str]] = ()
    ceilings: Mapping[str, float] = field(default_factory=dict)
    pooled: Mapping[str, Sequence[str]] = field(default_factory=dict)
    max_minutes: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def all_methods(self) -> dict[str, Method]:
        """By name, in their order."""
        return read_methods(self.methods)

    @property
    def trained(self) -> list[Method]:
        """The methods with trainings of their own; one that is like another comes after it."""
        return sorted((m for m in self.all_methods.values() if not m.members), key=lambda m: m.like is not None)

    @property
    def shared(self) -> tuple[str, ...]:
        """The overrides of all runs."""
        return (*self.base, *flattened(self.options))

    @property
    def primary(self) -> tuple[Contrast, ...]:
        """The contrasts that are tested; without a length, at the last one."""
        last = self.length_names[-1]
        return tuple(Contrast(**{"length": last, **contrast}) for contrast in self.contrasts)

    @property
    def length_names(self) -> tuple[str, ...]:
        """In their order."""
        return tuple(self.lengths) if self.lengths else (WHOLE,)

    @property
    def terms(self) -> list[Terms]:
        """All comparisons."""
        return [Terms(budget, length) for budget in self.budgets for length in self.length_names]

    @property
    def tuned_terms(self) -> Terms:
        """Methods are tuned at their size of this budget, for this length; the other terms take the same values."""
        length = self.tuning.length if self.tuning and self.tuning.length else self.length_names[-1]
        return Terms(next(budget for budget in BUDGETS if budget in self.budgets), length)

    def __post_init__(self) -> None:
        names = ", ".join(self.all_methods)
        for option, given in (("reference", (self.reference,)), ("baselines", self.baselines)):
            for name in given:
                if name not in self.all_methods:
                    raise ValueError(f"{option}: {name} must be one of methods, which are {names}")
        reference = self.all_methods[self.reference]
        if reference.members or reference.like or reference.share != 1:
            raise ValueError(f"reference: {self.reference} must be a method of its own, without members, like or share")
        for budget in self.budgets:
            if budget not in BUDGETS:
                raise ValueError(f"budgets: {budget!r} must be one of {', '.join(BUDGETS)}")
        if len(set(self.budgets)) < len(self.budgets) or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"budgets={list(self.budgets)} and seeds={list(self.seeds)} must not repeat anything")
        if not self.budgets or not self.seeds:
            raise ValueError("budgets and seeds must each name at least one")
        for name, operations in (self.lengths or {}).items():
            if operations <= 0:
                raise ValueError(f"lengths.{name}={operations} must be above 0: the operations of a training")
        if self.parallel < 1 or (self.points is not None and self.points < 1):
            raise ValueError(f"parallel={self.parallel} and points={self.points} must be at least 1")
        self._check_methods()
        self._check_tuning()
        self._check_contrasts()

    def _check_methods(self) -> None:
        for method in self.all_methods.values():
            for option, known in (("lengths", self.length_names), ("budgets", tuple(self.budgets))):
                for name in getattr(method, option) or ():
                    if name not in known:
                        raise ValueError(f"methods.{method.name}.{option}: {name} must be one of {', '.join(known)}")
            for terms in self.terms:
                absent = [m for m in method.members if not self.all_methods[m].takes_part(terms)]
                if method.takes_part(terms) and absent:
                    raise ValueError(f"methods.{method.name}.members: {absent[0]} does not take part in {terms}")

    def _check_tuning(self) -> None:
        if self.tuning is None:
            return
        if both := sorted(set(self.tuning.seeds) & set(self.seeds)):
            raise ValueError(f"tuning.seeds={list(self.tuning.seeds)} must have none of seeds, which have {both[0]}")
        if self.tuning.length is not None and self.tuning.length not in self.length_names:
            raise ValueError(f"tuning.length={self.tuning.length} must be one of {', '.join(self.length_names)}")

    def _check_contrasts(self) -> None:
        if len(self.contrasts) > MOST_CONTRASTS:
            raise ValueError(f"contrasts names {len(self.contrasts)}; it may name at most {MOST_CONTRASTS}")
        names = {item.name for item in fields(Contrast)}
        seen = set()
        for place, given in enumerate(self.contrasts):
            where = f"contrasts[{place}]"
            if not names - {"length"} <= set(given) <= names:
                raise ValueError(
                    f"{where}={dict(given)} must have method, against, task and budget, may have length, "
                    "and nothing else"
                )
            contrast = self.primary[place]
            for role in ("method", "against"):
                if given[role] not in self.all_methods:
                    raise ValueError(f"{where}: {role}={given[role]} must be one of {', '.join(self.all_methods)}")
            if contrast.method == contrast.against:
                raise ValueError(f"{where}: method and against are both {contrast.method}; they must differ")
            for option, known in (("budget", self.budgets), ("length", self.length_names)):
                if getattr(contrast, option) not in known:
                    raise ValueError(f"{where}: {option}={getattr(contrast, option)} must be one of {', '.join(known)}")
            for name in (contrast.method, contrast.against):
                if not self.all_methods[name].takes_part(contrast.terms):
                    raise ValueError(f"{where}: {name} does not take part in {contrast.terms}")
            key = (contrast.pair, contrast.task, contrast.terms)
            if key in seen:
                raise ValueError(f"{where}: {contrast.method} and {contrast.against} are compared in it a second time")
            seen.add(key)
