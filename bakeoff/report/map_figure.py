"""The map: every method in every task, on all terms, as numbers on a ground that is darker where they are higher."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bakeoff.methods import Terms
from bakeoff.report.tables import operations
from bakeoff.results.gather import Results, Row
from bakeoff.results.statistics import Estimate
from data.display.drawing import new_figure
from data.display.plain_text import label

# Inches of a cell, and around a panel.
WIDTH, HEIGHT, AROUND = 0.95, 0.36, 1.6
LONGEST_NAME, LONGEST_TASK = 30, 18


def draw_map(results: Results) -> Figure:
    """A panel for each terms: methods by tasks, the score in percent with half the width of its interval."""
    terms = list(results.differences)
    methods = list(dict.fromkeys(row.method for row in results.rows))
    height = len(terms) * (HEIGHT * len(methods) + 1.1)
    figure = new_figure(AROUND + WIDTH * len(results.tasks), height)
    panels = figure.subplots(len(terms), 1, squeeze=False)
    for (axes,), own in zip(panels, terms, strict=True):
        draw_terms(axes, results, own, methods)
    return figure


def draw_terms(axes: Axes, results: Results, terms: Terms, methods: list[str]) -> None:
    """One panel; a method that does not take part has an empty row."""
    rows = {row.method: row for row in results.rows if row.terms == terms}
    values = [[_value(rows.get(method), task) for task in results.tasks] for method in methods]
    axes.imshow(values, cmap="Greys", vmin=0.0, vmax=1.6, aspect="auto")  # never so dark that black is unreadable
    for line, method in enumerate(methods):
        for column, task in enumerate(results.tasks):
            if method in rows:
                axes.text(column, line, cell(rows[method].scores[task]), ha="center", va="center", fontsize=7.5)
    axes.set_xticks(range(len(results.tasks)), [_short(task) for task in results.tasks], fontsize=7.5)
    axes.set_yticks(range(len(methods)), [label(method, LONGEST_NAME) for method in methods], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    length = results.lengths.get(terms.length)
    long = "" if length is None else f", {terms.length}: {operations(length)} a training"
    axes.set_title(f"equal {terms.budget}{long}", loc="left", fontsize=9, fontweight="bold")


def cell(score: Estimate) -> str:
    """The score in percent, and how far its interval reaches on its longer side."""
    value = f"{100 * score.value:.0f}"
    if score.low is None or score.high is None:
        return value
    return f"{value} ±{100 * max(score.value - score.low, score.high - score.value):.0f}"


def _value(row: Row | None, task: str) -> float:
    return float("nan") if row is None else row.scores[task].value


def _short(task: str) -> str:
    """The end of a task's name, which is what differs, in two lines at most."""
    return label(task.rpartition("/")[2], LONGEST_TASK).replace("_", "\n", 1)
