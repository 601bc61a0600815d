"""The figure of free text: how the scores of single answers spread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from evaluation.figures import COLOURS, WIDTH, save, style
from evaluation.metric_names import is_share, title

SPREAD = "Scores of single answers"


def draw_spreads(report: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Draws the histograms that the report has; returns title -> file."""
    spreads = report.get("spread", {})
    return {SPREAD: save(draw_spread(spreads), folder / "spread.png")} if spreads else {}


def draw_spread(spreads: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A histogram for each task, by its main metric."""
    figure = Figure(figsize=(WIDTH, 2.2 * len(spreads) + 0.4), layout="constrained")
    panels = figure.subplots(len(spreads), 1, squeeze=False)[:, 0]
    for axes, (task, found) in zip(panels, spreads.items(), strict=True):
        edges = np.array(found["edges"]) * (100 if is_share(found["metric"]) else 1)
        axes.stairs(found["counts"], edges, fill=True, color=COLOURS[0])
        axes.set_title(task, loc="left", fontweight="bold", fontsize=11, parse_math=False)
        axes.set_xlabel(f"{title(found['metric'])} of a single answer")
        axes.set_ylabel("answers")
        style(axes, "y")
    return figure
