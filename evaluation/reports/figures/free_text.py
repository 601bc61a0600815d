"""The figure of free text: how the scores of single answers spread."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data.display.drawing import COLOURS, MAX_TASKS, Draw, and_rest, new_figure, style
from data.display.plain_text import label
from evaluation.metrics.metric_names import is_share, title
from evaluation.reports.figures.scores import WIDTH

SPREAD = "Scores of single answers"


def spread_pictures(report: Mapping[str, Any]) -> dict[str, tuple[str, Draw]]:
    """The histograms that the report has: title -> name of the file, and what draws it."""
    spreads = report.get("spread", {})
    return {SPREAD: ("spread", partial(draw_spread, spreads))} if spreads else {}


def draw_spread(spreads: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A histogram for each task, by its main metric."""
    every, spreads = len(spreads), dict(islice(spreads.items(), MAX_TASKS))
    figure = new_figure(WIDTH, 2.2 * len(spreads) + 0.4)
    panels = figure.subplots(len(spreads), 1, squeeze=False)[:, 0]
    for axes, (task, found) in zip(panels, spreads.items(), strict=True):
        edges = np.array(found["edges"]) * (100 if is_share(found["metric"]) else 1)
        axes.stairs(found["counts"], edges, fill=True, color=COLOURS[0])
        axes.set_title(label(task, 80), loc="left", fontweight="bold", fontsize=11)
        axes.set_xlabel(f"{title(found['metric'])} of a single answer")
        axes.set_ylabel("answers")
        style(axes, "y")
    if rest := and_rest(len(spreads), every):
        figure.supxlabel(rest.removeprefix("; "), fontsize=9)
    return figure
