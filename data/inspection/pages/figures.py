"""Pictures of what manifests hold: lengths, answers, sizes, durations, and twins side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from data.display.drawing import COLOURS, DASHES, Draw, bar_style, new_figure, save_all, style
from data.display.plain_text import label
from data.inspection.duplicates import Twins
from data.inspection.measures import Measures
from data.inspection.pages.contact_sheet import draw_pictures, draw_sounds
from data.inspection.scan import Scan

WIDTH, BINS, MAX_ANSWERS = 8.0, 40, 20
# Beyond this share of the values a histogram ends, so that one long text does not squeeze all others.
SHOWN_SHARE = 0.995

Values = Mapping[str, Sequence[float]]


def draw_all(scan: Scan, twins: Sequence[Twins], folder: Path) -> dict[str, Path]:
    """Draws every figure that there is something for; title -> file. One that fails is a warning."""
    measures = scan.measures
    drawers: dict[str, tuple[str, Draw]] = {
        "Pictures that look the same": ("twin_pictures", lambda: draw_pictures(scan, twins)),
        "Sounds of one recording": ("twin_sounds", lambda: draw_sounds(scan, twins)),
        "Answers": ("answers", lambda: draw_answers(measures)),
        "Lengths": ("lengths", lambda: draw_lengths(measures)),
        "Sizes of pictures": ("pictures", lambda: draw_sizes(measures)),
        "Durations of sounds": ("sounds", lambda: draw_durations(measures)),
    }
    return save_all(drawers, folder)


def draw_answers(measures: Mapping[str, Measures]) -> Figure | None:
    """The most frequent answers, with their share in each manifest."""
    answered = {name: found.answers for name, found in measures.items() if found.answers}
    total = sum(answered.values(), Counter[str]())
    # Where nearly all answers differ their shares say nothing.
    if not total or total.most_common(1)[0][1] < 2:
        return None
    kept = [answer for answer, _ in total.most_common(MAX_ANSWERS)]
    figure, axes = _figure(0.28 * len(kept) * max(1, 0.6 * len(answered)) + 1.4)
    height = 0.8 / len(answered)
    for number, (name, counts) in enumerate(answered.items()):
        places = np.arange(len(kept)) + (number - (len(answered) - 1) / 2) * height
        shares = [counts[answer] / counts.total() for answer in kept]
        axes.barh(places, shares, height, label=label(name), **bar_style(number))
    axes.set_yticks(range(len(kept)), [label(answer) for answer in kept])
    axes.set_ylim(len(kept) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    rest = f"; the {len(kept)} most frequent of {len(total):,}" if len(total) > len(kept) else ""
    axes.set_xlabel(f"share of the answers{rest}")
    _finish(figure, axes, len(answered), "x")
    return figure


def draw_lengths(measures: Mapping[str, Measures]) -> Figure | None:
    """Words of the texts that are given, and of the answers."""
    panels = {
        "words a text": {name: found.text_words for name, found in measures.items()},
        "words an answer": {name: found.answer_words for name, found in measures.items()},
        "letters a text": {name: found.text_letters for name, found in measures.items()},
        "letters an answer": {name: found.answer_letters for name, found in measures.items()},
    }
    return _histograms(panels, whole=True)


def draw_sizes(measures: Mapping[str, Measures]) -> Figure | None:
    """Width and height of the different pictures."""
    panels = {
        "width in pixels": {name: [p.width for p in found.pictures.values()] for name, found in measures.items()},
        "height in pixels": {name: [p.height for p in found.pictures.values()] for name, found in measures.items()},
    }
    return _histograms(panels, whole=True)


def draw_durations(measures: Mapping[str, Measures]) -> Figure | None:
    """Seconds of the different sounds, and their loudest samples."""
    panels = {
        "seconds a sound": {name: [s.seconds for s in found.sounds.values()] for name, found in measures.items()},
        "loudest sample, of 1": {name: [s.peak for s in found.sounds.values()] for name, found in measures.items()},
    }
    return _histograms(panels)


def _histograms(panels: Mapping[str, Values], whole: bool = False) -> Figure | None:
    """A panel for each measure, two in a row; each manifest's bars sum to 100 %."""
    kept = {title: {name: row for name, row in values.items() if len(row)} for title, values in panels.items()}
    kept = {title: values for title, values in kept.items() if values}
    if not kept:
        return None
    rows = (len(kept) + 1) // 2
    figure = new_figure(WIDTH, 2.5 * rows + 0.4)
    places = figure.subplots(rows, 2 if len(kept) > 1 else 1, squeeze=False).flat
    names = list(dict.fromkeys(name for values in kept.values() for name in values))
    for axes, (title, values) in zip(places, kept.items(), strict=False):
        _histogram(axes, title, values, names, whole)
    for axes in list(figure.axes)[len(kept) :]:
        axes.set_visible(False)
    _legend(figure, next(axes for axes in figure.axes if axes.get_visible()), len(names))
    return figure


def _histogram(axes: Axes, title: str, values: Values, names: Sequence[str], whole: bool) -> None:
    everything = np.concatenate([np.asarray(row, dtype=np.float64) for row in values.values()])
    everything = everything[np.isfinite(everything)]
    low, high = float(everything.min()), float(np.quantile(everything, SHOWN_SHARE, method="higher"))
    edges = _edges(low, high, whole)
    for name, row in values.items():
        row_N = np.asarray(row, dtype=np.float64)
        counts, _ = np.histogram(row_N, edges)
        place = names.index(name)
        colour, dash = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
        axes.stairs(counts / len(row_N), edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(counts / len(row_N), edges, color=colour, linestyle=dash, linewidth=1.4, label=label(name))
    beyond = int((everything > edges[-1]).sum())
    axes.set_xlabel(f"{title}; {beyond:,} beyond {edges[-1]:,.4g}" if beyond else title)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=whole))
    axes.set_ylim(bottom=0)
    style(axes, "y")


def _edges(low: float, high: float, whole: bool) -> np.ndarray:
    """Edges of bars; of whole numbers each bar holds equally many."""
    if whole:
        step = max(1, int(np.ceil((high - low + 1) / BINS)))
        count = max(int(np.ceil((high - low + 1) / step)), 1)
        return low - 0.5 + step * np.arange(count + 1)
    high = high if high > low else low + max(abs(low), 1.0) * 0.1
    return np.linspace(low, high, BINS + 1)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH, height)
    return figure, figure.subplots()


def _finish(figure: Figure, axes: Axes, count: int, grid: str) -> None:
    style(axes, grid)
    _legend(figure, axes, count)


def _legend(figure: Figure, axes: Axes, count: int) -> None:
    if count > 1:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(count, 4), frameon=False)
