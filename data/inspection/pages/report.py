"""What a check found: as report.json, report.md and findings.jsonl, and as a table in the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.inspection.findings import KINDS, Finding, summarise
from data.inspection.measures import Measures
from data.inspection.pages.wording import facts, markdown, shown
from data.storage.atomic_write import write_text

SHOWN_IN_TERMINAL = 3
EXACT_LEAKS = ("leaked_row", "leaked_medium")


def make_report(
    paths: Mapping[str, Path], measures: Mapping[str, Measures], findings: Sequence[Finding]
) -> dict[str, Any]:
    """Everything that is told, in plain containers.

    leaks: rows of a later file that an earlier one has too, or a medium of theirs; near_leaks: rows beyond these with
    a medium or a text that is nearly one of an earlier file.
    """
    return {
        "files": {name: str(path) for name, path in paths.items()},
        "leaks": count_rows(findings, EXACT_LEAKS),
        "near_leaks": count_rows(findings, ("near_leak",)),
        "manifests": {name: found.to_json() for name, found in measures.items()},
        "findings": summarise(findings),
    }


def count_rows(findings: Sequence[Finding], kinds: Sequence[str]) -> int:
    """Rows that have a finding of one of these kinds."""
    return len({(finding.split, finding.line) for finding in findings if finding.kind in kinds})


def write(
    report: Mapping[str, Any],
    measures: Mapping[str, Measures],
    findings: Sequence[Finding],
    figures: Mapping[str, Path],
    folder: Path,
) -> None:
    """report.json, report.md and findings.jsonl, all of the findings one a line, in `folder`."""
    order = list(KINDS)
    lines = [
        json.dumps({key: item for key, item in asdict(finding).items() if item})
        for finding in sorted(findings, key=lambda finding: order.index(finding.kind))
    ]
    write_text(folder / "findings.jsonl", "".join(line + "\n" for line in lines))
    write_text(folder / "report.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", _markdown(report, measures, figures, folder))


def _markdown(
    report: Mapping[str, Any], measures: Mapping[str, Measures], figures: Mapping[str, Path], folder: Path
) -> str:
    files = [f"- {markdown(name)}: {markdown(path)}" for name, path in report["files"].items()]
    lines = ["# What the data hold", "", *files, "", f"**{markdown(leak_line(report))}**", "", "## Odd", ""]
    lines += ["| findings | what | in |", "|---:|---|---|"]
    for found in report["findings"].values():
        lines.append(f"| {found['count']:,} | {found['what']} | {markdown(_by_file(found, report))} |")
    if not report["findings"]:
        lines[-2:] = ["Nothing."]
    lines += ["", "## Numbers", "", *_numbers(measures)]
    for found in report["findings"].values():
        lines += ["", f"### {found['what'].capitalize()}", ""]
        lines += [f"- {markdown(_example(item))}" for item in found["first"]]
        rest = found["count"] - len(found["first"])
        lines += [f"- and {rest:,} more, in findings.jsonl"] if rest else []
    for title, path in figures.items():
        lines += ["", f"## {title}", "", f"![{title}]({path.relative_to(folder).as_posix()})"]
    return "\n".join(lines) + "\n"


def _numbers(measures: Mapping[str, Measures]) -> list[str]:
    columns = [facts(found) for found in measures.values()]
    head = [f"| | {' | '.join(markdown(name) for name in measures)} |", "|---|" + "---|" * len(columns)]
    rows = [name for name in columns[0] if any(column[name] for column in columns)]
    return head + [f"| {name} | {' | '.join(markdown(column[name]) for column in columns)} |" for name in rows]


def print_report(report: Mapping[str, Any], measures: Mapping[str, Measures], console: Console | None = None) -> None:
    """The numbers as a table, what is odd with its first places, and the leaks last."""
    console = console or Console()
    table = Table()
    table.add_column("")
    columns = {name: facts(found) for name, found in measures.items()}
    for name in columns:
        table.add_column(Text(shown(name, 60)), overflow="fold")
    for row in next(iter(columns.values())):
        if any(column[row] for column in columns.values()):
            table.add_row(row, *(Text(column[row]) for column in columns.values()))
    console.print(table)
    for found in report["findings"].values():
        console.print(Text.assemble((f"{found['count']:,} ", "bold"), found["what"]), soft_wrap=True)
        for item in found["first"][:SHOWN_IN_TERMINAL]:
            console.print(Text(f"    {shown(_example(item))}", style="dim"), soft_wrap=True)
    if not report["findings"]:
        console.print("nothing odd found")
    style = "bold red" if report["leaks"] else "bold"
    console.print(Text(leak_line(report), style=style), soft_wrap=True)


def leak_line(report: Mapping[str, Any]) -> str:
    """ "leaks: 3 rows ...": what later files share with earlier ones."""
    if len(report["files"]) < 2:
        return "leaks: 0 (one file alone; give several, as check=[train.jsonl,test.jsonl], to compare them)"
    order = ", ".join(shown(name, 40) for name in report["files"])
    near = f"; near leaks: {report['near_leaks']:,}" if report["near_leaks"] else ""
    return f"leaks: {report['leaks']:,}{near} (rows of a later file with what an earlier one has; order: {order})"


def _by_file(found: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {found['by_file'][name]:,}" for name in report["files"] if name in found["by_file"])


def _example(item: Mapping[str, Any]) -> str:
    found = Finding(**item)
    named = f" (id {found.id})" if found.id and found.kind != "repeated_id" else f" id {found.id}" if found.id else ""
    return f"{found.place}{named}: {found.detail}" if found.detail else f"{found.place}{named}"
