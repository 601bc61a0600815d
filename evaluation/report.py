"""Reports as files and tables: `report.json`, `report.md`, `figures/`, and a table for the terminal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data.types import BadInputError
from evaluation.figures import breakdown_by_field, condition_name, draw_all
from evaluation.markdown import percent, table
from evaluation.probe_report import draw_probes, probe_lines

# Heads of the terminal's columns, which must be short.
SHORT_NAMES = {
    "majority": "majority\nanswer",
    "question_majority": "per\nquestion",
    "question_only": "no\nimage",
    "image_only": "no\nquestion",
}


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report in a folder, None if there is none.

    Raises:
        BadInputError: the file is not a report.
    """
    path = folder / "report.json"
    if not path.is_file():
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        report["tasks"], report["provenance"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise BadInputError(f"{path}: not a report ({type(error).__name__}: {error})") from error
    return report


def choose_folder(
    run_folder: Path, step: int, checkpoint_hash: str, tasks: Sequence[str], newest: bool, output: Path | None
) -> Path:
    """Where a report goes, decided before any work is done.

    `output` if given; else the run folder for the newest checkpoint, `evaluations/step_N` for another.

    Raises:
        BadInputError: the folder holds a report that must not be overwritten: of other tasks, or in `output` of
            another checkpoint.
    """
    folder = output or (run_folder if newest else run_folder / "evaluations" / f"step_{step}")
    old = read_report(folder)
    if old is None:
        return folder
    if output is not None and old["provenance"].get("checkpoint_hash") != checkpoint_hash:
        raise BadInputError(f"output={output}: holds the report of another checkpoint; choose another folder")
    same_checkpoint = old["provenance"].get("checkpoint_hash") == checkpoint_hash
    if same_checkpoint and set(old["tasks"]) != set(tasks):
        there = ", ".join(old["tasks"])
        raise BadInputError(f"{folder}: holds a report on other tasks ({there}); choose a folder with output=...")
    return folder


def write_report(report: Mapping[str, Any], folder: Path, metrics: Path | None = None) -> None:
    """Writes figures, `report.md` and last `report.json`, each under a temporary name that is then renamed.

    A report of another checkpoint that lies in `folder` moves to `evaluations/step_M` there first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keep_old_report(folder, report["provenance"]["checkpoint_hash"])
    figures = draw_all(report, metrics, folder / "figures")
    figures |= draw_probes(report, folder / "figures")
    write_text(folder / "report.md", to_markdown(report, figures))
    write_text(folder / "report.json", json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def keep_old_report(folder: Path, checkpoint_hash: str) -> None:
    """Moves the report of another checkpoint out of the way."""
    old = read_report(folder)
    if old is None or old["provenance"].get("checkpoint_hash") == checkpoint_hash:
        return
    archive = folder / "evaluations" / f"step_{old['provenance'].get('step')}"
    if archive.exists():
        archive = archive.with_name(f"{archive.name}_{str(old['provenance'].get('checkpoint_hash'))[:8]}")
    archive.mkdir(parents=True, exist_ok=True)
    for name in ("figures", "report.md", "report.json"):
        if (folder / name).exists():
            if (archive / name).is_dir():
                shutil.rmtree(archive / name)
            (folder / name).replace(archive / name)


def write_text(path: Path, text: str) -> None:
    """Writes a file under a temporary name, then renames it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def all_conditions(report: Mapping[str, Any]) -> list[str]:
    """Conditions that any task was audited under, in their first order."""
    audits = report.get("audit", {}).values()
    return list(dict.fromkeys(condition for audit in audits for condition in audit))


def to_markdown(report: Mapping[str, Any], figures: Mapping[str, Path]) -> str:
    """The report for a reader."""
    tasks, conditions = report["tasks"], all_conditions(report)
    lines = [f"# Report on {report['provenance'].get('run') or 'a run'}, step {report['train']['steps']}", ""]
    lines += ["Accuracy (exact match but for case and white space) in percent, with 95 % interval and number n.", ""]
    rows = [
        [name, percent(score), f"{score['n']:,}"]
        for task in tasks
        for name, score in [
            (f"**{task}**", tasks[task]["accuracy"]),
            *((f"- {condition_name(key)}", found) for key, found in report.get("audit", {}).get(task, {}).items()),
        ]
    ]
    lines += table(["task, and its modality audit", "accuracy", "n"], rows)
    lines += ["", HOW_TO_READ if conditions else INTERVALS, ""]
    lines += [
        f"- {task}, {key} left out: {reason}"
        for task, found in report["omitted"].items()
        for key, reason in found.items()
    ]
    for title, path in figures.items():
        lines += ["", f"## {title}", "", f"![{title}](figures/{path.name})"]
    for field, scores in breakdown_by_field(report).items():
        lines += ["", f"## Numbers by {field.replace('_', ' ')}", "", *breakdown_table(field, scores)]
    return "\n".join([*lines, *probe_lines(report), "", *cost_and_origin(report), ""])


INTERVALS = (
    "Intervals: percentile bootstrap over images, whose questions stand or fall together. They measure the choice of "
    "questions, not that of the speakers or of the training seed; `scripts/compare.py` shows several seeds."
)
HOW_TO_READ = f"""How to read the audit:

- majority answer: the most frequent training answer; per question: the most frequent training answer to the same words.
  No model is involved.
- without the image / the question: the same model, that segment removed.
- image or audio of another sample: exchanged among the samples at random, never with an equal one.

A model that uses a modality loses what stands above the blind baselines when that modality is taken away. It may
fall below them if it was not trained without it (`data.modality_dropout` does that).

{INTERVALS}"""


def breakdown_table(field: str, scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Rows: values of the field; columns: tasks."""
    keys = sorted({key for task in scores.values() for key in task})
    rows = [
        [key, *(f"{percent(task[key])} n={task[key]['n']}" if key in task else "" for task in scores.values())]
        for key in keys
    ]
    return table([field.replace("_", " "), *scores], rows)


def cost_and_origin(report: Mapping[str, Any]) -> list[str]:
    """Cost, and what the report was made from, as lists."""
    model, train, origin = report["model"], report["train"], report["provenance"]
    flops = model["flops_per_sample"]
    skipped = report["data"]
    return [
        "## Cost and origin",
        "",
        f"- {model['parameters']:,} parameters, {model['active_parameters']:,} active per token; "
        f"{flops / 1e6:,.1f} MFLOP per question (forward, prompt and answer)",
        f"- trained for {number(train['seconds'], ' s')}, {number(train['steps'])} steps, "
        f"{number(train['tokens'])} tokens",
        f"- samples skipped: {skipped['skipped']} in training, {skipped['skipped_in_evaluation']} in evaluation",
        *(f"- {key.replace('_', ' ')}: {as_text(value)}" for key, value in origin.items()),
    ]


def number(value: float | None, unit: str = "") -> str:
    """A number with thousands separated, or "unknown"."""
    return "unknown" if value is None else f"{value:,.0f}{unit}"


def as_text(value: Any) -> str:
    """A value of the provenance on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {as_text(item)}" for key, item in value.items())
    if value is None:
        return "unknown"
    return f"`{value}`" if isinstance(value, str) else str(value)


def print_table(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints accuracy and interval of every task beside its audit, in percent."""
    conditions = all_conditions(report)
    shown = Table(title="accuracy in percent, with 95 % interval", title_justify="left", box=None, pad_edge=False)
    shown.add_column("task", no_wrap=True)
    shown.add_column("model", justify="right", style="bold", no_wrap=True)
    for condition in conditions:
        other = f"other\n{condition.removesuffix('_shuffled')}"
        if condition.endswith("_removed"):
            other = f"no\n{condition.removesuffix('_removed')}"
        shown.add_column(SHORT_NAMES.get(condition, other), justify="right", no_wrap=True)
    for task, scores in report["tasks"].items():
        audit = report.get("audit", {}).get(task, {})
        cells = [terminal_cell(audit[condition], 0) if condition in audit else "-" for condition in conditions]
        shown.add_row(f"{task}\n[dim]n={scores['accuracy']['n']:,}[/dim]", terminal_cell(scores["accuracy"], 1), *cells)
    (console or Console()).print(shown)


def terminal_cell(score: Mapping[str, float], digits: int) -> str:
    """Value above interval, so that the table stays narrow."""
    low, high = (f"{100 * score[key]:.{digits}f}" for key in ("low", "high"))
    return f"{100 * score['value']:.1f}\n[dim]{low}-{high}[/dim]"
