"""Write a built-in data source as a JSONL manifest with its media beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("prepare_data", paths=("output", "check", "clean"))
def main(config: DictConfig) -> None:
    """Exports the chosen source, or each of its splits, to `output`."""
    from data.instantiate import instantiate
    from data.manifest import write_manifests

    source = instantiate(config.source, "source")
    sources = source if isinstance(source, dict) else {"manifest": source}
    for path in write_manifests(sources, config.output, config.max_samples, config.seed):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
