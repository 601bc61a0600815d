"""A bake-off as a table for a reader, as JSON for programs, and on the terminal."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bakeoff.contrasts import Difference, Tested
from bakeoff.figures import draw
from bakeoff.results import Results, Row
from bakeoff.statistics import Estimate, sign_flip_p
from bakeoff.trials import best_value
from data.display.drawing import attempt, pixels, save_all
from data.storage.atomic_write import write_text
from evaluation.metrics.metric_names import ACCURACY, CHRF, number, title
from evaluation.page.commands import Command, running_command
from evaluation.page.write import write_page
from evaluation.reports.markdown import table
from training.trackers.fan_out import build_tracker

TITLES = {"flops": "Equal operations per sample (forward)", "parameters": "Equal parameters"}
HOW_TO_READ = (
    "{score} in percent, mean over {seeds} seeds, with the 95 % interval for new seeds and new questions: seeds are "
    "the unit, and the variance of clusters of questions ({clusters}) is added to theirs, see docs/statistics.md. "
    "Differences are paired: the same seeds and questions for both."
)
TUNED_AT = "Tuning took place at the size of the first budget."
NOT_TUNED = (
    "Nothing was tuned: every method was trained with the values of the configuration, which may suit one better than "
    "another."
)
ONE_SEED = (
    "{score} in percent of one seed. It cannot say how much another seed would differ, so nothing here has an "
    "interval or a p: a difference may be one between two seeds of the same method."
)
ONE_CLUSTER = "All questions of {task} are one cluster, from which no interval and no p can be computed."
NOT_TESTED = (
    "Differences in percentage points, each with a plain 95 % interval of its own. They are not primary contrasts, so "
    "they have no p: of twenty such intervals one is expected to miss the truth."
)
NO_CONTRASTS = "The configuration names no primary contrasts (bakeoff.contrasts), so nothing is tested."
SIGNIFICANT = 0.05
DIFFERENCES = ("method", "against", "task", "difference")
CONTRASTS = (*DIFFERENCES[:3], "equal", "difference", "simultaneous", "p", "p (Holm)")


def write(results: Results, folder: Path) -> None:
    """Writes bakeoff.md, bakeoff.json, bakeoff.png and then bakeoff.html, each under a temporary name that is then
    renamed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    markdown, typed = to_markdown(results), running_command()
    write_text(folder / "bakeoff.md", markdown)
    write_text(folder / "bakeoff.json", json.dumps(to_json(results), indent=2) + "\n")
    save_all({"Accuracy against operations": ("bakeoff", partial(draw, results))}, folder)
    commands = [] if typed is None else [Command("Run, or go on with what is missing", typed)]
    write_page(folder / "bakeoff.html", markdown, commands=commands)


def track(results: Results, config: Mapping[str, Any] | None, folder: Path, name: str) -> None:
    """Shows the tables and the figure in the trackers of `config`, as a run of its own next to the trained ones."""
    own = folder / "dashboard" / time.strftime("%Y%m%d-%H%M%S")
    own.mkdir(parents=True)
    tracker = build_tracker(config, own)
    tracker.start(f"{name}/comparison-{own.name}", {"runs": [row.method for row in results.rows]})
    try:
        if (picture := attempt("bakeoff", lambda: pixels(draw(results)))) is not None:
            tracker.image(0, "bakeoff", picture)
        if results.contrasts:
            tracker.table(0, "bakeoff/contrasts", CONTRASTS, [contrast(item) for item in results.contrasts])
        for budget, found in results.differences.items():
            rows = [cells(row, results) for row in results.rows if row.budget == budget]
            tracker.table(0, f"bakeoff/equal_{budget}", head(results), rows)
            if found:
                tracker.table(0, f"bakeoff/differences_{budget}", DIFFERENCES, [difference(item) for item in found])
    finally:
        tracker.finish()


def to_json(results: Results) -> dict[str, Any]:
    """Stable keys, for other programs."""
    return {
        "rows": [asdict(row) for row in results.rows],
        "seeds": results.num_seeds,
        "clusters": dict(results.clusters),
        "smallest_p_by_sign_flips": sign_flip_p(results.num_seeds) if results.num_seeds > 1 else None,
        "contrasts": [asdict(item) for item in results.contrasts],
        "differences": {budget: [asdict(item) for item in found] for budget, found in results.differences.items()},
        "tuning": {
            "option": results.option,
            "metric": results.tuned_by,
            "scores": {
                method: {value: score if math.isfinite(score) else None for value, score in scores.items()}
                for method, scores in results.tuning.items()
            },
        },
    }


