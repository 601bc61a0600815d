"""The scores of answers next to their audit, by the main metric of each task, as markdown and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.conditions import BASELINES, column_head, condition_name, context_of_report
from evaluation.metrics.metric_names import (
    ACCURACY,
    CHRF,
    LOSS,
    LOWER_IS_BETTER,
    MAIN_RECALL,
    PERPLEXITY,
    SHORT_WORDS,
    WER,
    WORDS,
    number,
    title,
    with_interval,
)
from evaluation.metrics.scores import main_metric, main_score, tasks_by_metric
from evaluation.reports.markdown import escaped, table, turned
from evaluation.reports.terminal import cell_text, fits, marked_up
from evaluation.skipped_rows import rows_of_task

INTERVALS = (
    "Intervals: percentile bootstrap over clusters of answers that stand or fall together, and exact (Clopper-Pearson) "
    "where few clusters hold a wrong answer, or a right one. They measure the choice of questions, not that of the "
    "speakers or of the training seed; `scripts/compare.py` shows several seeds."
)
OF_COUNTS = (
    "chrF, losses and the word error rate are no means over answers: of every draw they are computed anew, from the "
    "counts of all its answers, and their intervals are no narrower than a t interval would be."
)
FREE_TEXT = (CHRF, WER, LOSS, PERPLEXITY)
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
    groups = tasks_by_metric(report)
    if not groups:
        return []
    lines: list[str] = []
    for metric, tasks in groups.items():
        lines += [f"{WORDS[metric]}, with 95 % interval and number n.", ""]
        rows = [row for task in tasks for row in audit_rows(report, task)]
        head = ["task, and its modality audit", title(metric), "n"]
        if report.get("audited_rows"):
            head.append("model, same rows")
        lines += [*table(head, [row[: len(head)] for row in rows]), ""]
    if "sources" in report:  # classes, not questions
        return lines
    lines += metric_lines(report)
    how = [HOW_TO_READ, ""] if all_conditions(report) else []
    return [*lines, *how, *interval_lines(report), *note_lines(report), ""]


def audit_rows(report: Mapping[str, Any], task: str) -> list[list[str]]:
    """The score of a task above its audit: name, score, n, and what the unchanged model scores on the same rows."""
    context, metric, score = context_of_report(report, task), *main_of(report, task)
    rows = [[f"**{task}**", with_interval(metric, score), numbers(report, task, score["n"]), ""]]
    unchanged = report.get("audited_rows", {}).get(task, {})
    for key, found in report.get("audit", {}).get(task, {}).items():
        same = number(metric, unchanged[key]["value"]) if key in unchanged else ""
        rows.append([f"- {condition_name(key, context)}", with_interval(metric, found), f"{found['n']:,}", same])
    return rows


def numbers(report: Mapping[str, Any], task: str, scored: int) -> str:
    """Of how many rows a score is, and of how many it should be where some were skipped."""
    rows = rows_of_task(report, task)
    return f"{scored:,}" if rows is None else f"{scored:,} of {rows:,}"


def main_of(report: Mapping[str, Any], task: str) -> tuple[str, Mapping[str, Any]]:
    """The main metric of a task, and its score."""
    scores = report["tasks"][task]
    return main_metric(scores), main_score(scores)


def metric_lines(report: Mapping[str, Any]) -> list[str]:
    """All metrics of the tasks that have several, as markdown; nothing if there are none."""
    rows = []
    for task, scores in report["tasks"].items():
        if MAIN_RECALL in scores or len(scores) < 2:
            continue
        random = report.get("chance", {}).get(task, {})
        for metric, score in scores.items():
            guessed = number(metric, random[metric]) if metric in random else ""
            rows.append([f"{task}: {title(metric)}", with_interval(metric, score), guessed, f"{score['n']:,}"])
    if not rows:
        return []
    used = {metric for scores in report["tasks"].values() for metric in scores}
    words = [f"- {title(metric)}: {text}" for metric, text in WORDS.items() if metric in used]
    return ["All metrics:", "", *table(["task and metric", "score", "chance", "n"], rows), "", *words, ""]


def family_lines(report: Mapping[str, Any]) -> list[str]:
    """Scores of spoken tasks by family of synthesisers, if a report has them."""
    metrics = {task: main_metric(scores) for task, scores in report.get("tasks", {}).items()}
    rows = [
        [family, task, with_interval(metrics.get(task, ACCURACY), score), f"{score['n']:,}"]
        for family, tasks in report.get("families", {}).items()
        for task, score in tasks.items()
    ]
    used = ", ".join(dict.fromkeys(title(metrics.get(row[1], ACCURACY)) for row in rows))
    head = ["spoken by", "task", used, "n"]
    return ["", "## By family of synthesisers", "", FAMILIES, "", *table(head, rows)] if rows else []


def interval_lines(report: Mapping[str, Any]) -> list[str]:
    """What the intervals resample, by task."""
    drawn = [escaped(f"- {task}: {found['words']}") for task, found in report.get("clusters", {}).items()]
    several = any(metric in FREE_TEXT for scores in report["tasks"].values() for metric in scores)
    words = f"{INTERVALS} {OF_COUNTS}" if several else INTERVALS
    return [f"{words}{' Drawn together are:' if drawn else ''}", *([""] if drawn else []), *drawn]


def note_lines(report: Mapping[str, Any]) -> list[str]:
    """Modalities that the model never has, and tasks that expect answers of more tokens than it may give, if any."""
    lines = [
        f"- the model was trained without {modality}, and never has any (data.modality_dropout)"
        for modality in report.get("withheld", ())
    ]
    lines += [
        f"- the model has no {modality}: it is removed from what it was trained on and is asked (data.without)"
        for modality in report.get("without", ())
    ]
    lines += [
        f"- {task}: {found['count']:,} of {found['n']:,} expected answers are longer than "
        f"max_new_tokens={found['max_new_tokens']}, up to {found['longest']} tokens; no answer to them can be right"
        for task, found in report.get("long_answers", {}).items()
    ]
    return ["", *lines] if lines else []


def accuracy_tables(report: Mapping[str, Any], console: Console) -> list[Table]:
    """The main metric of every task next to its audit, and all metrics of the tasks that have several.

    Tasks become the columns where the audit is too wide for the console.
    """
    shown = []
    for metric, tasks in tasks_by_metric(report).items():
        head, rows = accuracy_cells(report, metric, tasks)
        wide = as_table(head, rows, metric)
        shown.append(wide if fits(wide, console) else as_table(*turned(head, rows), metric))
    return shown + [
        metric_table(report, task, console)
        for task, scores in report["tasks"].items()
        if MAIN_RECALL not in scores and len(scores) > 1
    ]


def metric_table(report: Mapping[str, Any], task: str, console: Console) -> Table:
    """All metrics of a task."""
    random = report.get("chance", {}).get(task, {})
    head, cells = [marked_up(task)], ["model"]
    for metric, score in report["tasks"][task].items():
        head.append(title(metric).replace(" ", "\n") + ("\n(lower is better)" if metric in LOWER_IS_BETTER else ""))
        guessed = f"\n[dim]chance {number(metric, random[metric])}[/dim]" if metric in random else ""
        cells.append(terminal_cell(score, 1, metric) + guessed)
    wide = as_table(head, [cells], None)
    return wide if fits(wide, console) else as_table(*turned(head, [cells]), None)


def accuracy_cells(report: Mapping[str, Any], metric: str, tasks: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Head and rows, a row for each task; every cell has two lines or three, so that the table stays narrow."""
    audits = {task: report.get("audit", {}).get(task, {}) for task in tasks}
    conditions = list(dict.fromkeys(condition for audit in audits.values() for condition in audit))
    context, rows = context_of_report(report), []
    for task, audit in audits.items():
        score = report["tasks"][task][metric]
        most = max((found["n"] for key, found in audit.items() if key not in BASELINES), default=0)
        name = marked_up(task, after="/") + f"\n[dim]n={numbers(report, task, score['n'])}[/dim]"
        cells = [audit_cell(condition, audit, most, metric) for condition in conditions]
        rows.append([name, f"[bold]{terminal_cell(score, 1, metric)}[/bold]", *cells])
    return ["task", "model", *(escape(column_head(condition, context)) for condition in conditions)], rows


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]], metric: str | None = ACCURACY) -> Table:
    """A table with names in its first column and numbers in the others; what does not fit is folded, not cut off."""
    words = None if metric is None else f"{SHORT_WORDS[metric]}, with 95 % interval"
    shown = Table(title=words, title_justify="left", box=None, pad_edge=False)
    for place, name in enumerate(head):
        shown.add_column(cell_text(name), justify="right" if place else "left", overflow="fold")
    for row in rows:
        shown.add_row(*map(cell_text, row))
    return shown


def audit_cell(condition: str, audit: Mapping[str, Any], most: int, metric: str = ACCURACY) -> str:
    """A score of the audit, with its number where it is of fewer samples than other conditions have."""
    if condition not in audit:
        return "-"
    found = audit[condition]
    few = condition not in BASELINES and found["n"] < most
    return terminal_cell(found, 0, metric) + (f"\n[dim]n={found['n']:,}[/dim]" if few else "")


def terminal_cell(score: Mapping[str, float], digits: int, metric: str = ACCURACY) -> str:
    """Value above interval, so that the table stays narrow."""
    low, high = (number(metric, score[key], digits) for key in ("low", "high"))
    return f"{number(metric, score['value'])}\n[dim]{low}-{high}[/dim]"
