"""Every figure can be read in black and white: whatever a legend tells apart differs in more than its colour."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bakeoff.report.figures import draw as draw_bakeoff
from data.display import drawing
from data.display.drawing import COLOURS, MAX_TASKS, bar_style, line_style, point_style
from data.inspection.measures import Measures
from data.inspection.pages.figures import draw_answers, draw_lengths
from data.types import Layout
from evaluation.insight.attribution import GRADIENT, Region
from evaluation.insight.explanation import Explanation, draw_explanation
from evaluation.reports.figures.scores import draw_scores
from evaluation.reports.report import all_pictures
from tests.bakeoff.test_report import CONTRASTS, simulated
from tests.evaluation.reports.test_drawing import hostile, hostile_curves

Look = tuple[Any, ...]


def look(handle: Any) -> Look | None:
    """How a series is drawn, but for its colour; None for what has no series' look."""
    if isinstance(handle, ErrorbarContainer):
        handle = handle.lines[0]
    if isinstance(handle, BarContainer):
        handle = handle.patches[0]
    if isinstance(handle, Line2D):
        dash = handle._dash_pattern[1]  # type: ignore[attr-defined]
        drawn = handle.get_linestyle() not in ("None", "none", "")
        filled = str(handle.get_markerfacecolor()) not in ("white", "none")
        return drawn, str(dash) if drawn else "", handle.get_marker(), filled
    if isinstance(handle, PathCollection):
        return tuple(np.round(handle.get_paths()[0].vertices, 3).flatten().tolist())
    if isinstance(handle, Patch):
        return handle.get_hatch() or "", handle.get_fill(), str(handle.get_linestyle())
    return None


def series(axes: Axes) -> Iterator[tuple[str, Look]]:
    """Every label of a panel with its look."""
    for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
        found = look(handle)
        assert found is not None, f"{name}: {type(handle).__name__} is not known here"
        yield name, found


def check(figure: Figure, most: int = MAX_TASKS) -> int:
    """Fails where two of the first `most` labels of a panel look alike; how many labels there are."""
    count = 0
    for axes in figure.axes:
        looks = [found for _, found in series(axes)][:most]
        count += len(looks)
        assert len(looks) == len(set(looks)), f"{axes.get_title(loc='left')}: {looks}"
    return count


def lightness(colours: np.ndarray) -> np.ndarray:
    """Relative luminance of colours [..., 3 or 4]."""
    return colours[..., :3] @ np.array([0.2126, 0.7152, 0.0722])


def test_no_two_series_look_alike_in_grey() -> None:
    lines = [(line_style(place)["linestyle"], line_style(place)["marker"]) for place in range(MAX_TASKS)]
    assert len(set(lines)) == MAX_TASKS
    assert all(one[0] != another[0] for one, another in pairwise(lines))
    assert len({point_style(place)["marker"] for place in range(MAX_TASKS)}) == MAX_TASKS
    assert len({bar_style(place)["hatch"] for place in range(len(COLOURS))}) == len(COLOURS)


def test_the_check_sees_series_that_differ_in_colour_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawing.new_figure(4, 3)
    axes = figure.subplots()
    for place in range(2):
        axes.plot([0, 1], [0, place], color=COLOURS[place], label=str(place))
    with pytest.raises(AssertionError):
        check(figure)


def test_every_figure_of_a_report(report: dict[str, Any], tmp_path: Path) -> None:
    pictures = all_pictures(hostile(report), hostile_curves(tmp_path))
    drawn = {title: draw() for title, (_, draw) in pictures.items()}
    counts = {title: check(figure) for title, figure in drawn.items() if figure is not None}
    assert sum(count > 1 for count in counts.values()) >= 6, counts
    for figure in filter(None, drawn.values()):
        for axes in figure.axes:
            for image in [item for item in axes.get_images() if isinstance(item, AxesImage)]:
                steps = np.diff(lightness(image.get_cmap()(np.linspace(0, 1, 64))))
                assert (steps < 0.01).all() or (steps > -0.01).all(), "darker means more, or less, all the way"


def test_bars_of_the_model_its_audit_and_the_baselines_have_hatches_of_their_own(report: dict[str, Any]) -> None:
    bars = draw_scores(report).axes[0].patches
    hatches = {bar.get_hatch() or str(bar.get_edgecolor()): lightness(np.array(bar.get_facecolor())) for bar in bars}
    assert len(hatches) == 3


def test_the_figure_of_a_bakeoff() -> None:
    assert check(draw_bakeoff(simulated(3, [CONTRASTS[0]])), most=1) > 0
    scores, _ = draw_bakeoff(simulated(3, CONTRASTS)).axes
    by_budget = {name.rpartition(" (")[2]: found for name, found in series(scores)}
    assert len(set(by_budget.values())) == 2  # rows tell methods apart, shapes budgets


def test_the_figures_of_a_check_of_manifests() -> None:
    measures = {}
    for number in range(3):
        found = Measures()
        found.answers.update({"yes": 3 + number, "no": 2})
        found.text_words.extend([1, 2, 3 + number])
        measures[f"manifest {number}"] = found
    for figure in (draw_answers(measures), draw_lengths(measures)):
        assert figure is not None
        assert check(figure) == 3


def test_what_speaks_against_an_answer_is_marked_in_grey_too() -> None:
    regions = tuple(Region("image", f"patch {place}", (0,), 0, layout=Layout(4, (2, 2))) for place in range(4))
    scores = {GRADIENT: np.array([1.0, -1.0, 0.05, -0.05])}
    figure = draw_explanation(Explanation("yes", 0.9, regions, (np.ones((4, 4, 3)),), scores))
    marked = [axes for axes in figure.axes if any(text.get_text() == "\N{MINUS SIGN}" for text in axes.texts)]
    (axes,) = marked
    (mark,) = axes.texts
    assert mark.get_position() == (0.75, 0.25)


def test_colours_of_weights_darken_all_the_way() -> None:
    from evaluation.insight.explanation import MAPS

    for method, name in MAPS.items():
        if method != GRADIENT:
            assert (np.diff(lightness(colormaps[name](np.linspace(0, 1, 64)))) < 0.01).all()