def to_markdown(results: Results) -> str:
    """All tables and the figure."""
    lines = ["# Bake-off", "", how_to_read(results), "", "![Accuracy against operations](bakeoff.png)", ""]
    lines += ["## Primary contrasts", ""]
    if results.contrasts:
        lines += [*table(list(CONTRASTS), [contrast(item) for item in results.contrasts]), ""]
    lines += [about_contrasts(results), ""]
    for budget, found in results.differences.items():
        rows = [row for row in results.rows if row.budget == budget]
        lines += [f"## {TITLES[budget]}", "", *table(head(results), [cells(row, results) for row in rows]), ""]
        apart = results.deviation(budget)
        lines += [f"Costs are within {apart:.1%} of that of {results.reference}.", ""]
        if found:
            lines += [NOT_TESTED, "", *table(list(DIFFERENCES), [difference(item) for item in found]), ""]
    return "\n".join([*lines, *about_tuning(results), ""])


def about_tuning(results: Results) -> list[str]:
    """What was tried, by method, or that nothing was."""
    if results.option is None:
        return ["## Tuning", "", NOT_TUNED]
    values = list(next(iter(results.tuning.values())))
    metric = results.tuned_by or ""
    rows = [
        [method, *(tried(scores[value], metric) for value in values), "yes" if at_edge(scores, metric) else ""]
        for method, scores in results.tuning.items()
    ]
    words = f"`{metric}` of short trainings, by {results.option}; the best value was taken."
    return ["## Tuning", "", words, "", *table(["method", *(f"{v:g}" for v in values), "best at the edge"], rows)]


def how_to_read(results: Results) -> str:
    """What the intervals are for, or why there are none."""
    if results.num_seeds < 2:
        words = ONE_SEED.format(score=score_name(results))
        return words if results.option is None else f"{words} {TUNED_AT}"
    clusters = ", ".join(f"{number:,} in {task}" for task, number in results.clusters.items())
    alone = [ONE_CLUSTER.format(task=task) for task, number in results.clusters.items() if number < 2]
    tuning = [] if results.option is None else [TUNED_AT]
    return " ".join(
        [HOW_TO_READ.format(score=score_name(results), seeds=results.num_seeds, clusters=clusters), *tuning, *alone]
    )


def about_contrasts(results: Results) -> str:
    """How the primary contrasts are to be read, and what so many seeds can say at most."""
    number = len(results.contrasts)
    if not number:
        return NO_CONTRASTS
    if results.num_seeds < 2:
        return "Named in the configuration before the runs. With one seed none of them can be tested."
    return (
        f"In percentage points: the {number} contrasts that the configuration names. p is two-sided, of a t test over "
        f"seeds and clusters of questions; p (Holm) is corrected for these {number} alone, and bold is below "
        f"{SIGNIFICANT}. Simultaneous intervals hold for all of them at once (Bonferroni). By sign flips alone, which "
        f"do not assume that seeds are normally distributed, {results.num_seeds} seeds could give no p below "
        f"{sign_flip_p(results.num_seeds):.4g}, before any correction."
    )


def score_name(results: Results) -> str:
    """What the scores of the tasks are; those of free text are means over single answers, not of the corpus."""
    metrics = set(results.metrics.values()) or {ACCURACY}
    if len(metrics) > 1:
        return "Scores (" + ", ".join(f"{task}: {title(metric)}" for task, metric in results.metrics.items()) + ")"
    (metric,) = metrics
    return f"{title(metric)} of single answers" if metric == CHRF else title(metric).capitalize()


def tried(score: float, metric: str) -> str:
    """A validation score of the tuning."""
    return number(metric.rpartition("/")[2], score) if math.isfinite(score) else "diverged"


def at_edge(scores: Mapping[float, float], metric: str) -> bool:
    """Whether the best of several values is the first or the last one, so that a better one may lie outside."""
    best = best_value(scores, metric)
    return len(scores) > 1 and best in (min(scores), max(scores))


def head(results: Results) -> list[str]:
    """The columns of a budget's table."""
    return [
        "method",
        *results.tasks,
        "d_model",
        "parameters (M)",
        "active (M)",
        "MFLOP per sample (forward)",
        "MFLOP per sample (training)",
        "training (s)",
        "peak memory (GB)",
        *([] if results.option is None else [results.option]),
    ]


def cells(row: Row, results: Results) -> list[str]:
    """A row of a budget's table."""
    return [
        row.method,
        *(shown(row.scores[task]) for task in results.tasks),
        str(row.d_model),
        f"{row.parameters / 1e6:.2f}",
        f"{row.active / 1e6:.2f}",
        f"{row.inference_flops / 1e6:.1f}",
        "unknown" if row.training_flops is None else f"{row.training_flops / 1e6:.1f}",
        f"{row.seconds:.0f}",
        f"{row.memory_gb:.2f}",
        *([] if row.tuned is None else [f"{row.tuned:g}"]),
    ]


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
    return [item.method, item.against, item.task, item.budget, marked, shown(item.simultaneous, "+"), p, corrected]


def is_significant(item: Tested) -> bool:
    """Whether there is a difference, in all likelihood."""
    return item.corrected is not None and item.corrected < SIGNIFICANT
