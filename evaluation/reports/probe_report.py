"""The parts of a report that are measured only when asked for: robustness, and deletion curves of attributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from data.display.drawing import GREY, MAX_TASKS, Draw, and_rest, line_style, new_figure, style
from data.display.plain_text import label
from evaluation.metrics.metric_names import ACCURACY, WORDS, is_share, number, title, unit
from evaluation.reports.figures.scores import WIDTH, errors
from evaluation.reports.markdown import escaped, percent, table

ROBUSTNESS = "Robustness to corruption"
DELETION = "Deletion of what is attributed most"


def probe_pictures(report: Mapping[str, Any]) -> dict[str, tuple[str, Draw]]:
    """What the report has content for: title -> name of the file, and what draws it."""
    found: dict[str, tuple[str, Draw]] = {}
    if any(measured["corruptions"] for measured in report.get("robustness", {}).values()):
        found[ROBUSTNESS] = ("robustness", partial(draw_robustness, report["robustness"]))
    if any(report.get("attribution", {}).values()):
        found[DELETION] = ("deletion", partial(draw_deletion, report["attribution"]))
    return found


def panel_grid(
    content: Mapping[str, Mapping[str, Any]], draw: Callable[[Axes, Any], None]
) -> tuple[Figure, list[list[Axes]]]:
    """A row of panels for each task, a panel for each modality that any task has; `draw` fills it from its content."""
    every, content = len(content), dict(islice(content.items(), MAX_TASKS))
    modalities = list(dict.fromkeys(modality for found in content.values() for modality in found))
    figure = new_figure(max(WIDTH, 3.6 * len(modalities)), 3.1 * len(content))
    panels = figure.subplots(len(content), len(modalities), sharex=True, sharey="row", squeeze=False)
    for row, (task, found) in zip(panels, content.items(), strict=True):
        for axes, modality in zip(row, modalities, strict=True):
            axes.set_title(label(f"{task}: {modality}", 44), loc="left", fontweight="bold", fontsize=10)
            if modality in found:
                draw(axes, found[modality])
            else:
                axes.text(
                    0.5, 0.5, f"no {label(modality)} in this task", ha="center", transform=axes.transAxes, color=GREY
                )
            style(axes, "both")
        highest = max(float(axes.dataLim.ymax) for axes in row if axes.has_data())
        row[0].set_ylim(0, 1.03 if highest <= 1 else 1.05 * highest)  # a loss goes beyond 1
    if rest := and_rest(len(content), every):
        figure.supxlabel(rest.removeprefix("; "), fontsize=9)
    return figure, panels.tolist()


def draw_deletion(attribution: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Probability of the answer over the share of the regions that is deleted."""
    figure, panels = panel_grid(attribution, draw_deleted)
    for row in panels:
        row[0].set_ylabel("probability of the answer")
    drawn = next(axes for row in panels for axes in row if axes.get_legend_handles_labels()[0])
    handles, names = drawn.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False, title="deleted first by")
    for axes in panels[-1]:
        axes.set_xlabel("share of the regions that is deleted")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def draw_deleted(axes: Axes, found: Mapping[str, Any]) -> None:
    """A line with intervals for each order of deleting regions."""
    for place, (name, curve) in enumerate(found["curves"].items()):
        scores = [found["full"], *curve["probability"]]
        bars = [[float(errors(score)[side, 0]) for score in scores] for side in (0, 1)]
        look = line_style(place) | ({"color": GREY} if name == "random" else {})
        shares = [0.0, *found["shares"]]
        values = [score["value"] for score in scores]
        axes.errorbar(shares, values, yerr=bars, capsize=2, label=label(name, 24), **look)


