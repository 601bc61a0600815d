"""A comparison as files: tables for a reader, numbers for programs, a figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from data.display.drawing import save_all
from data.storage.atomic_write import write_text
from data.types import BadInputError
from evaluation.comparison.compare import (
    Group,
    changed_options,
    main_metrics,
    task_metrics,
    task_names,
    to_json,
    warnings,
)
from evaluation.comparison.comparison_figure import draw_comparison
from evaluation.comparison.comparison_table import COSTS, DASHES, LEGEND, cell, cost_cell
from evaluation.metrics.metric_names import LOWER_IS_BETTER, title
from evaluation.page.commands import Command, running_command
from evaluation.page.write import write_page
from evaluation.reports.markdown import code, escaped, table
from evaluation.reports.origin import commands_of

JSON = "compare.json"


def write_comparison(groups: Sequence[Group], folder: Path) -> None:
    """Writes compare.md, compare.json, compare.png and then compare.html, each under a temporary name that is then
    renamed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    markdown = to_markdown(groups)
    write_text(folder / "compare.md", markdown)
    write_text(folder / JSON, json.dumps(to_json(groups), indent=2, ensure_ascii=False) + "\n")
    save_all({"Scores and cost": ("compare", partial(draw_comparison, groups))}, folder)
    write_page(folder / "compare.html", markdown, commands=commands_of_groups(groups))


def commands_of_groups(groups: Sequence[Group]) -> list[Command]:
    """What made the comparison, and the commands of each of its runs."""
    typed = running_command()
    found = [] if typed is None else [Command("Compare", typed)]
    for run in (run for group in groups for run in group.runs):
        found += [Command(f"{run.name}: {item.title.lower()}", item.line) for item in commands_of(run.report)]
    return found


def replaced(groups: Sequence[Group], folder: Path, is_default: bool) -> str | None:
    """What a comparison in this folder would replace, in words; None if there is nothing.

    Raises:
        BadInputError: it is one of other runs, in a folder that was asked for; or the folder cannot be one.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"output={folder}: is a file; name a folder")
    if not (folder / JSON).exists():
        return None
    old, new = _compared(folder / JSON), {str(run.folder.resolve()) for group in groups for run in group.runs}
    if old == new:
        return f"replaces the comparison of the same runs in {folder}"
    if not is_default:
        raise BadInputError(f"output={folder}: holds a comparison of other runs; choose another folder")
    return f"replaces the comparison of {len(old) if old else 'other'} runs in {folder}; output=FOLDER keeps both"


def _compared(path: Path) -> set[str] | None:
    """The folders of the runs in a file of a comparison; None if it is none."""
    try:
        groups = json.loads(path.read_text(encoding="utf-8"))["groups"]
        return {str(Path(run).resolve()) for group in groups for run in group["runs"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def to_markdown(groups: Sequence[Group]) -> str:
    """The comparison for a reader: a table for each task with all its metrics, costs, and what differs."""
    lines = ["# Comparison", "", LEGEND, ""]
    lines += [f"Warning: {escaped(warning)}." for warning in warnings(groups)] + [""]
    lines += ["![Scores and cost](compare.png)", ""]
    for task in task_names(groups):
        lines += [f"## {escaped(task)}", "", *task_table(groups, task), ""]
    head = ["experiment", "runs", *(name for name, *_ in COSTS)]
    rows = [
        [group.label, str(len(group.runs)), *(cost_cell(group.cost(*path), unit, n) for _, path, unit, n in COSTS)]
        for group in groups
    ]
    lines += ["## Cost", "", *table(head, rows), "", DASHES, ""]
    if changed := changed_options(groups):
        rows = [[group.label, *(values[place] for values in changed.values())] for place, group in enumerate(groups)]
        lines += ["## Options that differ", "", *table(["experiment", *changed], rows), ""]
    lines += ["## Runs", ""]
    lines += [f"- {escaped(group.label)}: {', '.join(code(run.folder) for run in group.runs)}" for group in groups]
    return "\n".join([*lines, ""])


def task_table(groups: Sequence[Group], task: str) -> list[str]:
    """All metrics of a task, and of how many rows they are."""
    metrics, main = task_metrics(groups, task), main_metrics(groups, task)
    heads = [title(metric) + (" (lower is better)" if metric in LOWER_IS_BETTER else "") for metric in metrics]
    rows = [
        [
            group.label,
            str(len(group.runs)),
            *(cell(group.task(task, metric), metric) for metric in metrics),
            " / ".join(f"{count:,}" for count in group.numbers(task, main[0])) or "-",
        ]
        for group in groups
    ]
    return table(["experiment", "runs", *heads, "n"], rows)
