"""`prepare_data.py check=`: reads manifests, compares what they hold, writes and prints what is odd."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.inspection.duplicates import Twins, compare
from data.inspection.findings import Finding
from data.inspection.oddities import oddities
from data.inspection.pages import figures, report
from data.inspection.scan import Scan, scan
from data.storage.array_store import written_whole
from data.types import BadInputError


def check(paths: Mapping[str, Path], output: Path | None) -> tuple[dict[str, Any], Path]:
    """Writes report.md, report.json, findings.jsonl and figures to a new folder; returns the report and the folder.

    output: by default a folder next to the first file, "train-check", with a number if that is there.
    Raises `BadInputError` when `output` exists, or a manifest cannot be read or holds no rows.
    """
    folder = next_free(paths) if output is None else output
    if folder.exists():
        raise BadInputError(f"output={folder}: exists already, and is not overwritten")
    found, twins, findings = inspect(paths)
    told = report.make_report(paths, found.measures, findings)
    with written_whole(folder) as temporary:
        drawn = figures.draw_all(found, twins, temporary / "figures")
        report.write(told, found.measures, findings, drawn, temporary)
    report.print_report(told, found.measures)
    return told, folder


def inspect(paths: Mapping[str, Path]) -> tuple[Scan, list[Twins], list[Finding]]:
    """What was read, the media that are nearly equal, and everything that is odd."""
    found = scan(paths)
    twins, findings = compare(found)
    return found, twins, [*found.findings, *findings, *oddities(found)]


def next_free(paths: Mapping[str, Path]) -> Path:
    """A folder that is not there yet, next to the first file and named by it."""
    first = next(iter(paths.values()))
    name = f"{first.stem}-check"
    folder, number = first.with_name(name), 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{name}-{number}")
    return folder
