"""Methods without a training of their own: the mean of the answers of others."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from evaluation.ensemble.run import evaluate_ensemble
from evaluation.reports.report import read_report


def answer_together(members: Sequence[Path], folder: Path) -> None:
    """Writes report and answers of some runs as one into `folder`, which is named when they are whole."""
    if read_report(folder) is not None:
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
    evaluate_ensemble(members, output=partial, progress=False)
    partial.rename(folder)
