"""The cells of a bake-off's tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bakeoff.methods import WHOLE, Terms
from bakeoff.results.contrasts import Difference, Tested
from bakeoff.results.curves import Curve, Needed, needed
from bakeoff.results.gather import Results, Row
from bakeoff.results.statistics import Estimate
from bakeoff.tuning.tune import Tuned
from evaluation.metrics.metric_names import number

EQUAL = {
    "flops": "Equal operations per sample (forward)",
    "fusion_flops": "Equal operations of the fusion method per sample (forward)",
    "parameters": "Equal parameters",
}
SIGNIFICANT = 0.05
DIFFERENCES = ("method", "against", "task", "difference")
CONTRASTS = (*DIFFERENCES[:3], "equal", "difference", "simultaneous", "p", "p (Holm)")
TUNING = ("method", "settings", "best", "best score", "worst score", "best at the edge", "neighbour not tried")


def heading(terms: Terms, results: Results) -> str:
    """What is equal, and how long the trainings are."""
    equal = EQUAL[terms.budget]
    if terms.length == WHOLE:
        return equal
    return f"{equal}, {terms.length}: trainings of {operations(results.lengths[terms.length])}"


def operations(count: float) -> str:
    """A number of operations in a unit that fits."""
    for unit, size in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e6:.3g} MFLOP"


def head(results: Results) -> list[str]:
    """The columns of a table of scores and costs."""
    return [
        "method",
        *results.tasks,
        "d_model",
        "parameters (M)",
        "active (M)",
        "MFLOP per sample (forward)",
        "of it fusion",
        "MFLOP per sample (training)",
        "steps",
        "whole training",
        "training (s)",
        "answering (ms a question)",
        "peak memory (GB)",
    ]


def cells(row: Row, results: Results) -> list[str]:
    """A row of it."""
    return [
        row.method,
        *(shown(row.scores[task]) for task in results.tasks),
        str(row.d_model),
        f"{row.parameters / 1e6:.2f}",
        f"{row.active / 1e6:.2f}",
        f"{row.inference_flops / 1e6:.1f}",
        known(row.fusion_flops, 1e6),
        known(row.training_flops, 1e6),
        f"{row.steps:.0f}",
        "unknown" if row.total_flops is None else operations(row.total_flops),
        f"{row.seconds:.0f}",
        known(row.inference_seconds, 1e-3),
        f"{row.memory_gb:.2f}",
    ]


def known(value: float | None, unit: float) -> str:
    """A number in a unit, if there is one."""
    return "unknown" if value is None else f"{value / unit:.1f}"


def shown(estimate: Estimate, sign: str = "") -> str:
    """An estimate with its interval, if it has one, in percent."""
    value = f"{100 * estimate.value:{sign}.1f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{100 * estimate.low:{sign}.1f}, {100 * estimate.high:{sign}.1f}]"


def difference(item: Difference) -> list[str]:
    """A row of the differences that are not tested."""
    return [item.method, item.against, item.task, shown(item.difference, "+")]


def contrast(item: Tested) -> list[str]:
    """A row of the primary contrasts; bold where the corrected p is below 0.05."""
    text = shown(item.difference, "+")
    p, corrected = ("-" if value is None else f"{value:.3f}" for value in (item.p, item.corrected))
    marked = f"**{text}**" if is_significant(item) else text
    return [item.method, item.against, item.task, str(item.terms), marked, shown(item.simultaneous, "+"), p, corrected]


def is_significant(item: Tested) -> bool:
    """Whether there is a difference, in all likelihood."""
    return item.corrected is not None and item.corrected < SIGNIFICANT


def tuning(method: str, found: Tuned, metric: str) -> list[str]:
    """A row of what was tuned."""
    scores = [score for _, score in found.tried if math.isfinite(score)]
    best = [score for values, score in found.tried if values.items() <= found.values.items()]
    others = [score for score in (min(scores, default=math.nan), max(scores, default=math.nan)) if score not in best]
    return [
        method,
        str(len(found.tried)),
        ", ".join(f"{option}={plain(value)}" for option, value in found.values.items()),
        tried(best[0], metric) if best else "-",
        tried(others[0], metric) if others else "-",
        ", ".join(found.edges),
        ", ".join(found.unsettled),
    ]


def plain(value: Any) -> str:
    """A tuned value."""
    return f"{value:g}" if isinstance(value, float) else "null" if value is None else str(value)


def tried(score: float, metric: str) -> str:
    """A validation score of the tuning."""
    return number(metric.rpartition("/")[2], score) if math.isfinite(score) else "diverged"


def needs(results: Results) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the samples that each method needed, in thousands; of the longest trainings of each budget."""
    curves = [curve for curve in results.curves if curve.task in results.ceilings and _is_longest(curve, results)]
    tasks = [task for task in results.ceilings if any(curve.task == task for curve in curves)]
    found: dict[tuple[str, str], dict[str, Needed]] = {}
    for curve in curves:
        row = found.setdefault((curve.method, curve.terms.budget), {})
        row[curve.task] = needed(curve, results.ceilings[curve.task])
    rows = [
        [method, budget, *(samples(own[task]) if task in own else "-" for task in tasks)]
        for (method, budget), own in found.items()
    ]
    return ["method", "equal", *tasks], rows


def _is_longest(curve: Curve, results: Results) -> bool:
    return not results.lengths or curve.terms.length == list(results.lengths)[-1]


def samples(found: Needed) -> str:
    """In thousands, with the extremes over the seeds."""
    ends = [
        f"{value / 1000:.1f}" if value is not None else "never" for value in (found.median, found.least, found.most)
    ]
    return ends[0] if len(set(ends)) == 1 else f"{ends[0]} ({ends[1]} to {ends[2]})"


def jsonable(values: Mapping[str, Any]) -> dict[str, Any]:
    """A number that is none becomes null."""
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}
