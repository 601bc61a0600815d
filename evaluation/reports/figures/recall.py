"""Recall at k as a figure, drawn from `report.json` alone: how far down the list a search has to go."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from data.display.drawing import GREY, MAX_TASKS, Draw, line_style, new_figure, slug, style
from data.display.plain_text import label
from evaluation.reports.figures.scores import WIDTH

COLUMNS = 3
NAMES = {"model": "model", "ridge": "ridge regression on frozen features"}


def recall_pictures(report: Mapping[str, Any]) -> dict[str, tuple[str, Draw]]:
    """One figure for each source of a retrieval: title -> name of its file, and what draws it."""
    found: dict[str, tuple[str, Draw]] = {}
    for source in report.get("sources", ()):
        by_task = {task.rpartition("/"): curve for task, curve in report.get("recall_curves", {}).items()}
        curves = {direction: curve for (task, _, direction), curve in by_task.items() if task == source}
        if curves:
            found[f"Recall at k, {source}"] = (f"recall_{slug(source)}", partial(draw_curves, curves))
    return found


def draw_curves(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A panel for each direction: recall of the model and of the regression with their intervals, and chance."""
    curves = dict(list(curves.items())[:MAX_TASKS])
    num_rows, num_columns = -(-len(curves) // COLUMNS), min(COLUMNS, len(curves))
    figure = new_figure(WIDTH, 2.5 * num_rows + 0.6)
    panels = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False).ravel()
    for axes, (direction, found) in zip(panels, curves.items(), strict=False):
        _draw_curve(axes, found)
        axes.set_title(label(direction.replace("_to_", " to ")), loc="left", fontsize=9.5, fontweight="bold")
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    for axes in panels[::num_columns]:
        axes.set_ylabel("recall at k")
    lines = {line.get_label(): line for axes in panels for line in axes.get_lines()}
    figure.legend(
        lines.values(), lines.keys(), loc="outside upper center", ncols=len(lines), frameon=False, fontsize=8.5
    )
    return figure


def _draw_curve(axes: Axes, found: Mapping[str, Any]) -> None:
    points, asked = found["k"], found["model"][0]["n"]
    for place, (key, name) in enumerate(NAMES.items()):
        if key in found:
            value, low, high = ([score[part] for score in found[key]] for part in ("value", "low", "high"))
            look = line_style(place)
            axes.plot(points, value, markersize=3, linewidth=1.4, label=name, **look)
            axes.fill_between(points, low, high, color=look["color"], alpha=0.2, linewidth=0)
    axes.plot(points, found["chance"], color=GREY, linestyle=":", linewidth=1.6, label="chance")
    axes.set_xscale("log")
    axes.set_xlim(1, max(points[-1], 2))
    axes.set_xticks([point for point in points if str(point)[0] == "1"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:,.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(f"k of {found['candidates']:,} candidates; n={asked:,}", fontsize=8.5)
    style(axes, "both")
