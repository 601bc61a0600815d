"""What a reader looks at next to a score of free text: how the scores of single answers spread, the worst and the best.

Shape legend: N items (answers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.answering.answer_metrics import AnswerMetric
from evaluation.answering.context import question_words
from evaluation.answering.predict import Prediction
from evaluation.metrics.metric_names import LOWER_IS_BETTER, number, title
from evaluation.reports.markdown import escaped, table

BINS = 20
# Worst and best answers that a report shows, and so many characters of each text.
EXAMPLES, LONGEST = 5, 200


def spread_of_scores(predictions: Sequence[Prediction], metric: AnswerMetric) -> dict[str, Any]:
    """The part of a report about one task.

    metric: of what. edges, counts: a histogram of the scores of single answers; shares go from 0 to 1, and what is
    beyond counts as 1. worst, best: examples, each with id, question, expected, answer and score.
    """
    known = metric.measurable(predictions)
    scores_N = metric.of_each(known)
    shown_N = scores_N.clip(0, 1) if metric.is_share else scores_N
    limits = (0.0, 1.0) if metric.is_share else (float(shown_N.min()), float(shown_N.max()))
    counts, edges = np.histogram(shown_N, bins=BINS, range=limits)
    order = np.argsort(scores_N if metric.name not in LOWER_IS_BETTER else -scores_N, kind="stable").tolist()
    count = min(EXAMPLES, len(order) // 2)
    rows = [example(known[place], float(scores_N[place])) for place in order]
    return {
        "metric": metric.name,
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "worst": rows[:count],
        "best": rows[len(rows) - count :][::-1],
    }


def example(prediction: Prediction, score: float) -> dict[str, Any]:
    """One answer next to what was expected."""
    words = {
        "question": question_words(prediction.sample),
        "expected": prediction.expected,
        "answer": prediction.answer,
    }
    return {"id": prediction.sample.id, **{key: shortened(text) for key, text in words.items()}, "score": score}


def shortened(text: str) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def example_lines(report: Mapping[str, Any]) -> list[str]:
    """The worst and the best answers of free text, as markdown; nothing if there are none."""
    lines: list[str] = []
    for task, found in report.get("spread", {}).items():
        for kind in ("worst", "best"):
            # Captions are asked for by no words.
            shown = [name for name in ("question", "expected", "answer") if any(row[name] for row in found[kind])]
            rows = [
                [row["id"], *(row[name] or "(nothing)" for name in shown), number(found["metric"], row["score"])]
                for row in found[kind]
            ]
            if rows:
                head = ["id", *shown, title(found["metric"])]
                lines += ["", f"## The {kind} answers, {escaped(task)}", "", *table(head, rows)]
    return lines
