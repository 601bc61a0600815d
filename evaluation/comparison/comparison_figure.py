"""The figure of a comparison: a row for each group of runs, a panel for each task and each cost."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from data.display.drawing import COLOURS, MAX_TASKS, and_rest, new_figure, style
from data.display.plain_text import label
from evaluation.comparison.compare import Group, Spread, task_metrics, task_names
from evaluation.comparison.comparison_table import COSTS
from evaluation.metrics.metric_names import LOWER_IS_BETTER, is_share, number, title
from evaluation.reports.figures.scores import errors

# Panels next to one another, rows of a panel, characters of a name and of a line of it.
PANELS, MAX_GROUPS, LONGEST_NAME, LINE = 4, 40, 70, 40
# Inches of a character and of a line of a name.
CHARACTER, LINE_HEIGHT = 0.065, 0.15


def draw_comparison(groups: Sequence[Group]) -> Figure:
    """Every run as a point with its interval, several seeds with a tick at their mean; costs as bars.

    Panels stand next to one another. Those of many tasks stand in several lines, and each line names the groups.
    """
    every, groups = groups, groups[:MAX_GROUPS]
    tasks = task_names(groups)[:MAX_TASKS]
    count = len(tasks) + len(COSTS)
    columns = min(count, PANELS if len(tasks) > 1 else count)
    lines = -(-count // columns)
    names = row_names(groups)
    broken = [line for name in names for line in name.split("\n")]
    tallest = LINE_HEIGHT * max(name.count("\n") + 1 for name in names)
    row_height = max(0.3, 0.5 - 0.02 * len(groups), tallest + 0.05)
    width = CHARACTER * max(map(len, broken)) + 0.2 + 2.3 * columns
    figure = new_figure(width, lines * (row_height * len(groups) + 1.4))
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
    for axes in panels[count:]:
        axes.remove()
    for axes, task in zip(panels, tasks, strict=False):
        draw_task(axes, groups, task)
    for axes, (name, path, unit, _) in zip(panels[len(tasks) :], COSTS, strict=False):
        draw_cost(axes, [group.cost(*path) for group in groups], name, unit)
    for place, axes in enumerate(panels[:count]):
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.tick_params(axis="x", labelsize=8)
        axes.tick_params(axis="y", labelsize=8.5, length=0 if place % columns else 3)
    panels[0].set_yticks(range(len(groups)), names)
    panels[0].set_ylim(len(groups) - 0.4, -0.6)
    rest = and_rest(len(groups), len(every), "rows") + and_rest(len(tasks), len(task_names(every)))
    if rest:
        figure.supxlabel(f"{rest.removeprefix('; ')}: all are in compare.md", fontsize=9)
    return figure


def row_names(groups: Sequence[Group]) -> list[str]:
    """A short name for each row, with its number where shortening makes it another's."""
    short = [label(group.label, LONGEST_NAME) for group in groups]
    names = [f"{place + 1}. {name}" if short.count(name) > 1 else name for place, name in enumerate(short)]
    return [textwrap.fill(name, LINE) for name in names]


def draw_task(axes: Axes, groups: Sequence[Group], task: str) -> None:
    """Every run's score by the main metric with its interval, and a tick at the mean of several."""
    metric = task_metrics(groups, task)[0]
    for row, group in enumerate(groups):
        found = [run.report["tasks"].get(task, {}) for run in group.runs]
        scores = [scores[metric] for scores in found if metric in scores]
        offsets = (np.arange(len(scores)) - (len(scores) - 1) / 2) * min(0.2, 0.6 / max(len(scores), 1))
        for offset, score in zip(offsets, scores, strict=True):
            axes.errorbar(
                score["value"], row + offset, xerr=errors(score), fmt="o", color=COLOURS[0], markersize=4, capsize=2
            )
        if not scores:
            words = f"- {other_score(group, task)}"
            axes.annotate(words, (0.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=7)
        mean = group.task(task, metric)
        if len(scores) > 1 and mean is not None:
            axes.plot([mean.mean] * 2, [row - 0.35, row + 0.35], color="black", linewidth=2)
    if is_share(metric):
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_title("\n".join(textwrap.wrap(label(task), 24)), fontsize=9, fontweight="bold")
    better = ", lower is better" if metric in LOWER_IS_BETTER else ""
    axes.set_xlabel(f"{title(metric)}{better}\n95 % interval (tick: mean of seeds)", fontsize=8)
    style(axes, "both")


def other_score(group: Group, task: str) -> str:
    """What stands in place of a score by the metric of the panel."""
    metric = group.main(task)
    spread = group.task(task, metric)
    return "not measured" if metric is None or spread is None else f"{title(metric)} {number(metric, spread.mean)}"


def draw_cost(axes: Axes, spreads: Sequence[Spread | None], name: str, unit: float) -> None:
    """Bars at the mean, lines from the lowest to the highest run."""
    for row, spread in enumerate(spreads):
        if spread is None:
            axes.text(0, row, " - unknown", va="center", fontsize=7)
            continue
        axes.barh(row, spread.mean / unit, color=COLOURS[1], height=0.5)
        axes.plot([spread.lowest / unit, spread.highest / unit], [row, row], color="black", linewidth=1.5)
    axes.set_xlim(left=0)
    axes.set_title(name.replace(" (", "\n(").replace(" per ", " per\n"), fontsize=9)
    style(axes, "x")
