"""The result of all parts: gpu_check.json, and a table in the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from certify.device.found import Found
from certify.device.parts import PARTS
from data.device import choose_device
from data.storage.atomic_write import write_text
from training.runs.run_folder import environment

FILE = "gpu_check.json"


def write(found: Sequence[Found], folder: Path, seed: int, device: str) -> None:
    """One file of all parts and the machine; the files of the parts go."""
    place = choose_device(device)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    content: dict[str, Any] = {
        "passed": all(part.passed for part in found),
        "seconds": sum(part.seconds for part in found),
        "parts": [asdict(part) for part in found],
        **environment(seed),
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
    write_text(folder / FILE, json.dumps(content, indent=2, allow_nan=False) + "\n")
    for part in PARTS:
        (folder / f"{part}.json").unlink(missing_ok=True)


def print_tables(found: Sequence[Found], console: Console | None = None) -> None:
    """Parts with their verdicts, and figures by device."""
    console = console or Console()
    table = Table("part", "verdict", "seconds", "checks", "why")
    for part in found:
        verdict = "[green]pass[/]" if part.passed else "[bold red]FAIL[/]"
        passed = sum(check["passed"] for check in part.checks)
        checks = f"{passed} of {len(part.checks)}" if part.checks else ""
        table.add_row(part.name, verdict, f"{part.seconds:.0f}", checks, escape(part.reason))
    console.print(table)
    rows = {name: values for part in found for name, values in part.figures.items()}
    columns = list(dict.fromkeys(column for values in rows.values() for column in values))
    figures = Table("figure", *columns)
    for name, values in rows.items():
        figures.add_row(name, *(f"{values[column]:,.0f}" if column in values else "-" for column in columns))
    console.print(figures)
