"""`docs/leaderboard.md` from the files of rows: the same files give the same page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bakeoff.leaderboard.rows import Row, RowFile, Score, seeds_text
from data.storage.atomic_write import write_text
from evaluation.metrics.metric_names import ACCURACY, LOWER_IS_BETTER, number, title
from evaluation.reports.markdown import code, escaped, table

HEAD = """# Leaderboard

Methods by data set and budget, the best first. `python scripts/leaderboard.py` makes this page from the files in
[results/leaderboard](results/leaderboard). Each file says what made its rows, and who.
[Contributing](../CONTRIBUTING.md#add-a-row-to-the-leaderboard) says how to add one. Do not edit this page.

Scores are in percent where they are shares, with a 95 % interval, and hold for what their file says: for new seeds and
new questions, or for new questions alone. The order is by the mean of the scores. It is no test: a row above another
may be there by chance, and [only a bake-off compares](statistics.md) under one protocol.

Costs: operations of the forward pass of a question with its answer; of a training sample, forward, and with backward
pass and optimizer; then of the whole training. A dash: the file does not say it."""
BUDGETS = {
    "inference_flops": ("{:,.1f} MFLOP for a sample, forward", 1e6),
    "fusion_flops": ("{:,.1f} MFLOP for a sample in the fusion method, forward", 1e6),
    "total_flops": ("{:,.3g} PFLOP of training", 1e15),
    "parameters": ("{:,.2f} million parameters", 1e6),
    "steps": ("{:,.0f} updates", 1),
    "seconds": ("{:,.0f} s of training", 1),
}
UNKNOWN = "-"
Key = tuple[str, tuple[tuple[str, float], ...]]


def write_page(files: Mapping[str, RowFile], path: Path, folder: Path) -> None:
    """Writes the page; its links to the files of `folder` are relative to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page(files, _relative(folder, path.parent)))


def _relative(folder: Path, start: Path) -> str:
    return Path(os.path.relpath(folder.resolve(), start.resolve())).as_posix()


def page(files: Mapping[str, RowFile], folder: str = "results/leaderboard") -> str:
    """The whole page."""
    groups: dict[Key, list[tuple[str, Row]]] = {}
    for name, file in files.items():
        for row in file.rows:
            groups.setdefault((row.data, tuple(sorted(row.budget.items()))), []).append((name, row))
    lines = [HEAD]
    for key in sorted(groups):
        lines += ["", f"## {escaped(heading(key))}", "", *table(*group_table(groups[key]))]
    return "\n".join([*lines, "", "## Files", "", *file_lines(files, folder), ""])


def heading(key: Key) -> str:
    """Data set and budget in words."""
    data, budget = key
    return f"{data} at " + " and ".join(BUDGETS[name][0].format(value / BUDGETS[name][1]) for name, value in budget)


def group_table(rows: list[tuple[str, Row]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of one data set and budget, the best first."""
    tasks = sorted({task for _, row in rows for task in row.scores})
    metrics = {task: next(row.scores[task].metric for _, row in rows if task in row.scores) for task in tasks}
    named = [task if metrics[task] == ACCURACY else f"{task}, {title(metrics[task])}" for task in tasks]
    costs = ["parameters (M)", "MFLOP a question", "MFLOP forward", "MFLOP training", "PFLOP in all", "training (s)"]
    ordered = sorted(rows, key=lambda item: (-mean_score(item[1]), item[1].method, item[0]))
    return ["method", *named, *costs, "seeds", "file"], [[*cells(row, tasks), Path(name).stem] for name, row in ordered]


def mean_score(row: Row) -> float:
    """What rows are ordered by: the mean over tasks, of what is better when lower with its sign turned."""
    values = [-score.value if score.metric in LOWER_IS_BETTER else score.value for score in row.scores.values()]
    return sum(values) / len(values)


def cells(row: Row, tasks: list[str]) -> list[str]:
    """A row of a table."""
    costs = row.costs
    return [
        row.method,
        *(shown(row.scores.get(task)) for task in tasks),
        scaled(costs.parameters, 1e6, 2),
        scaled(costs.question_flops, 1e6, 1),
        scaled(costs.inference_flops, 1e6, 1),
        scaled(costs.training_flops, 1e6, 1),
        scaled(costs.total_flops, 1e15, 3),
        scaled(costs.seconds, 1, 0),
        seeds_text(row.seeds),
    ]


def scaled(value: float | None, unit: float, digits: int) -> str:
    """A cost in its unit, a dash where it is not known."""
    return UNKNOWN if value is None else f"{value / unit:,.{digits}f}"


def shown(score: Score | None) -> str:
    """A score with its interval, a dash where there is none."""
    if score is None:
        return UNKNOWN
    value = number(score.metric, score.value)
    if score.low is None or score.high is None:
        return value
    return f"{value} [{number(score.metric, score.low)}, {number(score.metric, score.high)}]"


def file_lines(files: Mapping[str, RowFile], folder: str) -> list[str]:
    """What made each file, and who."""
    lines = []
    for name, file in files.items():
        made = file.provenance
        facts = [code(made.command), f"commit {code(made.commit[:12])}", *map(escaped, (made.machine, made.date))]
        facts += [f"made by {escaped(made.made_by)}", f"intervals: {file.intervals}"]
        facts += [escaped(made.note)] if made.note else []
        lines.append(f"- [{Path(name).stem}]({folder}/{name}): {'; '.join(facts)}")
    return lines
