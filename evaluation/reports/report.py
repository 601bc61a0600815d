"""Reports as files and tables: `report.json`, `report.md`, `report.html`, `figures/`, and a table for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data.display.drawing import Draw, attempt, save_all
from data.display.plain_text import one_line
from data.storage.atomic_write import write_text
from data.types import BadInputError
from evaluation.conditions import condition_name, context_of_report
from evaluation.costs import renamed
from evaluation.metrics.metric_names import ACCURACY, MAIN_RECALL, title, with_interval
from evaluation.metrics.ranking import MEDIAN_RANK, RECALL_AT
from evaluation.metrics.scores import main_metric, with_metric
from evaluation.page.examples import Example
from evaluation.page.write import write_page
from evaluation.reports.accuracy_report import (
    accuracy_lines,
    accuracy_tables,
    family_lines,
    interval_lines,
    note_lines,
    terminal_cell,
)
from evaluation.reports.answers import write_answers
from evaluation.reports.figures import breakdown_by_field, pictures
from evaluation.reports.free_text import example_lines
from evaluation.reports.free_text_figures import spread_pictures
from evaluation.reports.markdown import code, escaped, percent, table
from evaluation.reports.origin import commands_of, facts_of
from evaluation.reports.probe_report import probe_lines, probe_pictures
from evaluation.reports.recall_figure import recall_pictures
from evaluation.reports.retrieval_figures import space_pictures
from evaluation.reports.terminal import cell_text, marked_up
from evaluation.skipped_rows import skipped_lines

# What an evaluation writes; the report itself is last, so that a folder that has it is whole.
FILES = ("figures", "answers.jsonl", "report.html", "report.md", "report.json")
# Other methods in a retrieval, as tables call them.
BASELINE_NAMES = {"ridge": "ridge regression on the features of the frozen encoders"}


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
    return renamed(report)


def choose_folder(
    run_folder: Path,
    step: int,
    checkpoint_hash: str,
    tasks: Sequence[str],
    newest: bool,
    output: Path | None,
    evaluation_hash: str | None = None,
) -> Path:
    """Where a report goes, decided before any work is done.

    `output` if given; else the run folder for the newest checkpoint, `evaluations/step_N` for another, where the same
    evaluation may be repeated (see `keep_old_report`).

    Raises:
        BadInputError: `output` holds a report already, or the other folder one of the same checkpoint on other tasks,
            or by other settings.
    """
    if output is not None:
        if output.exists() and not output.is_dir():
            raise BadInputError(f"output={output}: is a file; choose a folder")
        if written := [name for name in reversed(FILES) if (output / name).exists()]:
            raise BadInputError(
                f"output={output}: holds {written[0]} already, and nothing is overwritten; choose another folder"
            )
        return output
    folder = run_folder if newest else run_folder / "evaluations" / f"step_{step}"
    old = read_report(folder)
    if old is None or old["provenance"].get("checkpoint_hash") != checkpoint_hash:
        return folder
    # Those of a retrieval have a task for each direction that a source is asked in.
    if set(old.get("sources", old["tasks"])) != set(tasks):
        there = ", ".join(old["tasks"])
        raise BadInputError(f"{folder}: holds a report on other tasks ({there}); choose a folder with output=...")
    if evaluation_hash not in (None, old["provenance"].get("evaluation_hash", evaluation_hash)):
        raise BadInputError(f"{folder}: holds a report on other files or settings; choose a folder with output=...")
    return folder


def write_report(
    report: Mapping[str, Any],
    folder: Path,
    metrics: Path | None = None,
    answers: Sequence[dict[str, Any]] = (),
    examples: Sequence[Example] = (),
) -> None:
    """Writes `answers.jsonl`, `report.md`, `report.json`, then the figures and `report.html`, each under a temporary
    name.

    What lies in `folder` and says something else moves to `evaluations/step_M` there first. A figure that cannot be
    drawn is a warning; `report.md` is written again when the others are there, with them. So is a page that cannot be
    made. It shows `examples` too.
    """
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    keep_old_report(folder, report)
    write_answers(answers, folder)
    write_text(folder / "report.md", to_markdown(report, {}))
    write_text(folder / "report.json", text)
    found = attempt("all figures", lambda: all_pictures(report, metrics))
    markdown = to_markdown(report, save_all(found or {}, folder / "figures"))
    write_text(folder / "report.md", markdown)
    page = folder / "report.html"
    write_page(page, markdown, commands=commands_of(report), facts=facts_of(report), examples=examples)


def all_pictures(report: Mapping[str, Any], metrics: Path | None) -> dict[str, tuple[str, Draw]]:
    """Every figure that the report has content for: title -> name of its file, and what draws it."""
    found = recall_pictures(report) | space_pictures(report) | pictures(report, metrics)
    return found | spread_pictures(report) | probe_pictures(report)


def keep_old_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Moves what lies in `folder` to `evaluations/step_M` there, or `step_M-2` and so on, so that nothing is lost. A
    report of the same checkpoint that found the same is left to be replaced.
    """
    old = read_report(folder)
    if old is None or _findings(old) == _findings(report):
        return
    name = f"step_{old['provenance'].get('step')}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    archive = next(path for name in names if not (path := folder / "evaluations" / name).exists())
    archive.mkdir(parents=True)
    for name in FILES:
        if (folder / name).exists():
            (folder / name).replace(archive / name)


