"""What the conditions of an audit are called in tables and figures.

In a report `question_only` is the model without the context and `image_only` the one without the question, whatever the
context is: an image, in the reports that these names come from. Tables name the context that a task has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data.types import IMAGE

NAMES = {
    "majority": "majority answer",
    "largest_class": "the largest class, always",
    "question_majority": "majority answer per question",
    "image_only": "model without the question",
}
# Heads of the terminal's columns, which must be short.
SHORT_NAMES = {
    "majority": "majority\nanswer",
    "largest_class": "largest\nclass",
    "question_majority": "per\nquestion",
    "image_only": "no\nquestion",
}
# Answers that no model gives.
BASELINES = ("majority", "question_majority", "largest_class")


def context_of_report(report: Mapping[str, Any], task: str | None = None) -> list[str]:
    """The modalities of what the questions of a task are about, or of all tasks; reports once had only images."""
    found = report.get("context", {})
    tasks = report["tasks"] if task is None else [task]
    return sorted(set().union(*(found.get(name, [IMAGE]) for name in tasks)))


def condition_name(condition: str, context: Sequence[str]) -> str:
    """How a condition of the audit is called, where questions are about media of these modalities."""
    if condition == "question_only":
        return f"model without the {' and '.join(context) or 'context'}"
    if condition.endswith("_shuffled"):
        return f"model, {condition.removesuffix('_shuffled')} of another sample"
    if condition.endswith("_removed"):
        return f"model without the {condition.removesuffix('_removed')}"
    return NAMES.get(condition, condition)


def column_head(condition: str, context: Sequence[str]) -> str:
    """The same in two short lines."""
    if condition == "question_only":
        return f"no\n{context[0] if len(context) == 1 else 'context'}"
    if condition.endswith("_removed"):
        return f"no\n{condition.removesuffix('_removed')}"
    return SHORT_NAMES.get(condition, f"other\n{condition.removesuffix('_shuffled')}")
