"""What an ensemble is and what its members answer alone, as markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.metrics.metric_names import ACCURACY, with_interval
from evaluation.reports.markdown import escaped, table


def ensemble_lines(report: Mapping[str, Any]) -> list[str]:
    """How the answers were found, and a row for each member; nothing if the report is that of a single run."""
    if "ensemble" not in report:
        return []
    tasks, found = list(report["tasks"]), report["ensemble"]
    rows = [
        [
            f"{member['run']}, step {member['step']}",
            ", ".join(member["withheld"]),
            *(with_interval(ACCURACY, member["tasks"][task][ACCURACY]) for task in tasks),
            f"{member['model']['parameters']:,}",
        ]
        for member in found["members"]
    ]
    head = ["member, alone by the same rule", "without", *tasks, "parameters"]
    return ["", "## Members", "", escaped(f"The answer is {found['rule']}."), "", *table(head, rows)]
