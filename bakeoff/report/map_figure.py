"""The map: every method in every task, on all terms, as numbers on a ground that is darker where they are higher."""

from __future__ import annotations

from collections.abc import Sequence

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
    of_terms = {terms: [row for row in results.rows if row.terms == terms] for terms in results.differences}
    heights = [HEIGHT * len(rows) + 1.1 for rows in of_terms.values()]
    figure = new_figure(AROUND + WIDTH * len(results.tasks), sum(heights))
    panels = figure.subplots(len(of_terms), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for (axes,), (terms, rows) in zip(panels, of_terms.items(), strict=True):
        draw_terms(axes, results, terms, rows)
    return figure


def draw_terms(axes: Axes, results: Results, terms: Terms, rows: Sequence[Row]) -> None:
    """One panel: the methods that take part."""
    values = [[row.scores[task].value for task in results.tasks] for row in rows]
    axes.imshow(values, cmap="Greys", vmin=0.0, vmax=1.6, aspect="auto")  # never so dark that black is unreadable
    for line, row in enumerate(rows):
        for column, task in enumerate(results.tasks):
            axes.text(column, line, cell(row.scores[task]), ha="center", va="center", fontsize=7.5)
    axes.set_xticks(range(len(results.tasks)), [_short(task) for task in results.tasks], fontsize=7.5)
    axes.set_yticks(range(len(rows)), [label(row.method, LONGEST_NAME) for row in rows], fontsize=8)
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


def _short(task: str) -> str:
    """The end of a task's name, which is what differs, in two lines at most."""
    return label(task.rpartition("/")[2], LONGEST_TASK).replace("_", "\n", 1)
