"""Methods that average the answers of others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def answer_together(members: Sequence[Path], folder: Path) -> None:
    """Writes report and answers of the average of some runs into `folder`, unless they are there."""
    raise NotImplementedError
