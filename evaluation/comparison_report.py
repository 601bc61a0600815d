"""A comparison as files, a figure and a table for the terminal."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.atomic_write import write_text
from evaluation.compare import Group, Spread, task_names, to_json, warnings
from evaluation.drawing import new_figure, save
from evaluation.figures import COLOURS, errors, style
from evaluation.markdown import table, turned
from evaluation.metrics import main_metric, main_score
from evaluation.terminal import fits

SCORES = "accuracy, or recall@10 of a retrieval, in percent"
# More tasks than these become the rows of a table, and the experiments its columns.
MOST_TASK_COLUMNS = 6
# Names of experiments on the terminal are broken after so many letters.
LABEL_WIDTH = 18
# Panels beside one another in the figure of so many tasks.
PANELS = 4
LEGEND = "[a, b]: 95 % interval over the questions of one run; (a-b): lowest and highest of several seeds."
# Name in the table, keys in the report, divisor, digits. The operations are those of the forward pass.
COSTS = (
    ("parameters (M)", ("model", "parameters"), 1e6, 2),
    ("MFLOP per question", ("model", "flops", "inference"), 1e6, 1),
    ("training (min)", ("train", "seconds"), 60, 1),
)


def write_comparison(groups: Sequence[Group], folder: Path) -> None:
    """Writes compare.png, compare.md and compare.json, each under a temporary name that is then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    save(draw_comparison(groups), folder / "compare.png")
    write_text(folder / "compare.md", to_markdown(groups))
    write_text(folder / "compare.json", json.dumps(to_json(groups), indent=2, ensure_ascii=False) + "\n")


