"""Compare the reports of runs; runs that differ by their seed alone are shown as one row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("compare")
def main(config: DictConfig) -> None:
    """Prints the table and writes it with a figure."""
    from pathlib import Path

    from evaluation.compare import group_runs, load_runs
    from evaluation.comparison_report import print_comparison, write_comparison

    paths = [config.runs] if isinstance(config.runs, str) else list(config.runs)
    groups = group_runs(load_runs(paths))
    write_comparison(groups, Path(config.output))
    print_comparison(groups)
    print(f"comparison: {Path(config.output) / 'compare.md'}")


if __name__ == "__main__":
    main()
