"""Compare the reports of runs, or train and compare fusion methods at equal cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from data.configuration.overrides import MANIFESTS
from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig

# sysexits.h: a temporary failure, to be tried again.
STAGE_ENDED = 75


@entry_point("compare", paths=("output", *MANIFESTS), lists=("runs",))
def main(config: DictConfig) -> None:
    """Prints the table and writes it with a figure; of a bake-off, trains what is missing first."""
    if config.bakeoff is None:
        compare_runs(config)
    else:
        run_bakeoff(config)


def compare_runs(config: DictConfig) -> None:
    """Runs that differ by their seed alone are shown as one row."""
    from evaluation.comparison.compare import group_runs, load_runs
    from evaluation.comparison.comparison_report import replaced, write_comparison
    from evaluation.comparison.comparison_table import print_comparison

    paths = [config.runs] if isinstance(config.runs, str) else list(config.runs)
    folder = Path(config.output or "runs/comparison")
    groups = group_runs(load_runs(paths))
    note = replaced(groups, folder, is_default=config.output is None)
    write_comparison(groups, folder)
    print_comparison(groups)
    if note:
        print(note)
    print(f"comparison: {folder / 'compare.md'}")


def run_bakeoff(config: DictConfig) -> None:
    """A killed bake-off goes on with what is missing; one that ran out of time exits with `STAGE_ENDED`."""
    from bakeoff.report.report import track, write
    from bakeoff.report.terminal import print_results
    from bakeoff.run import run
    from bakeoff.trainings.execute import OutOfTimeError
    from data.instantiate import instantiate
    from data.types import BadInputError

    data = config.get("data")
    if data and data.get("validation_file") is not None and data.get("hold_out") is not None:
        data.hold_out = None  # there is something else to tune on
    if config.name is None:
        raise BadInputError("name: a bake-off needs one, for the folder of its runs")
    try:
        results = run(instantiate(config.bakeoff, "bakeoff"), Path(config.runs), config.name)
    except OutOfTimeError as ended:
        print(f"{ended} (bakeoff.max_minutes); the same command goes on from here")
        sys.exit(STAGE_ENDED)
    folder = Path(config.output or Path(config.runs) / config.name)
    write(results, folder)
    track(results, config.tracker, folder, config.name)
    print_results(results)
    print(f"bake-off: {folder / 'bakeoff.md'}")


if __name__ == "__main__":
    main()
