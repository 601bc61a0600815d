"""The results as a table in the terminal, as certify.json and as certify.md."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from certify.result import Result
from data.storage.atomic_write import write_text
from evaluation.reports.markdown import escaped

WIDE = 130
FILE = "certify.json"


def print_table(results: Sequence[Result], title: str, console: Console | None = None) -> None:
    """Check, largest deviation, tolerance, verdict; where there is room, also what was compared."""
    console = console or Console()
    table = Table(title=escape(title), title_justify="left")
    table.add_column("check")
    table.add_column("largest\ndeviation", justify="right", no_wrap=True)
    table.add_column("tolerance", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if wide := console.width >= WIDE:
        table.add_column("compared", no_wrap=True, overflow="ellipsis")  # in full in certify.md
    for result in results:
        verdict = "[green]pass[/]" if result.passed else "[bold red]FAIL[/]"
        row = [escape(result.name), number(result.deviation), limit(result), verdict, escape(result.detail)]
        table.add_row(*(row if wide else row[:-1]))
    console.print(table)
    for result in results:
        if not result.passed:
            console.print(f"[bold red]FAIL[/] {escape(result.name)}: {escape(result.detail)}")


def write(results: Sequence[Result], folder: Path, provenance: Mapping[str, Any]) -> None:
    """certify.json and certify.md in `folder`, which is made; a file that is there is replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    checks = [asdict(r) | {"deviation": finite(r.deviation)} for r in results]
    report = {"passed": all(r.passed for r in results), "checks": checks, **provenance}
    write_text(folder / FILE, json.dumps(report, indent=2, allow_nan=False) + "\n")
    write_text(folder / "certify.md", markdown(results, provenance))


def markdown(results: Sequence[Result], provenance: Mapping[str, Any]) -> str:
    """The table, then why each tolerance is what it is."""
    lines = ["# Certificate", "", f"`{provenance.get('command', '')}`", ""]
    lines += ["| check | largest deviation | tolerance | verdict | compared |", "|---|---:|---:|---|---|"]
    for r in results:
        verdict = "pass" if r.passed else "**FAIL**"
        cells = [escaped(r.name), number(r.deviation), limit(r), verdict, escaped(r.detail)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Why these tolerances", ""]
    reasons = {r.reason: [other.name for other in results if other.reason == r.reason] for r in results}
    lines += [f"- {'; '.join(names)}: {reason}." for reason, names in reasons.items()]
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Counts as counts, the rest with two digits."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.1e}"


def limit(result: Result) -> str:
    """The tolerance, and on which side of it a deviation must lie."""
    return f"{'>' if result.at_least else '<='} {number(result.tolerance)}"


def finite(value: float) -> float | str:
    """JSON has no infinity."""
    return value if math.isfinite(value) else "Infinity"
