"""How every figure is made and written: its texts are shown as they are, its size is bounded, its failure is a warning.

Texts come from data, from names of files, tasks and runs. None of them is read as mathematics, whatever it holds.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from data.display.plain_text import label, one_line
from data.storage.atomic_write import write_bytes

logger = logging.getLogger(__name__)

# Characters of the name of a file.
LONGEST_FILE = 80
DPI = 160
# Pixels of a side at most. A figure that would be larger is drawn at fewer dots an inch.
MAX_PIXELS = 6000
# How far what is next to the axes (labels, legends) may reach beyond the figure, in inches.
MARGIN = 3.0
# Panels, bars or curves by task: more are left to the tables.
MAX_TASKS = 12
PLAIN: Any = {"text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False}
# Okabe and Ito's palette, which remains distinct under the common kinds of colour blindness. In grey it does not: what
# is drawn with it differs in its dash, marker or hatch too, by `line_style`, `point_style` and `bar_style`.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
GREY = "#7F7F7F"
DASHES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = "os^Dv<>pP*Xh"
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "+++")
# Of a figure that there may be nothing for.
Draw = Callable[[], Figure | None]
T = TypeVar("T")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches; every figure of the project begins here and ends in `save` or `pixels`."""
    return Figure(figsize=(width, height), layout="constrained")


def line_style(place: int) -> dict[str, Any]:
    """How the line of a series is drawn: no two of the first dozen look alike, in grey neither."""
    return point_style(place) | {"linestyle": DASHES[place % len(DASHES)]}


def point_style(place: int) -> dict[str, Any]:
    """As `line_style`, for points without one."""
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)], "linestyle": "none"}


def bar_style(place: int) -> dict[str, Any]:
    """As `line_style`, for a bar or a filled step."""
    colour, hatch = COLOURS[place % len(COLOURS)], HATCHES[place % len(HATCHES)]
    return {"facecolor": colour, "hatch": hatch, "edgecolor": "white"}


def style(axes: Axes, grid: str) -> None:
    """A light grid under the data, no box."""
    axes.grid(axis=grid, color="#DDDDDD", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def and_rest(shown: int, total: int, what: str = "tasks") -> str:
    """What a figure says where it has room for some of its rows only; empty if it shows all."""
    return f"; the first {shown} of {total} {what}" if shown < total else ""


def save(figure: Figure, path: Path) -> Path:
    """Writes a PNG, whole or not at all."""
    write_bytes(path, png(figure))
    return path


def png(figure: Figure, dpi: float = DPI) -> bytes:
    """The figure as a PNG file, at `dpi` or at what `MAX_PIXELS` allows; it can be written once."""
    content = io.BytesIO()
    with _as_it_is(figure):
        width, height = figure.get_size_inches()
        dots = min(dpi, MAX_PIXELS / max(width, height))
        figure.set_dpi(dots)
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out, and would be again
        found = figure.get_tightbbox().padded(0.1)
        box = Bbox.intersection(found, Bbox([[-MARGIN, -MARGIN], [width + MARGIN, height + MARGIN]]))
        dots = min(dots, MAX_PIXELS / max(box.width, box.height)) if box is not None else dots
        figure.savefig(content, format="png", dpi=dots, bbox_inches=box, facecolor="white")
    return content.getvalue()


def pixels(figure: Figure) -> np.ndarray:
    """The figure at its resolution, or at what `MAX_PIXELS` allows, as a picture for a tracker, uint8 [H, W, 3]."""
    with _as_it_is(figure):
        figure.set_dpi(min(figure.get_dpi(), MAX_PIXELS / max(figure.get_size_inches())))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


@contextmanager
def _as_it_is(figure: Figure) -> Iterator[None]:
    """Texts, those that are made while drawing too, are no mathematics; a glyph that no font has is a box, silently."""
    with rc_context(PLAIN), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        warnings.filterwarnings("ignore", message=".*layout not applied")
        for text in figure.findobj(Text):
            text.set_parse_math(False)
            text.set_usetex(False)
            text.set_text("\n".join(map(one_line, text.get_text().split("\n"))))
        yield


def save_all(pictures: Mapping[str, tuple[str, Draw]], folder: Path) -> dict[str, Path]:
    """Draws and writes each picture, by title: its name as a file, and what draws it; None: there is nothing to draw.

    One that fails is a warning.

    Returns title -> file of those that were written.
    """
    written: dict[str, Path] = {}
    for title, (name, draw) in pictures.items():
        path = folder / f"{_file_name(name, {item.stem for item in written.values()})}.png"
        if attempt(title, partial(_draw_and_save, draw, path)) is not None:
            written[title] = path
    return written


def _draw_and_save(draw: Draw, path: Path) -> Path | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # or, if this one fails, an older picture would stand next to the numbers
    figure = draw()
    return None if figure is None else save(figure, path)


def attempt(title: str, draw: Callable[[], T]) -> T | None:
    """What `draw` makes; None, and a warning of one line, if it fails: no picture may cost the numbers."""
    try:
        return draw()
    except Exception as error:
        reason = label(f"{type(error).__name__}: {error}", 300)
        logger.warning("warning: picture %r is left out (%s); all numbers are there", label(title, 120), reason)
        return None


def _file_name(name: str, taken: set[str]) -> str:
    """A name that a file may have and no other picture has."""
    base = slug(name)[:LONGEST_FILE]
    names = (f"{base}_{number}" if number else base for number in range(len(taken) + 1))
    return next(found for found in names if found not in taken)


def slug(name: str) -> str:
    """A name as part of the name of a file: letters, digits and "_"."""
    return "".join(character if character.isalnum() and character.isascii() else "_" for character in name)
