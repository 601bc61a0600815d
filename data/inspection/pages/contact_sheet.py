"""Twins side by side: pictures as they are, sounds as spectrograms. Only the few that are shown are read again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.display.drawing import new_figure
from data.inspection.duplicates import Twins
from data.inspection.facts import Picture, Sound
from data.inspection.pages.wording import shown
from data.inspection.scan import Scan, Use
from data.media.audio import read_audio
from data.media.image import read_image
from data.sources.manifest import ManifestSource
from data.sources.messages import named_segments
from data.types import BadSampleError, Media

MAX_PAIRS, PAIRS_A_ROW, LABEL, THUMBNAIL = 12, 3, 26, 256
# Of a spectrogram's frames.
WINDOW, MAX_SECONDS, FLOOR_DB = 512, 5.0, -80.0


def draw_pictures(scan: Scan, twins: Sequence[Twins]) -> Figure | None:
    """Up to twelve pairs of pictures that hold or look the same; those of two manifests first."""
    pairs = _pairs(scan, twins, Picture)
    if not pairs:
        return None
    rows, columns = (len(pairs) + PAIRS_A_ROW - 1) // PAIRS_A_ROW, min(len(pairs), PAIRS_A_ROW)
    figure = new_figure(3.3 * columns, 2.1 * rows)
    # Two pictures and a gap for each pair.
    grid = figure.add_gridspec(rows, 3 * columns, width_ratios=[1, 1, 0.12] * columns)
    for place, (first, second, closeness) in enumerate(pairs):
        row, column = divmod(place, PAIRS_A_ROW)
        for side, use in enumerate((first, second)):
            axes = figure.add_subplot(grid[row, 3 * column + side])
            _show_picture(axes, scan, use)
            axes.set_title(_label(scan, use), fontsize=6.5)
        axes.set_xlabel(closeness, fontsize=6.5, loc="right")
    return figure


def draw_sounds(scan: Scan, twins: Sequence[Twins]) -> Figure | None:
    """Up to six pairs of sounds of one recording."""
    pairs = _pairs(scan, twins, Sound)[: MAX_PAIRS // 2]
    if not pairs:
        return None
    figure = new_figure(8.0, 1.6 * len(pairs))
    panels = figure.subplots(len(pairs), 2, squeeze=False)
    for (left, right), (first, second, closeness) in zip(panels, pairs, strict=True):
        for axes, use in ((left, first), (right, second)):
            _show_sound(axes, scan, use)
            axes.set_title(_label(scan, use), fontsize=6.5)
        left.set_xlabel("seconds", fontsize=6.5, loc="left")
        right.set_xlabel(closeness, fontsize=6.5, loc="right")
    return figure


def _pairs(scan: Scan, twins: Sequence[Twins], kind: type[Picture | Sound]) -> list[tuple[Use, Use, str]]:
    """Uses of equal contents in two files, and of twins; those across manifests first, as they are leaks."""
    uses: dict[int, list[Use]] = {}
    for use in scan.uses:
        if isinstance(scan.contents[use.content], kind):
            known = uses.setdefault(use.content, [])
            if not any(other.file == use.file and _split(scan, other) == _split(scan, use) for other in known):
                known.append(use)
    found = [(known[0], _farthest(scan, known), "equal") for known in uses.values() if len(known) > 1]
    found += [
        (uses[pair.first][0], _farthest(scan, [uses[pair.first][0], *uses[pair.second]]), pair.closeness)
        for pair in twins
        if pair.first in uses and pair.second in uses
    ]
    return sorted(found, key=lambda pair: _split(scan, pair[0]) == _split(scan, pair[1]))[:MAX_PAIRS]


def _farthest(scan: Scan, uses: Sequence[Use]) -> Use:
    """A use in another manifest than the first, if there is one, else the next."""
    return next((use for use in uses[1:] if _split(scan, use) != _split(scan, uses[0])), uses[1])


def _split(scan: Scan, use: Use) -> str:
    return scan.rows[use.row].split


def _label(scan: Scan, use: Use) -> str:
    row = scan.rows[use.row]
    name = use.file.rpartition("/")[2] if use.file else "data"
    return f"{shown(f'{row.split}:{row.line}', LABEL)}\n{shown(name, LABEL)}"


def _show_picture(axes: Axes, scan: Scan, use: Use) -> None:
    pixels = read_image(_medium(scan, use)).permute(1, 2, 0).numpy()
    step = max(1, max(pixels.shape[:2]) // THUMBNAIL)
    axes.imshow(pixels[::step, ::step])
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#BBBBBB")


def _show_sound(axes: Axes, scan: Scan, use: Use) -> None:
    rate = getattr(scan.contents[use.content], "rate", 0)
    samples = read_audio(_medium(scan, use), rate).numpy()[: int(MAX_SECONDS * rate)]
    samples = np.pad(samples, (0, max(0, 2 * WINDOW - len(samples))))
    power, frequencies, times = _spectrogram(samples, rate)
    axes.pcolormesh(times, frequencies / 1000, power, cmap="magma", vmin=FLOOR_DB, vmax=0, rasterized=True)
    axes.set_ylabel("kHz", fontsize=6.5)
    axes.tick_params(labelsize=6.5)


def _spectrogram(samples_S: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decibels below the loudest [frequencies, frames], and both axes."""
    windows = np.lib.stride_tricks.sliding_window_view(samples_S, WINDOW)[:: WINDOW // 4]
    power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW), axis=1)).T ** 2
    decibels = 10 * np.log10(power / max(float(power.max()), 1e-20) + 1e-12)
    return decibels, np.fft.rfftfreq(WINDOW, 1 / rate), np.arange(power.shape[1]) * (WINDOW // 4) / rate


def _medium(scan: Scan, use: Use) -> Media:
    """The medium of a use, from its row."""
    row = scan.rows[use.row]
    for line, _, sample in ManifestSource(scan.paths[row.split], on_bad_sample="skip").rows():
        if line == row.line and not isinstance(sample, BadSampleError):
            return next(s for name, s in named_segments(sample) if name == use.field and isinstance(s, Media))
    raise BadSampleError(f"{scan.paths[row.split]}:{row.line}: is no longer there")