def draw_robustness(robustness: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The main metric of each task over severity, a line for each corruption."""
    content: dict[str, dict[str, Any]] = {}
    for task, found in robustness.items():
        content[task] = {}
        for name, curve in found["corruptions"].items():
            # Of the questions that have the modality; older reports have one score for all.
            clean = curve.get("clean", found["clean"])
            metric = found.get("metric", ACCURACY)
            panel = content[task].setdefault(curve["modality"], {"clean": clean, "curves": {}, "metric": metric})
            panel["curves"][name] = curve
    figure, panels = panel_grid(content, draw_curves)
    for row, found in zip(panels, robustness.values(), strict=False):  # of many tasks the first
        metric = found.get("metric", ACCURACY)
        row[0].set_ylabel(f"{title(metric)} with 95 % interval")
        if is_share(metric):
            row[0].yaxis.set_major_formatter(PercentFormatter(1.0, symbol=unit(metric)))
    for axes in panels[-1]:
        axes.set_xlabel("severity (0: undamaged); dotted: blind floor")
        axes.set_xticks(range(6))
    return figure


def draw_curves(axes: Axes, panel: Mapping[str, Any]) -> None:
    """One line for each corruption from the clean score on, with intervals, and the floor they share."""
    for place, (name, curve) in enumerate(panel["curves"].items()):
        scores = [panel["clean"], *curve[panel["metric"]]]
        bars = [[float(errors(score)[side, 0]) for score in scores] for side in (0, 1)]
        values = [score["value"] for score in scores]
        axes.errorbar(range(len(scores)), values, yerr=bars, capsize=2, label=label(name, 24), **line_style(place))
        if curve["floor"] is not None:
            axes.axhline(curve["floor"]["value"], color=GREY, linestyle=":", linewidth=1, zorder=0.5)
    axes.legend(frameon=False, loc="lower left", fontsize=8.5)


def probe_lines(report: Mapping[str, Any]) -> list[str]:
    """Markdown of what the report has content for."""
    lines: list[str] = []
    for task, found in report.get("robustness", {}).items():
        lines += ["", f"## Numbers of robustness, {escaped(task)}", "", *robustness_table(found)]
        if (metric := found.get("metric", ACCURACY)) != ACCURACY:
            lines += ["", f"{WORDS[metric]}."]
    if lines:
        lines += ["", HOW_TO_READ_ROBUSTNESS]
    if report.get("attribution"):
        rows = [row for task, found in report["attribution"].items() for row in deletion_rows(task, found)]
        head = ["what is deleted, and which first", "regions", "none", "by share", "harm", "n"]
        lines += ["", "## Numbers of deletion", "", *table(head, rows), "", HOW_TO_READ_DELETION]
    return lines


def robustness_table(found: Mapping[str, Any]) -> list[str]:
    """Rows: corruptions; columns: the score at each severity, relative and effective robustness."""
    head = ["corruption", "clean", *(f"severity {severity}" for severity in range(1, 6)), "relative", "effective"]
    metric, rows = found.get("metric", ACCURACY), []
    for name, curve in found["corruptions"].items():
        values = [curve.get("clean", found["clean"]), *curve[metric]]
        cells = [number(metric, score["value"]) for score in values]
        rows.append([f"{curve['modality']}: {name}", *cells, ratio(curve["relative"]), ratio(curve["effective"])])
        levels = [f"{level:g}" for level in curve["levels"]]
        rows.append([f"- {curve['unit']}", "", *levels, "", ""])
    blanks = [""] * 6
    rows.append(["**all**", *blanks, ratio(found.get("relative")), ratio(found.get("effective"))])
    return table(head, rows)


def ratio(score: Mapping[str, float] | None) -> str:
    """A ratio with its interval, or a dash."""
    return "-" if score is None else f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def deletion_rows(task: str, found: Mapping[str, Any]) -> list[list[str]]:
    """A row for each modality and order: probability of the answer in percent at each share, and harm."""
    rows = []
    for modality, item in found.items():
        for name, curve in item["curves"].items():
            shares = " / ".join(f"{100 * score['value']:.0f}" for score in curve["probability"])
            harm = percent(item["harm"][name]) if name in item["harm"] else ""
            full = f"{100 * item['full']['value']:.1f}"
            rows.append([f"{task}, {modality}: {name}", f"{item['regions']:.0f}", full, shares, harm, f"{item['n']:,}"])
    return rows


HOW_TO_READ_DELETION = """Probability of the model's own answer, in percent, when regions (patches, spans of time,
words) become neutral, those with the highest attribution first: none of them, then a growing share (the same
in all rows, see the figure). Harm: probability under random deletion minus that under this one, averaged over the
shares, with 95 % interval; above 0, the attribution finds what the answer depends on."""
HOW_TO_READ_ROBUSTNESS = """Accuracy in percent, if no other score is named. Relative robustness: accuracy (or chrF)
under corruption, averaged over the five severities, over that without, both on the questions that have the medium.
Effective robustness: (corrupted - floor) / (clean - floor); the floor is the most frequent training answer, to the same
question where the question is not what is damaged. 1: nothing is lost; 0: nothing is left of what the medium adds.
(Taori et al., arXiv:2007.00644, fit the expected loss over many models; one run has no such fit.)"""