def _findings(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """A report without the circumstances of its making, as JSON has it."""
    found = {key: value for key, value in report.items() if key != "provenance"}
    return json.loads(json.dumps({**found, "checkpoint_hash": report["provenance"].get("checkpoint_hash")}))


def to_markdown(report: Mapping[str, Any], figures: Mapping[str, Path]) -> str:
    """The report for a reader."""
    run = escaped(report["provenance"].get("run") or "a run")
    lines = [f"# Report on {run}, step {report['train']['steps']}", ""]
    if told := skipped_lines(report):
        lines += [*(f"- {escaped(line)}" for line in told), ""]
    lines += [*retrieval_lines(report), *accuracy_lines(report)]
    lines += [
        escaped(f"- {task}, {condition_name(key, context_of_report(report, task))} left out: {reason}")
        for task, found in report["omitted"].items()
        for key, reason in found.items()
    ]
    lines += family_lines(report)
    lines += example_lines(report)
    for name, path in figures.items():
        lines += ["", f"## {escaped(name)}", "", f"![{escaped(name)}](figures/{path.name})"]
    for field, scores in breakdown_by_field(report).items():
        lines += ["", f"## Numbers by {escaped(field.replace('_', ' '))}", "", *breakdown_table(report, field, scores)]
    return "\n".join([*lines, *probe_lines(report), "", *cost_and_origin(report), ""])


def retrieval_lines(report: Mapping[str, Any]) -> list[str]:
    """The tasks that are retrievals; nothing if there are none."""
    tasks = with_metric(report, MAIN_RECALL)
    if not tasks:
        return []
    rows = []
    for task, scores in tasks.items():
        rows.append([f"**{task}**", *recall_cells(scores)])
        rows += [
            [f"- {BASELINE_NAMES.get(name, name)}", *recall_cells(found)]
            for name, found in baselines(report, task).items()
        ]
        random = report["chance"][task]
        recalls = [f"{100 * random[f'recall@{k}']:.1f}" for k in RECALL_AT]
        rows.append([f"- chance, {offered(random)}", *recalls, f"{random[MEDIAN_RANK]:,.1f}"])
    head = ["retrieval", *(f"recall@{k}" for k in RECALL_AT), "median rank"]
    title = "Recall in percent and median rank, with 95 % interval."
    return [title, "", *table(head, rows), "", *interval_lines(report), ""]


def offered(random: Mapping[str, float]) -> str:
    """How many candidates there are, and how many of them are right for a query where that is more than one."""
    several = f", {random['right']:.3g} right on average" if random.get("right", 1) > 1 else ""
    return f"{random['candidates']:,} candidates{several}"


def baselines(report: Mapping[str, Any], task: str) -> Mapping[str, Any]:
    """Scores of other methods in a retrieval, by name."""
    return report.get("baselines", {}).get(task, {})


def recall_cells(scores: Mapping[str, Any]) -> list[str]:
    """Recall in percent, and the median rank."""
    return [*(percent(scores[f"recall@{k}"]) for k in RECALL_AT), ranks_cell(scores[MEDIAN_RANK])]


def ranks_cell(score: Mapping[str, float]) -> str:
    """A rank with its interval."""
    value, low, high = (score[key] for key in ("value", "low", "high"))
    return f"{value:,.1f} [{low:,.1f}, {high:,.1f}]"


def breakdown_table(report: Mapping[str, Any], field: str, scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Rows: values of the field; columns: tasks, by the main metric of each."""
    metrics = {task: main_metric(report["tasks"][task]) for task in scores}

    def cell(task: str, key: str) -> str:
        if key not in scores[task]:
            return ""
        return f"{with_interval(metrics[task], scores[task][key])} n={scores[task][key]['n']}"

    rows = [
        [key, *(cell(task, key) for task in scores)] for key in sorted({k for found in scores.values() for k in found})
    ]
    heads = [task if metric == ACCURACY else f"{task}, {title(metric)}" for task, metric in metrics.items()]
    return table([field.replace("_", " "), *heads], rows)


def cost_and_origin(report: Mapping[str, Any]) -> list[str]:
    """Cost, and what the report was made from, as lists."""
    model, train, origin = report["model"], report["train"], report["provenance"]
    flops, training = model["flops"]["inference"], model["flops"]["training"]
    skipped = report["data"]
    return [
        "## Cost and origin",
        "",
        f"- {model['parameters']:,} parameters, {model['active_parameters']:,} active per token; "
        f"{flops / 1e6:,.1f} MFLOP per question (forward, prompt and answer), "
        f"{number(None if training is None else training / 1e6)} per training sample (forward, backward, optimizer)",
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
    return code(value) if isinstance(value, str) else escaped(value)


def print_table(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints retrievals, and the main score and interval of every other task next to its audit."""
    console = console or Console()
    if with_metric(report, MAIN_RECALL):
        console.print(retrieval_table(report))
    for shown in accuracy_tables(report, console):
        console.print(shown)
    for line in (*skipped_lines(report), *filter(None, note_lines(report))):
        console.print(one_line(line.removeprefix("- ")), style="yellow", markup=False, emoji=False)


def retrieval_table(report: Mapping[str, Any]) -> Table:
    """Recall and median rank of every direction above those of baselines and of chance."""
    title = "retrieval: recall in percent and median rank, with 95 % interval"
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    shown.add_column("task", no_wrap=True)
    for k in RECALL_AT:
        shown.add_column(f"recall@{k}", justify="right", no_wrap=True)
    shown.add_column("median rank", justify="right", no_wrap=True)
    for task, scores in with_metric(report, MAIN_RECALL).items():
        random, others = report["chance"][task], baselines(report, task)
        cells = [
            "\n".join(
                [
                    terminal_cell(scores[f"recall@{k}"], 1),
                    *(
                        f"[dim]{escape(name)} {100 * found[f'recall@{k}']['value']:.1f}[/dim]"
                        for name, found in others.items()
                    ),
                    f"[dim]chance {100 * random[f'recall@{k}']:.1f}[/dim]",
                ]
            )
            for k in RECALL_AT
        ]
        rank = scores[MEDIAN_RANK]
        cells.append(f"{rank['value']:,.1f}\n[dim]{rank['low']:,.1f}-{rank['high']:,.1f}[/dim]")
        for name, found in others.items():
            cells[-1] += f"\n[dim]{escape(name)} {found[MEDIAN_RANK]['value']:,.1f}[/dim]"
        cells[-1] += f"\n[dim]chance {random[MEDIAN_RANK]:,.1f}[/dim]"
        name = f"{marked_up(task)}\n[dim]n={rank['n']:,} of {random['candidates']:,}[/dim]"
        shown.add_row(*map(cell_text, (name, *cells)))
    return shown
