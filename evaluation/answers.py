"""Every answer of an evaluation as a file, for error analysis and for paired tests between runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.atomic_write import write_text
from data.types import BadInputError
from evaluation.predict import Prediction, clusters

FILE = "answers.jsonl"


def answer_rows(task: str, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """One row a question: its task, id and metadata, what was expected and given, and with what it is resampled."""
    return [
        {
            "task": task,
            "id": item.sample.id,
            "cluster": own,
            "expected": item.expected,
            "answer": item.answer,
            "correct": item.correct,
            **({"metadata": dict(item.sample.metadata)} if item.sample.metadata else {}),
        }
        for item, own in zip(predictions, clusters(predictions), strict=True)
    ]


def write_answers(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes `answers.jsonl` under a temporary name, then renames it; nothing if there are no rows."""
    if rows:
        write_text(folder / FILE, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_answers(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Task -> rows, in the order of the questions. Raises `BadInputError` if the file is missing or broken."""
    path = folder / FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}; evaluate the run again") from error
    found: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            found.setdefault(row["task"], []).append(row)
        except (ValueError, KeyError) as error:
            raise BadInputError(f"{path}:{number}: is not an answer ({error})") from error
    return found
