"""What a run wrote about itself, read back: `metrics.jsonl`, `alerts.jsonl` and `summary.json` of its folder.

Trackers write them (`training/trackers/jsonl.py`). Figures, reports, comparisons and certificates read them here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.types import BadInputError

METRICS, ALERTS, SUMMARY = "metrics.jsonl", "alerts.jsonl", "summary.json"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a jsonl file; a torn last line, which a power cut can leave, is dropped.

    Raises `BadInputError` naming the line when any other line is not a JSON object.
    """
    lines = Path(path).read_bytes().split(b"\n")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_parse(line))
        except ValueError:
            if number < len(lines):
                raise BadInputError(f"{path}:{number}: not a JSON object with a step") from None
    return found


def readable_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that can be read; none without a file. For reports, which a damaged log must not prevent."""
    for line in path.read_bytes().split(b"\n") if path.is_file() else ():
        try:
            yield _parse(line)
        except ValueError:
            continue


def curves(path: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Names that are `wanted` -> [points, 2] of step and value; the name that was logged first comes first."""
    points: dict[str, list[tuple[int, float]]] = {}
    for line in readable_lines(path):
        for name, value in line.items():
            if wanted(name) and isinstance(value, int | float):
                points.setdefault(name, []).append((line["step"], value))
    return {name: np.array(found) for name, found in points.items()}


def last_values(path: Path, step: int) -> dict[str, Any]:
    """The last value of every name up to `step`; nothing without a file."""
    found: dict[str, Any] = {}
    for line in readable_lines(path):
        if line["step"] <= step:
            found |= line
    return found


def read_summary(run_folder: Path) -> dict[str, Any]:
    """What a run wrote at its end. Raises `BadInputError` if it wrote nothing that can be read."""
    path = run_folder / SUMMARY
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise BadInputError(f"{path}: cannot be read: it is not a JSON object")
    return found


def _parse(line: bytes) -> dict[str, Any]:
    content = json.loads(line)
    if not isinstance(content, dict) or not isinstance(content.get("step"), int):
        raise ValueError("not a line of metrics")
    return content
