"""A picture of what one answer rests on: over the image, the spectrogram and the words.

Shape legend: W regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from data.batching.interleave import Interleaver
from data.chat import ChatTokenizer
from data.display.drawing import and_rest, new_figure, png, save
from data.display.plain_text import label
from data.types import Sample
from evaluation.insight.attribution import ATTENTION, GRADIENT, MAGNITUDE, Region, answered, attribute
from evaluation.insight.deletion import probabilities
from evaluation.insight.preview import appearance, shown_media
from fusion.model import FusionModel

TITLES = {
    GRADIENT: "gradient x input (red: for, blue: against)",
    MAGNITUDE: "magnitude of gradient x input",
    ATTENTION: "attention rollout",
}
# Diverging for signed scores, sequential for weights.
MAPS = {GRADIENT: "RdBu_r", MAGNITUDE: "Reds", ATTENTION: "Reds"}
# A score below this share of the largest, with a minus, is marked by one.
MARKED, MINUS = 0.2, "\N{MINUS SIGN}"
WORDS_PER_LINE = 5
NOTEBOOK_DPI = 72
# Media and lines of words that are drawn at most.
MAX_ITEMS, MAX_LINES = 8, 24


@dataclass(frozen=True)
class Explanation:
    """An answer and the scores of the regions of its prompt.

    shown: what each medium looks like: see `preview.appearance`. scores: method ->
    [W]. probability: of the answer, given the prompt.
    """

    answer: str
    probability: float
    regions: tuple[Region, ...] = field(repr=False)
    shown: tuple[np.ndarray, ...] = field(repr=False)
    scores: Mapping[str, np.ndarray] = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Writes the picture as a PNG; returns its path."""
        return save(draw_explanation(self), Path(path))

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return png(draw_explanation(self), NOTEBOOK_DPI)


def explain(
    model: FusionModel, tokenizer: ChatTokenizer, interleaver: Interleaver, sample: Sample, answer: str
) -> Explanation:
    """Attribution of `answer` to the prompt of a sample, by every method that applies.

    Raises `BadSampleError` when a medium cannot be read, or the prompt leaves no room for the answer.
    """
    item = answered(model, tokenizer, interleaver, sample, answer)
    shown = [
        appearance(medium, values, model.feature_layouts[modality](tuple(values.shape)))
        for modality, medium, values in shown_media(sample, item.document)
    ]
    probability = float(probabilities(model, [item.document], batch_size=1)[0][0])
    return Explanation(answer, probability, item.regions, tuple(shown), attribute(model, [item])[0])


def draw_explanation(explanation: Explanation) -> Figure:
    """Columns: the prompt, then each method; rows: each medium, then the words."""
    items = list(range(len(explanation.shown)))[:MAX_ITEMS]
    has_words = any(region.item is None for region in explanation.regions)
    rows: list[int | None] = [*items, *([None] if has_words else [])]
    methods = list(explanation.scores)
    num_lines = -(-sum(region.item is None for region in explanation.regions) // WORDS_PER_LINE)
    heights = [1.0 if item is not None else max(0.4, 0.07 * min(num_lines, MAX_LINES)) for item in rows]
    figure = new_figure(3.1 * (len(methods) + 1), 3.0 * sum(heights) + 0.7)
    answer = label(explanation.answer, 24 * len(methods))
    rest = and_rest(len(items), len(explanation.shown), "media")
    figure.suptitle(
        f"answer: {answer!r}, probability {explanation.probability:.1%}{rest}", fontsize=11, fontweight="bold"
    )
    panels = figure.subplots(len(rows), len(methods) + 1, squeeze=False, height_ratios=heights)
    for row, item in zip(panels, rows, strict=True):
        places = [place for place, region in enumerate(explanation.regions) if region.item == item]
        regions = [explanation.regions[place] for place in places]
        for axes, method in zip(row, ["prompt", *methods], strict=True):
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"{label(regions[0].modality, 20)}: {TITLES.get(method, method)}", fontsize=9, loc="left")
            scores = explanation.scores[method][places] if method in explanation.scores else None
            colours = None if scores is None else region_colours(scores, method)
            minus = [] if scores is None else against(scores)
            if item is None:
                draw_words(axes, regions, colours, minus)
            else:
                draw_medium(axes, regions, explanation.shown[item], colours)
                draw_marks(axes, regions, minus)
    return figure


def against(scores_W: np.ndarray) -> list[int]:
    """The places of what clearly speaks against the answer; both ends of the colours are dark, and alike in grey."""
    return np.flatnonzero(scores_W < -MARKED * max(float(np.abs(scores_W).max()), 1e-30)).tolist()


def region_colours(scores_W: np.ndarray, method: str) -> np.ndarray:
    """A colour [W, 4] for each region; its opacity is the score's share of the largest one."""
    largest = max(float(np.abs(scores_W).max()), 1e-30)
    # Short of the darkest colours: nothing can be seen under them.
    end = 1.3 * largest
    colours_W4 = colormaps[MAPS[method]](Normalize(-end if method == GRADIENT else 0.0, end)(scores_W))
    colours_W4[:, 3] = 0.75 * np.abs(scores_W) / largest
    return colours_W4


def draw_medium(axes: Axes, regions: Sequence[Region], values: np.ndarray, colours_W4: np.ndarray | None) -> None:
    """An image, or values over time as a grey picture, under the colours_W4 of its regions."""
    extent, layout = (0.0, 1.0, 1.0, 0.0), regions[0].layout
    assert layout is not None
    if layout.grid is not None:
        axes.imshow(values, extent=extent, interpolation="nearest")
    else:
        axes.imshow(values.T[::-1], extent=extent, cmap="gray", aspect="auto", interpolation="nearest")
        axes.set_xlabel("time", fontsize=8)
    if colours_W4 is None:
        return
    grid = colours_W4.reshape(*(layout.grid or (1, -1)), 4)
    axes.imshow(grid, extent=extent, interpolation="nearest", aspect="equal" if layout.grid else "auto")


def draw_marks(axes: Axes, regions: Sequence[Region], minus: Sequence[int]) -> None:
    """A minus in each of these regions of a medium."""
    assert regions[0].layout is not None
    rows, columns = regions[0].layout.grid or (1, len(regions))
    for place in minus:
        row, column = divmod(place, columns)
        where = ((column + 0.5) / columns, (row + 0.5) / rows)
        axes.text(*where, MINUS, ha="center", va="center", fontsize=9, fontweight="bold")


def draw_words(axes: Axes, regions: Sequence[Region], colours_W4: np.ndarray | None, minus: Sequence[int] = ()) -> None:
    """Words in reading order, each on its colour, with a minus where they speak against the answer."""
    num_lines = min(-(-len(regions) // WORDS_PER_LINE), MAX_LINES)
    for place, region in enumerate(regions[: num_lines * WORDS_PER_LINE]):
        line, column = divmod(place, WORDS_PER_LINE)
        box = None if colours_W4 is None else {"facecolor": colours_W4[place], "edgecolor": "none", "pad": 3}
        where = ((column + 0.5) / WORDS_PER_LINE, 1 - (line + 0.5) / num_lines)
        word = f"{MINUS}{label(region.label, 14)}" if place in minus else label(region.label, 14)
        axes.text(*where, word, ha="center", va="center", fontsize=10, bbox=box)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
