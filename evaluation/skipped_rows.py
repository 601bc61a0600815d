"""How many rows of an evaluation are in no score, because they could not be read or answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# From this share of the rows on, what is left is no longer what was meant to be asked.
MANY = 0.1


def skipped_json(rows: Mapping[str, int], skipped: Mapping[str, list[str]], most_reasons: int) -> dict[str, Any]:
    """The part `data` of a report: sums, the first reasons, and for each task how many of its rows were skipped."""
    reasons = [reason for found in skipped.values() for reason in found]
    return {
        "skipped": 0,  # in training: known to the run
        "skipped_in_evaluation": len(reasons),
        "reasons": reasons[:most_reasons],
        "tasks": {
            task: {"rows": size, "skipped": len(skipped[task]), "first": next(iter(skipped[task]), None)}
            for task, size in rows.items()
        },
    }


def skipped_lines(report: Mapping[str, Any]) -> list[str]:
    """How many of how many rows of each task are in no score, a warning where they are many; nothing if none is."""
    data = report.get("data", {})
    if "tasks" not in data:  # of an older report
        total = data.get("skipped_in_evaluation", 0)
        return [f"{total:,} rows could not be read or answered, and are in no score"] if total else []
    lines = []
    for task, found in data["tasks"].items():
        if not (count := found["skipped"]):
            continue
        share = count / max(found["rows"], 1)
        warning = "warning: " if share >= MANY else ""
        lines.append(
            f"{warning}{task}: {count:,} of {found['rows']:,} rows ({share:.0%}) could not be read or answered, and "
            f"are in no score; the first: {found['first']}"
        )
    return lines


def rows_of_task(report: Mapping[str, Any], task: str) -> int | None:
    """How many rows a task has where some of them were skipped, else None."""
    found = report.get("data", {}).get("tasks", {}).get(task, {})
    return found["rows"] if found.get("skipped") else None
