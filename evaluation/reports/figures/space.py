"""Figures of a shared space, drawn from `report.json` alone: a map of embeddings, and the gap between modalities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.display.drawing import COLOURS, DASHES, Draw, bar_style, new_figure, point_style, slug, style
from data.display.plain_text import label
from evaluation.reports.figures.scores import WIDTH

MAX_LABELS = len(COLOURS) - 1
REST: Any = {"color": "#BBBBBB", "marker": ".", "s": 9, "linewidths": 0}
# Pairs of modalities next to one another.
MAX_COLUMNS = 4


def space_pictures(report: Mapping[str, Any]) -> dict[str, tuple[str, Draw]]:
    """Both figures for each source of a retrieval: title -> name of its file, and what draws it."""
    found: dict[str, tuple[str, Draw]] = {}
    for task, points in report.get("embedding_map", {}).items():
        found[f"Map of embeddings, {task}"] = (f"embedding_map_{slug(task)}", partial(draw_map, points))
    for task, gaps in report.get("modality_gap", {}).items():
        if gaps:
            found[f"Gap between modalities, {task}"] = (f"modality_gap_{slug(task)}", partial(draw_gap, gaps))
    return found


def draw_map(found: Mapping[str, Any]) -> Figure:
    """The same points twice: told apart by modality, and by the most frequent values of the field."""
    figure = new_figure(WIDTH, 3.9)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    counts = Counter(name for points in found["points"].values() for _, _, name in points)
    looks = {name: _dot(place) for place, (name, _) in enumerate(counts.most_common(MAX_LABELS))}
    for number, (modality, points) in enumerate(found["points"].items()):
        x, y = np.array([[x, y] for x, y, _ in points]).T
        left.scatter(x, y, s=12, alpha=0.7, label=label(modality), **_dot(number))
    everything = [found_point for points in found["points"].values() for found_point in points]
    if others := [(x, y) for x, y, name in everything if name not in looks]:
        right.scatter(*np.array(others).T, **REST)
    for name, look in looks.items():
        x, y = np.array([(x, y) for x, y, own in everything if own == name]).T
        right.scatter(x, y, s=12, alpha=0.8, label=label(name or "unknown", 20), **look)
    if others:
        right.scatter([], [], label="others", **REST)
    for axes, title in ((left, "by modality"), (right, f"by {label(found['field'])}")):
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes.legend(frameon=False, fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
        _name_components(axes, found["explained"])
        style(axes, "both")
    return figure


def _dot(place: int) -> dict[str, Any]:
    look = point_style(place)
    return {"color": look["color"], "marker": look["marker"], "linewidths": 0}


def _name_components(axes: Axes, explained: list[float]) -> None:
    names = [f"component {place}" for place in (1, 2)]
    shares = [f" ({share:.0%})" for share in explained] + ["", ""]
    axes.set_xlabel(names[0] + shares[0], fontsize=8.5)
    axes.set_ylabel(names[1] + shares[1], fontsize=8.5)


def draw_gap(found: Mapping[str, Any]) -> Figure:
    """For each pair of modalities, how similar partners and others are, and how far apart the centres lie."""
    columns = min(len(found), MAX_COLUMNS)
    lines = -(-len(found) // columns)
    figure = new_figure(WIDTH, 2.9 * lines)
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False).flatten()
    for axes in panels[len(found) :]:
        axes.remove()
    panels = panels[: len(found)]
    for axes, (pair, gap) in zip(panels, found.items(), strict=True):
        for place, name in ((1, "unmatched"), (0, "matched")):
            counts = np.array(gap["counts"][name], dtype=float)
            edges = np.linspace(-1, 1, len(counts) + 1)
            axes.stairs(counts / max(counts.sum(), 1), edges, fill=True, alpha=0.55, label=name, **bar_style(place))
            if gap[name] is not None:  # where every pair is matched
                axes.axvline(gap[name], color=COLOURS[place], linestyle=DASHES[place], linewidth=1.2)
        axes.set_title(label(pair, 60 // columns), loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel(f"cosine; centres {gap['distance']:.2f} apart", fontsize=8.5)
        style(axes, "y")
    panels[0].set_ylabel("share of pairs")
    panels[-1].legend(frameon=False, fontsize=8)
    return figure
