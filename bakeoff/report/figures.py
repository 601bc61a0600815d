"""A row for each method: its score with an interval, and how far it is from the reference with the same questions."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bakeoff.methods import Terms
from bakeoff.results.gather import Results
from bakeoff.results.statistics import Estimate
from data.display.drawing import COLOURS, GREY, MAX_TASKS, and_rest, new_figure, style
from data.display.plain_text import label

# How a budget is drawn: the marker's shape, and whether it is filled.
MARKERS = {"flops": ("o", COLOURS[0]), "parameters": ("s", "white"), "fusion_flops": ("^", GREY)}
# Inches of what a line of tasks has around its rows, of a row, and of a column of panels.
AROUND, ROW, COLUMN = 1.1, 0.36, 3.1
LONGEST_NAME = 36


def draw(results: Results) -> Figure:
    """Two panels for each task: scores, and paired differences to the reference; several budgets share a row.

    Of the longest trainings.
    """
    results = longest(results)
    tasks = results.tasks[:MAX_TASKS]
    methods = list(dict.fromkeys(row.method for row in results.rows))
    figure = new_figure(2.2 + 2 * COLUMN, len(tasks) * (ROW * len(methods) + AROUND))
    panels = figure.subplots(len(tasks), 2, sharey=True, squeeze=False)
    for (scores, differences), task in zip(panels, tasks, strict=True):
        draw_scores(scores, results, task, methods)
        draw_differences(differences, results, task, methods)
        scores.set_yticks(range(len(methods)), [label(method, LONGEST_NAME) for method in methods])
        scores.set_ylim(len(methods) - 0.5, -0.5)
    handles, labels = panels[0][0].get_legend_handles_labels()
    named = {name.rpartition(" (")[2].removesuffix(")"): handle for handle, name in zip(handles, labels, strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside upper right", ncols=len(named), fontsize=8, frameon=False)
    if rest := and_rest(len(tasks), len(results.tasks)):
        figure.supxlabel(rest.removeprefix("; "), fontsize=9)
    return figure


def longest(results: Results) -> Results:
    """The same without what is of shorter trainings."""
    if not results.lengths:
        return results
    last = list(results.lengths)[-1]
    rows = tuple(row for row in results.rows if row.terms.length == last)
    contrasts = tuple(item for item in results.contrasts if item.terms.length == last)
    differences = {terms: found for terms, found in results.differences.items() if terms.length == last}
    return replace(results, rows=rows, contrasts=contrasts, differences=differences)


def draw_scores(axes: Axes, results: Results, task: str, methods: list[str]) -> None:
    """The score of every method and budget."""
    for row in results.rows:
        draw_row(axes, results, methods, row.method, row.terms, row.scores[task])
    axes.set_title(label(task, 60), loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("score with 95 % interval", fontsize=8.5)
    finish(axes)


def draw_differences(axes: Axes, results: Results, task: str, methods: list[str]) -> None:
    """Every method minus the reference, which is the line at 0; nothing where the two were not compared."""
    reference = label(results.reference, LONGEST_NAME)
    axes.axvline(0, color=GREY, linestyle="--", linewidth=1)
    for terms in dict.fromkeys(row.terms for row in results.rows):
        for method in methods:
            if (found := difference(results, task, method, terms)) is not None:
                draw_row(axes, results, methods, method, terms, found)
    axes.set_xlabel(f"minus {reference}: same seeds, same questions", fontsize=8.5)
    finish(axes)


def difference(results: Results, task: str, method: str, terms: Terms) -> Estimate | None:
    """A method's score minus that of the reference, from whichever table has it, in whichever direction."""
    tested = [found for found in results.contrasts if found.terms == terms]
    for found in (*tested, *results.differences.get(terms, ())):
        if found.task == task and (found.method, found.against) == (method, results.reference):
            return found.difference
        if found.task == task and (found.against, found.method) == (method, results.reference):
            plain = found.difference
            low, high = (None if end is None else -end for end in (plain.high, plain.low))
            return Estimate(-plain.value, low, high)
    return None


def draw_row(axes: Axes, results: Results, methods: list[str], method: str, terms: Terms, found: Estimate) -> None:
    """A point with its interval in the row of its method, a little apart from that of another budget."""
    budgets = list(dict.fromkeys(row.terms.budget for row in results.rows))
    place = methods.index(method) + 0.26 * (budgets.index(terms.budget) - (len(budgets) - 1) / 2)
    marker, inside = MARKERS[terms.budget]
    axes.errorbar(
        found.value,
        place,
        xerr=errors(found),
        fmt=marker,
        color=COLOURS[0],
        markerfacecolor=inside,
        markersize=5.5,
        capsize=3,
        label=f"{label(method)} (equal {terms.budget})",
    )


def finish(axes: Axes) -> None:
    """Percent along the bottom, a light grid."""
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.tick_params(labelsize=8.5)
    style(axes, "both")


def errors(score: Estimate) -> list[list[float]] | None:
    """Distances from a score down and up to its interval, which one seed does not have."""
    if score.low is None or score.high is None:
        return None
    return [[max(score.value - score.low, 0.0)], [max(score.high - score.value, 0.0)]]
