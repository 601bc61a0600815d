"""A bake-off as a table for a reader, as JSON for programs, and on the terminal."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bakeoff.figures import draw
from bakeoff.results import Results, Row
from bakeoff.statistics import Comparison, Estimate
from data.atomic_write import write_text
from evaluation.figures import pixels, save
from evaluation.markdown import table
from training.trackers.fan_out import build_tracker

TITLES = {"flops": "Equal operations per sample (forward)", "parameters": "Equal parameters"}
HOW_TO_READ = (
    "Accuracy in percent, mean over seeds, with the 95 % interval of a bootstrap over seeds and images. Differences "
    "are paired: the same seeds and images for both. p is two-sided, Holm-corrected for all comparisons of its table. "
    "A bootstrap over few seeds is too sure of itself. Tuning took place at the size of the first table."
)
SIGNIFICANT = 0.05
DIFFERENCES = ("method", "against", "task", "difference", "p")


def write(results: Results, folder: Path) -> None:
    """Writes bakeoff.png, bakeoff.md and bakeoff.json, each under a temporary name that is then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    save(draw(results), folder / "bakeoff.png")
    write_text(folder / "bakeoff.md", to_markdown(results))
    write_text(folder / "bakeoff.json", json.dumps(to_json(results), indent=2) + "\n")


def track(results: Results, config: Mapping[str, Any] | None, folder: Path, name: str) -> None:
    """Shows the tables and the figure in the trackers of `config`, as a run of its own beside the trained ones."""
    own = folder / "dashboard" / time.strftime("%Y%m%d-%H%M%S")
    own.mkdir(parents=True)
    tracker = build_tracker(config, own)
    tracker.start(f"{name}/comparison-{own.name}", {"runs": [row.method for row in results.rows]})
    try:
        tracker.image(0, "bakeoff", pixels(draw(results)))
        for budget, comparisons in results.comparisons.items():
            rows = [cells(row, results) for row in results.rows if row.budget == budget]
            tracker.table(0, f"bakeoff/equal_{budget}", head(results), rows)
            tracker.table(0, f"bakeoff/differences_{budget}", DIFFERENCES, [difference(c) for c in comparisons])
    finally:
        tracker.finish()


def to_json(results: Results) -> dict[str, Any]:
    """Stable keys, for other programs."""
    return {
        "rows": [asdict(row) for row in results.rows],
        "comparisons": {budget: [asdict(item) for item in found] for budget, found in results.comparisons.items()},
        "tuning": {
            "option": results.option,
            "scores": {
                method: {value: score if math.isfinite(score) else None for value, score in scores.items()}
                for method, scores in results.tuning.items()
            },
        },
    }


def to_markdown(results: Results) -> str:
    """All tables and the figure."""
    lines = ["# Bake-off", "", HOW_TO_READ, "", "![Accuracy against operations](bakeoff.png)", ""]
    for budget, comparisons in results.comparisons.items():
        rows = [row for row in results.rows if row.budget == budget]
        lines += [f"## {TITLES[budget]}", "", *table(head(results), [cells(row, results) for row in rows]), ""]
        apart = results.deviation(budget)
        lines += [f"Costs are within {apart:.1%} of that of {results.reference}.", ""]
        lines += [f"Differences in percentage points, {len(comparisons)} comparisons:", ""]
        lines += [*table(list(DIFFERENCES), [difference(c) for c in comparisons]), ""]
    values = list(next(iter(results.tuning.values())))
    tuning = [
        [method, *(tried(scores[value]) for value in values), "yes" if at_edge(scores) else ""]
        for method, scores in results.tuning.items()
    ]
    title = f"Validation accuracy in percent of short trainings, by {results.option}; the best value was taken."
    lines += [
        "## Tuning",
        "",
        title,
        "",
        *table(["method", *(f"{value:g}" for value in values), "best at the edge"], tuning),
        "",
    ]
    return "\n".join(lines)


def tried(score: float) -> str:
    """A validation score of the tuning."""
    return f"{100 * score:.1f}" if math.isfinite(score) else "diverged"


def at_edge(scores: Mapping[float, float]) -> bool:
    """Whether the best of several values is the first or the last one, so that a better one may lie outside."""
    best = max(scores, key=lambda value: scores[value])
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
        results.option,
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
        f"{row.tuned:g}",
    ]


def shown(estimate: Estimate, sign: str = "") -> str:
    """An estimate with its interval, in percent."""
    value, low, high = (f"{100 * x:{sign}.1f}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def difference(item: Comparison) -> list[str]:
    """A row of the comparisons; bold where the corrected p is below 0.05."""
    text = shown(item.difference, "+")
    marked = f"**{text}**" if item.corrected < SIGNIFICANT else text
    return [item.method, item.baseline, item.task, marked, f"{item.corrected:.3f}"]


def print_results(results: Results, console: Console | None = None) -> None:
    """Prints a table for each budget, and the differences that are significant."""
    console = console or Console()
    for budget, comparisons in results.comparisons.items():
        shown_table = Table(title=TITLES[budget], title_justify="left", box=None, pad_edge=False)
        columns = head(results)
        for place, name in enumerate(columns):
            shown_table.add_column(name, justify="left" if place == 0 else "right")
        for row in results.rows:
            if row.budget == budget:
                shown_table.add_row(*cells(row, results))
        console.print(shown_table)
        significant = [item for item in comparisons if item.corrected < SIGNIFICANT]
        console.print(f"{len(significant)} of {len(comparisons)} differences have a corrected p below {SIGNIFICANT}:")
        for item in significant:
            console.print(f"  {item.task}: {item.method} - {item.baseline} {shown(item.difference, '+')}", markup=False)
