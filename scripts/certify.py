"""Certify a configuration of train.py: that the model which it describes computes and trains as it says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from data.configuration.overrides import MANIFESTS
from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("certify", paths=("output", "runs", *MANIFESTS))
def main(config: DictConfig) -> None:
    """Prints the table of all checks, writes it, and exits with 1 when one fails."""
    import time

    import torch

    from certify.suite import ALL_CHECKS, make_context, run
    from certify.table import FILE, print_table, write
    from data.types import BadInputError
    from training.runs.run_folder import environment

    folder = Path(config.output or f"{config.runs}/{config.name}/certify-{time.strftime('%Y%m%d-%H%M%S')}").expanduser()
    if (folder / FILE).exists():
        raise BadInputError(f"output={folder}: holds {FILE} already, and nothing is overwritten; choose another folder")
    torch.set_num_threads(config.compute_threads or 1)  # the batches are too small to be worth sharing
    context = make_context(config)
    results, begun = [], time.monotonic()
    for result in run(context, ALL_CHECKS):
        results.append(result)
        verdict = "pass" if result.passed else "FAIL"
        print(f"{time.monotonic() - begun:4.0f} s  {verdict}  {result.name}", flush=True)
    provenance = environment(config.seed)
    print_table(results, provenance["command"])
    write(results, folder, provenance)
    failed = sum(not result.passed for result in results)
    print(f"{len(results) - failed} of {len(results)} checks passed; written to {folder}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
