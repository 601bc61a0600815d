"""What one part of the check of a device found, as it is written to a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from certify.result import Result
from certify.table import finite
from data.storage.atomic_write import write_text


@dataclass
class Found:
    """passed: whether all went well; reason: why not, in a line.

    checks: each a deviation with its tolerance. figures: what was measured, by name and unit, of each device.
    seconds: how long it took of limit_seconds. finished: whether it came to its end, or was stopped on its way.
    """

    name: str
    passed: bool
    reason: str = ""
    checks: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0
    limit_seconds: float = 0.0
    finished: bool = False

    def write(self, folder: Path) -> None:
        """NAME.json in `folder`, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{self.name}.json", json.dumps(asdict(self), allow_nan=False))

    @classmethod
    def read(cls, folder: Path, name: str) -> Found | None:
        """What a process wrote; None if it ended before."""
        path = folder / f"{name}.json"
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def from_results(name: str, results: list[Result], figures: Mapping[str, dict[str, float]] | None = None) -> Found:
    """All checks, and of those that failed the first as the reason."""
    failed = [result for result in results if not result.passed]
    reason = f"{len(failed)} of {len(results)} checks failed: {failed[0].name}: {failed[0].detail}" if failed else ""
    checks = [asdict(result) | {"deviation": finite(result.deviation)} for result in results]
    return Found(name, not failed, reason, checks, dict(figures or {}))
