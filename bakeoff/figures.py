"""Accuracy against operations, a panel for each task."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bakeoff.results import Results, Row
from bakeoff.statistics import Estimate
from data.drawing import MAX_TASKS, and_rest, new_figure
from data.plain_text import label
from evaluation.figures import COLOURS, style

MARKERS = {"flops": "o", "parameters": "s"}
# Panels beside one another.
MAX_COLUMNS = 4


def draw(results: Results) -> Figure:
    """A point for each method and budget with its interval; colours are methods, shapes are budgets."""
    tasks = results.tasks[:MAX_TASKS]
    columns = min(len(tasks), MAX_COLUMNS)
    lines = -(-len(tasks) // columns)
    methods = list(dict.fromkeys(row.method for row in results.rows))
    figure = new_figure(1.6 + 4.2 * columns, max(4.2 * lines, 0.2 * len(results.rows)))
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes in panels[len(tasks) :]:
        axes.remove()
    for axes, task in zip(panels, tasks, strict=False):
        draw_task(axes, task, results.rows, methods)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    if rest := and_rest(len(tasks), len(results.tasks)):
        figure.supxlabel(rest.removeprefix("; "), fontsize=9)
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
            label=f"{label(row.method)} (equal {row.budget})",
        )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_xlabel("MFLOP per training sample (forward)")
    axes.set_title(label(task), fontsize=10, fontweight="bold")
    style(axes, "both")


def errors(score: Estimate) -> list[list[float]] | None:
    """Distances from a score down and up to its interval, which one seed does not have."""
    if score.low is None or score.high is None:
        return None
    return [[max(score.value - score.low, 0.0)], [max(score.high - score.value, 0.0)]]
