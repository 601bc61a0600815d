"""Train the configured model, evaluate it, print its table and say where everything is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from data.configuration.overrides import MANIFESTS
from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("train", paths=("resume", "runs", *MANIFESTS))
def main(config: DictConfig) -> Path:
    """Runs one training from configuration to report; under torchrun, one process of it. Returns the run folder."""
    from functools import partial

    from evaluation.before_training import check_asked
    from evaluation.choice import check_training
    from evaluation.monitors.alignment_monitor import make_monitor
    from evaluation.settings import has_tasks
    from scripts.arguments import typed_overrides
    from scripts.checked import checked
    from scripts.chosen import choice
    from training.run import train
    from training.runs.run_folder import resumed_run
    from training.trackers.base import AudioCell, ImageCell

    step_folder = None
    if config.resume:
        run_folder, step_folder, config = resumed_run(config.resume, typed_overrides())
        config = checked(config, "train")
        print(f"resuming {run_folder} from {step_folder.name}")
    else:
        check_training(config, choice("evaluation"))
    monitor = partial(make_monitor, on_bad_sample=config.data.on_bad_sample, image_cell=ImageCell, audio_cell=AudioCell)
    run_folder, is_main = train(config, monitor, step_folder, check_asked)
    if is_main and has_tasks(config.get("evaluation")):
        from evaluation.reports.report import print_table
        from evaluation.run import evaluate_checkpoint

        # A training that stops when nothing gets better any more is judged by what was best.
        which = "best" if config.trainer.get("patience") else "newest"
        evaluated = evaluate_checkpoint(run_folder, config.evaluation, which=which, in_run_folder=True)
        print_table(evaluated.report)
    if is_main:
        print(f"run folder: {run_folder}")
        if "trackio" in (config.tracker or {}):
            print(f"dashboard:  make dashboard   (python scripts/dashboard.py runs={config.runs})")
    return run_folder


if __name__ == "__main__":
    main()
