"""The trainings of a bake-off, and where each lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bakeoff.methods import WHOLE, Method, Terms
from bakeoff.settings import Bakeoff
from bakeoff.trainings.sizes import Size

# Option -> its tuned value.
Values = Mapping[str, Any]


# Of a run that only says what it costs: the limit of its time ends it after the first step.
ONE_STEP = ("trainer.max_seconds=0.001", "evaluation.tasks=null")


@dataclass(frozen=True)
class Trial:
    """One training: its name, which is that of its run folder, and its overrides of train.py."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One of the compared runs. members: the names of the trials with answers that it averages, without a training."""

    method: str
    terms: Terms
    seed: int
    trial: Trial
    members: tuple[str, ...] = ()


def size_trial(bakeoff: Bakeoff, method: Method, budget: str, values: Values, fixed: tuple[str, ...]) -> Trial:
    """The run of one step that says what a method costs.

    values: of its own options, which may change what it costs. fixed: overrides that give its size, or a target of it.
    """
    own = "".join(f"-{option.rpartition('.')[2]}{value}" for option, value in values.items())
    which = "" if method.name == bakeoff.reference else f"-{budget}"
    overrides = (*bakeoff.shared, *method.overrides, *fixed, *given(values), f"seed={bakeoff.seeds[0]}")
    return Trial(f"size-{method.name}{which}{own}", (*overrides, *ONE_STEP))


def tuning_trial(bakeoff: Bakeoff, method: Method, size: Size, values: Values, seed: int) -> Trial:
    """The training that tries a setting: of the length that is tuned for, and without a final evaluation."""
    shown = "-".join(f"{option.rpartition('.')[2]}{value}" for option, value in values.items())
    overrides = _training(bakeoff, method, bakeoff.tuned_terms.length, size, values, seed)
    return Trial(f"tune-{method.name}-{shown}-seed{seed}", (*overrides, "evaluation.tasks=null"))


def compared_trial(bakeoff: Bakeoff, method: Method, terms: Terms, size: Size, values: Values, seed: int) -> Trial:
    """A training that is compared. The reference is as it is for every budget, and is trained once for all."""
    name = name_of(bakeoff, method, terms, seed)
    return Trial(name, _training(bakeoff, method, terms.length, size, values, seed))


def name_of(bakeoff: Bakeoff, method: Method, terms: Terms, seed: int) -> str:
    """The name of a compared run."""
    own_size = method.name != bakeoff.reference and not (method.like == bakeoff.reference and method.share == 1)
    parts = [method.name, *([terms.budget] if own_size else []), *([terms.length] if terms.length != WHOLE else [])]
    return "-".join([*parts, f"seed{seed}"])


def _training(bakeoff: Bakeoff, method: Method, length: str, size: Size, values: Values, seed: int) -> tuple[str, ...]:
    return (
        *bakeoff.shared,
        *method.overrides,
        *size.overrides,
        *given(values),
        *of_length(bakeoff, length, size),
        f"seed={seed}",
    )


def given(values: Values) -> list[str]:
    """Tuned values as overrides."""
    return [f"{option}={'null' if value is None else value}" for option, value in values.items()]


def of_length(bakeoff: Bakeoff, length: str, size: Size) -> list[str]:
    """As many steps as the operations of a length allow, and the validations in them."""
    if not bakeoff.lengths:
        return []
    steps = max(round(bakeoff.lengths[length] / size.step_flops), 1)
    found = [f"trainer.max_steps={steps}"]
    if bakeoff.points is not None:
        found.append(f"trainer.evaluate_every={math.ceil(steps / bakeoff.points)}")
    return found


def entries(bakeoff: Bakeoff, sizes: Mapping[tuple[str, str], Size], tuned: Mapping[str, Values]) -> list[Entry]:
    """All compared runs, seed by seed, the shortest first; those that average others come last.

    `sizes` by method and budget, `tuned` by method.
    """
    found, averaged = [], []
    for seed in bakeoff.seeds:
        for length in bakeoff.length_names:
            for budget in bakeoff.budgets:
                terms = Terms(budget, length)
                for method in bakeoff.all_methods.values():
                    if not method.takes_part(terms):
                        continue
                    if method.members:
                        members = [bakeoff.all_methods[name] for name in method.members]
                        names = tuple(name_of(bakeoff, member, terms, seed) for member in members)
                        trial = Trial(name_of(bakeoff, method, terms, seed), ())
                        averaged.append(Entry(method.name, terms, seed, trial, names))
                    else:
                        size = sizes[method.name, budget]
                        trial = compared_trial(bakeoff, method, terms, size, tuned[method.name], seed)
                        found.append(Entry(method.name, terms, seed, trial))
    return [*found, *averaged]
