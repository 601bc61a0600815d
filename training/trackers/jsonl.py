"""The truth of a run as plain files in its folder; always on, because nothing can drop them."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.storage.atomic_write import write_bytes
from data.storage.run_log import ALERTS, METRICS, SUMMARY, read_metrics
from data.types import BadInputError
from training.trackers.base import Array, AudioCell, Cell, ImageCell
from training.trackers.html_table import html_table
from training.trackers.media import encode_audio, encode_image, histogram_counts, scalar

FIRST_NAMES = ("seconds", "tokens")


class JsonlTracker:
    """Appends to `metrics.jsonl` and `alerts.jsonl`; media and tables become files under `samples/`.

    A line of metrics is `{"step": .., "seconds": .., "tokens": .., "train/loss": .., ...}`. A number that
    JSON cannot hold is written as the string "NaN", "Infinity" or "-Infinity", which `float` reads back.
    An `OSError`, such as a full disk, is not hidden: without this file there would be no run.
    """

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = Path(run_folder)
        self.metrics_path = self.run_folder / METRICS
        self.alerts_path = self.run_folder / ALERTS
        self._step = 0
        self._summary: dict[str, Any] = {}

    def start(self, run_name: str, config: Mapping[str, Any], resume_step: int | None = None) -> None:
        """Make the folder, or cut what a killed run logged after its checkpoint.

        Raises `BadInputError` when a new run would write into the file of an old one.
        """
        self.run_folder.mkdir(parents=True, exist_ok=True)
        if resume_step is not None:
            self._step = resume_step
            truncate_after(self.metrics_path, resume_step)
            truncate_after(self.alerts_path, resume_step)
        elif self.metrics_path.exists():
            raise BadInputError(f"{self.metrics_path}: already holds a run; continue it with resume={run_name}")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line; it is on its way to the disk when the call returns."""
        self._step = step
        names = [name for name in FIRST_NAMES if name in metrics]
        names += [name for name in metrics if name not in FIRST_NAMES]
        line = {"step": step} | {name: _json_number(metrics[name]) for name in names}
        _append_line(self.metrics_path, line)

    def image(self, step: int, name: str, image: Array, caption: str = "") -> None:
        """`samples/step_N/NAME.png`."""
        _write(self._sample_path(step, name, ".png"), encode_image(image))

    def audio(self, step: int, name: str, samples: Array, rate: int, caption: str = "") -> None:
        """`samples/step_N/NAME.wav`."""
        _write(self._sample_path(step, name, ".wav"), encode_audio(samples, rate, "WAV"))

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """`samples/step_N/NAME.html` to look at and `NAME.json` (a list of rows by column) to read."""
        page = html_table(f"{name}, step {step}", columns, rows)
        _write(self._sample_path(step, name, ".html"), _to_bytes(page))
        plain = [{key: _json_cell(cell) for key, cell in zip(columns, row, strict=True)} for row in rows]
        _write(self._sample_path(step, name, ".json"), _to_bytes(_to_json(plain, indent=1)))

    def histogram(self, step: int, name: str, values: Array) -> None:
        """`samples/step_N/NAME.histogram.json`: counts and edges."""
        counts, edges = histogram_counts(values)
        content = _to_json({"counts": counts.tolist(), "edges": edges.tolist()})
        _write(self._sample_path(step, name, ".histogram.json"), _to_bytes(content))

    def alert(self, title: str, text: str, level: str = "warn") -> None:
        """One line of `alerts.jsonl`, at the step that was logged last."""
        _append_line(self.alerts_path, {"step": self._step, "level": level, "title": title, "text": text})

    def summary(self, values: Mapping[str, Any]) -> None:
        """`summary.json`, with what earlier calls said."""
        self._summary |= {name: _json_number(value) if _is_number(value) else value for name, value in values.items()}
        _write(self.run_folder / SUMMARY, _to_bytes(_to_json(self._summary, indent=1) + "\n"))

    def finish(self) -> None:
        """Nothing is pending: every call has written its file."""

    def _sample_path(self, step: int, name: str, suffix: str) -> Path:
        return self.run_folder / "samples" / f"step_{step}" / (name.replace("/", "-") + suffix)


def truncate_after(path: Path, step: int) -> None:
    """Atomically drop the lines that were logged after `step`; without a file there is nothing to do."""
    path = Path(path)
    if not path.exists():
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    _write(path, _to_bytes("".join(_to_json(line) + "\n" for line in kept)))


def _append_line(path: Path, content: Mapping[str, Any]) -> None:
    """All of the line or, on a full disk, none of it: one write in append mode."""
    line = _to_bytes(_to_json(content) + "\n")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    """The whole file or the one that was there before, in a folder that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)


def _to_json(content: Any, indent: int | None = None) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=indent)


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # a sample may hold half a surrogate pair


def _is_number(value: object) -> bool:
    return isinstance(value, float) or hasattr(value, "item")


def _json_number(value: object) -> int | float | str:
    if isinstance(value, int):
        return value
    number = scalar(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")


def _json_cell(cell: Cell) -> Any:
    if isinstance(cell, ImageCell | AudioCell):
        return cell.caption
    return _json_number(cell) if _is_number(cell) else cell