def rows_of(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Head and cells: label, number of runs, accuracy in percent for each task, costs."""
    tasks = task_names(groups)
    head = ["experiment", "runs", *tasks, *(name for name, *_ in COSTS)]
    rows = [
        [
            group.label,
            str(len(group.runs)),
            *(cell(group.task(task), 0.01, 1) for task in tasks),
            *(cell(group.cost(*path), unit, digits) for _, path, unit, digits in COSTS),
        ]
        for group in groups
    ]
    return head, rows


def has_many_tasks(groups: Sequence[Group]) -> bool:
    """Whether tasks do not fit beside one another."""
    return len(task_names(groups)) > MOST_TASK_COLUMNS


def cell(spread: Spread | None, unit: float, digits: int) -> str:
    """A number with what is known of its spread."""
    if spread is None:
        return "-"
    mean, lowest, highest = (f"{value / unit:.{digits}f}" for value in (spread.mean, spread.lowest, spread.highest))
    if spread.low is not None and spread.high is not None:
        return f"{mean} [{spread.low / unit:.{digits}f}, {spread.high / unit:.{digits}f}]"
    return mean if lowest == highest else f"{mean} ({lowest}-{highest})"


def to_markdown(groups: Sequence[Group]) -> str:
    """The comparison for a reader."""
    head, rows = turned(*rows_of(groups)) if has_many_tasks(groups) else rows_of(groups)
    lines = ["# Comparison", "", f"{SCORES.capitalize()}.", "", *table(head, rows), "", LEGEND, ""]
    lines += [f"Warning: {warning}." for warning in warnings(groups)]
    lines += ["", "![Scores and cost](compare.png)", "", "Runs:", ""]
    for group in groups:
        lines += [f"- {group.label}: {', '.join(f'`{run.folder}`' for run in group.runs)}"]
    return "\n".join([*lines, ""])


def print_comparison(groups: Sequence[Group], console: Console | None = None) -> None:
    """Prints the table, turned where it is too wide, and every reason why the comparison may be unfair."""
    console = console or Console()
    wide = wide_table(groups)
    console.print(wide if fits(wide, console) and not has_many_tasks(groups) else tall_table(groups))
    console.print(LEGEND, style="dim", markup=False)
    for warning in warnings(groups):
        console.print(f"warning: {warning}", style="yellow", markup=False)


def wide_table(groups: Sequence[Group]) -> Table:
    """Experiments as rows, spreads below the numbers."""
    head, rows = rows_of(groups)
    left_out = head.index(COSTS[0][0])  # the table must fit 80 columns
    head, rows = (head[:left_out] + head[left_out + 1 :], [row[:left_out] + row[left_out + 1 :] for row in rows])
    shown = Table(title=SCORES, title_justify="left", box=None, pad_edge=False)
    shown.add_column(head[0], no_wrap=True)
    for name in head[1:]:
        shown.add_column(
            name.replace("/", "/\n").replace(" (", "\n(").replace(" per ", " per\n"), justify="right", no_wrap=True
        )
    for row in rows:
        label = Text(textwrap.fill(row[0], LABEL_WIDTH))
        shown.add_row(label, *(Text(text.replace(" ", "\n", 1), justify="right") for text in row[1:]))
    return shown


def tall_table(groups: Sequence[Group]) -> Table:
    """Tasks as rows, experiments as columns."""
    head, rows = turned(*rows_of(groups))
    shown = Table(title=SCORES, title_justify="left", box=None, pad_edge=False)
    shown.add_column(head[0], no_wrap=True)
    for name in head[1:]:
        shown.add_column(name, justify="right", overflow="fold")
    for row in rows:
        shown.add_row(row[0], *(Text(text, justify="right") for text in row[1:]))
    return shown


def draw_comparison(groups: Sequence[Group]) -> Figure:
    """A row for each group; a panel for each task with every run and the mean, and a panel for each cost.

    Panels stand beside one another, of many tasks in several lines.
    """
    tasks = task_names(groups)
    ratios = [2.0] * len(tasks) + [1.0] * len(COSTS)
    lines = 1
    if has_many_tasks(groups):
        lines, ratios = -(-len(ratios) // PANELS), [2.0] * PANELS
    size = (2.5 + 1.05 * sum(ratios), lines * (0.55 * len(groups) + 1.4))
    figure = new_figure(*size)
    grid = figure.subplots(lines, len(ratios), sharey=True, squeeze=False, width_ratios=ratios).flatten()
    panels, rest = np.split(grid, [len(tasks) + len(COSTS)])
    for axes in rest:
        axes.remove()
    for axes, task in zip(panels, tasks, strict=False):
        draw_task(axes, groups, task)
    for axes, (name, path, unit, _) in zip(panels[len(tasks) :], COSTS, strict=True):
        draw_cost(axes, [group.cost(*path) for group in groups], name, unit)
    for axes in panels[1:]:
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(groups)), [textwrap.fill(group.label, 30) for group in groups])
    panels[0].set_ylim(len(groups) - 0.4, -0.6)
    return figure


def draw_task(axes: Axes, groups: Sequence[Group], task: str) -> None:
    """Every run's main score with its interval, and a tick at the mean of several."""
    for row, group in enumerate(groups):
        scores = [main_score(run.report["tasks"][task]) for run in group.runs if task in run.report["tasks"]]
        offsets = (np.arange(len(scores)) - (len(scores) - 1) / 2) * min(0.2, 0.6 / max(len(scores), 1))
        for offset, score in zip(offsets, scores, strict=True):
            axes.errorbar(
                score["value"], row + offset, xerr=errors(score), fmt="o", color=COLOURS[0], markersize=4, capsize=2
            )
        mean = group.task(task)
        if len(scores) > 1 and mean is not None:
            axes.plot([mean.mean] * 2, [row - 0.35, row + 0.35], color="black", linewidth=2)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_title(task, fontsize=10, fontweight="bold")
    asked = (run.report["tasks"][task] for group in groups for run in group.runs if task in run.report["tasks"])
    axes.set_xlabel(f"{main_metric(next(asked))}, 95 % interval\n(tick: mean over seeds)", fontsize=8.5)
    style(axes, "both")


def draw_cost(axes: Axes, spreads: Sequence[Spread | None], name: str, unit: float) -> None:
    """Bars at the mean, lines from the lowest to the highest run."""
    for row, spread in enumerate(spreads):
        if spread is None:
            axes.text(0, row, " unknown", va="center", fontsize=8)
            continue
        axes.barh(row, spread.mean / unit, color=COLOURS[1], height=0.5)
        axes.plot([spread.lowest / unit, spread.highest / unit], [row, row], color="black", linewidth=1.5)
    axes.set_xlim(left=0)
    axes.set_title(name.replace(" (", "\n(").replace(" per ", " per\n"), fontsize=9)
    style(axes, "x")
