"""Evaluate a checkpoint: scores with intervals, modality audit, figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from evaluation.run import Evaluated


@entry_point("evaluate", paths=("checkpoint", "output", "data.train", "data.evaluation"))
def main(config: DictConfig) -> Evaluated:
    """Writes the report, prints its table and returns it."""
    from evaluation.choice import asked_of_checkpoint
    from evaluation.reports.report import print_table
    from evaluation.run import evaluate_checkpoint
    from fusion.checkpoint import stored_config
    from scripts.chosen import choice

    checkpoint = str(config.checkpoint)
    stored = stored_config(checkpoint, config.which)
    evaluated = evaluate_checkpoint(
        checkpoint,
        asked_of_checkpoint(config, stored, choice("evaluation")),
        config.output,
        device=config.device,
        which=config.which,
        on_bad_sample=config.data.on_bad_sample,
    )
    print_table(evaluated.report)
    print(f"report: {evaluated.folder / 'report.md'}")
    return evaluated


if __name__ == "__main__":
    main()
