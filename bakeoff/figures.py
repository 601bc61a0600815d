"""Accuracy against operations, a panel for each task."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bakeoff.results import Results, Row
from bakeoff.statistics import Estimate
from evaluation.figures import COLOURS, style

MARKERS = {"flops": "o", "parameters": "s"}


def draw(results: Results) -> Figure:
    """A point for each method and budget with its interval; colours are methods, shapes are budgets."""
    tasks = results.tasks
    figure = Figure(figsize=(1.6 + 4.2 * len(tasks), 4.2), layout="constrained")
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    methods = list(dict.fromkeys(row.method for row in results.rows))
    for axes, task in zip(panels, tasks, strict=True):
        draw_task(axes, task, results.rows, methods)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    return figure


def draw_task(axes: Axes, task: str, rows: tuple[Row, ...], methods: list[str]) -> None:
    """One panel."""
    for row in rows:
        score = row.scores[task]
        axes.errorbar(
            row.inference_flops / 1e6,
            score.value,
            yerr=errors(score),
            fmt=MARKERS[row.budget],
            color=COLOURS[methods.index(row.method) % len(COLOURS)],
            markersize=6,
            capsize=3,
            label=f"{row.method} (equal {row.budget})",
        )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_xlabel("MFLOP per training sample (forward)")
    axes.set_title(task, fontsize=10, fontweight="bold")
    style(axes, "both")


def errors(score: Estimate) -> list[list[float]] | None:
    """Distances from a score down and up to its interval, which one seed does not have."""
    if score.low is None or score.high is None:
        return None
    return [[max(score.value - score.low, 0.0)], [max(score.high - score.value, 0.0)]]
