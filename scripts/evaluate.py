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


@entry_point("evaluate", paths=("output", "data.train", "data.evaluation"), lists=("checkpoint",))
def main(config: DictConfig) -> Evaluated:
    """Writes the report, prints its table and returns it."""
    from data.types import BadInputError
    from evaluation.choice import asked_of_checkpoint
    from evaluation.ensemble.run import evaluate_ensemble
    from evaluation.reports.report import print_table
    from evaluation.run import evaluate_checkpoint
    from fusion.checkpoint import stored_config
    from scripts.chosen import choice

    runs = [config.checkpoint] if isinstance(config.checkpoint, str) else list(config.checkpoint)
    if not runs:
        raise BadInputError("checkpoint=[]: names no run; give checkpoint=RUN, or checkpoint=[RUN1,RUN2]")
    asked = asked_of_checkpoint(config, stored_config(runs[0], config.which), choice("evaluation"))
    options = {"device": config.device, "which": config.which, "on_bad_sample": config.data.on_bad_sample}
    if isinstance(config.checkpoint, str):
        evaluated = evaluate_checkpoint(runs[0], asked, config.output, **options)
    else:
        evaluated = evaluate_ensemble(runs, asked, config.output, **options)
    print_table(evaluated.report)
    print(f"report: {evaluated.folder / 'report.md'}")
    return evaluated


if __name__ == "__main__":
    main()
