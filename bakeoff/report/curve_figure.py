"""Learning curves: validation accuracy by samples, a panel for each task."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bakeoff.results.curves import Curve
from bakeoff.results.gather import Results
from data.display.drawing import GREY, MAX_TASKS, and_rest, line_style, new_figure, style
from data.display.plain_text import label

COLUMNS = 2
# With more methods than this their ranges hide one another.
MOST_BANDS = 4


def draw_curves(results: Results) -> Figure | None:
    """The mean over the seeds of every method, and the range of a few; of the longest trainings of the first budget."""
    budget = results.rows[0].terms.budget
    longest = results.curves[-1].terms.length if not results.lengths else list(results.lengths)[-1]
    curves = [c for c in results.curves if (c.terms.budget, c.terms.length) == (budget, longest)]
    tasks = list(dict.fromkeys(curve.task for curve in curves))
    if not tasks:
        return None
    shown = tasks[:MAX_TASKS]
    lines = -(-len(shown) // COLUMNS)
    figure = new_figure(9.5, 2.9 * lines + 0.8)
    panels = figure.subplots(lines, COLUMNS, squeeze=False, sharex=True).ravel()
    methods = list(dict.fromkeys(curve.method for curve in curves))
    for axes, task in zip(panels, shown, strict=False):
        draw_task(axes, [curve for curve in curves if curve.task == task], methods)
        if task in results.ceilings:
            axes.axhline(results.ceilings[task], color=GREY, linestyle=":", linewidth=1)
        axes.set_title(label(task, 60), loc="left", fontsize=10, fontweight="bold")
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    panels[len(shown) - 1].set_xlabel("samples seen" + and_rest(len(shown), len(tasks)), fontsize=9)
    return figure


def draw_task(axes: Axes, curves: list[Curve], methods: list[str]) -> None:
    """One task."""
    for curve in curves:
        values = np.array(curve.accuracy)
        look = line_style(methods.index(curve.method))
        axes.plot(curve.samples, values.mean(0), **look, markersize=3.5, linewidth=1.3, label=label(curve.method))
        if len(values) > 1 and len(curves) <= MOST_BANDS:
            axes.fill_between(curve.samples, values.min(0), values.max(0), color=look["color"], alpha=0.08, linewidth=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.tick_params(labelsize=8.5)
    style(axes, "both")
