"""What a check returns, and how far two tensors are apart."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Tolerance:
    """A limit and, in words, why it lies there."""

    value: float
    reason: str


# Deviations are relative to the largest value of the reference, and the model is in float64 while it is checked, unless
# asked for otherwise (`in_float32`).
ROUNDING = Tolerance(
    1e-9,
    "float64 sums in another order differ by 1e-15 of their size, which a few layers amplify to 1e-12 at most; "
    "a token that should not be seen moves the result by 1e-4 or more",
)
FLOAT32_LOSS = Tolerance(
    1e-6,
    "the objective takes its cross-entropy in float32, whose rounding is 1e-7; a wrong normalisation is wrong by a "
    "percent or more",
)
EXACT = Tolerance(0.0, "counts and discrete choices: there is no rounding to allow for")
BIT_EQUAL = Tolerance(
    0.0, "the same operations in the same order on the same numbers: every bit must agree, so nothing is allowed for"
)
EFFECT = Tolerance(
    1e-7, "rounding moves nothing by more than 1e-12, and a connection that carries information moves more than this"
)

# In place of the above for a model in float32: for a GPU, because float64 is slow on it.
FLOAT32_ROUNDING = Tolerance(
    5e-5,
    "float32 sums in another order differ by 1e-7 of their size, which a few layers amplify to 1e-5 at most; a token "
    "that should not be seen moves the result by 1e-4 or more",
)
FLOAT32_EFFECT = Tolerance(
    1e-5, "rounding in float32 moves a single value by about 1e-6, and a connection that carries information by more"
)
IN_FLOAT32 = {ROUNDING: FLOAT32_ROUNDING, FLOAT32_LOSS: FLOAT32_ROUNDING, EFFECT: FLOAT32_EFFECT}


@dataclass(frozen=True)
class Result:
    """The outcome of one check.

    `deviation` is compared with `tolerance`: it must not exceed it, or must exceed it if `at_least`.
    """

    name: str
    deviation: float
    tolerance: float
    passed: bool
    detail: str
    reason: str
    at_least: bool = False


def at_most(name: str, deviation: float, tolerance: Tolerance, detail: str) -> Result:
    """Passes unless `deviation` exceeds the tolerance or is not a number."""
    return Result(name, deviation, tolerance.value, deviation <= tolerance.value, detail, tolerance.reason)


def at_least(name: str, effect: float, tolerance: Tolerance, detail: str) -> Result:
    """Passes if the smallest `effect` exceeds the tolerance."""
    return Result(name, effect, tolerance.value, effect > tolerance.value, detail, tolerance.reason, at_least=True)


def in_float32(result: Result) -> Result:
    """The same deviation, judged by what float32 allows. Counts, choices and bits must be equal all the same."""
    new = next((new for old, new in IN_FLOAT32.items() if old.reason == result.reason), None)
    if new is None:
        return result
    passed = result.deviation > new.value if result.at_least else result.deviation <= new.value
    return replace(result, tolerance=new.value, reason=new.reason, passed=passed)


def not_carried_out(name: str, error: Exception) -> Result:
    """The failure of a check that ended in an error."""
    return Result(name, math.inf, 0.0, False, first_line(error), "a check that cannot be carried out has failed")


def first_line(error: Exception) -> str:
    """Its type, and what it says at first."""
    return f"{type(error).__name__}: {error}".split("\n")[0]


def deviation(values: Tensor, reference: Tensor) -> float:
    """Largest difference over the largest absolute value of `reference`; infinite if anything is not finite."""
    if values.shape != reference.shape:
        raise ValueError(f"values of shape {tuple(values.shape)} must have the reference's {tuple(reference.shape)}")
    if reference.numel() == 0:
        return 0.0
    difference = (values - reference).abs().max().item()
    largest = reference.abs().max().item()
    relative = difference / largest if largest > 0 else difference
    return relative if math.isfinite(relative) else math.inf


def largest_deviation(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The largest `deviation` of pairs (values, reference); 0 of none."""
    return max((deviation(values, reference) for values, reference in pairs), default=0.0)
