"""The accuracies of a report beside their audit, as markdown and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from evaluation.conditions import BASELINES, column_head, condition_name, context_of_report
from evaluation.markdown import percent, table, turned
from evaluation.metrics import with_metric
from evaluation.terminal import fits

INTERVALS = (
    "Intervals: percentile bootstrap over clusters of answers that stand or fall together, and exact (Clopper-Pearson) "
    "where few clusters hold a wrong answer, or a right one. They measure the choice of questions, not that of the "
    "speakers or of the training seed; `scripts/compare.py` shows several seeds."
)
FAMILIES = (
    "Speech is synthetic. That a model understands new voices of a family may follow from having heard others of that "
    "family. Only a family that the training left out says something about new ways of speaking, and none of them "
    "speaks as people do."
)
HOW_TO_READ = """How to read the audit:

- majority answer: the most frequent training answer; per question: the most frequent training answer to the same words.
  No model is involved.
- without the question, or without what it is about: the same model, those segments removed.
- a medium of another sample: exchanged among the samples at random, never with an equal one.
- n: the samples that have what is removed or exchanged; the last column is the unchanged model on the same samples.

A model that uses a modality loses what stands above the blind baselines when that modality is taken away. It may
fall below them if it was not trained without it (`data.modality_dropout` does that; at 1.0 it trains a model that never
has the modality, which is the blind baseline that needs no removal)."""


def all_conditions(report: Mapping[str, Any]) -> list[str]:
    """Conditions that any task was audited under, in their first order."""
    audits = report.get("audit", {}).values()
    return list(dict.fromkeys(condition for audit in audits for condition in audit))


def accuracy_lines(report: Mapping[str, Any]) -> list[str]:
    """The tasks that have right answers, each above its audit; nothing if there are none."""
    tasks = with_metric(report, "accuracy")
    if not tasks:
        return []
    lines = ["Accuracy (exact match but for case and white space) in percent, with 95 % interval and number n.", ""]
    rows = [row for task in tasks for row in audit_rows(report, task)]
    head = ["task, and its modality audit", "accuracy", "n"]
    if report.get("audited_rows"):
        head.append("model, same rows")
    lines += table(head, [row[: len(head)] for row in rows])
    if "sources" in report:  # classes, not questions
        return [*lines, ""]
    how = [HOW_TO_READ, ""] if all_conditions(report) else []
    return [*lines, "", *how, *interval_lines(report), *note_lines(report), ""]


def audit_rows(report: Mapping[str, Any], task: str) -> list[list[str]]:
    """The score of a task above its audit: name, score, n, and what the unchanged model scores on the same rows."""
    context, score = context_of_report(report, task), report["tasks"][task]["accuracy"]
    rows = [[f"**{task}**", percent(score), f"{score['n']:,}", ""]]
    unchanged = report.get("audited_rows", {}).get(task, {})
    for key, found in report.get("audit", {}).get(task, {}).items():
        same = f"{100 * unchanged[key]['value']:.1f}" if key in unchanged else ""
        rows.append([f"- {condition_name(key, context)}", percent(found), f"{found['n']:,}", same])
    return rows


def family_lines(report: Mapping[str, Any]) -> list[str]:
    """Scores of spoken tasks by family of synthesisers, if a report has them."""
    rows = [
        [family, task, percent(score), f"{score['n']:,}"]
        for family, tasks in report.get("families", {}).items()
        for task, score in tasks.items()
    ]
    head = ["spoken by", "task", "accuracy", "n"]
    return ["", "## By family of synthesisers", "", FAMILIES, "", *table(head, rows)] if rows else []


def interval_lines(report: Mapping[str, Any]) -> list[str]:
    """What the intervals resample, by task."""
    drawn = [f"- {task}: {found['words']}" for task, found in report.get("clusters", {}).items()]
    return [f"{INTERVALS}{' Drawn together are:' if drawn else ''}", *([""] if drawn else []), *drawn]


def note_lines(report: Mapping[str, Any]) -> list[str]:
    """Modalities that the model never has, and tasks that expect answers of more tokens than it may give, if any."""
    lines = [
        f"- the model was trained without {modality}, and never has any (data.modality_dropout)"
        for modality in report.get("withheld", ())
    ]
    lines += [
        f"- {task}: {found['count']:,} of {found['n']:,} expected answers are longer than "
        f"max_new_tokens={found['max_new_tokens']}, up to {found['longest']} tokens; no answer to them can be right"
        for task, found in report.get("long_answers", {}).items()
    ]
    return ["", *lines] if lines else []


def accuracy_table(report: Mapping[str, Any], console: Console) -> Table:
    """Accuracy of every task beside its audit; tasks become the columns where the audit is too wide for the console."""
    head, rows = accuracy_cells(report)
    shown = as_table(head, rows)
    return shown if fits(shown, console) else as_table(*turned(head, rows))


def accuracy_cells(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows, a row for each task; every cell has two lines or three, so that the table stays narrow."""
    conditions, context = all_conditions(report), context_of_report(report)
    rows = []
    for task, scores in with_metric(report, "accuracy").items():
        audit, score = report.get("audit", {}).get(task, {}), scores["accuracy"]
        most = max((found["n"] for key, found in audit.items() if key not in BASELINES), default=0)
        name = task.replace("/", "/\n") + f"\n[dim]n={score['n']:,}[/dim]"
        cells = [audit_cell(condition, audit, most) for condition in conditions]
        rows.append([name, f"[bold]{terminal_cell(score, 1)}[/bold]", *cells])
    return ["task", "model", *(column_head(condition, context) for condition in conditions)], rows


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose first column is a name and whose others are numbers; what does not fit is folded, not cut off."""
    shown = Table(title="accuracy in percent, with 95 % interval", title_justify="left", box=None, pad_edge=False)
    for place, name in enumerate(head):
        shown.add_column(name, justify="right" if place else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    return shown


def audit_cell(condition: str, audit: Mapping[str, Any], most: int) -> str:
    """A score of the audit, with its number where it is of fewer samples than other conditions have."""
    if condition not in audit:
        return "-"
    found = audit[condition]
    few = condition not in BASELINES and found["n"] < most
    return terminal_cell(found, 0) + (f"\n[dim]n={found['n']:,}[/dim]" if few else "")


def terminal_cell(score: Mapping[str, float], digits: int) -> str:
    """Value above interval, so that the table stays narrow."""
    low, high = (f"{100 * score[key]:.{digits}f}" for key in ("low", "high"))
    return f"{100 * score['value']:.1f}\n[dim]{low}-{high}[/dim]"
