"""Every answer of an evaluation as a file, for error analysis and for paired tests between runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.storage.atomic_write import write_text
from data.types import BadInputError
from evaluation.answering.answer_metrics import AnswerMetric
from evaluation.answering.predict import Prediction, clusters
from evaluation.metrics.metric_names import ACCURACY

FILE = "answers.jsonl"


def answer_rows(
    task: str, predictions: Sequence[Prediction], metrics: Sequence[AnswerMetric] = ()
) -> list[dict[str, Any]]:
    """One row a question: its task, id and metadata, what was expected and given, and with what it is resampled.

    `scores` holds what each metric but accuracy says of this answer alone, where any was measured. With a likelihood,
    `tokens` are those of the expected answer, and `chosen` is the likeliest candidate where there was a choice.
    """
    return [
        {
            "task": task,
            "id": item.sample.id,
            "cluster": own,
            "expected": item.expected,
            "answer": item.answer,
            "correct": item.correct,
            **measured(item, metrics),
            **({"metadata": dict(item.sample.metadata)} if item.sample.metadata else {}),
        }
        for item, own in zip(predictions, clusters(predictions), strict=True)
    ]


def measured(item: Prediction, metrics: Sequence[AnswerMetric]) -> dict[str, Any]:
    """What metrics say of one answer."""
    known = [metric for metric in metrics if metric.name != ACCURACY and metric.measurable([item])]
    found: dict[str, Any] = {}
    if known:
        found["scores"] = {metric.name: float(metric.of_each([item])[0]) for metric in known}
    if item.likelihood is not None:
        found["tokens"] = item.likelihood.tokens[0]
        if item.likelihood.choice is not None:
            found["chosen"] = item.likelihood.chosen
    return found


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
